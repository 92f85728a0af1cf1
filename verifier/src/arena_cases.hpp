// SPDX-License-Identifier: Apache-2.0
// Programs with arenas, by their findings. The live kernel says the same of each (live_arena_test.cpp).
#pragma once

#include "kernel_types.hpp"

namespace anybpf::verifier::testing {

struct ArenaCase {
    std::string name, text;
    Finding expected = Finding::none;
    abi::ProgType type = abi::ProgType::kprobe;
    // Functions of the program are global, and take one pointer, which has these tags.
    std::vector<const char*> tags = {};
    bool global() const { return !tags.empty(); }
};

enum : u32 { arena_map, arena_other, arena_hash, arena_data, arena_ring };

inline std::vector<program::MapInfo> arena_maps() {
    using abi::MapType;
    const auto map = [](const char* name, MapType type, u32 key, u32 value, u32 entries, u32 flags = 0) {
        return program::MapInfo{1, type, key, value, entries, flags, name, {}};
    };
    return {map("arena", MapType::arena, 0, 0, 4, abi::map_mmapable),
            map("other", MapType::arena, 0, 0, 4, abi::map_mmapable), map("hash", MapType::hash, 4, 16, 10),
            map("data", MapType::array, 4, 64, 1), map("ring", MapType::ringbuf, 0, 0, 4096)};
}

inline void arena_memory(auto& add) {
    using F = Finding;
    const std::string out = "\nr0 = 0\nexit\n", at = "r6 = map[idx:0] ll\nr2 = 16\nr1 = addr_space_cast(r2, 0, 1)\n";
    add("a cast", at + out);
    add("a cast to user space is a number", at + "r1 = addr_space_cast(r1, 1, 0)\nr3 = *(u64 *)(r1 + 0)" + out,
        F::not_a_pointer);
    add("a cast between other spaces", at + "r1 = addr_space_cast(r1, 1, 1)" + out, F::cast_spaces);
    add("a cast from 0 to 0", at + "r1 = addr_space_cast(r1, 0, 0)" + out, F::cast_spaces);
    add("such a cast where no path leads", "r0 = 0\nif r0 == 0 goto +1\nr1 = addr_space_cast(r0, 0, 0)" + out);
    add("a cast without an arena", "r2 = 0\nr1 = addr_space_cast(r2, 0, 1)" + out, F::cast_without_arena);
    add("a cast before the arena is named", "r2 = 0\nr1 = addr_space_cast(r2, 0, 1)\nr1 = map[idx:0] ll" + out);
    add("an arena that is named where no path leads",
        "r0 = 0\nif r0 == 0 goto +2\nr1 = map[idx:0] ll\nr1 = addr_space_cast(r0, 0, 1)" + out);
    add("a cast of nothing", at + "r1 = addr_space_cast(r9, 0, 1)" + out, F::uninitialized_register);
    add("a cast of any address", at + "r1 = addr_space_cast(r10, 0, 1)\n*(u64 *)(r1 + 0) = 5" + out);
    add("a cast into r10", at + "r10 = addr_space_cast(r1, 0, 1)" + out, F::frame_pointer_write);
    add("two arenas", at + "r3 = map[idx:1] ll" + out, F::second_arena);
    add("one arena twice", at + "r3 = map[idx:0] ll" + out);
    for (const char* width : {"u8", "u16", "u32", "u64", "s8", "s16", "s32"})
        add(fmt::format("a load of {}", width), at + fmt::format("r3 = *({} *)(r1 + 3)", width) + out);
    add("a load has the width",
        at + "r3 = *(u8 *)(r1 + 0)\nr4 = map[idx:3][0]+0 ll\nr3 &= 63\nr4 += r3\nr5 = *(u8 *)(r4 + 0)" + out);
    add("a load may be anything",
        at + "r3 = *(u64 *)(r1 + 0)\nr4 = map[idx:3][0]+0 ll\nr4 += r3\nr5 = *(u8 *)(r4 + 0)" + out, F::pointer_offset);
    add("the farthest loads", at + "r3 = *(u64 *)(r1 - 32768)\nr3 = *(u64 *)(r1 + 32767)" + out);
    add("a saved pointer in it is a number",
        at + "*(u64 *)(r1 + 0) = r10\nr3 = *(u64 *)(r1 + 0)\nr4 = *(u64 *)(r3 - 8)" + out, F::not_a_pointer);
    add("half an address in it", at + "*(u32 *)(r1 + 0) = r10" + out);
    add("nothing is stored", at + "*(u64 *)(r1 + 0) = r9" + out, F::uninitialized_register);
    const std::string or_stack = at + "r3 = *(u64 *)(r10 - 8)\nif r3 == 0 goto +2\nr1 = r10\nr1 += -8\n";
    add("a load of either", or_stack + "r0 = *(u64 *)(r1 + 0)" + out, F::mixed_regions);
    add("a store to either", or_stack + "*(u64 *)(r1 + 0) = r3" + out, F::mixed_regions);
    add("arithmetic with either", at + "r3 = *(u64 *)(r10 - 8)\nif r3 == 0 goto +1\nr1 = 8\nr1 += 1" + out);
    for (const char* width : {"32", "64"}) {
        const char reg = *width == '3' ? 'w' : 'r';
        const std::string name = *width == '3' ? "atomic" : "atomic64";
        for (const char* op : {"+", "|", "&", "^"})
            add(fmt::format("an atomic {}= of {}", op, width),
                at + fmt::format("r3 = 1\nlock *(u{} *)(r1 + 1) {}= {}3", width, op, reg) + out);
        for (const char* op : {"add", "or", "and", "xor"})
            add(fmt::format("a fetched {} of {}", op, width),
                at + fmt::format("r3 = 1\n{}3 = {}_fetch_{}((u{} *)(r1 +8), {}3)", reg, name, op, width, reg) + out,
                *op == 'a' && op[1] == 'd' ? F::none : F::arena_atomic);
        add(fmt::format("an exchange of {}", width),
            at + fmt::format("r3 = 1\n{}3 = {}_xchg((u{} *)(r1 +8), {}3)", reg, name, width, reg) + out);
        add(fmt::format("a compared exchange of {}", width),
            at + fmt::format("r3 = 1\nr0 = 0\n{}0 = {}_cmpxchg((u{} *)(r1 +8), {}0, {}3)", reg, name, width, reg, reg) +
                out);
        add(fmt::format("an exchange over the address of {}", width),
            at + fmt::format("{}1 = {}_xchg((u{} *)(r1 +8), {}1)", reg, name, width, reg) + out,
            F::atomic_over_address);
    }
    add("an atomic load and store", at + "w3 = load_acquire((u16 *)(r1 +3))\nstore_release((u64 *)(r1 + 5), r3)" + out);
}

inline void arena_numbers(auto& add) {
    using F = Finding;
    const std::string out = "\n*(u64 *)(r1 + 1) = 7\nr0 = 0\nexit\n",
                      at = "r7 = r1\nr6 = map[idx:0] ll\nr2 = 16\nr1 = addr_space_cast(r2, 0, 1)\n";
    for (const char* op : {"+", "-", "*", "/", "%", "|", "&", "^", "<<", ">>", "s>>"}) {
        add(fmt::format("arithmetic: {}", op), at + fmt::format("r1 {}= 7", op) + out);
        add(fmt::format("arithmetic in 32 bits: {}", op), at + fmt::format("w1 {}= 7", op) + out);
        add(fmt::format("arithmetic with the stack: {}", op), at + fmt::format("r1 {}= r10", op) + out);
        add(fmt::format("arithmetic with itself: {}", op), at + fmt::format("r1 {}= r1", op) + out);
        add(fmt::format("arithmetic on a number: {}", op), at + fmt::format("r2 {}= r1\nr1 = r2", op) + out);
        add(fmt::format("arithmetic on a number in 32 bits: {}", op), at + fmt::format("w2 {}= w1\nr1 = r2", op) + out);
        add(fmt::format("arithmetic on the context: {}", op), at + fmt::format("r7 {}= r1\nr1 = r7", op) + out);
    }
    add("arithmetic on a map", at + "r6 += r1\nr1 = r6" + out);
    add("arithmetic with nothing", at + "r1 += r9" + out, F::uninitialized_register);
    add("arithmetic on r10", at + "r10 += r1" + out, F::frame_pointer_write);
    add("negated", at + "r1 = -r1" + out, F::not_a_pointer);
    add("swapped", at + "r1 = bswap64 r1" + out, F::not_a_pointer);
    add("its lower half", at + "w1 = w1" + out, F::not_a_pointer);
    add("sign-extended", at + "r1 = (s32)r1" + out, F::not_a_pointer);
    add("copied", at + "r3 = r1\nr1 = r3" + out);
    add("saved", at + "*(u64 *)(r10 - 8) = r1\nr1 = *(u64 *)(r10 - 8)" + out);
    add("saved, and read in part", at + "*(u64 *)(r10 - 8) = r1\nr3 = *(u32 *)(r10 - 8)" + out, F::partial_pointer);
    add("saved in part", at + "*(u32 *)(r10 - 8) = r1" + out, F::partial_pointer);
    add("shifted too far", at + "r1 <<= 64" + out, F::bad_immediate);
    for (const char* op : {"==", "!=", "<", ">=", "s<", "s>", "&"})
        for (const char* with : {"0", "5", "r1", "r2", "r10"})
            add(fmt::format("compared: {} {}", op, with), at + fmt::format("if r1 {} {} goto +1", op, with) + out);
    add("null or not", at + "if r1 != 0 goto +1\nr8 = r9" + out, F::uninitialized_register);
    add("not null, and used", at + "if r1 == 0 goto +1\nr8 = *(u64 *)(r1 + 0)" + out);
    const std::string look = "*(u64 *)(r10 - 8) = 0\nr2 = r10\nr2 += -8\nr1 = map[idx:2] ll\ncall map_lookup_elem\n";
    const std::string plain = at.substr(8);
    add("with what may be null", look + plain + "r1 += r0" + out);
    add("on what may be null", look + plain + "r0 += r1\nr1 = r0" + out);
    add("on a record, which is lost",
        "r1 = map[idx:4] ll\nr2 = 8\nr3 = 0\ncall ringbuf_reserve\n" + plain + "r0 += r1" + out, F::record_leak);
    add("returned", at + "r0 = r1\nexit\n");
    add("returned where a number is wanted", at + "r0 = r1\nexit\n", F::return_range, abi::ProgType::cgroup_skb);
    add("a list",
        at + "if r1 == 0 goto +4\nr2 = *(u64 *)(r1 + 0)\nr1 = addr_space_cast(r2, 0, 1)\nmay_goto +1\ngoto -5" + out);
    add("a list without an end",
        at + "if r1 == 0 goto +3\nr2 = *(u64 *)(r1 + 0)\nr1 = addr_space_cast(r2, 0, 1)\ngoto -4" + out,
        F::infinite_loop);
    add("a loop over it", at + "r3 = 0\nr1 += 8\n*(u64 *)(r1 + 0) = 1\nr3 += 1\nif r3 < 100 goto -4" + out);
    add("a packet load", at + "r6 = r1\nr0 = *(u8 *)skb[0]\nr1 = r6" + out, F::packet_load_context,
        abi::ProgType::socket_filter);
}

inline void arena_calls(auto& add) {
    using F = Finding;
    const std::string out = "\nr0 = 0\nexit\n", at = "r6 = map[idx:0] ll\nr2 = 16\nr1 = addr_space_cast(r2, 0, 1)\n",
                      map = "r1 = map[idx:0] ll\n", key = "*(u64 *)(r10 - 8) = 0\nr2 = r10\nr2 += -8\n";
    add("the map's address in user space",
        "r1 = map[idx:0][0]+8 ll\nr1 = addr_space_cast(r1, 0, 1)\nr3 = *(u8 *)(r1 + 0)" + out);
    add("that address, used as it is", "r1 = map[idx:0][0]+0 ll\nr3 = *(u8 *)(r1 + 0)" + out, F::not_a_pointer);
    add("the address behind its end", "r1 = map[idx:0][0]+16384 ll" + out);
    add("an address beyond that", "r1 = map[idx:0][0]+16385 ll" + out, F::bad_map_reference);
    add("a lookup", key + map + "call map_lookup_elem" + out, F::wrong_map_type);
    add("an update", key + map + "r3 = r2\nr4 = 0\ncall map_update_elem" + out, F::wrong_map_type);
    add("a walk over its elements", map + "r2 = 0\nr3 = 0\nr4 = 0\ncall for_each_map_elem" + out, F::wrong_map_type);
    add("memory for a helper", at + "r2 = 8\nr3 = r10\ncall probe_read_kernel" + out, F::arena_argument);
    add("no bytes of it for a helper", at + "r2 = 0\nr3 = r10\ncall probe_read_kernel" + out, F::arena_argument);
    add("an address for a helper to read at", at + "r3 = r1\nr1 = r10\nr1 += -8\nr2 = 8\ncall probe_read_kernel" + out);
    add("a size", at + "r2 = r1\nr1 = r10\nr1 += -8\ncall get_current_comm" + out, F::wrong_argument);
    add("a key", at + "r2 = r1\nr1 = map[idx:2] ll\ncall map_lookup_elem" + out, F::arena_argument);
    add("a value", at + key + "r3 = r1\nr1 = map[idx:2] ll\nr4 = 0\ncall map_update_elem" + out, F::arena_argument);
    add("a record", at + "r2 = r1\nr1 = map[idx:4] ll\nr3 = 8\nr4 = 0\ncall ringbuf_output" + out, F::arena_argument);
    add("lost at a call", at + "call get_prandom_u32\nr3 = *(u64 *)(r1 + 0)" + out, F::uninitialized_register);

    const auto call = [](const char* name) { return fmt::format("call kfunc#{{f:{}}}\n", name); };
    const auto alloc = [&](const std::string& first) {
        return first + "r3 = 1\nr4 = 0\nr5 = 0\n" + call("bpf_arena_alloc_pages");
    };
    constexpr auto sleeps = abi::ProgType::syscall;
    add("pages", alloc(map) + "r1 = addr_space_cast(r0, 0, 1)\nr1 = *(u64 *)(r1 + 0)" + out, F::none, sleeps);
    add("pages, used as they are", alloc(map) + "r1 = *(u64 *)(r0 + 0)" + out, F::not_a_pointer, sleeps);
    add("pages where nothing may sleep", alloc(map) + out, F::kfunc_sleepable);
    add("pages of another map", alloc("r1 = map[idx:2] ll\n") + out, F::none, sleeps);
    add("pages of nothing", alloc("r1 = 0\n") + out, F::maybe_null, sleeps);
    add("pages of an arena's address", alloc(at) + out, F::kfunc_argument, sleeps);
    add("pages of the stack", alloc("r1 = r10\n") + out, F::kfunc_argument, sleeps);
    add("pages of a map's value", alloc("r1 = map[idx:3][0]+0 ll\n") + out, F::kfunc_argument, sleeps);
    add("pages at any address", alloc("r2 = r10\n" + map) + out, F::none, sleeps);
    add("pages, how many is an address",
        alloc(map) + map + "r3 = r10\nr4 = 0\nr5 = 0\n" + call("bpf_arena_alloc_pages") + out, F::kfunc_argument,
        sleeps);
    add("pages, how many is not said", map + "r4 = 0\nr5 = 0\n" + call("bpf_arena_alloc_pages") + out,
        F::uninitialized_register, sleeps);
    add("pages given back", at + "r2 = r1\n" + map + "r3 = 1\n" + call("bpf_arena_free_pages") + out, F::none, sleeps);
    add("pages given back, and a result", map + "r3 = 1\n" + call("bpf_arena_free_pages") + "exit\n",
        F::uninitialized_register, sleeps);
    add("pages reserved", map + "r3 = 1\n" + call("bpf_arena_reserve_pages") + "exit\n", F::none, sleeps);
    add("pages reserved where nothing may sleep", map + "r3 = 1\n" + call("bpf_arena_reserve_pages") + out,
        F::kfunc_sleepable);

    // Functions of the program.
    add("to a static function", at + "call f\nr0 = 0\nexit\nf: *(u64 *)(r1 + 0) = 1\nr0 = 0\nexit\n");
    add("from a static function",
        map + "call f\n*(u64 *)(r0 + 0) = 1" + out + "f: r2 = 0\nr0 = addr_space_cast(r2, 0, 1)\nexit\n");
    const auto global = [&](const char* name, const std::string& before, const char* body, F expected,
                            std::vector<const char*> tags) {
        add(name, before + "call f\nr0 = 0\nexit\nf: " + body, expected, abi::ProgType::kprobe, std::move(tags));
    };
    const char* cast = "r1 = addr_space_cast(r1, 0, 1)\nr2 = *(u64 *)(r1 + 0)\nr0 = 0\nexit\n";
    global("to a global function", at, cast, F::none, {"arg:arena"});
    global("a number to a global function", map + "r1 = 5\n", cast, F::none, {"arg:arena"});
    global("null to a global function", map + "r1 = 0\n", cast, F::none, {"arg:arena"});
    global("the stack to a global function", map + "r1 = r10\n", cast, F::global_argument, {"arg:arena"});
    global("a map to a global function", map, cast, F::global_argument, {"arg:arena"});
    global("a global function that does not cast", at, "r2 = *(u64 *)(r1 + 0)\nr0 = 0\nexit\n", F::not_a_pointer,
           {"arg:arena"});
    global("an arena's address that is not null", at, cast, F::global_argument_type, {"arg:arena", "arg:nonnull"});
    global("an arena's address that may be null", at, cast, F::global_argument_type, {"arg:arena", "arg:nullable"});
    global("to a global function that takes memory", at, "r0 = 0\nexit\n", F::arena_argument, {"arg:nonnull"});
}

inline std::vector<ArenaCase> arena_cases() {
    std::vector<ArenaCase> all;
    const auto add = [&](std::string name, std::string text, Finding expected = Finding::none,
                         abi::ProgType type = abi::ProgType::kprobe, std::vector<const char*> tags = {}) {
        all.push_back({std::move(name), std::move(text), expected, type, std::move(tags)});
    };
    arena_memory(add);
    arena_numbers(add);
    arena_calls(add);
    return all;
}

inline program::Program program_of(const ArenaCase& one,
                                   const std::shared_ptr<const btf::Btf>& kernel = kernel_types()) {
    program::Program program = program_of(with_types(one.text, *kernel), one.type);
    program.maps = arena_maps();
    program.kernel_btf = kernel;
    program.sleepable = one.type == abi::ProgType::syscall;
    btf::Builder builder;
    const u32 number = builder.add_int("int", 4, btf::IntEncoding::signed_);
    const u32 pointer = builder.add_pointer(builder.add_int("long", 8, btf::IntEncoding::signed_));
    const u32 nothing = builder.begin_prototype(number), takes = builder.begin_prototype(number);
    builder.add_parameter("p", pointer);
    program.funcs = {{0, builder.add_reference(btf::Kind::func, "main", nothing, 1)}};
    const u32 callee = builder.add_reference(btf::Kind::func, "f", takes, one.global() ? 1 : 0);
    for (const char* tag : one.tags) builder.add_tag(tag, callee, 0);
    for (u32 pc = 0; pc < program.insns.size(); pc += isa::slots(program.insns[pc]))
        if (const isa::Insn& insn = program.insns[pc]; insn.code == 0x85 && insn.src == 1)
            program.funcs.push_back({static_cast<u32>(i64{pc} + 1 + insn.imm), callee});
    auto parsed = btf::Btf::parse(builder.finish());
    EXPECT_TRUE(parsed.has_value()) << one.name;
    if (parsed) program.btf = *parsed;
    return program;
}

}  // namespace anybpf::verifier::testing
