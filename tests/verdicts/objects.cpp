// SPDX-License-Identifier: Apache-2.0
// Statements about what a program holds: sockets, locks, timers, dynptrs, maps in maps, functions that helpers call,
// the packet, loops that may_goto ends. Most of them are right; something is left out or moved a little now and then.
#include <algorithm>

#include "anybpf/abi/context.hpp"
#include "maker.hpp"

namespace anybpf::verdicts {

using abi::HelperId;
using abi::MapType;
using abi::ProgType;

bool Maker::can(HelperId id) const {
    return std::ranges::any_of(facts_.helpers, [&](const abi::HelperProto* proto) { return proto->id == id; });
}

u32 Maker::map_of(MapType type) const {
    for (u32 i = 0; i < maps_.size(); ++i)
        if (maps_[i].type == type) return i;
    return 0;
}

std::optional<u32> Maker::map_named(std::string_view name) const {
    for (u32 i = 0; i < maps_.size(); ++i)
        if (maps_[i].name == name) return i;
    return std::nullopt;
}

void Maker::leave_by(std::size_t from, const std::string& label) {
    static constexpr std::string_view out = "goto out";
    while ((from = text_.find(out, from)) != std::string::npos) {
        if (chance(97)) text_.replace(from, out.size(), "goto " + label);
        from += 5;
    }
}

// r0 is what the map has for a key.
void Maker::look_up(u32 map) {
    line("*(u64 *)(r10 - {}) = {}", key_at, below(5));
    line("r2 = r10\nr2 += -{}\nr1 = map[idx:{}] ll\ncall map_lookup_elem", key_at, map);
}

// ------------------------------------------------------------------------------------------------------------- sockets

// Of the socket in r7.
void Maker::use_socket() {
    for (u32 i = below(3); i > 0; --i) {
        const u32 how = below(10);
        const std::string past = label();
        if (how < 4) {
            line("r{} = *(u{} *)(r7 + {})", number(), chance(90) ? 32 : 16, 4 * below(chance(90) ? 12 : 24));
        } else if (how < 7) {
            static constexpr std::array derivations = {HelperId::sk_fullsock, HelperId::tcp_sock,
                                                       HelperId::get_listener_sock, HelperId::skc_to_tcp_sock};
            const HelperId id = derivations[below(derivations.size())];
            if (!can(id)) continue;
            line("r1 = r7\ncall {}", abi::helper_name(static_cast<u32>(id)));
            if (chance(96)) line("if r0 == 0 goto {}", past);
            if (id != HelperId::skc_to_tcp_sock) line("r{} = *(u32 *)(r0 + {})", number(), 4 * below(16));
            line("{}:\nr0 = 0", past);
        } else if (how == 7 && can(HelperId::sk_storage_get)) {
            line("r1 = map[idx:{}] ll\nr2 = r7\nr3 = 0\nr4 = {}\ncall sk_storage_get", map_of(MapType::sk_storage),
                 below(2));
            if (chance(95)) line("if r0 == 0 goto {}", past);
            line("r{} = *(u64 *)(r0 + 0)\n{}:\nr0 = 0", number(), past);
        } else {
            arithmetic();
            check();
        }
    }
}

void Maker::look_up_socket() {
    static constexpr std::array lookups = {HelperId::sk_lookup_tcp, HelperId::sk_lookup_udp, HelperId::skc_lookup_tcp};
    const HelperId id = lookups[below(lookups.size())];
    if (!can(id)) return context_socket();
    const u32 bytes = chance(70) ? 12 : 36;
    fill(value_at, bytes + 4);
    line("r1 = r6\nr2 = r10\nr2 += -{}\nr3 = {}\nr4 = -1\nr5 = 0\ncall {}", value_at, bytes,
         abi::helper_name(static_cast<u32>(id)));
    const std::string past = label(), back = label();
    if (chance(97)) line("if r0 == 0 goto {}", past);
    line("r7 = r0");
    has_value_ = false;
    const std::size_t from = text_.size();
    use_socket();
    leave_by(from, back);
    line("{}:", back);
    if (chance(97)) line("r1 = r7\ncall sk_release");
    if (chance(3)) line("r{} = *(u32 *)(r7 + 4)", number());
    line("{}:\nr1 = 0\nr7 = 0", past);
}

// The one that the context has.
void Maker::context_socket() {
    for (const Field& field : facts_.loads) {
        const auto yields = abi::context_load(facts_.kind.type, facts_.kind.attach, field.off, field.size);
        if (yields != abi::Yield::socket && yields != abi::Yield::socket_or_null &&
            yields != abi::Yield::sock_common_or_null)
            continue;
        const std::string past = label();
        line("r7 = *(u64 *)(r6 {:+})", field.off);
        has_value_ = false;
        if (chance(96)) line("if r7 == 0 goto {}", past);
        const std::size_t from = text_.size();
        use_socket();
        leave_by(from, past);
        line("{}:\nr7 = 0", past);
        return;
    }
}

void Maker::socket_of_map() {
    if (!can(HelperId::sk_release)) return;
    look_up(map_of(chance(50) ? MapType::sockmap : MapType::sockhash));
    const std::string past = label(), back = label();
    line("if r0 == 0 goto {}\nr7 = r0", past);
    has_value_ = false;
    const std::size_t from = text_.size();
    use_socket();
    leave_by(from, back);
    line("{}:", back);
    if (chance(96)) line("r1 = r7\ncall sk_release");
    line("{}:\nr1 = 0\nr7 = 0", past);
}

// ---------------------------------------------------------------------------------------------------- locks and timers

// The lock lies at 4 of 16 bytes.
void Maker::locked() {
    const auto map = map_named("locked");
    if (!map) return;
    look_up(*map);
    const std::string past = label(), end = label();
    if (chance(97)) line("if r0 == 0 goto {}", past);
    line("r7 = r0\nr1 = r7\nr1 += {}\ncall spin_lock", chance(97) ? 4 : 8);
    has_value_ = false;
    const std::size_t from = text_.size();
    if (chance(60)) line("r{} = *(u32 *)(r7 + 0)", number());
    if (chance(40)) arithmetic();
    if (chance(40)) check();
    if (chance(60)) line("*(u64 *)(r7 + {}) = r{}", chance(95) ? 8 : 4 * below(4), number());
    leave_by(from, end);
    line("{}:", end);
    if (chance(97)) line("r1 = r7\nr1 += 4\ncall spin_unlock");
    line("{}:\nr7 = 0\nr0 = 0", past);
}

// The timer lies in the first 16 of 24 bytes.
void Maker::timed() {
    const auto map = map_named("timed");
    if (!map || in_loop_) return;
    look_up(*map);
    const std::string past = label(), name = label();
    line("if r0 == 0 goto {}\nr7 = r0", past);
    has_value_ = false;
    if (chance(70)) line("r1 = r7\nr2 = map[idx:{}] ll\nr3 = {}\ncall timer_init", chance(97) ? *map : 1, below(2));
    line("r1 = r7\nr2 = {} ll\ncall timer_set_callback", name);
    if (chance(70)) line("r1 = r7\nr2 = {}\nr3 = 0\ncall timer_start", below(1000));
    if (chance(30)) line("r{} = *(u64 *)(r7 + {})", number(), chance(95) ? 16 : 8);
    line("{}:\nr7 = 0\nr0 = 0", past);
    callback(name, 0, 24);
}

// ------------------------------------------------------------------------------------------------------------- dynptrs

void Maker::use_dynptr(u32 at, u32 size) {
    for (u32 i = below(3); i > 0; --i) {
        const std::string past = label();
        const u32 bytes = 1 + below(16);
        switch (below(3)) {
            case 0:
                line("r1 = r10\nr1 += -{}\nr2 = {}\nr3 = {}\ncall dynptr_data", at,
                     chance(70) ? std::to_string(below(size)) : "r8", bytes);
                if (chance(95)) line("if r0 == 0 goto {}", past);
                if (chance(50)) line("*(u8 *)(r0 + {}) = {}", chance(95) ? below(bytes) : bytes, below(9));
                line("r{} = *(u8 *)(r0 + {})\n{}:\nr0 = 0", number(), below(bytes), past);
                break;
            case 1:
                line("r1 = r10\nr1 += -{}\nr2 = {}\nr3 = r10\nr3 += -{}\nr4 = r{}\nr5 = 0\ncall dynptr_read", value_at,
                     bytes, at, number());
                break;
            default:
                fill(value_at, 16);
                line("r1 = r10\nr1 += -{}\nr2 = {}\nr3 = r10\nr3 += -{}\nr4 = {}\nr5 = 0\ncall dynptr_write", at,
                     below(size), value_at, bytes);
                break;
        }
    }
}

void Maker::dynptr_of_ring() {
    const u32 at = chance(97) ? 152 : 148, size = 8 * (1 + below(4));
    line("r1 = map[idx:2] ll\nr2 = {}\nr3 = 0\nr4 = r10\nr4 += -{}\ncall ringbuf_reserve_dynptr",
         chance(70) ? std::to_string(size) : "r8", at);
    const std::size_t from = text_.size();
    const std::string back = label();
    use_dynptr(at, size);
    leave_by(from, back);
    line("{}:", back);
    if (chance(97)) line("r1 = r10\nr1 += -{}\nr2 = 0\ncall ringbuf_{}_dynptr", at, chance(50) ? "submit" : "discard");
    line("r0 = 0");
}

void Maker::dynptr_of_value() {
    if (!has_value_) find_value();
    const u32 at = chance(97) ? 168 : 164;
    line("r1 = r7\nr2 = {}\nr3 = 0\nr4 = r10\nr4 += -{}\ncall dynptr_from_mem", value_bytes + (chance(96) ? 0 : 8), at);
    use_dynptr(at, value_bytes);
    line("r0 = 0");
}

// ---------------------------------------------------------------------------------------------- functions, called back

// Of a map's elements: r3 is a value of value_bytes, r2 its key; r4 is the context. With value_bytes 0 of rounds: r1
// counts them, r2 is the context. `context` says how many bytes of the stack it is.
void Maker::callback(const std::string& name, u32 context, u32 value_bytes_) {
    std::string f = name + ":\n";
    const u32 at = value_bytes_ > 0 ? 4 : 2;
    f += "r5 = 0\n";
    if (value_bytes_ > 0) {
        const u32 last = value_bytes_ - 8;
        f += fmt::format("r5 = *(u32 *)(r2 + 0)\n");
        f += fmt::format("r0 = *(u64 *)(r3 + {})\n", below(100) < 95 ? last : last + 4);
        if (chance(40)) f += fmt::format("*(u64 *)(r3 + {}) = r5\n", last);
        if (chance(30)) f += fmt::format("if r0 > {} goto +1\nr5 += r0\n", below(60));
    }
    if (context > 0) {
        f += fmt::format("r0 = *(u64 *)(r{} + {})\n", at, 8 * below(context / 8));
        static constexpr const char* changes[] = {"r0 += 1", "r0 += r5", "r0 &= 15", "r0 <<= 1", "r0 = 0"};
        f += fmt::format("{}\n", changes[below(std::size(changes))]);
        f += fmt::format("*(u64 *)(r{} + {}) = r0\n", at, 8 * below(context / 8));
    }
    f += fmt::format("r0 = {}\nexit\n", chance(94) ? (value_bytes_ == 24 ? 0 : below(2)) : 2);
    functions_ += f;
}

void Maker::each_element() {
    static constexpr std::array kinds = {MapType::hash, MapType::array, MapType::percpu_hash, MapType::percpu_array,
                                         MapType::lru_hash};
    const u32 map = map_of(kinds[below(kinds.size())]);
    const std::string name = label();
    const bool context = chance(60);
    const u32 slot = 8 * (2 + below(words - 1));
    line("r1 = map[idx:{}] ll\nr2 = {} ll", map, name);
    if (context)
        line("r3 = r10\nr3 += -{}", slot);
    else
        line("r3 = 0");
    line("r4 = {}\ncall for_each_map_elem", chance(98) ? 0 : 1);
    callback(name, context ? 16 : 0, maps_[map].value_size == 24 ? 16 : maps_[map].value_size);
    if (context) line("r{} = *(u64 *)(r10 - {})", number(), slot - 8 * below(2));
    if (chance(60)) line("r{} = r0", number());
}

void Maker::rounds() {
    const std::string name = label();
    const u32 slot = 8 * (2 + below(words - 1));
    if (chance(60))
        line("r1 = {}", below(12));
    else
        line("r1 = r{}\nr1 &= 7", number());
    line("r2 = {} ll\nr3 = r10\nr3 += -{}\nr4 = 0\ncall helper 181", name, slot);
    callback(name, 16, 0);
    const u32 r = number();
    line("r{} = *(u64 *)(r10 - {})", r, slot - 8 * below(2));
    if (!has_value_) return;
    if (chance(80)) bound(r);
    line("r3 = r7\nr3 += r{}\nr0 = *(u8 *)(r3 + 0)", r);
}

// ------------------------------------------------------------------------------------------------- and everything else

void Maker::map_in_map() {
    look_up(map_of(chance(50) ? MapType::array_of_maps : MapType::hash_of_maps));
    const std::string past = label();
    if (chance(97)) line("if r0 == 0 goto {}", past);
    line("r1 = r0\nr2 = r10\nr2 += -{}\ncall map_lookup_elem", key_at);
    if (chance(96)) line("if r0 == 0 goto {}", past);
    const u32 size = 1U << below(4), r = number();
    if (chance(60)) {
        line("r{} = *(u{} *)(r0 + {})", r, 8 * size, chance(96) ? size * below(48 / size) : 48);
    } else {
        line("if r{} > {} goto {}\nr0 += r{}\n*(u8 *)(r0 + {}) = {}", r, 40 + below(6), past, r, below(6), below(9));
    }
    line("{}:\nr0 = 0\nr1 = 0", past);
}

void Maker::budget_loop() {
    if (in_loop_) return;
    in_loop_ = true;
    const std::string again = label(), past = label();
    line("{}:\nmay_goto {}\nr0 = 0\nr1 = 0\nr2 = 0\nr3 = 0\nr4 = 0\nr5 = 0", again, past);
    for (u32 i = 1 + below(2); i > 0; --i) statement();
    line("goto {}\n{}:", again, past);
    in_loop_ = false;
}

std::optional<Maker::PacketFields> Maker::packet_fields() const {
    PacketFields out{0, 0};
    bool data = false, end = false;
    for (const Field& field : facts_.loads) {
        const auto yields = abi::context_load(facts_.kind.type, facts_.kind.attach, field.off, field.size);
        if (field.size != 4 || !yields || field.off < 0) continue;
        if (*yields == abi::Yield::packet && !data) data = true, out.data = static_cast<u32>(field.off);
        if (*yields == abi::Yield::packet_end && !end) end = true, out.end = static_cast<u32>(field.off);
    }
    return data && end ? std::optional(out) : std::nullopt;
}

// An offset that the packet itself has, checked against its end.
void Maker::packet() {
    const auto fields = packet_fields();
    if (!fields) return packet_load();
    const u32 checked = 1 + below(40), size = 1U << below(4);
    const std::string past = label();
    line("r2 = *(u32 *)(r6 + {})\nr3 = *(u32 *)(r6 + {})", fields->data, fields->end);
    if (chance(60)) {
        const u32 r = number();
        if (chance(70)) bound(r);
        line("r2 += r{}", r);
    }
    line("r4 = r2\nr4 += {}\nif r4 {} r3 goto {}", checked, chance(96) ? (chance(80) ? ">" : ">=") : "<", past);
    const i32 last = static_cast<i32>(checked) - static_cast<i32>(size);
    const i32 off = last > 0 && chance(95) ? static_cast<i32>(below(static_cast<u32>(last) + 1)) : last;
    if (chance(20)) line("*(u64 *)(r10 - {}) = r2\nr2 = 0\nr2 = *(u64 *)(r10 - {})", 72, 72);
    if (chance(25))
        line("*(u{} *)(r2 {:+}) = {}", 8 * size, off, below(100));
    else
        line("r{} = *(u{} *)(r2 {:+})", number(), 8 * size, off);
    line("{}:\nr1 = 0\nr2 = 0\nr3 = 0\nr4 = 0", past);
}

void Maker::packet_load() {
    if (!abi::loads_packets(facts_.kind.type)) return;
    const u32 size = 8U << below(3);
    if (chance(50))
        line("r0 = *(u{} *)skb[{}]", size, below(60));
    else
        line("r0 = *(u{} *)skb[r{} + {}]", size, number(), below(20));
    line("r{} = r0", number());
}

void Maker::flow_keys() {
    for (const Field& field : facts_.loads) {
        if (abi::context_load(facts_.kind.type, facts_.kind.attach, field.off, field.size) != abi::Yield::flow_keys)
            continue;
        const u32 size = 1U << below(4);
        line("r1 = *(u64 *)(r6 {:+})", field.off);
        line("r{} = *(u{} *)(r1 + {})", number(), 8 * size, size * below(abi::flow_keys_size / size));
        if (chance(60)) line("*(u{} *)(r1 + {}) = r{}", 8 * size, size * below(abi::flow_keys_size / size), number());
        return;
    }
    packet();
}

// ------------------------------------------------------------------------------------------------------------- arenas

// Of the arena's address in r7.
void Maker::arena() {
    line("r2 = map[idx:{}] ll", map_of(MapType::arena));
    if (chance(70))
        get_number(7);
    else
        line("r7 = map[idx:{}][0]+{} ll", map_of(MapType::arena), 8 * below(chance(95) ? 2049 : 4000));
    has_value_ = false;
    if (chance(97)) line("r7 = addr_space_cast(r7, {}, {})", chance(96) ? 0 : 1, chance(98) ? 1 : 0);
    const std::string past = label();
    if (chance(40)) line("if r7 {} 0 goto {}", chance(80) ? "==" : "!=", past);
    for (u32 i = 1 + below(5); i > 0; --i) {
        const u32 r = number(), size = 8U << below(4);
        const i32 at = static_cast<i32>(below(200)) - 100;
        const bool wide = chance(50);
        const char reg = wide ? 'r' : 'w';
        switch (below(10)) {
            case 0:
            case 1:
                line("r{} = *({}{} *)(r7 {:+})", r, size < 64 && chance(30) ? 's' : 'u', size, at);
                break;
            case 2:
                line("*(u{} *)(r7 {:+}) = r{}", size, at, chance(95) ? r : 10);
                break;
            case 3:
                line("*(u{} *)(r7 {:+}) = {}", size, at, static_cast<i32>(constant()));
                break;
            case 4: {
                static constexpr std::array operations = {"+", "-", "*", "|", "&", "^", "<<", ">>", "s>>"};
                const std::string_view op = operations[below(operations.size())];
                if (chance(60))
                    line("{}7 {}= {}{}", reg, op, reg, r);
                else
                    line("{}7 {}= {}", reg, op, below(wide ? 64 : 32));
                break;
            }
            case 5:  // a number, and an arena's address from then on
                line("r{} += r7\nr{} = *(u{} *)(r{} {:+})", r, r, size, r, at);
                break;
            case 6: {
                static constexpr std::array operations = {"add", "add", "xor", "or"};
                const std::string_view prefix = wide ? "atomic64" : "atomic";
                const std::string_view what = chance(60) ? "fetch_add" : chance(70) ? "xchg" : "";
                line("{}{} = {}_{}((u{} *)(r7 {:+}), {}{})", reg, r, prefix,
                     what.empty() ? fmt::format("fetch_{}", operations[below(operations.size())]) : std::string(what),
                     wide ? 64 : 32, at, reg, r);
                break;
            }
            case 7:
                line("lock *(u{} *)(r7 {:+}) {}= {}{}", wide ? 64 : 32, at, chance(50) ? '+' : '|', reg, r);
                break;
            case 8:  // the next of a list
                line("r7 = *(u64 *)(r7 {:+})", at);
                if (chance(95)) line("r7 = addr_space_cast(r7, 0, 1)");
                if (chance(50)) line("if r7 == 0 goto {}", past);
                break;
            default:
                line("*(u64 *)(r10 - 64) = r7");
                check();
                if (chance(60)) line("r7 = *(u64 *)(r10 - 64)");
        }
    }
    if (chance(3)) line("r2 = 8\nr1 = r7\nr3 = r10\ncall probe_read_kernel");
    line("r8 = 1\nr9 = 2\n{}:\nr7 = 0", past);
}

void Maker::object() {
    switch (below(18)) {
        case 0:
        case 1:
            return look_up_socket();
        case 2:
            return context_socket();
        case 3:
            return socket_of_map();
        case 4:
        case 5:
            return locked();
        case 6:
            return timed();
        case 7:
            return dynptr_of_ring();
        case 8:
            return dynptr_of_value();
        case 9:
            return each_element();
        case 10:
            return rounds();
        case 11:
            return map_in_map();
        case 12:
            return budget_loop();
        case 13:
            return flow_keys();
        case 14:
        case 15:
            return arena();
        default:
            return packet();
    }
}

}  // namespace anybpf::verdicts
