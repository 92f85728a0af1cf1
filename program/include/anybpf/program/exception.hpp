// SPDX-License-Identifier: Apache-2.0
// The function that a program names to be called after bpf_throw(): a tag of its own function, exception_callback:NAME.
#pragma once

#include "anybpf/program/program.hpp"

namespace anybpf::program {

enum class ExceptionFlaw : u8 {
    none,
    missing,  // nothing of that name is in the program
    local,    // it is static
    twice,    // two are named
    type,     // it does not take one number and return one
    called,   // it is called otherwise, too
};
struct ExceptionCallback {
    u32 insn = 0;  // where it begins; 0: there is none
    ExceptionFlaw flaw{};
};
// As far as names tell: of the flaws, missing, local and twice.
ExceptionCallback find_exception_callback(const Program& program);

}  // namespace anybpf::program
