// SPDX-License-Identifier: Apache-2.0
// A program outside of the project that uses the installed library: assembles a program and counts its
// instructions.
#include <anybpf/engine/engine.hpp>
#include <anybpf/isa/text.hpp>
#include <cstdio>

int main() {
    const auto code = anybpf::isa::assemble("r0 = 42\nexit\n");
    if (!code) return 1;
    std::printf("%zu instructions\n", code->size());
    return code->size() == 2 ? 0 : 1;
}
