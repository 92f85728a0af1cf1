// SPDX-License-Identifier: Apache-2.0
// Random programs that walk through a packet as parsers do: checks against the end in every order, offsets that were
// read from the packet, masks and comparisons that bound them, spills, helpers that move the packet. Bounds are
// sometimes off by one and checks sometimes missing.
#pragma once

#include "program_text.hpp"
#include "testing.hpp"

namespace anybpf::verifier::testing {

class PacketGenerator : ProgramText {
  public:
    explicit PacketGenerator(u64 seed) : ProgramText(seed) {}

    program::Program program() {
        static constexpr abi::ProgType types[] = {abi::ProgType::xdp, abi::ProgType::sched_cls,
                                                  abi::ProgType::cgroup_skb, abi::ProgType::lwt_in};
        type_ = types[below(4)];
        line("r6 = r1");
        get();
        for (u32 count = 1 + below(7); count > 0; --count) statement();
        line("r0 = 1");
        text_ += "out:";
        line(" r0 = 0");
        line("exit");
        program::Program made = program_of(text_, type_);
        made.expected_attach_type = abi::AttachType{};
        return made;
    }

  private:
    // r7 the packet, r8 its end; r9 an address in the packet.
    void get() {
        const bool xdp = type_ == abi::ProgType::xdp;
        line("r7 = *(u32 *)(r6 + {})", xdp ? 0 : 76);
        line("r8 = *(u32 *)(r6 + {})", xdp ? 4 : 80);
        line("r9 = r7");
        checked_ = 0;
    }
    // Leaves the program unless `bytes` from r9 on are there, or so it should.
    void check() {
        static constexpr std::string_view good[] = {"r2 > r8", "r2 >= r8", "r8 < r2", "r8 <= r2"};
        static constexpr std::string_view bad[] = {"r2 < r8", "r2 == r8", "r2 s> r8", "r8 > r2"};
        checked_ = 1 + below(40);
        line("r2 = r9");
        line("r2 += {}", checked_);
        if (chance(70)) {
            line("if {} goto out", chance(95) ? good[below(4)] : bad[below(4)]);
        } else {
            static constexpr std::string_view in[] = {"r2 < r8", "r2 <= r8", "r8 > r2", "r8 >= r2"};
            line("if {} goto +1", chance(95) ? in[below(4)] : bad[below(4)]);
            line("goto out");
        }
    }
    void access() {
        const u32 size = 1U << below(4);
        const i32 last = static_cast<i32>(checked_) - static_cast<i32>(size);
        const i32 off = chance(96) ? (last > 0 ? static_cast<i32>(below(static_cast<u32>(last) + 1)) : last) : last + 1;
        if (chance(75))
            line("r3 = *(u{} *)(r9 {:+})", 8 * size, off);
        else if (chance(80) && type_ != abi::ProgType::cgroup_skb && type_ != abi::ProgType::lwt_in)
            line("*(u{} *)(r9 {:+}) = {}", 8 * size, off, below(100));
        else
            line("r3 = *(u{} *)(r9 {:+})", 8 * size, off);
    }
    void variable() {
        line("r3 = *(u{} *)(r9 + 0)", 8U << below(4));
        const u32 how = below(8);
        if (how == 0) line("r3 &= {}", 15U << below(14));
        if (how == 1) line("r3 <<= {}", below(9));
        if (how == 2) line("if r3 > {} goto out", 1U << below(18));
        if (how == 3) line("r3 >>= {}", below(60));
        if (how == 4) line("r3 &= 15\nr3 <<= 2");
        if (how == 5) line("if r3 s> {} goto out\nif r3 s< {} goto out", below(100), static_cast<i32>(below(40)) - 20);
        if (how == 6) line("w3 = w3\nr3 -= {}", below(4));
        if (how == 7) line("r3 = be16 r3");
        line("r9 {} r3", chance(88) ? "+=" : "-=");
        checked_ = 0;
    }
    void statement() {
        switch (below(11)) {
            case 0:
            case 1:
                check();
                access();
                break;
            case 2:
                check();
                access();
                access();
                break;
            case 3:
                check();
                variable();
                check();
                access();
                break;
            case 4:
                line("r9 += {}", static_cast<i32>(below(20)) - (chance(20) ? 20 : 0));
                check();
                access();
                break;
            case 5:
                check();
                line("*(u64 *)(r10 - 8) = r9");
                line("r9 = r7");
                line("r9 = *(u64 *)(r10 - 8)");
                access();
                break;
            case 6:
                check();
                line("call {}", chance(50) ? "ktime_get_ns" : "get_prandom_u32");
                access();
                break;
            case 7:
                if (type_ == abi::ProgType::xdp)
                    line("r1 = r6\nr2 = {}\ncall xdp_adjust_{}", below(8), chance(50) ? "head" : "tail");
                else if (type_ == abi::ProgType::sched_cls || chance(20))
                    line("r1 = r6\nr2 = {}\ncall skb_pull_data", below(80));
                if (chance(90)) get();
                break;
            case 8:
                check();
                line("r1 = map[idx:0] ll\nr2 = r9\ncall map_lookup_elem\nif r0 == 0 goto +1\n*(u64 *)(r0 + 0) = 1");
                break;
            case 9:
                if (type_ == abi::ProgType::xdp || type_ == abi::ProgType::sched_cls) {
                    line("r4 = *(u32 *)(r6 + {})", type_ == abi::ProgType::xdp ? 8 : 140);
                    line("r3 = r4\nr3 += {}", 1 + below(8));
                    line("if r3 {} r7 goto out", chance(50) ? ">" : ">=");
                    line("r3 = *(u8 *)(r4 + {})", below(8));
                }
                break;
            case 10: {
                // Headers in a loop.
                const u32 id = loops_++;
                line("r5 = 0");
                text_ += fmt::format("l{}: ", id);
                check();
                line("r3 = *(u8 *)(r9 + 0)");
                if (chance(60)) line("r3 &= 63");
                line("r9 += {}", chance(50) ? "r3" : "8");
                line("r5 += 1");
                line("if r5 < {} goto l{}", 1 + below(6), id);
                checked_ = 0;
                break;
            }
        }
    }

    abi::ProgType type_{};
    u32 checked_ = 0, loops_ = 0;
};

}  // namespace anybpf::verifier::testing
