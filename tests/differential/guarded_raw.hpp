// SPDX-License-Identifier: Apache-2.0
// Pages between pages that nobody may touch, code that is far from everything, and calls on a stack of one's own.
#pragma once

#include <functional>
#include <span>

#include "anybpf/engine/engine.hpp"
#include "anybpf/engine/jit.hpp"

namespace anybpf::differential {

class Guarded {
  public:
    static Result<Guarded> make(std::size_t size);
    Guarded(Guarded&& other) noexcept : whole_(std::exchange(other.whole_, {})) {}
    ~Guarded();
    std::span<std::byte> bytes() const;
    // The first or the last so many of them.
    std::span<std::byte> part(std::size_t size, bool first) const {
        return first ? bytes().first(size) : bytes().last(size);
    }

  private:
    explicit Guarded(std::span<std::byte> whole) : whole_(whole) {}
    std::span<std::byte> whole_;
};

// Code out of reach of relative calls from any library, which ends where a guard page begins. Lives for ever. As making
// pages executable takes long, programs that are bound one after the other share pages until one of them is to be run:
// whoever runs one calls seal_far_code() before.
engine::CodeMemory& far_code_memory();
Result<> seal_far_code();

// Frames for the interpreter, each by itself between pages that nobody may touch: one of those begins where a frame
// ends, or ends where the largest possible frame begins. Live for ever.
Result<engine::Interpreter::Frames> guarded_frames(bool in_front);

// Calls the function on the stack, and comes back.
void call_on(std::span<std::byte> stack, const std::function<void()>& function);

}  // namespace anybpf::differential
