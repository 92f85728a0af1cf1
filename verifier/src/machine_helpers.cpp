// SPDX-License-Identifier: Apache-2.0
// Helpers of the machine: arguments are held against the contract, and what comes back is anything that it allows.
#include <algorithm>
#include <cstring>

#include "machine.hpp"
#include "walker.hpp"

namespace anybpf::verifier::testing {

using abi::ArgKind;
using abi::HelperId;
using abi::MapType;
using abi::RetKind;

namespace {

bool is_array(MapType type) { return type == MapType::array || type == MapType::percpu_array; }
bool of_maps(MapType type) { return type == MapType::array_of_maps || type == MapType::hash_of_maps; }
bool of_sockets(MapType type) { return type == MapType::sockmap || type == MapType::sockhash; }

// In a slot of the stack: which of the machine's dynptrs it is.
constexpr u64 dynptr_mark = 0x6479'6e70'7472'0000;

}  // namespace

void Machine::helper(u32 id) {
    const abi::HelperProto*& proto = helpers_[pc_];
    if (proto == nullptr) proto = abi::find_helper(id, program_.type, program_.expected_attach_type);
    if (proto == nullptr) return fail("a helper that nobody knows", id);
    if (lock_ != 0 && proto->id != HelperId::spin_unlock) return fail("a call while a lock is held");
    Call call;
    call.proto = proto;
    call.regs = frames_.back().regs;
    for (u32 i = 0; i < 5; ++i)
        if (!argument(call, i + 1)) return fail("an argument against the contract", (i + 1) << 16 | id);
    const u32 next = pc_ + 1;
    if (proto->id == HelperId::tail_call && tail_call()) return;
    if (proto->id == HelperId::spin_lock || proto->id == HelperId::spin_unlock) lock(call);
    if (proto->id == HelperId::timer_set_callback) later_.push_back({call.function, call.field_map});
    if (calls_back(proto->id)) call_back(call);
    if (!good()) return;
    if (call.released != 0) release(call.released);
    auto& regs = frames_.back().regs;
    const u64 junk = random();
    for (u32 r = 1; r <= 5; ++r) regs[r] = junk;
    if (proto->packet == abi::PacketUse::moved) {
        objects_[packet].alive = false;
        new_packet();
    }
    regs[0] = result(call);
    pc_ = next;
}

bool Machine::argument(Call& call, u32 index) {
    const u64 value = call.regs[index];
    const ArgKind kind = call.proto->args[index - 1];
    switch (kind) {
        case ArgKind::none:
        case ArgKind::anything:
        case ArgKind::variadic:
            return true;
        case ArgKind::const_map:
            return map_argument(call, value);
        case ArgKind::map_key: {
            call.key = access(value, map_of(call.map).key_size, false);
            return call.key != nullptr;
        }
        case ArgKind::map_value_or_null:
            if (value == 0) return true;
            [[fallthrough]];
        case ArgKind::map_value:
            if (of_sockets(map_of(call.map).type)) return socket_argument(call, value, ArgKind::any_sock);
            return access(value, map_of(call.map).value_size, false) != nullptr;
        case ArgKind::map_value_out:
            if (map_of(call.map).type == MapType::bloom_filter)
                return access(value, map_of(call.map).value_size, false) != nullptr;
            write_random(value, map_of(call.map).value_size);
            return good();
        case ArgKind::long_out:
            write_random(value, 8);
            return good() && value % 8 == 0;
        case ArgKind::int_update:
            if (access(value, 4, false) == nullptr || value % 4 != 0) return false;
            write_random(value, 4);
            return good();
        case ArgKind::ipv4_header:
        case ArgKind::tcp_header:
            return access(value, 20, false) != nullptr;
        case ArgKind::ipv6_header:
            return access(value, 40, false) != nullptr;
        case ArgKind::mem_read:
        case ArgKind::mem_write:
        case ArgKind::mem_update:
        case ArgKind::mem_read_or_null:
        case ArgKind::mem_write_or_null:
            call.memory = index;  // with its size
            return true;
        case ArgKind::size:
        case ArgKind::size_or_zero:
            return memory_argument(call, value, kind == ArgKind::size);
        case ArgKind::alloc_size:
            call.allocate = value;
            return true;
        case ArgKind::context_or_null:
            if (value == 0) return true;
            [[fallthrough]];
        case ArgKind::context:
            return value == objects_[context].base;
        case ArgKind::ringbuf_record: {
            const Object* object = object_near(value);
            if (object == nullptr || !object->alive || object->what != What::record || object->base != value)
                return false;
            call.released = object->reference;
            return true;
        }
        case ArgKind::const_string: {
            const u8* text = access(value, 1, false);
            if (text == nullptr) return false;
            const Object& object = *object_near(value);
            const u64 left = object.size - (value - object.base);
            return !object.writable && std::memchr(text, 0, left) != nullptr;
        }
        case ArgKind::callback:
            if (value >= program_.insns.size() || !structure_.flow.starting_at(static_cast<u32>(value))) return false;
            call.function = static_cast<u32>(value);
            return true;
        case ArgKind::stack_or_null: {
            const Object* object = object_near(value);
            return value == 0 || (object != nullptr && object->alive && object->what == What::stack);
        }
        case ArgKind::sock_common:
        case ArgKind::any_sock:
        case ArgKind::any_sock_or_null:
        case ArgKind::socket_or_null:
        case ArgKind::released_sock:
            return socket_argument(call, value, kind);
        case ArgKind::spin_lock:
        case ArgKind::timer:
            return field_argument(call, value, kind == ArgKind::spin_lock);
        case ArgKind::kernel_object:
        case ArgKind::kernel_object_or_null:
        case ArgKind::btf_task:
        case ArgKind::btf_task_or_null:
        case ArgKind::btf_cgroup_or_null:
        case ArgKind::btf_file:
        case ArgKind::btf_path:
        case ArgKind::btf_inode_or_null:
        case ArgKind::btf_seq_file:
        case ArgKind::btf_skb:
        case ArgKind::btf_xdp:
        case ArgKind::percpu_object: {
            const Object* object = object_near(value);
            return object != nullptr ? object->what == What::kernel || object->what == What::socket
                                     : value == 0 && kind != ArgKind::btf_task;
        }
        case ArgKind::kptr_slot:
            return false;
        case ArgKind::dynptr:
        case ArgKind::dynptr_ring:
        case ArgKind::dynptr_out:
        case ArgKind::dynptr_ring_out:
            return dynptr_argument(call, value, kind);
    }
    return false;
}

bool Machine::map_argument(Call& call, u64 value) {
    const u64 map = (value - map_space) >> 8;
    if (value < map_space || map >= fields_.size() || value != map_handle(static_cast<u32>(map))) return false;
    call.map = static_cast<u32>(map);
    if (call.field != 0 && call.field_map != call.map) return false;  // the timer is in a value of that map
    return map_fits(call.proto->id, map_of(call.map).type, program_.type, program_.expected_attach_type);
}

bool Machine::memory_argument(Call& call, u64 size, bool nonzero) {
    const ArgKind kind = call.proto->args[call.memory - 1];
    const u64 address = call.regs[call.memory];
    const bool nullable = kind == ArgKind::mem_read_or_null || kind == ArgKind::mem_write_or_null;
    call.size = size;
    if (size >= u64{1} << 29 || (nonzero && size == 0)) return false;
    if (nullable && address == 0) return size == 0;
    // A socket's or the kernel's own memory is read safely.
    if (const Object* object = object_near(address); object != nullptr && object->what == What::kernel) return true;
    if (kind == ArgKind::mem_read || kind == ArgKind::mem_read_or_null || kind == ArgKind::mem_update)
        if (access(address, static_cast<u32>(size), false) == nullptr) return false;
    if (kind == ArgKind::mem_write || kind == ArgKind::mem_write_or_null || kind == ArgKind::mem_update)
        write_random(address, size);
    return good();
}

void Machine::write_random(u64 address, u64 size) {
    u8* bytes = access(address, static_cast<u32>(size), true);
    if (bytes == nullptr) return;
    for (u64 done = 0; done < size; done += 8) {
        const u64 word = number();
        std::memcpy(bytes + done, &word, std::min<u64>(8, size - done));
    }
}

// -------------------------------------------------------------------------------------------------------------- values

// One of the two values that a map has: the first, or another.
u64 Machine::value_of(u32 map, u32 which) {
    u32& index = values_[2 * map + which];
    if (index == 0) {
        const program::MapInfo& info = map_of(map);
        if (objects_.size() >= max_objects) return fail("too many objects"), 0;
        index = add(What::map_value, info.value_size);
        touched_.push_back(2 * map + which);
        Object& object = objects_[index];
        object.map = map;
        object.readable = (info.flags & abi::map_wronly_prog) == 0;
        object.writable = (info.flags & abi::map_rdonly_prog) == 0 && info.type != MapType::devmap &&
                          info.type != MapType::devmap_hash;
        if (const auto bytes = info.frozen.first(std::min<std::size_t>(info.frozen.size(), info.value_size));
            !bytes.empty())
            std::memcpy(memory_.data() + object.at, bytes.data(), bytes.size());
    }
    return objects_[index].base;
}

u64 Machine::element(const Call& call) {
    const program::MapInfo& map = map_of(call.map);
    const HelperId id = call.proto->id;
    if (id == HelperId::map_lookup_elem && of_maps(map.type)) return below(3) == 0 ? 0 : map_handle(maps() + call.map);
    if (id == HelperId::map_lookup_elem && of_sockets(map.type)) return socket(call, abi::ObjectKind::socket);
    if (id == HelperId::map_lookup_elem && map.type == MapType::xskmap) return socket(call, abi::ObjectKind::xdp_sock);
    // A map in a map may have fewer elements than the one that the verifier knows.
    if (id == HelperId::map_lookup_elem && is_array(map.type) && call.map < maps()) {
        u32 key = 0;
        std::memcpy(&key, call.key, 4);
        return key < map.max_entries ? value_of(call.map, key & 1) : 0;
    }
    return below(3) == 0 ? 0 : value_of(call.map, below(2));
}

u64 Machine::result(const Call& call) {
    switch (call.proto->returns) {
        case RetKind::nothing:
            return random();
        case RetKind::scalar:
            if (abi::returns_length(call.proto->id))
                return below(2) == 0 ? static_cast<u64>(-i64{1 + below(4095)}) : random() % (call.size + 1);
            if (call.proto->id == HelperId::get_smp_processor_id) return below(64);
            return number();
        case RetKind::map_value_or_null:
            return element(call);
        case RetKind::map_value:
            return value_of(call.map, 0);
        case RetKind::sock_common_or_null:
            return socket(call, abi::ObjectKind::sock_common);
        case RetKind::socket_or_null:
            return socket(call, abi::ObjectKind::socket);
        case RetKind::tcp_sock_or_null:
            return socket(call, abi::ObjectKind::tcp_sock);
        case RetKind::cast_socket_or_null:
            return socket(call, abi::ObjectKind::sock_common);
        case RetKind::ringbuf_record_or_null: {
            if (below(4) == 0 || call.allocate > max_size || objects_.size() >= max_objects) return 0;
            const u32 index = add(What::record, static_cast<u32>(call.allocate));
            objects_[index].reference = new_reference();
            return objects_[index].base;
        }
        case RetKind::dynptr_memory_or_null: {
            const Dynptr dynptr = dynptrs_[call.dynptr - 1];
            const u64 offset = call.regs[2];
            if (dynptr.size < call.allocate || offset > dynptr.size - call.allocate) return 0;
            return dynptr.base + offset;
        }
        case RetKind::kernel_object:
        case RetKind::btf_task:
        case RetKind::btf_pt_regs:
        case RetKind::cpu_object:
            return objects_[kernel].base;
        case RetKind::kernel_object_or_null:
        case RetKind::btf_socket_or_null:
        case RetKind::cpu_object_or_null:
            return below(3) == 0 ? 0 : objects_[kernel].base;
    }
    return 0;
}

// ------------------------------------------------------------------------------------------------------------- sockets

bool Machine::socket_argument(Call& call, u64 value, ArgKind kind) {
    if (value == 0) return kind == ArgKind::any_sock_or_null || kind == ArgKind::socket_or_null;
    const Object* object = object_near(value);
    if (object == nullptr || object->what != What::socket || !object->alive || object->base != value) return false;
    if (kind == ArgKind::socket_or_null && object->kind != abi::ObjectKind::socket) return false;
    call.reference = object->reference;
    if (kind == ArgKind::released_sock) call.released = object->reference;
    return kind != ArgKind::released_sock || object->reference != 0;
}

// A socket or null: with a reference of its own, or with the argument's.
u64 Machine::socket(const Call& call, abi::ObjectKind kind) {
    if (below(4) == 0 || objects_.size() >= max_objects) return 0;
    const u32 index = add(What::socket, 256);
    objects_[index].kind = kind;
    objects_[index].writable = false;
    const auto calls = [&](auto... helpers) { return ((call.proto->id == helpers) || ...); };
    if (calls(HelperId::sk_lookup_tcp, HelperId::sk_lookup_udp, HelperId::skc_lookup_tcp) ||
        (calls(HelperId::map_lookup_elem) && kind == abi::ObjectKind::socket))
        objects_[index].reference = new_reference();
    else if (!calls(HelperId::get_listener_sock, HelperId::skc_to_unix_sock))
        objects_[index].reference = call.reference;
    return objects_[index].base;
}

u32 Machine::new_reference() {
    held_.push_back(true);
    ++live_references_;
    return static_cast<u32>(held_.size()) - 1;
}

void Machine::release(u32 reference) {
    if (!held_[reference]) return fail("given back twice");
    held_[reference] = false;
    --live_references_;
    ++epoch_;
    for (std::size_t i = first_other; i < objects_.size(); ++i)
        if (objects_[i].reference == reference) objects_[i].alive = false;
}

// ---------------------------------------------------------------------------------------------------- locks and timers

bool Machine::field_argument(Call& call, u64 value, bool lock) {
    const Object* object = object_near(value);
    if (object == nullptr || object->what != What::map_value || !object->alive) return false;
    for (const Protected& field : fields_[object->map]) {
        if (field.lock != lock || value - object->base != field.offset) continue;
        call.field = value;
        call.field_map = object->map;
        return true;
    }
    return false;
}

void Machine::lock(const Call& call) {
    if (call.proto->id == HelperId::spin_lock)
        lock_ = call.field;
    else if (lock_ != call.field)
        fail("another lock than the one that is held", call.field);
    else
        lock_ = 0;
}

// ------------------------------------------------------------------------------------------------------------- dynptrs

void Machine::set_dynptr(u64 place, Dynptr dynptr) {
    u8* bytes = access(place, 16, true);
    if (bytes == nullptr) return;
    dynptrs_.push_back(dynptr);
    const u64 mark = dynptr_mark | dynptrs_.size();
    std::memcpy(bytes, &mark, 8);
}

bool Machine::dynptr_argument(Call& call, u64 value, ArgKind kind) {
    const Object* object = object_near(value);
    if (object == nullptr || !object->alive || object->what != What::stack || value % 8 != 0) return false;
    if (dynptrs_.size() >= 0xfff0) return false;
    if (kind == ArgKind::dynptr_out) {  // over what has just been written
        set_dynptr(value, below(8) == 0 ? Dynptr{} : Dynptr{call.regs[1], static_cast<u32>(call.size), 0});
        return good();
    }
    if (kind == ArgKind::dynptr_ring_out) {
        const u32 reference = new_reference();
        const u64 size = call.regs[2] & 0xffff'ffff;
        Dynptr dynptr{0, 0, reference};
        if (below(4) != 0 && size <= max_size && objects_.size() < max_objects) {
            const u32 index = add(What::memory, static_cast<u32>(size));
            objects_[index].reference = reference;
            dynptr = {objects_[index].base, static_cast<u32>(size), reference};
        }
        set_dynptr(value, dynptr);
        return good();
    }
    u64 mark = 0;
    const u8* bytes = access(value, 16, false);
    if (bytes == nullptr) return false;
    std::memcpy(&mark, bytes, 8);
    const u64 index = mark - dynptr_mark;
    if (index == 0 || index > dynptrs_.size()) return false;
    call.dynptr = static_cast<u32>(index);
    const Dynptr& dynptr = dynptrs_[index - 1];
    if (dynptr.reference != 0 && !held_[dynptr.reference]) return false;
    if (kind == ArgKind::dynptr_ring) {
        if (dynptr.reference == 0) return false;
        call.released = dynptr.reference;
    }
    return true;
}

// ----------------------------------------------------------------------------------------------------------- callbacks

// r1 to r3 are a map, a key and a value of it.
void Machine::give_entry(u32 map, u32 which) {
    if (objects_.size() >= max_objects) return fail("too many objects");
    const u32 key = add(What::map_key, map_of(map).key_size);
    objects_[key].map = map;
    objects_[key].writable = false;
    auto& regs = frames_.back().regs;
    regs[1] = map_handle(map);
    regs[2] = objects_[key].base;
    regs[3] = value_of(map, which);
}

void Machine::call_back(const Call& call) {
    const HelperId id = call.proto->id;
    const std::size_t depth = frames_.size();
    const u32 here = pc_;
    const u64 rounds = id == HelperId::loop ? std::min<u64>(call.regs[1] & 0xffff'ffff, max_rounds) : below(4);
    for (u64 i = 0; i < rounds && good(); ++i) {
        enter(call.function, true);
        if (!good()) return;
        auto& regs = frames_.back().regs;
        if (id == HelperId::for_each_map_elem) {
            give_entry(call.map, static_cast<u32>(i & 1));
            regs[4] = call.regs[3];
        } else if (id == HelperId::find_vma) {
            regs[1] = call.regs[1];
            regs[2] = objects_[kernel].base;
            regs[3] = call.regs[4];
        } else {
            regs[1] = id == HelperId::user_ringbuf_drain ? objects_[kernel].base : i;
            regs[2] = call.regs[3];
        }
        if (!subprogram(depth + 1)) return;
        const u64 stop = frames_.back().regs[0];
        pc_ = here;
        if (stop == 1) return;
    }
}

// Whether another program has taken over.
bool Machine::tail_call() {
    if (live_references_ != 0) return fail("a tail call while something is kept"), true;
    for (const Frame& frame : frames_)
        if (frame.callback) return fail("a tail call in a callback"), true;
    if (below(3) != 0) return false;
    new_packet();
    leave(number(), false);
    return true;
}

}  // namespace anybpf::verifier::testing
