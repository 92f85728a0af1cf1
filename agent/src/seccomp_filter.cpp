// SPDX-License-Identifier: Apache-2.0
// A filter is a classic BPF program that jumps forward only and reads the call's data by whole words
// (seccomp_check_filter in the kernel lets no other through), so it ends.
#include "seccomp_filter.hpp"

#include <array>
#include <cstring>

namespace anybpf::agent {
namespace {

struct Machine {
    u32 a = 0, x = 0;
    std::array<u32, BPF_MEMWORDS> memory{};
};

bool calculate(Machine& m, u16 code, u32 k) {
    const u32 with = BPF_SRC(code) == BPF_X ? m.x : k;
    switch (BPF_OP(code)) {
        case BPF_ADD:
            m.a += with;
            return true;
        case BPF_SUB:
            m.a -= with;
            return true;
        case BPF_MUL:
            m.a *= with;
            return true;
        case BPF_DIV:
            if (with == 0) return false;
            m.a /= with;
            return true;
        case BPF_OR:
            m.a |= with;
            return true;
        case BPF_AND:
            m.a &= with;
            return true;
        case BPF_XOR:
            m.a ^= with;
            return true;
        case BPF_LSH:
            m.a = with < 32 ? m.a << with : 0;
            return true;
        case BPF_RSH:
            m.a = with < 32 ? m.a >> with : 0;
            return true;
        case BPF_NEG:
            m.a = 0 - m.a;
            return true;
        default:
            return false;
    }
}

// How many instructions to leave out; past the end where it is no jump of a filter's.
u64 jump(const Machine& m, const sock_filter& at) {
    const u32 with = BPF_SRC(at.code) == BPF_X ? m.x : at.k;
    switch (BPF_OP(at.code)) {
        case BPF_JA:
            return at.k;
        case BPF_JEQ:
            return m.a == with ? at.jt : at.jf;
        case BPF_JGT:
            return m.a > with ? at.jt : at.jf;
        case BPF_JGE:
            return m.a >= with ? at.jt : at.jf;
        case BPF_JSET:
            return (m.a & with) != 0 ? at.jt : at.jf;
        default:
            return ~u64{0} >> 1;
    }
}

bool load(u32& to, const Machine& m, const sock_filter& at, const seccomp_data& call) {
    switch (BPF_MODE(at.code)) {
        case BPF_IMM:
            to = at.k;
            return true;
        case BPF_LEN:
            to = sizeof(call);
            return true;
        case BPF_MEM:
            if (at.k >= m.memory.size()) return false;
            to = m.memory[at.k];
            return true;
        case BPF_ABS:
            if (at.k > sizeof(call) - 4 || at.k % 4 != 0) return false;
            std::memcpy(&to, reinterpret_cast<const char*>(&call) + at.k, 4);
            return true;
        default:
            return false;
    }
}

}  // namespace

u32 answer_of(std::span<const sock_filter> filter, const seccomp_data& call) {
    constexpr u32 none = SECCOMP_RET_KILL_PROCESS;
    Machine m;
    for (u64 pc = 0; pc < filter.size(); ++pc) {
        const sock_filter& at = filter[pc];
        switch (BPF_CLASS(at.code)) {
            case BPF_LD:
                if (!load(m.a, m, at, call)) return none;
                break;
            case BPF_LDX:
                if (!load(m.x, m, at, call)) return none;
                break;
            case BPF_ST:
            case BPF_STX:
                if (at.k >= m.memory.size()) return none;
                m.memory[at.k] = BPF_CLASS(at.code) == BPF_ST ? m.a : m.x;
                break;
            case BPF_ALU:
                if (!calculate(m, at.code, at.k)) return none;
                break;
            case BPF_JMP:
                pc += jump(m, at);
                break;
            case BPF_RET:
                return BPF_RVAL(at.code) == BPF_A ? m.a : at.k;
            default:
                if (BPF_MISCOP(at.code) == BPF_TAX)
                    m.x = m.a;
                else
                    m.a = m.x;
        }
    }
    return none;
}

}  // namespace anybpf::agent
