// SPDX-License-Identifier: Apache-2.0
// Random programs that are nearly right: what a compiler could have written, with bounds that are sometimes off by one,
// checks that are sometimes missing, and now and then a field of an instruction changed. Over the maps of testing.hpp.
#pragma once

#include <array>

#include "program_text.hpp"
#include "testing.hpp"

namespace anybpf::verifier::testing {

class Generator : ProgramText {
  public:
    explicit Generator(u64 seed) : ProgramText(seed) {}

    program::Program program();
    bool may_goto = false;  // loops that it ends are among the statements

  private:
    enum class What : u8 { nothing, number, small, context, value, data, frame, record };

    i64 constant();
    // A register that holds such a thing, or (mostly after making it so) any.
    u32 find(What what);
    u32 pick_free() { return 6 + below(4); }
    u32 any_register() { return chance(97) ? below(10) : 10; }
    void forget_calls() {
        for (u32 r = 0; r < 6; ++r) is_[r] = What::nothing;
    }
    void number_into(u32 r);

    void arithmetic();
    void load_context();
    void stack_store();
    void stack_load();
    void stack_variable();
    void value_access();
    void value_index();
    void atomic();
    void lookup();
    void update();
    void read_memory();
    void record();
    void branch(u32 depth);
    void loop(u32 depth);
    void budget_loop(u32 depth);
    void rounds();
    void choice();
    void use_choice(u32 chosen);
    void three_ways();
    void call();
    void statement(u32 depth);
    void block(u32 count, u32 depth) {
        for (u32 i = 0; i < count; ++i) statement(depth);
    }
    void mutate(program::Program& program);

