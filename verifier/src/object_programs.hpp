// SPDX-License-Identifier: Apache-2.0
// Programs that hold objects: maps of maps, sockets, locks, timers, callbacks. Each with the finding that it is refused
// for, or none; the live kernel says the same of all of them (live_objects_test.cpp).
#pragma once

#include "testing.hpp"

namespace anybpf::verifier::testing {

struct ObjectCase {
    std::string name;
    std::string text;  // "@hash" is a map's reference
    Finding expected = Finding::none;
    abi::ProgType type = abi::ProgType::sched_cls;
    abi::AttachType attach{};
    bool sleepable = false;
};

// Types for the values of maps: the structs that the kernel looks for, alone and between other members.
struct ValueTypes {
    std::shared_ptr<const btf::Btf> btf;
    u32 number = 0, locked = 0, timed = 0, pointed = 0, queued = 0;
};
inline const ValueTypes& value_types() {
    static const ValueTypes types = [] {
        btf::Builder builder;
        ValueTypes out;
        out.number = builder.add_int("int", 4, btf::IntEncoding::signed_);
        const u32 wide = builder.add_int("unsigned long", 8, btf::IntEncoding::none);
        const auto known = [&](const char* name, u32 member, u32 bytes) {
            const u32 id = builder.begin_composite(btf::Kind::struct_, name, bytes);
            builder.add_member("opaque", member, 0);
            return id;
        };
        const u32 pair = builder.add_array(wide, out.number, 2);
        const u32 lock = known("bpf_spin_lock", out.number, 4);
        const u32 timer = known("bpf_timer", pair, 16);
        const u32 queue = known("bpf_wq", pair, 16);
        const u32 task = builder.begin_composite(btf::Kind::struct_, "task_struct", 0);
        const u32 tag = builder.add_reference(btf::Kind::type_tag, "kptr_untrusted", task);
        const u32 pointer = builder.add_pointer(tag);
        const auto value = [&](const char* name, u32 first, u32 first_bytes) {
            const u32 id = builder.begin_composite(btf::Kind::struct_, name, 8 + first_bytes);
            builder.add_member("field", first, 0);
            builder.add_member("data", wide, 8 * first_bytes);
            return id;
        };
        // int; lock at 4; unsigned long
        out.locked = builder.begin_composite(btf::Kind::struct_, "locked", 16);
        builder.add_member("count", out.number, 0);
        builder.add_member("lock", lock, 32);
        builder.add_member("data", wide, 64);
        out.timed = value("timed", timer, 16);
        out.queued = value("queued", queue, 16);
        out.pointed = value("pointed", pointer, 8);
        auto parsed = btf::Btf::parse(builder.finish());
        EXPECT_TRUE(parsed.has_value()) << (parsed ? "" : parsed.error().message);
        if (parsed) out.btf = *parsed;
        return out;
    }();
    return types;
}

inline const std::vector<program::MapInfo>& object_maps() {
    using abi::MapType;
    static const std::vector<program::MapInfo> all = [] {
        std::vector<program::MapInfo> out;
        const auto map = [&](std::string name, MapType type, u32 key, u32 value, u32 entries, u32 flags = 0) {
            program::MapInfo info;
            info.id = static_cast<u32>(out.size()) + 1;
            info.type = type;
            info.key_size = key, info.value_size = value, info.max_entries = entries, info.flags = flags;
            info.name = std::move(name);
            return info;
        };
        const ValueTypes& types = value_types();
        const auto typed = [&](std::string name, MapType type, u32 value, u32 entries, u32 type_id, u32 flags = 0) {
            program::MapInfo info = map(std::move(name), type, 4, value, entries, flags);
            info.btf = types.btf, info.btf_key_type_id = types.number, info.btf_value_type_id = type_id;
            return info;
        };
        const auto of = [&](program::MapInfo outer, const program::MapInfo& inner) {
            outer.inner = std::make_shared<const program::MapInfo>(inner);
            return outer;
        };
        const auto add = [&](program::MapInfo info) { out.push_back(std::move(info)); };
        const program::MapInfo array = map("array", MapType::array, 4, 8, 4);
        add(map("hash", MapType::hash, 4, 16, 4));
        add(array);
        add(map("global", MapType::array, 4, 64, 1));
        add(map("progs", MapType::prog_array, 4, 4, 4));
        add(map("events", MapType::perf_event_array, 4, 4, 4));
        add(map("percpu_hash", MapType::percpu_hash, 4, 8, 4));
        add(map("percpu_array", MapType::percpu_array, 4, 8, 4));
        add(map("stacks", MapType::stack_trace, 4, 128, 4));
        add(map("cgroups", MapType::cgroup_array, 4, 4, 4));
        add(map("lru_hash", MapType::lru_hash, 4, 8, 4));
        add(map("lru_percpu", MapType::lru_percpu_hash, 4, 8, 4));
        add(map("trie", MapType::lpm_trie, 8, 8, 4, abi::map_no_prealloc));
        add(of(map("array_of_maps", MapType::array_of_maps, 4, 4, 4), array));
        add(of(map("hash_of_maps", MapType::hash_of_maps, 4, 4, 4), map("inner", MapType::hash, 4, 16, 4)));
        add(map("devices", MapType::devmap, 4, 4, 4));
        add(map("devices_hash", MapType::devmap_hash, 4, 4, 4));
        add(map("cpus", MapType::cpumap, 4, 4, 4));
        add(map("xsks", MapType::xskmap, 4, 4, 4));
        add(map("socks", MapType::sockmap, 4, 4, 4));
        add(map("socks_hash", MapType::sockhash, 4, 4, 4));
        add(map("ports", MapType::reuseport_sockarray, 4, 8, 4));
        add(map("cgroup_storage", MapType::cgroup_storage, 16, 8, 0));
        add(map("cgroup_percpu", MapType::percpu_cgroup_storage, 16, 8, 0));
        add(map("second_storage", MapType::cgroup_storage, 16, 8, 0));
        add(map("queue", MapType::queue, 0, 8, 4));
        add(map("stack", MapType::stack, 0, 8, 4));
        add(map("bloom", MapType::bloom_filter, 0, 8, 4));
        add(map("ring", MapType::ringbuf, 0, 0, 4096));
        add(map("user_ring", MapType::user_ringbuf, 0, 0, 4096));
        add(typed("sk_storage", MapType::sk_storage, 4, 0, types.number, abi::map_no_prealloc));
        add(typed("inode_storage", MapType::inode_storage, 4, 0, types.number, abi::map_no_prealloc));
        add(typed("task_storage", MapType::task_storage, 4, 0, types.number, abi::map_no_prealloc));
        add(typed("cgrp_storage", MapType::cgrp_storage, 4, 0, types.number, abi::map_no_prealloc));
        const program::MapInfo locked = typed("locked", MapType::hash, 16, 4, types.locked);
        const program::MapInfo timed = typed("timed", MapType::array, 24, 4, types.timed);
        add(locked);
        add(typed("locked_global", MapType::array, 16, 1, types.locked));
        add(timed);
        add(typed("timed_hash", MapType::hash, 24, 4, types.timed));
        add(typed("pointed", MapType::array, 16, 4, types.pointed));
        add(typed("queued", MapType::array, 24, 4, types.queued));
        add(of(map("of_locked", MapType::array_of_maps, 4, 4, 4), locked));
        add(of(map("of_timed", MapType::array_of_maps, 4, 4, 4), timed));
        add(map("text", MapType::array, 4, 8, 1, abi::map_rdonly_prog));
        static constexpr char text[8] = "abc";
        out.back().frozen = std::as_bytes(std::span(text));
        return out;
    }();
    return all;
}

inline program::Program object_program(const ObjectCase& one) {
    const auto& maps = object_maps();
    std::string text;
    for (std::size_t at = 0; at < one.text.size();) {
        if (one.text[at] != '@') {
            text += one.text[at++];
            continue;
        }
        const std::size_t end = one.text.find_first_not_of("abcdefghijklmnopqrstuvwxyz_", at + 1);
        const std::string name = one.text.substr(at + 1, end - at - 1);
        std::size_t index = 0;
        while (index < maps.size() && maps[index].name != name) ++index;
        EXPECT_LT(index, maps.size()) << name;
        text += fmt::format("map[idx:{}] ll", index);
        at = end == std::string::npos ? one.text.size() : end;
    }
    program::Program program = program_of(text, one.type);
    program.maps = maps;
    // A program may use 64 maps: those that it does not name are there all the same, so that the indices are the same.
    program.expected_attach_type = one.attach;
    program.sleepable = one.sleepable;
    bool functions = false;
    for (const isa::Insn& insn : program.insns)
        functions |= (insn.code == 0x85 && insn.src == 1) || (insn.code == 0x18 && insn.src == 4);
    if (functions) add_btf(program);
    return program;
}

std::vector<ObjectCase> object_cases();

}  // namespace anybpf::verifier::testing
