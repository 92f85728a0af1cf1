// SPDX-License-Identifier: Apache-2.0
// What random programs are written with, as text: lines, labels and chance.
#pragma once

#include <fmt/format.h>

#include <random>
#include <string>

#include "anybpf/base/types.hpp"

namespace anybpf::verifier::testing {

class ProgramText {
  protected:
    explicit ProgramText(u64 seed) : random_(seed) {}

    u32 below(u32 bound) { return static_cast<u32>(random_() % bound); }
    bool chance(u32 percent) { return below(100) < percent; }
    template <class... Args>
    void line(fmt::format_string<Args...> format, Args&&... args) {
        text_ += fmt::format(format, std::forward<Args>(args)...);
        text_ += '\n';
    }
    std::string label() { return fmt::format("l{}", labels_++); }

    std::mt19937_64 random_;
    std::string text_;
    u32 labels_ = 0;
};

}  // namespace anybpf::verifier::testing
