// SPDX-License-Identifier: Apache-2.0
// Constant texts without addresses. A table of string_views holds an address a row, and every address is a relocation:
// paid at each exec by a library that is loaded into every traced process, in private pages. These are plain data.
#pragma once

#include <array>
#include <cstddef>
#include <string_view>

#include "anybpf/base/types.hpp"

namespace anybpf {

// A short text as a value, for a column of a table. One that is too long does not compile.
template <std::size_t capacity>
class Text {
  public:
    template <std::size_t size>
    consteval Text(const char (&text)[size]) : length_(size - 1) {
        static_assert(size - 1 <= capacity);
        for (std::size_t i = 0; i < length_; ++i) characters_[i] = text[i];
    }
    constexpr std::string_view view() const { return {characters_.data(), length_}; }
    constexpr operator std::string_view() const { return view(); }
    constexpr bool empty() const { return length_ == 0; }
    constexpr std::string_view substr(std::size_t from) const { return view().substr(from); }
    template <std::size_t other>
    friend constexpr bool operator==(const Text& a, const Text<other>& b) {
        return a.view() == b.view();
    }

  private:
    std::array<char, capacity> characters_{};
    u8 length_;
};

// Many texts, of any length, behind each other.
template <std::size_t characters, std::size_t count>
struct Texts {
    std::array<char, characters> all{};
    std::array<u32, count + 1> starts{};
    static constexpr std::size_t size() { return count; }
    constexpr std::string_view operator[](std::size_t index) const {
        return std::string_view(all.data(), characters).substr(starts[index], starts[index + 1] - starts[index]);
    }
};

// list: a lambda that returns a std::array of string_views.
template <auto list>
consteval auto texts() {
    constexpr std::size_t characters = [] {
        std::size_t sum = 0;
        for (const std::string_view text : list()) sum += text.size();
        return sum;
    }();
    Texts<characters, list().size()> packed;
    u32 at = 0, index = 0;
    for (const std::string_view text : list()) {
        for (const char c : text) packed.all[at++] = c;
        packed.starts[++index] = at;
    }
    return packed;
}

}  // namespace anybpf
