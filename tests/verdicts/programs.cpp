// SPDX-License-Identifier: Apache-2.0
#include "programs.hpp"

#include <algorithm>

#include "anybpf/abi/context.hpp"
#include "anybpf/program/flow.hpp"
#include "maker.hpp"
#include "packet_programs.hpp"
#include "random_programs.hpp"

namespace anybpf::verdicts {
namespace {

using abi::ArgKind;
using abi::HelperId;
using abi::MapType;
using verifier::testing::Kind;

std::vector<Field> fields(const Kind& kind, bool store) {
    std::vector<Field> out;
    for (int off = 0; off < 260; ++off)
        for (const u32 size : {1U, 2U, 4U, 8U}) {
            if (off % static_cast<int>(size) != 0) continue;
            if (store ? abi::context_store(kind.type, kind.attach, off, size)
                      : abi::context_load(kind.type, kind.attach, off, size).has_value())
                out.push_back({off, size});
        }
    return out;
}

std::vector<KindFacts> all_facts() {
    std::vector<KindFacts> out;
    for (const Kind& kind : verifier::testing::kinds()) {
        KindFacts facts{kind, fields(kind, false), fields(kind, true), {}};
        for (u32 id = 1; id < abi::helper_count; ++id)
            if (const auto* proto = abi::find_helper(id, kind.type, kind.attach);
                proto != nullptr && abi::may_call(proto->who, kind.type, kind.attach))
                facts.helpers.push_back(proto);
        out.push_back(std::move(facts));
    }
    return out;
}

}  // namespace

i64 Maker::constant() {
    switch (below(7)) {
        case 0:
            return below(4);
        case 1:
            return i64{1} << below(31);
        case 2:
            return (i64{1} << below(31)) - 1;
        case 3:
            return -static_cast<i64>(below(65));
        case 4:
            return static_cast<i32>(random_());
        default:
            return below(65);
    }
}

void Maker::get_number(u32 into) {
    switch (below(has_value_ ? 7 : 5)) {
        case 0:
            line("call {}", chance(50) ? "get_prandom_u32" : "ktime_get_ns");
            line("r{} = r0", into);
            break;
        case 1:
            line("r{} = {}", into, constant());
            break;
        case 2:
            if (chance(50))
                line("w{} = {}", into, static_cast<i32>(constant()));
            else
                line("r{} = {} ll", into, static_cast<i64>(random_() >> below(64)) * (chance(20) ? -1 : 1));
            break;
        case 3:
            line("r{} = *(u64 *)(r10 - {})", into, 8 * (1 + below(words)));
            break;
        case 4:
            if (!facts_.loads.empty() && !in_function_) {
                const Field& field = facts_.loads[below(static_cast<u32>(facts_.loads.size()))];
                const bool odd = chance(2);
                line("r{} = *({}{} *)(r6 {:+})", into, chance(3) ? 's' : 'u', odd ? 8U << below(4) : 8 * field.size,
                     field.off + (odd ? 4 : 0));
                // What is no number is made one.
                if (abi::context_load(facts_.kind.type, facts_.kind.attach, field.off, field.size) !=
                    abi::Yield::number)
                    line("r{} = {}", into, below(90));
            } else {
                line("r{} = {}", into, constant());
            }
            break;
        default: {
            const u32 size = 1U << below(4);
            line("r{} = *({}{} *)(r7 + {})", into, size < 8 && chance(40) ? 's' : 'u', 8 * size,
                 size * below(value_bytes / size));
            break;
        }
    }
}

void Maker::arithmetic() {
    static constexpr const char* ops[] = {
        "+=", "-=", "*=", "/=", "|=", "&=", "<<=", ">>=", "%=", "^=", "s>>=", "s/=", "s%="};
    const u32 r = number();
    const char width = chance(55) ? 'r' : 'w';
    const std::string_view op = ops[below(std::size(ops))];
    switch (below(10)) {
        case 0:
            return line("r{} = (s{})r{}", chance(80) ? r : 17 - r, 8 << below(3), r);
        case 1:
            return line("w{} = (s{})w{}", chance(80) ? r : 17 - r, 8 << below(2), r);
        case 2:
            return line("{}{} = -{}{}", width, r, width, r);
        case 3:
            return line("r{} = {}{} r{}", r, chance(60) ? "be" : chance(50) ? "le" : "bswap", 16 << below(3), r);
        case 4:
            return line("{}{} = {}{}", width, r, width, 17 - r);
        case 5:
        case 6:
            return line("{}{} {} {}{}", width, r, op, width, 17 - r);
        default: {
            const bool shift = op.find("<<") != op.npos || op.find(">>") != op.npos;
            i64 imm = shift ? below(width == 'r' ? 64 : 32) : constant();
            if (imm == 0 && (op.find('/') != op.npos || op.find('%') != op.npos)) imm = 3;
            return line("{}{} {} {}", width, r, op, static_cast<i32>(imm));
        }
    }
}

void Maker::check() {
    const u32 r = number();
    const char width = chance(60) ? 'r' : 'w';
    if (chance(35))
        line("if {}{} {} {}{} goto out", width, r, tests[below(tests.size())], width, 17 - r);
    else
        line("if {}{} {} {} goto out", width, r, tests[below(tests.size())], static_cast<i32>(constant()));
}

// A little above or below what is needed.
void Maker::bound(u32 r) {
    const char width = chance(65) ? 'r' : 'w';
    const u32 most = below(3) == 0 ? 8U << below(5) : value_bytes - 8 + below(10);
    switch (below(12)) {
        case 0:
            return line("{}{} &= {}", width, r, (1U << (1 + below(7))) - 1);
        case 1:
        case 2:
            return line("if {}{} > {} goto out", width, r, most);
        case 3:
            return line("if {}{} >= {} goto out", width, r, most);
        case 4:
            return line("if {}{} s> {} goto out\nif {}{} s< {} goto out", width, r, most, chance(85) ? width : 'r', r,
                        static_cast<i32>(below(6)) - 1);
        case 5:
            return line("{}{} %= {}", width, r, most);
        case 6:
            return line("{}{} >>= {}", width, r, width == 'r' ? 57 + below(5) : 25 + below(5));
        case 7:
            return line("if {}{} & {} goto out", width, r, static_cast<i32>(-64 << below(2)));
        case 8:
            return line("if {}{} < {} goto +1\ngoto out", width, r, most);
        case 9:
            return line("w{} = w{}\nif r{} > {} goto out", r, r, r, most);
        case 10:
            return line("{}{} s>>= {}\nif r{} s< 0 goto out", width, r, width == 'r' ? 57 + below(5) : 25 + below(5),
                        r);
        default:  // by the other number
            return line("{}{} &= {}\nif {}{} {} {}{} goto out", width, 17 - r, (1U << (3 + below(4))) - 1, width, r,
                        chance(50) ? ">" : ">=", width, 17 - r);
    }
}

void Maker::two_ways() {
    const std::string otherwise = label(), end = label();
    const u32 r = number();
    const char width = chance(60) ? 'r' : 'w';
    if (chance(60))
        line("if {}{} {} {} goto {}", width, r, tests[below(tests.size())], static_cast<i32>(constant()), otherwise);
    else
        line("if {}{} {} {}{} goto {}", width, r, tests[below(tests.size())], width, 17 - r, otherwise);
    const u32 changed = number();
    if (chance(70))
        line("r{} = {}", changed, below(70));
    else
        arithmetic();
    line("goto {}\n{}:", end, otherwise);
    if (chance(70))
        line("r{} = {}", changed, below(70));
    else
        arithmetic();
    line("{}:", end);
    line("r1 = 0");
}

void Maker::find_value() {
    // data and the last map have values of value_bytes.
    if (chance(35)) {
        line("r7 = map[idx:1][0]{:+} ll", 0);
        has_value_ = true;
        return;
    }
    line("*(u32 *)(r10 - {}) = {}", key_at, below(5));
    line("r2 = r10\nr2 += -{}\nr1 = map[idx:{}] ll\ncall map_lookup_elem", key_at, chance(60) ? maps_.size() - 1 : 1);
    if (chance(96)) line("if r0 {} 0 goto out", chance(97) ? "==" : "!=");
    line("r7 = r0");
    has_value_ = true;
}

void Maker::reach_value() {
    if (!has_value_) find_value();
    const u32 r = number(), size = 1U << below(4);
    if (chance(50)) get_number(r);
    if (chance(40)) arithmetic();
    if (chance(90)) bound(r);
    if (chance(25)) arithmetic();
    if (chance(10)) bound(r);
    line("r3 = r7\nr3 {} r{}", chance(93) ? "+=" : "-=", r);
    if (chance(15)) line("r3 += {}", static_cast<i32>(below(17)) - 8);
    const i32 off = static_cast<i32>(below(8)) * (chance(85) ? 0 : 1) - (chance(95) ? 0 : 4);
    switch (below(4)) {
        case 0:
            return line("*(u{} *)(r3 {:+}) = {}", 8 * size, off, constant());
        case 1:
            return line("*(u{} *)(r3 {:+}) = r{}", 8 * size, off, chance(96) ? r : 6 + below(2));
        default:
            return line("r{} = *({}{} *)(r3 {:+})", number(), size < 8 && chance(30) ? 's' : 'u', 8 * size, off);
    }
}

void Maker::reach_stack() {
    const u32 r = number(), size = 1U << below(4);
    if (chance(40)) get_number(r);
    if (chance(90)) bound(r);
    line("r3 = r10\nr3 += -{}\nr3 += r{}", 64 + below(2) * 8, r);
    if (chance(50))
        line("r{} = *(u{} *)(r3 + 0)", number(), 8 * size);
    else if (chance(60))
        line("*(u{} *)(r3 + 0) = {}", 8 * size, constant());
    else
        line("*(u{} *)(r3 + 0) = r{}", 8 * size, chance(90) ? r : 6);
}

void Maker::spill() {
    const u32 slot = 8 * (1 + below(words + 1)), size = 1U << below(4);
    const i32 part = static_cast<i32>(chance(60) ? 0 : size * below(8 / size));
    const u32 from = chance(75) ? number() : 6 + below(has_value_ ? 2 : 1);
    if (chance(70))
        line("*(u{} *)(r10 {:+}) = r{}", from < 8 && chance(95) ? 64 : 8 * size,
             -static_cast<i32>(slot) + (from < 8 ? 0 : part), from);
    else
        line("*(u{} *)(r10 {:+}) = {}", 8 * size, -static_cast<i32>(slot) + part, chance(50) ? 0 : constant());
    if (chance(40)) check();
    const u32 read = chance(60) ? size : 1U << below(4);
    const u32 into = number();
    line("r{} = *({}{} *)(r10 {:+})", into, read < 8 && chance(25) ? 's' : 'u', 8 * read,
         -static_cast<i32>(slot) + static_cast<i32>(chance(70) ? 0 : read * below(8 / read)));
    if (from < 8 && chance(90)) line("r{} = {}", into, below(60));
}

// A copy plus a constant, and a comparison of one of them.
void Maker::links() {
    if (!has_value_) find_value();
    const u32 r = number(), other = 17 - r;
    get_number(r);
    if (chance(40)) line("w{} = w{}", r, r);
    const char width = chance(80) ? 'r' : 'w';
    line("{}{} = {}{}", width, other, width, r);
    if (chance(70)) line("{}{} += {}", chance(80) ? 'r' : 'w', chance(70) ? other : r, static_cast<i32>(below(20)) - 6);
    bound(r);
    if (chance(50)) line("r{} = r{}", r, other);
    line("r3 = r7\nr3 += r{}\nr0 = *(u8 *)(r3 {:+})", chance(60) ? other : r, static_cast<i32>(below(12)) - 3);
}

void Maker::atomic() {
    if (!has_value_) find_value();
    const u32 r = number();
    std::string at = chance(60) ? fmt::format("r7 + {}", chance(90) ? 8 * below(7) : below(64))
                                : fmt::format("r10 - {}", chance(90) ? 8 * (1 + below(words)) : below(64));
    switch (below(6)) {
        case 0:
            return line("lock *(u32 *)({}) {} w{}", at, chance(50) ? "+=" : "|=", r);
        case 1:
            return line("r{} = atomic_fetch_add((u64 *)({}), r{})", r, at, r);
        case 2:
            return line("w{} = atomic_fetch_and((u32 *)({}), w{})", r, at, r);
        case 3:
            return line("r{} = xchg_64({}, r{})", r, at, r);
        case 4:
            return line("r0 = {}\nr0 = cmpxchg_64({}, r0, r{})", constant(), at, chance(96) ? r : 6);
        default:
            return line("lock *(u64 *)({}) ^= r{}", at, chance(96) ? r : 7);
    }
}

void Maker::loop() {
    if (in_loop_) return;
    in_loop_ = true;
    const std::string again = label();
    const u32 slot = 8 * (1 + below(words));
    line("*(u64 *)(r10 - {}) = 0\n{}:\nr1 = 0", slot, again);
    for (u32 i = 1 + below(2); i > 0; --i) statement();
    line("r1 = *(u64 *)(r10 - {})\nr1 += {}\n*(u64 *)(r10 - {}) = r1", slot, 1 + below(2), slot);
    line("if r1 {} {} goto {}", chance(70) ? "<" : chance(50) ? "s<" : "!=", 1 + below(10), again);
    in_loop_ = false;
}

void Maker::function() {
    if (in_function_ || in_loop_) return;
    const std::string name = label();
    const bool pointer = chance(50);
    if (pointer)
        line("r1 = r10\nr1 += -{}", 8 * (1 + below(words)));
    else
        line("r1 = r{}", chance(90) ? number() : 6 + below(2));
    line("r2 = r{}\ncall {}", number(), name);
    line("r{} = r0", number());
    std::string kept = std::move(text_);
    const bool had_value = has_value_;
    text_.clear();
    in_function_ = true, has_value_ = false;
    line("{}:\nr9 = r2\nr8 = {}", name, below(100));
    for (u32 i = 1; i <= words; ++i)
        if (chance(95)) line("*(u64 *)(r10 - {}) = {}", 8 * i, below(5));
    if (pointer) line("r3 = *(u{} *)(r1 + 0)\n*(u64 *)(r1 + 0) = r{}", 8U << below(4), chance(90) ? 9 : 1);
    if (chance(50)) line("r6 = r1");
    for (u32 i = 1 + below(3); i > 0; --i) statement();
    line("r0 = r{}", chance(95) ? number() : 10);
    const std::string leave = label();
    for (std::size_t from = 0; (from = text_.find("goto out", from)) != std::string::npos;)
        text_.replace(from, 8, "goto " + leave);
    line("exit");
    if (text_.find("goto " + leave) != std::string::npos) line("{}: r0 = {}\nexit", leave, below(70));
    functions_ += text_;
    text_ = std::move(kept);
    in_function_ = false, has_value_ = had_value;
}

void Maker::store_context() {
    if (in_function_) return;
    if (facts_.stores.empty() || chance(5)) {
        line("*(u{} *)(r6 + {}) = r{}", 8U << below(4), 4 * below(20), number());
        return;
    }
    const Field& field = facts_.stores[below(static_cast<u32>(facts_.stores.size()))];
    if (chance(50))
        line("*(u{} *)(r6 {:+}) = r{}", 8 * field.size, field.off, chance(97) ? number() : 6);
    else
        line("*(u{} *)(r6 {:+}) = {}", chance(97) ? 8 * field.size : 8U << below(4), field.off, constant());
}

// ------------------------------------------------------------------------------------------------------------ helpers

// A map that the helper takes, most of the time.
u32 Maker::map_for(HelperId id) {
    using H = HelperId;
    using M = MapType;
    struct Row {
        std::vector<H> helpers;
        std::vector<M> types;
    };
    static const std::vector<Row> rows = {
        {{H::ringbuf_output, H::ringbuf_reserve, H::ringbuf_query}, {M::ringbuf}},
        {{H::perf_event_output, H::perf_event_read, H::perf_event_read_value}, {M::perf_event_array}},
        {{H::get_stackid}, {M::stack_trace}},
        {{H::skb_under_cgroup, H::current_task_under_cgroup}, {M::cgroup_array}},
        {{H::redirect_map}, {M::devmap, M::devmap_hash, M::cpumap, M::xskmap}},
        {{H::map_push_elem, H::map_peek_elem}, {M::queue, M::stack, M::bloom_filter}},
        {{H::map_pop_elem}, {M::queue, M::stack}},
        {{H::map_lookup_percpu_elem}, {M::percpu_array, M::percpu_hash, M::lru_percpu_hash}},
    };
    static const std::vector<M> others = {M::hash,     M::array,           M::percpu_hash, M::percpu_array,
                                          M::lru_hash, M::lru_percpu_hash, M::lpm_trie};
    const std::vector<M>* types = &others;
    for (const Row& row : rows)
        if (std::ranges::count(row.helpers, id) != 0) types = &row.types;
    std::vector<u32> fit;
    for (u32 i = 0; i < maps_.size(); ++i)
        if (std::ranges::count(*types, maps_[i].type) != 0) fit.push_back(i);
    if (fit.empty() || chance(6)) return below(static_cast<u32>(maps_.size()));
    return fit[below(static_cast<u32>(fit.size()))];
}

void Maker::fill(u32 at, u32 bytes) {
    if (chance(2)) return;
    for (u32 done = 0; done < bytes; done += 8) line("*(u64 *)(r10 - {}) = {}", at - done, below(3));
}

// r points to so many bytes, or nearly.
void Maker::memory(u32 r, u32 bytes) {
    if (has_value_ && bytes <= value_bytes && chance(30)) {
        line("r{} = r7", r);
        if (chance(30)) line("r{} += {}", r, value_bytes - bytes + below(2) * (chance(80) ? 0 : 1));
        return;
    }
    fill(value_at, bytes);
    line("r{} = r10\nr{} += -{}", r, r, value_at);
}

bool Maker::argument(u32 r, ArgKind kind, HelperId id) {
    switch (kind) {
        case ArgKind::none:
            return true;
        case ArgKind::variadic:
            if (chance(50)) return true;
            [[fallthrough]];
        case ArgKind::anything:
            if (chance(50))
                line("r{} = {}", r, chance(50) ? 0 : constant());
            else
                line("r{} = r{}", r, chance(94) ? number() : 6 + below(2));
            return true;
        case ArgKind::const_map:
            map_ = map_for(id);
            line("r{} = map[idx:{}] ll", r, map_);
            return true;
        case ArgKind::map_key: {
            const u32 bytes = maps_[map_].key_size;
            fill(key_at, bytes);
            line("r{} = r10\nr{} += -{}", r, r, key_at);
            return true;
        }
        case ArgKind::map_value_or_null:
            if (chance(30)) {
                line("r{} = 0", r);
                return true;
            }
            [[fallthrough]];
        case ArgKind::map_value:
        case ArgKind::map_value_out:
            memory(r, std::min(maps_[map_].value_size, 128U));
            return true;
        case ArgKind::ipv4_header:
        case ArgKind::tcp_header:
            memory(r, 20);
            return true;
        case ArgKind::ipv6_header:
            memory(r, 40);
            return true;
        case ArgKind::mem_read_or_null:
        case ArgKind::mem_write_or_null:
            if (chance(30)) {
                line("r{} = 0", r);
                size_ = 0;
                return true;
            }
            [[fallthrough]];
        case ArgKind::mem_read:
        case ArgKind::mem_write:
        case ArgKind::mem_update:
            size_ = chance(80) ? 8 * (1 + below(8)) : 1 + below(64);
            memory(r, size_);
            return true;
        case ArgKind::size:
        case ArgKind::size_or_zero: {
            if (chance(60)) {
                line("r{} = {}", r, size_ + (chance(95) ? 0 : 1));
                return true;
            }
            line("r{} = r{}", r, number());
            if (chance(50))
                line("r{} &= {}", r, size_ > 0 ? size_ - 1 : 0);
            else
                line("if r{} > {} goto out", r, size_);
            if (kind == ArgKind::size && chance(80)) line("if r{} == 0 goto out", r);
            return true;
        }
        case ArgKind::alloc_size:
            line("r{} = {}", r, 8 * (1 + below(4)));
            return true;
        case ArgKind::context_or_null:
            if (chance(30)) {
                line("r{} = 0", r);
                return true;
            }
            [[fallthrough]];
        case ArgKind::context:
            line("r{} = r6", r);
            if (chance(2)) line("r{} += 8", r);
            return true;
        case ArgKind::ringbuf_record:
        case ArgKind::sock_common:
        case ArgKind::any_sock:
        case ArgKind::any_sock_or_null:
        case ArgKind::socket_or_null:
        case ArgKind::released_sock:
        case ArgKind::spin_lock:
        case ArgKind::timer:
        case ArgKind::btf_task:
        case ArgKind::btf_task_or_null:
        case ArgKind::btf_cgroup_or_null:
        case ArgKind::btf_file:
        case ArgKind::btf_path:
        case ArgKind::btf_inode_or_null:
        case ArgKind::btf_seq_file:
        case ArgKind::btf_skb:
        case ArgKind::btf_xdp:
        case ArgKind::dynptr_ring:
        case ArgKind::dynptr_out:
        case ArgKind::dynptr_ring_out:
        case ArgKind::kernel_object:
        case ArgKind::kernel_object_or_null:
        case ArgKind::percpu_object:
        case ArgKind::kptr_slot:
        case ArgKind::dynptr:
            return false;  // record() is for the first; nothing here makes the others
        case ArgKind::const_string:
            line("r{} = map[idx:5][0]+{} ll", r, chance(80) ? 0 : below(32));
            return true;
        case ArgKind::callback: {
            const std::string name = label();
            line("r{} = {} ll", r, name);
            functions_ += fmt::format("{}:\nr0 = {}\nexit\n", name, below(100) < 85 ? below(2) : below(4));
            return true;
        }
        case ArgKind::stack_or_null:
            if (chance(50))
                line("r{} = 0", r);
            else
                line("r{} = r10\nr{} += -8", r, r);
            return true;
        case ArgKind::long_out:
            line("r{} = r10\nr{} += -{}", r, r, 8 * (1 + below(words)));
            return true;
        case ArgKind::int_update:
            fill(value_at, 8);
            line("r{} = r10\nr{} += -{}", r, r, value_at - 4 * below(2));
            return true;
    }
    return false;
}

void Maker::helper() {
    if (in_function_ && chance(70)) return;
    const abi::HelperProto* proto = facts_.helpers[below(static_cast<u32>(facts_.helpers.size()))];
    if (chance(3)) {
        const auto* any = abi::find_helper(1 + below(abi::helper_count - 1));
        if (any != nullptr) proto = any;
    }
    if (chance(25)) proto = abi::find_helper(1 + below(3));  // lookup, update, delete
    if (proto->id == HelperId::tail_call) return tail_call();
    map_ = 0, size_ = 8;
    for (u32 i = 0; i < 5; ++i)
        if (!argument(i + 1, proto->args[i], proto->id)) return record();
    line("call {}", static_cast<u32>(proto->id));
    if (proto->returns == abi::RetKind::map_value_or_null) {
        if (chance(90)) line("if r0 == 0 goto out");
        const u32 size = 1U << below(4), bytes = maps_[map_].value_size;
        if (chance(70))
            line("r{} = *(u{} *)(r0 + {})", number(), 8 * size, bytes >= size ? size * below(bytes / size) : 0);
        if (bytes == value_bytes && chance(50)) line("r7 = r0"), has_value_ = true;
    } else if (proto->returns == abi::RetKind::scalar) {
        if (chance(60)) line("r{} = r0", number());
        if (chance(30)) line("if r0 s< 0 goto out");
    }
    if (proto->packet == abi::PacketUse::moved && chance(50)) line("r0 = 0");
}

void Maker::record() {
    if (in_function_ || in_loop_) return;
    const u32 size = 8 * (1 + below(4));
    line("r1 = map[idx:2] ll\nr2 = {}\nr3 = 0\ncall ringbuf_reserve", size);
    const std::string past = label();
    if (chance(96)) line("if r0 == 0 goto {}", chance(97) ? past : "out");
    line("r5 = r0");
    const u32 width = 1U << below(4);
    if (chance(70))
        line("*(u{} *)(r5 + {}) = {}", 8 * width, chance(95) ? width * below(size / width) : below(40), below(9));
    if (chance(20)) line("if r8 > {} goto {}", below(50), chance(10) ? past : past + "b");
    if (text_.ends_with(past + "b\n")) line("r{} = 1\n{}b:", number(), past);
    if (chance(97)) line("r1 = r5\nr2 = 0\ncall ringbuf_{}", chance(50) ? "submit" : "discard");
    line("{}:\nr1 = 0", past);
}

void Maker::tail_call() {
    if (in_loop_) return;
    line("r1 = {}\nr2 = map[idx:{}] ll", chance(97) && !in_function_ ? "r6" : "r8", chance(97) ? 4U : below(8));
    line("r3 = {}\ncall tail_call", chance(50) ? "1" : "r8");
}

void Maker::statement() {
    if (objects && !in_function_ && chance(40)) return object();
    const u32 kind = below(100);
    if (kind < 12) return arithmetic();
    if (kind < 20) return get_number(number());
    if (kind < 28) return check();
    if (kind < 43) return reach_value();
    if (kind < 49) return reach_stack();
    if (kind < 57) return spill();
    if (kind < 63) return links();
    if (kind < 67) return atomic();
    if (kind < 70) return two_ways();
    if (kind < 72) return loop();
    if (kind < 74) return function();
    if (kind < 77) return store_context();
    if (kind < 79) return record();
    return helper();
}

void Maker::finish() {
    const auto range = abi::return_range(facts_.kind.type, facts_.kind.attach);
    const i64 least = range ? range->least : 0, most = range ? range->most : 5;
    const i64 good = least + static_cast<i64>(below(static_cast<u32>(std::min<i64>(most - least, 1000) + 1)));
    if (chance(10)) {
        line("r0 = r{}", number());
        if (chance(80)) line("if r0 s> {} goto out\nif r0 s< {} goto out", most, least);
    } else {
        line("r0 = {}", chance(98) ? good : below(6));
    }
    line("exit\nout: r0 = {}\nexit", good);
}

std::vector<isa::Insn> Maker::insns() {
    line("r6 = r1\nr8 = {}\nr9 = 0", below(100));
    for (u32 i = 1; i <= words; ++i)
        if (chance(97)) line("*(u64 *)(r10 - {}) = {}", 8 * i, below(3));
    if (chance(60)) find_value();
    for (u32 i = 2 + below(5); i > 0; --i) statement();
    finish();
    auto out = isa::assemble(text_ + functions_, [](std::string_view name) -> std::optional<u32> {
        const auto id = abi::helper_by_name(name);
        return id ? std::optional(static_cast<u32>(*id)) : std::nullopt;
    });
    if (!out) {
        fmt::print(stderr, "{}\n{}\n", out.error().message, text_ + functions_);
        std::abort();
    }
    return *out;
}

program::Program with_insns(const program::Program& like, std::vector<isa::Insn> insns) {
    program::Program out = like;
    out.insns = std::move(insns);
    out.funcs.clear();
    out.btf = nullptr;
    if (program::find_flow(out.insns).starts.size() > 1) verifier::testing::add_btf(out);
    return out;
}

program::Program make(u64 seed, const std::vector<program::MapInfo>& maps) {
    static const std::vector<KindFacts> facts = all_facts();
    std::mt19937_64 random(seed);
    const auto below = [&](u32 bound) { return static_cast<u32>(random() % bound); };
    program::Program out;
    const u32 source = below(100);
    if (source < 15) {
        out = verifier::testing::Generator(seed).program();
    } else if (source < 30) {
        out = verifier::testing::PacketGenerator(seed).program();
    } else {
        const KindFacts& kind = facts[below(static_cast<u32>(facts.size()))];
        out.name = "test";
        out.type = kind.kind.type;
        out.expected_attach_type = kind.kind.attach;
        out.sleepable = kind.kind.sleepable;
        out.gpl_compatible = below(100) < 97;
        Maker maker(seed, kind, maps);
        maker.objects = source < 55;
        out.insns = maker.insns();
    }
    out.maps = maps;
    auto insns = out.insns;
    const u32 changes = source < 15 ? below(100) < 20 : below(100) < 45 ? 1 + below(10) / 8 : 0;
    for (u32 i = 0; i < changes; ++i) mutate(insns, random);
    return with_insns(out, std::move(insns));
}

}  // namespace anybpf::verdicts
