// SPDX-License-Identifier: Apache-2.0
// Random programs that the verifier accepts nearly always: every register and stack slot's type is followed while they
// are made. Every instruction of isa.def is in some of them, and no address flows into what is compared.
#pragma once

#include "anybpf/base/types.hpp"
#include "program.hpp"

namespace anybpf::differential {

// splitmix64: seeded in no time, and the same everywhere.
class Random {
  public:
    explicit Random(u64 seed) : state_(seed) {}
    u64 operator()() {
        u64 z = state_ += 0x9e3779b97f4a7c15;
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
        z = (z ^ z >> 27) * 0x94d049bb133111eb;
        return z ^ z >> 31;
    }
    u32 below(u32 bound) { return static_cast<u32>((*this)() % bound); }
    bool chance(u32 percent) { return below(100) < percent; }
    // Near the edges of every width, where mistakes live, or anywhere.
    u64 value();

  private:
    u64 state_;
};

program::Program generate(u64 seed);

}  // namespace anybpf::differential
