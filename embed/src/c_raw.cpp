// SPDX-License-Identifier: Apache-2.0
// The interface for C: each function is the C++ one with other types.
//
// Raw because instructions arrive as bytes at an address, and opaque types stand for ours. It is safe because they are
// copied before they are looked at, and the types are only ever made here.
#include <cerrno>
#include <cstring>

#include "c_handles.hpp"

namespace embed = anybpf::embed;

namespace {

thread_local std::string last_error;

using embed::c_failure;

int missing() {
    last_error = "no such element";
    return -ENOENT;
}

std::span<const std::byte> bytes(const void* at, std::size_t size) { return {static_cast<const std::byte*>(at), size}; }
std::string text(const char* given, const char* otherwise) { return given != nullptr ? given : otherwise; }

// A handle of C's, or null.
template <class Handle, class T>
Handle* handle(anybpf::Result<T>&& result) {
    if (result) return new Handle{std::move(*result)};
    c_failure(result.error());
    return nullptr;
}

int result_of(const anybpf::Result<anybpf::u64>& ran, uint64_t* result) {
    if (!ran) return c_failure(ran.error());
    *result = *ran;
    return 0;
}

}  // namespace

int embed::c_failure(const anybpf::Error& error) {
    last_error = error.message;
    return error.sys_errno != 0 ? -error.sys_errno : -EINVAL;
}

const char* anybpf_error(void) { return last_error.c_str(); }

anybpf_machine* anybpf_open(const char* root, const char* engine) {
    embed::Options options;
    if (root != nullptr) options.root = root;
    if (engine != nullptr) options.engine = engine;
    return handle<anybpf_machine>(embed::Machine::open(options));
}
void anybpf_close(anybpf_machine* machine) { delete machine; }
int anybpf_set_limits(anybpf_machine* machine, uint64_t max_insns, uint32_t stack_bytes) {
    const auto set = machine->machine.set_limits(max_insns, stack_bytes);
    return set ? 0 : embed::c_failure(set.error());
}

anybpf_map* anybpf_map_create(anybpf_machine* machine, const char* name, enum anybpf_map_type type, uint32_t key_size,
                              uint32_t value_size, uint32_t max_entries) {
    return handle<anybpf_map>(machine->machine.create_map({.name = text(name, ""),
                                                           .type = static_cast<anybpf::abi::MapType>(type),
                                                           .key_size = key_size,
                                                           .value_size = value_size,
                                                           .max_entries = max_entries}));
}
int anybpf_map_fd(const anybpf_map* map) { return map->map.fd(); }
size_t anybpf_map_value_bytes(const anybpf_map* map) { return map->map.value_bytes(); }

int anybpf_map_lookup(const anybpf_map* map, const void* key, void* value) {
    const auto found = map->map.lookup(bytes(key, map->map.spec().key_size));
    if (!found) return c_failure(found.error());
    if (!*found) return missing();
    std::memcpy(value, (*found)->data(), (*found)->size());
    return 0;
}
int anybpf_map_update(const anybpf_map* map, const void* key, const void* value, enum anybpf_update how) {
    const auto updated = map->map.update(bytes(key, map->map.spec().key_size), bytes(value, map->map.value_bytes()),
                                         static_cast<unsigned>(how));
    return updated ? 0 : c_failure(updated.error());
}
int anybpf_map_delete(const anybpf_map* map, const void* key) {
    const auto erased = map->map.erase(bytes(key, map->map.spec().key_size));
    if (!erased) return c_failure(erased.error());
    return *erased ? 0 : missing();
}
int anybpf_map_next_key(const anybpf_map* map, const void* key, void* next_key) {
    std::optional<std::span<const std::byte>> after;
    if (key != nullptr) after = bytes(key, map->map.spec().key_size);
    const auto next = map->map.next_key(after);
    if (!next) return c_failure(next.error());
    if (!*next) return missing();
    std::memcpy(next_key, (*next)->data(), (*next)->size());
    return 0;
}
void* anybpf_map_values(const anybpf_map* map) { return map->map.values().data(); }
int64_t anybpf_map_consume(const anybpf_map* map, void (*take)(void* user, const void* record, size_t size),
                           void* user) {
    const auto count =
        map->map.consume([&](std::span<const std::byte> record) { take(user, record.data(), record.size()); });
    return count ? static_cast<int64_t>(*count) : c_failure(count.error());
}
int anybpf_map_wait(const anybpf_map* map, unsigned milliseconds) {
    const auto waited = map->map.wait(std::chrono::milliseconds(milliseconds));
    return waited ? *waited : c_failure(waited.error());
}
void anybpf_map_free(anybpf_map* map) { delete map; }

anybpf_program* anybpf_load(anybpf_machine* machine, const char* name, enum anybpf_program_type type,
                            const void* instructions, size_t count, const char* license) {
    constexpr size_t most = 1U << 24;  // more than any program may have, and no overflow below
    std::vector<anybpf::isa::Insn> insns(std::min(count, most));
    if (!insns.empty()) std::memcpy(static_cast<void*>(insns.data()), instructions, insns.size() * sizeof(insns[0]));
    return handle<anybpf_program>(machine->machine.load({.name = text(name, ""),
                                                         .type = static_cast<anybpf::abi::ProgType>(type),
                                                         .insns = insns,
                                                         .license = text(license, "GPL")}));
}
int anybpf_run(const anybpf_program* program, const void* context, size_t size, uint64_t* result) {
    return result_of(program->program.run(bytes(context, size)), result);
}
int anybpf_filter(const anybpf_program* program, const void* packet, size_t size, uint64_t* result) {
    return result_of(program->program.filter(bytes(packet, size)), result);
}
int anybpf_tier_up(const anybpf_program* program, const char* engine) {
    const auto done = program->program.tier_up(text(engine, "llvm"));
    return done ? 0 : c_failure(done.error());
}
void anybpf_program_free(anybpf_program* program) { delete program; }