    std::string functions_;
    bool in_function_ = false, in_loop_ = false;
    std::array<What, 11> is_{};
    std::array<bool, 9> written_{};  // [i]: fp-8*i
};

inline i64 Generator::constant() {
    switch (below(6)) {
        case 0:
            return below(4);
        case 1:
            return i64{1} << below(31);
        case 2:
            return (i64{1} << below(31)) - 1;
        case 3:
            return -static_cast<i64>(below(17));
        case 4:
            return static_cast<i32>(random_());
        default:
            return below(64);
    }
}

inline void Generator::number_into(u32 r) {
    if (chance(50) && is_[1] == What::context)
        line("r{} = *(u{} *)(r1 + {})", r, 64, 8 * below(21));
    else if (chance(30))
        line("r{} = {} ll", r, static_cast<i64>(random_() >> below(64)));
    else
        line("r{} = {}", r, constant());
    is_[r] = What::number;
}

inline u32 Generator::find(What what) {
    std::array<u32, 11> having{};
    u32 count = 0;
    for (u32 r = 0; r < 10; ++r)
        if (is_[r] == what || (what == What::number && is_[r] == What::small)) having[count++] = r;
    if (count > 0 && chance(98)) return having[below(count)];
    const u32 r = pick_free();
    switch (what) {
        case What::number:
        case What::nothing:
            number_into(r);
            break;
        case What::small:
            number_into(r);
            if (chance(60))
                line("r{} &= {}", r, below(2) == 0 ? 7 : 15);
            else
                line("if r{} > {} goto out", r, below(20));
            break;
        case What::context:
        case What::record:
            return any_register();
        case What::value:
            lookup();
            return find(What::value);
        case What::data:
            line("r{} = map[idx:1][0]+{} ll", r, below(64));
            break;
        case What::frame:
            line("r{} = r10", r);
            line("r{} += {}", r, -8 * static_cast<i32>(1 + below(8)));
            break;
    }
    is_[r] = what;
    return r;
}

inline void Generator::arithmetic() {
    static constexpr const char* ops[] = {
        "+=", "-=", "*=", "/=", "|=", "&=", "<<=", ">>=", "%=", "^=", "s>>=", "s/=", "s%="};
    const u32 dst = find(What::number);
    const char* op = ops[below(std::size(ops))];
    const char width = chance(60) ? 'r' : 'w';
    if (chance(15)) {
        const u32 free = pick_free();
        line("{}{} = {}{}", width, free, width, dst);
        is_[free] = is_[dst];
    } else if (chance(8)) {
        line("r{} = (s{})r{}", dst, 8 << below(3), dst);
        is_[dst] = What::number;
    } else if (chance(5)) {
        line("{}{} = -{}{}", width, dst, width, dst);
    } else if (chance(50)) {
        line("{}{} {} {}{}", width, dst, op, width, find(What::number));
        is_[dst] = What::number;
    } else {
        const bool shift = std::string_view(op).find("<<") != std::string_view::npos ||
                           std::string_view(op).find(">>") != std::string_view::npos;
        i64 imm = shift ? below(32) : constant();
        if ((op[0] == '/' || op[0] == '%' || op[1] == '/' || op[1] == '%') && imm == 0) imm = 3;
        line("{}{} {} {}", width, dst, op, static_cast<i32>(imm));
        is_[dst] = What::number;
    }
}

inline void Generator::load_context() {
    const u32 r = pick_free();
    if (is_[1] != What::context) return number_into(r);
    const u32 size = 1U << below(4);
    line("r{} = *(u{} *)(r1 + {})", r, 8 * size, size * below(168 / size + (chance(3) ? 1 : 0)));
    is_[r] = What::number;
}

inline void Generator::stack_store() {
    const u32 slot = 1 + below(8), size = chance(70) ? 8 : 1U << below(3);
    const i32 at = -8 * static_cast<i32>(slot) + static_cast<i32>(size * below(8 / size));
    if (chance(30))
        line("*(u{} *)(r10 {:+}) = {}", 8 * size, at, constant());
    else if (chance(15))
        line("*(u64 *)(r10 - {}) = r{}", 8 * slot, any_register());
    else
        line("*(u{} *)(r10 {:+}) = r{}", 8 * size, at, find(What::number));
    if (size == 8) written_[slot] = true;
}

inline void Generator::stack_load() {
    u32 slot = 1 + below(8);
    for (u32 i = 0; i < 8 && !written_[slot]; ++i) slot = slot % 8 + 1;
    if (!written_[slot] && chance(95)) return;
    const u32 size = chance(70) ? 8 : 1U << below(3), r = pick_free();
    line("r{} = *({}{} *)(r10 {:+})", r, size < 8 && chance(20) ? 's' : 'u', 8 * size,
         -8 * static_cast<i32>(slot) + static_cast<i32>(size * below(8 / size)));
    is_[r] = What::number;
}

inline void Generator::stack_variable() {
    for (u32 slot = 1; slot <= 4; ++slot)
        if (!written_[slot] && chance(95)) line("*(u64 *)(r10 - {}) = {}", 8 * slot, constant()), written_[slot] = true;
    const u32 n = find(What::number), p = pick_free(), size = 1U << below(4);
    u32 index = pick_free();
    if (index == p) index = 5;
    line("r{} = r{}", index, n);
    line("r{} &= {}", index, chance(90) ? 32 - size : below(64));
    line("r{} = r10", p);
    line("r{} += -32", p);
    line("r{} += r{}", p, index);
    is_[index] = What::small, is_[p] = What::nothing;
    if (chance(50)) {
        const u32 r = pick_free();
        line("r{} = *(u{} *)(r{} + 0)", r, 8 * size, p);
        is_[r] = What::number;
    } else {
        line("*(u{} *)(r{} + 0) = {}", 8 * size, p, constant());
    }
}

inline void Generator::value_access() {
    const bool is_data = chance(40);
    const u32 p = find(is_data ? What::data : What::value), size = 1U << below(4);
    const i32 limit = is_data ? 64 : 16;
    const i32 at =
        chance(90) ? static_cast<i32>(below(static_cast<u32>(limit) - size + 1)) : static_cast<i32>(below(24)) - 4;
    if (chance(50)) {
        const u32 r = pick_free();
        line("r{} = *({}{} *)(r{} {:+})", r, size < 8 && chance(30) ? 's' : 'u', 8 * size, p, at);
        is_[r] = What::number;
    } else if (chance(50)) {
        line("*(u{} *)(r{} {:+}) = r{}", 8 * size, p, at, chance(97) ? find(What::number) : any_register());
    } else {
        line("*(u{} *)(r{} {:+}) = {}", 8 * size, p, at, constant());
    }
}

inline void Generator::value_index() {
    const u32 p = find(What::value);
    u32 index = find(What::small);
    static constexpr const char* tests[] = {">", ">=", "s>", "!=", "&", "s>=", "<", "s<"};
    if (chance(50))
        line("if {}{} {} {} goto out", chance(70) ? 'r' : 'w', index, tests[below(std::size(tests))], below(20));
    const u32 moved = 6 + (p - 5) % 4;
    line("r{} = r{}", moved, p);
    line("r{} {} r{}", moved, chance(92) ? "+=" : "-=", index);
    is_[moved] = What::nothing;
    const u32 size = 1U << below(4);
    if (chance(50)) {
        line("r{} = *(u{} *)(r{} + {})", 5, 8 * size, moved, below(3));
        is_[5] = What::number;
    } else {
        line("*(u{} *)(r{} + {}) = 1", 8 * size, moved, below(3));
    }
}

inline void Generator::atomic() {
    const u32 n = find(What::number);
    std::string at;
    if (chance(60)) {
        at =
            fmt::format("r{} + {}", find(chance(50) ? What::value : What::data), chance(95) ? 8 * below(2) : below(60));
    } else {
        line("*(u64 *)(r10 - 16) = r{}", n);
        written_[2] = true;
        at = "r10 - 16";
    }
    switch (below(4)) {
        case 0:
            line("lock *(u64 *)({}) += r{}", at, n);
            break;
        case 1:
            line("lock *(u32 *)({}) ^= w{}", at, n);
            break;
        case 2:
            line("r{} = atomic_fetch_add((u64 *)({}), r{})", n, at, n);
            break;
        default:
            line("r{} = xchg_64({}, r{})", n, at, n);
            break;
    }
    is_[n] = What::number;
}

inline void Generator::lookup() {
    const u32 key = 1 + below(8);
    line("*(u32 *)(r10 - {}) = {}", 8 * key, below(3));
    const bool keep = is_[1] == What::context;
    line("r2 = r10");
    line("r2 += -{}", 8 * key);
    if (keep && chance(90) && !in_function_) line("*(u64 *)(r10 - 64) = r1"), written_[8] = false;
    line("r1 = map[idx:{}] ll", 0);
    line("call map_lookup_elem");
    forget_calls();
    if (chance(96)) line("if r0 == 0 goto out");
    const u32 r = pick_free();
    line("r{} = r0", r);
    is_[r] = What::value;
    is_[0] = chance(50) ? What::value : What::nothing;
}

inline void Generator::update() {
    line("*(u64 *)(r10 - 8) = {}", constant());
    line("*(u64 *)(r10 - 16) = {}", constant());
    if (chance(95)) line("*(u32 *)(r10 - 24) = 1");
    written_[1] = written_[2] = true;
    line("r2 = r10\nr2 += -24\nr3 = r10\nr3 += -{}\nr4 = 0\nr1 = map[idx:0] ll\ncall map_update_elem",
         chance(90) ? 16 : 8);
    forget_calls();
    is_[0] = What::number;
}

inline void Generator::read_memory() {
    const u32 n = find(What::number), slot = 1 + below(8);
    line("r2 = r{}", n);
    if (chance(70))
        line("r2 &= {}", chance(80) ? 8 * slot - 1 : 63);
    else if (chance(50))
        line("if r2 > {} goto out", 8 * slot);
    else
        line("r2 = {}", 8 * slot);
    line("r1 = r10\nr1 += -{}\nr3 = 0\ncall probe_read_kernel{}", 8 * slot, chance(30) ? "_str" : "");
    forget_calls();
    is_[0] = What::number;
}

inline void Generator::record() {
    const u32 r = pick_free();
    line("r1 = map[idx:2] ll\nr2 = 16\nr3 = 0\ncall ringbuf_reserve");
    forget_calls();
    if (chance(97)) line("if r0 == 0 goto out");
    line("r{} = r0", r);
    if (chance(60)) line("*(u64 *)(r{} + {}) = {}", r, chance(95) ? 8 * below(2) : below(16), constant());
    is_[r] = What::nothing;
    if (chance(30)) {
        const std::string past = label();
        line("r5 = *(u64 *)(r{} + 0)\nif r5 > 100 goto {}", r, past);
        line("*(u64 *)(r{} + 8) = r5\n{}:", r, past);
    }
    if (chance(97)) line("r1 = r{}\nr2 = 0\ncall ringbuf_{}", r, chance(50) ? "submit" : "discard");
    forget_calls();
}

inline void Generator::branch(u32 depth) {
    static constexpr const char* tests[] = {"==", "!=", ">", ">=", "<", "<=", "s>", "s>=", "s<", "s<=", "&"};
    const u32 a = find(What::number);
    const std::string otherwise = label(), end = label();
    const char width = chance(65) ? 'r' : 'w';
    const char* test = tests[below(std::size(tests))];
    if (chance(40)) {
        const u32 b = find(What::number);
        line("if {}{} {} {}{} goto {}", width, a, test, width, b, otherwise);
    } else {
        line("if {}{} {} {} goto {}", width, a, test, static_cast<i32>(constant()), otherwise);
    }
    const auto before = is_;
    const auto written = written_;
    block(1 + below(3), depth + 1);
    auto after = is_;
    const auto written_after = written_;
    const bool both = chance(50);
    if (both) line("goto {}", end);
    line("{}:", otherwise);
    is_ = before, written_ = written;
    if (both) {
        block(1 + below(3), depth + 1);
        line("{}:", end);
    }
    for (u32 r = 0; r < 10; ++r)
        if (is_[r] != after[r] && chance(97)) is_[r] = What::nothing;
    for (u32 s = 0; s < 9; ++s) written_[s] = written_[s] && written_after[s];
}

inline void Generator::loop(u32 depth) {
    if (in_loop_) return;
    in_loop_ = true;
    const std::string again = label();
    line("r9 = 0\n{}:", again);
    is_[9] = What::nothing;
    const auto before = is_;
    block(1 + below(3), depth + 1);
    for (u32 r = 0; r < 10; ++r)
        if (is_[r] != before[r]) is_[r] = What::nothing;
    line("r9 += {}", 1 + below(2));
    line("if r9 {} {} goto {}", chance(80) ? "<" : "s<", 1 + below(12), again);
    is_[9] = chance(50) ? What::number : What::nothing;
    in_loop_ = false;
}

// bpf_loop() with a pointer to the stack, where the callback counts, moves an offset or breaks things.
inline void Generator::rounds() {
    const std::string name = label(), stop = label();
    const bool index = chance(50) && !in_function_;
    if (index) line("*(u64 *)(r10 - 32) = r{}", find(What::value));
    line("*(u64 *)(r10 - 8) = {}\n*(u64 *)(r10 - 16) = {}", below(3), below(index ? 14 : 3));
    written_[1] = written_[2] = true;
    line("r1 = {}\nr2 = {} ll\nr3 = r10\nr3 += -16\nr4 = 0\ncall helper 181", 1 + below(6), name);
    forget_calls();
    is_[0] = What::number;
    std::string f = name + ":\n";
    const u32 at = 8 * below(2);
    f += fmt::format("r3 = *(u64 *)(r2 + {})\n", at);
    switch (below(5)) {
        case 0:
            f += "r3 += 1\n";
            break;
        case 1:
            f += "r3 &= 7\n";
            break;
        case 2:
            f += "r3 += r1\n";
            break;
        case 3:
            f += fmt::format("if r3 > {} goto {}\nr3 += 2\n", below(10), stop);
            break;
        default:
            break;
    }
    f += fmt::format("*(u64 *)(r2 + {}) = r{}\n", 8 * below(2), chance(95) ? 3 : 1);
    f += fmt::format("{}:\nr0 = {}\nexit\n", stop, chance(90) ? below(2) : below(3));
    functions_ += f;
    if (index) {
        line("r5 = *(u64 *)(r10 - {})", 8 * (1 + below(2)));
        if (chance(50)) line("if r5 > {} goto out", below(20));
        use_choice(5);
    } else if (chance(70)) {
        const u32 r = pick_free();
        line("r{} = *(u64 *)(r10 - {})", r, 8 * (1 + below(2)));
        is_[r] = What::number;
    }
}

inline void Generator::call() {
    if (in_function_) return;
    const std::string name = label();
    const bool pointer = chance(50);
    if (pointer) {
        line("*(u64 *)(r10 - 8) = 1");
        written_[1] = true;
        line("r1 = r10\nr1 += -8");
    } else {
        line("r1 = r{}", find(What::number));
    }
    line("r2 = r{}\ncall {}", find(What::number), name);
    forget_calls();
    is_[0] = What::number;
    // The function's body, with its own frame.
    std::string kept = std::move(text_);
    const auto is = is_;
    const auto written = written_;
    text_.clear();
    in_function_ = true;
    is_ = {}, written_ = {};
    is_[2] = What::number;
    if (!pointer) is_[1] = What::number;
    line("{}:", name);
    if (pointer) line("r6 = r1\n*(u64 *)(r6 + 0) = r{}", chance(95) ? 2 : 6), is_[6] = What::nothing;
    std::string body = std::move(text_);
    text_.clear();
    block(1 + below(3), 2);
    // Its own way out.
    const std::string leave = label();
    std::size_t from = 0;
    while ((from = text_.find("goto out", from)) != std::string::npos) text_.replace(from, 8, "goto " + leave);
    if (chance(60))
        line("r0 = {}", constant());
    else
        line("r0 = r{}", find(What::number));
    line("exit");
    if (text_.find("goto " + leave) != std::string::npos) line("{}: r0 = {}\nexit", leave, below(8));
    functions_ += body + text_;
    in_function_ = false;
    text_ = std::move(kept);
    is_ = is, written_ = written;
}

// What a register or a slot holds depends on the way that was taken; much later it decides something. Good and bad
// values alike: pruning must tell them apart where it matters.
inline void Generator::choice() {
    const u32 address = find(What::value), number = find(What::number);
    u32 kept = 6 + (address - 5) % 4;
    if (kept == number) kept = 6 + (kept - 5) % 4;
    const u32 chosen = 5;
    const std::string second = label(), joined = label();
    line("r{} = r{}", kept, address);
    line("*(u64 *)(r10 - 32) = r{}", kept);  // for later
    const u32 slot = 40;
    const u32 how = below(chance(20) ? 6 : 5);
    line("r4 = {}", below(4));
    if (how == 4) line("r{} = *(u64 *)(r{} + 8)", chosen, kept);
    const auto set = [&](bool first) {
        const u32 value = below(first ? 15 : 19);
        switch (how) {
            case 0:
            case 1:
                line("r{} = {}", chosen, value);
                break;
            case 2:
                line("*(u64 *)(r10 - {}) = {}", slot, value);
                break;
            case 3:
                if (first || chance(70))
                    line("*(u64 *)(r10 - {}) = 0", slot);
                else
                    line("*(u32 *)(r10 - {}) = 0\n*(u32 *)(r10 - {}) = {}", slot, slot - 4, below(2));
                break;
            case 4:  // linked with another register, or not
                if (chance(60))
                    line("*(u64 *)(r10 - {}) = r{}", slot, chosen);
                else
                    line("*(u64 *)(r10 - {}) = {}", slot, value);
                break;
            default:
                if (first || chance(80))
                    line("*(u64 *)(r10 - {}) = r{}", slot, kept);
                else
                    line("*(u64 *)(r10 - {}) = r{}", slot, number);
                break;
        }
    };
    line("if {}{} > {} goto {}", chance(50) ? 'r' : 'w', number, constant() & 0xff, second);
    set(true);
    line("goto {}\n{}:", joined, second);
    set(false);
    line("{}:", joined);
    if (how > 1 && how != 4) line("r{} = 0", chosen);
    is_[0] = What::nothing;
    is_[kept] = is_[chosen] = What::nothing;
    // On the way something else happens, that leaves r5 and the slots alone.
    for (u32 i = below(3); i > 0; --i) {
        const std::string past = label();
        line("if r{} s> {} goto {}\nr{} += 1\n{}:", chosen, below(30), past, chosen == 5 && how > 1 && how != 4 ? 5 : 4,
             past);
        line("r4 = {}", below(9));
    }
    if (how == 4) line("if r{} > {} goto out", chosen, below(17));
    if (how == 2 || how == 3 || how == 4 || how == 5) line("r{} = *(u64 *)(r10 - {})", chosen, slot);
    if (how == 3 && chance(30)) line("r{} = *(u32 *)(r10 - {})", chosen, slot - 4);
    line("r{} = *(u64 *)(r10 - 32)", kept);
    if (how == 5) {
        line("r{} = *(u8 *)(r{} + 1)", chosen, chosen);
        return;
    }
    use_choice(chosen);
    is_[kept] = What::nothing;
}

// The second way is cut off by the first, after something that the third shares with the second alone.
inline void Generator::three_ways() {
    const u32 address = find(What::value), number = find(What::number);
    const std::string second = label(), third = label(), joined = label(), past = label();
    line("*(u64 *)(r10 - 32) = r{}", address);
    line("r5 = r{}\nr5 &= 7\nr4 = 1\nif r{} > {} goto {}\ngoto {}", number, number, below(9), second, joined);
    line("{}: r5 = {}\nr4 = 2\nif r{} > {} goto {}\ngoto {}", second, below(8), number, 10 + below(9), third, joined);
    line("{}: r5 = {}\nr4 = 2", third, below(24));
    line("{}: r3 = *(u64 *)(r10 - 32)\nr3 += r4\nr3 = *(u8 *)(r3 + 0)", joined);
    line("r3 = 0\nr4 = 0\nif r{} s> {} goto {}\n{}:", number, below(30), past, past);
    use_choice(5);
}

inline void Generator::use_choice(u32 chosen) {
    const std::string past = label();
    switch (below(4)) {
        case 0:  // an index
        case 1:
            line("r4 = *(u64 *)(r10 - 32)\nr4 += r{}\nr5 = *(u8 *)(r4 + 0)", chosen);
            break;
        case 2:  // a size
            line("r2 = r{}\nif r2 s> 100 goto out\nr1 = r10\nr1 += -16\nr3 = 0\ncall probe_read_kernel", chosen);
            forget_calls();
            is_[0] = What::number;
            break;
        default:  // a branch that is not to be taken
            line("if r{} < 16 goto {}\nr4 = *(u64 *)(r10 - 32)\nr5 = *(u8 *)(r4 + {})\n{}:", chosen, past,
                 15 + below(2), past);
            break;
    }
    is_[5] = is_[4] = What::nothing;
}

// Loops that may_goto ends: with it at their head or end, nested, with ways around it, with it pointing backwards.
inline void Generator::budget_loop(u32 depth) {
    const std::string again = label(), past = label();
    const bool counts = chance(50);
    if (counts) line("r{} = {}", 6 + depth, below(3)), is_[6 + depth] = What::nothing;
    line("{}:", again);
    const auto before = is_;
    const bool head = chance(50);
    if (head) line("may_goto {}", chance(95) ? past : again);
    block(1 + below(3), depth + 1);
    for (u32 r = 0; r < 10; ++r)
        if (is_[r] != before[r] && chance(97)) is_[r] = What::nothing;
    if (counts) {
        line("r{} += {}", 6 + depth, 1 + below(3));
        if (chance(60)) line("if r{} {} {} goto {}", 6 + depth, chance(70) ? ">" : "s>", below(30), past);
        if (chance(20)) line("if r{} < {} goto {}", 6 + depth, below(9), again);  // around it
    }
    if (chance(head ? 20 : 90)) line("may_goto {}", chance(97) ? past : again);
    if (chance(97)) line("goto {}", again);
    line("{}:", past);
    if (chance(80)) is_[6 + depth] = What::nothing;
}

inline void Generator::statement(u32 depth) {
    if (may_goto && depth < 3 && chance(20)) return budget_loop(depth);
    if (!in_function_ && chance(12)) return chance(80) ? choice() : three_ways();
    const u32 kind = below(100);
    if (kind < 28) return arithmetic();
    if (kind < 34) return load_context();
    if (kind < 43) return stack_store();
    if (kind < 50) return stack_load();
    if (kind < 55) return stack_variable();
    if (kind < 64) return value_access();
    if (kind < 73) return value_index();
    if (kind < 76) return atomic();
    if (kind < 78) return update();
    if (kind < 81) return read_memory();
    if (kind < 84) return record();
    if (kind < 94 && depth < 3) return branch(depth);
    if (kind < 96 && depth < 2) return loop(depth);
    if (kind < 98 && depth < 2) return rounds();
    if (depth < 2) return call();
}

inline void Generator::mutate(program::Program& program) {
    for (u32 count = 1 + below(2); count > 0; --count) {
        isa::Insn& insn = program.insns[below(static_cast<u32>(program.insns.size()))];
        switch (below(5)) {
            case 0:
                insn.imm += static_cast<i32>(below(5)) - 2;
                break;
            case 1:
                insn.off = static_cast<i16>(insn.off + static_cast<i16>(below(17)) - 8);
                break;
            case 2:
                insn.dst = static_cast<u8>(below(11)) & 15;
                break;
            case 3:
                insn.src = static_cast<u8>(below(11)) & 15;
                break;
            default:
                if (chance(20)) insn.code = static_cast<u8>(insn.code ^ (1U << below(8)));
                break;
        }
    }
}

inline program::Program Generator::program() {
    text_.clear(), functions_.clear();
    is_ = {}, written_ = {};
    is_[1] = What::context;
    block(3 + below(12), 0);
    auto out = program_of(text_ + "out: r0 = 0\nexit\n" + functions_);
    if (chance(30)) mutate(out);
    add_btf(out);
    return out;
}

}  // namespace anybpf::verifier::testing
