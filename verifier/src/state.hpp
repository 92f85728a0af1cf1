// SPDX-License-Identifier: Apache-2.0
// The abstract state: what the verifier knows at one instruction on one path. Registers and stack of up to eight
// frames, and the ring buffer records that are still to be released.
//
// Two graphs run beside it (Values). Every number carries the id of the value it is, with the values it was computed
// from as parents; copies share the id, so that a comparison of one sharpens all. When a number decides something (a
// branch that is not walked, an address, a size), its value and all it came from are marked. Every write to a stack
// slot likewise gives the slot a new version, which is marked when it is read. A remembered state therefore knows, once
// all paths from it are walked, which of its contents mattered: the rest may be anything in a state that it covers.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "anybpf/abi/types.hpp"
#include "anybpf/program/program.hpp"
#include "domain.hpp"

namespace anybpf::verifier {

enum class Type : u8 {
    uninit,
    scalar,
    ctx,
    stack,              // of frame `frame`
    map,                // `object` is its index
    map_value,          // a value of map `object`
    map_value_or_null,  // the same, or zero: to be compared with zero; copies share `id`
    record,             // a ring buffer record of `object` bytes; `id` is its reference
    record_or_null,
    task,      // a trusted pointer to a task
    function,  // the subprogram that starts at `object`
    // Addresses in the packet: of its first byte plus `value`, a number that was added (`id` says which; 0: none), plus
    // `off`. The `object` bytes from there on, counted without `off`, are in the packet: comparisons have shown that.
    packet,
    packet_meta,  // the same in the bytes before the packet, which end where it starts
    packet_end,
    // A struct of BTF: `object` is its type, of the kernel's BTF or, where `flags` has own, of the program's. `id` is
    // that of a null, or of a reference.
    btf,
    memory,  // `object` bytes; `flags` says what may be done with them, `id` as above, `off` the dynptr they lie in
    // What object slots of the stack hold (dynptr.cpp), and a dynptr that a function is given.
    dynptr,      // `object` is its kind
    iterator,    // `object` is its type, `off` counts its elements
    interrupts,  // saved flags; `object` is the id of those that were saved before
};
std::string_view describe(Type type);  // "a pointer to a map value"

constexpr bool is_pointer(Type type) { return type != Type::uninit && type != Type::scalar; }
constexpr bool is_packet(Type type) { return type == Type::packet || type == Type::packet_meta; }
constexpr bool may_be_null(Type type) { return type == Type::map_value_or_null || type == Type::record_or_null; }

// Of pointers of type btf and memory.
namespace flag {
constexpr u16 null = 1;         // may be null
constexpr u16 trusted = 2;      // whole while the program runs
constexpr u16 rcu = 4;          // whole until the RCU section ends
constexpr u16 untrusted = 8;    // may be anything: reads of it are made safe
constexpr u16 percpu = 16;      // of each CPU one: no address yet
constexpr u16 user = 32;        // in user space
constexpr u16 referenced = 64;  // `id` is of a reference
constexpr u16 own = 128;        // a type of the program's BTF
constexpr u16 read_only = 256;  // memory that is not to be written
constexpr u16 in_packet = 512;  // memory that goes when the packet moves
}  // namespace flag

struct Reg {
    Type type = Type::uninit;
    u8 frame = 0;
    u16 flags = 0;
    u32 id = 0;  // of a scalar: its value in Values; see Type for the others
    u32 object = 0;
    i32 off = 0;   // of packet and packet_meta alone
    Number value;  // of a scalar; otherwise what has been added to the pointer
    friend bool operator==(const Reg&, const Reg&) = default;

    bool is_scalar() const { return type == Type::scalar; }
    bool is_constant() const { return is_scalar() && value.is_constant(); }
    bool is_zero() const { return is_scalar() && value.is_constant(0); }
    static Reg number(const Number& value, u32 id) { return {.type = Type::scalar, .id = id, .value = value}; }
    bool has(u16 wanted) const { return (flags & wanted) != 0; }
    static Reg pointer(Type type, u32 object = 0, u32 id = 0) {
        return {.type = type, .id = id, .object = object, .value = Number::constant(0)};
    }
};

inline bool may_be_null(const Reg& reg) { return may_be_null(reg.type) || reg.has(flag::null); }

enum class Byte : u8 {
    invalid,  // never written
    misc,     // some data
    zero,
    saved,   // of the register in `saved`
    object,  // of what only the kernel's functions touch, and `saved` describes
};

struct Slot {
    std::array<Byte, 8> bytes{};
    u32 version = 0;
    Reg saved;  // its low bytes lie in the slot's first bytes

    u32 saved_bytes() const {
        u32 count = 0;
        while (count < 8 && bytes[count] == Byte::saved) ++count;
        return count;
    }
    bool has_pointer() const { return bytes[0] == Byte::saved && is_pointer(saved.type); }
    // Forgets what the saved register was: its bytes are plain data from now on, those of an address not even that
    // where addresses must not get out.
    void demote(bool pointers_are_data) {
        const Byte left = is_pointer(saved.type) && !pointers_are_data ? Byte::invalid : Byte::misc;
        for (Byte& byte : bytes)
            if (byte == Byte::saved) byte = left;
        saved = {};
    }
};

struct Frame {
    u32 subprogram = 0;
    u32 call_site = 0;      // the calling instruction in the frame below
    bool callback = false;  // called by the helper at call_site
    u32 activation = 0;     // of the bpf_loop() that this frame is in; 0: none
    u32 rounds = 0;         // of it that were entered
    std::array<Reg, 11> regs{};
    std::vector<Slot> stack;  // [i] is fp-8*(i+1); what lies beyond was never written
};

struct Reference {
    u32 id = 0;
    u32 insn = 0;   // that acquired it
    u32 frame = 0;  // in which it was acquired
};

struct State {
    std::vector<Frame> frames;
    std::vector<Reference> references;
    u32 rounds = 0;  // callbacks entered and may_goto passed: the same state in another round is no endless loop
    u32 passed = 0;  // of these, may_goto: how much of the run's budget this path has used
    bool rcu_locked = false;
    u32 preempt_off = 0;     // how many times
    u32 interrupts_off = 0;  // the id of the flags that were saved last; 0: they are on

    Frame& frame() { return frames.back(); }
    const Frame& frame() const { return frames.back(); }
    u32 depth() const { return static_cast<u32>(frames.size()) - 1; }
    std::size_t bytes() const;
    // Calls visit(Reg&) for each register and each saved register of all frames.
    template <class F>
    void each(F&& visit) {
        for (Frame& f : frames) {
            for (Reg& reg : f.regs) visit(reg);
            for (Slot& slot : f.stack)
                if (slot.bytes[0] == Byte::saved) visit(slot.saved);
        }
    }
};

class Values {
  public:
    u32 fresh(u32 parent = 0, u32 other = 0) {
        nodes_.push_back({parent, other, false, false});
        return static_cast<u32>(nodes_.size()) - 1;
    }
    bool marked(u32 id) const { return nodes_[id].marked; }
    // Marked for what it decides, and not only because a path was cut off at a loop, where everything has to be kept.
    bool decides(u32 id) const { return nodes_[id].decides; }
    void mark(u32 id, bool decides = true);
    std::size_t count() const { return nodes_.size(); }

  private:
    struct Node {
        u32 parent, other;
        bool marked, decides;
    };
    std::vector<Node> nodes_ = {{0, 0, true, true}};  // 0 is nobody
    std::vector<u32> todo_;
};

// Registers that are read before they are written, from each instruction on; bit r for register r.
using Liveness = std::vector<u16>;

// Decides whether all that `old` allows covers `now`; both stand before the same instruction.
enum class Cover : u8 {
    needed,  // whatever was not marked in old may be anything: only for an old whose paths are all walked
    exact,   // every live register and every slot of now is within old
    equal,   // both within each other
};
bool covers(const State& old, const State& now, u32 pc, const Liveness& live, const Values& values, Cover how);
// After `now` was cut off because old covers it: what mattered in old matters in now (all of it, where `everything`).
void inherit_marks(const State& old, const State& now, u32 pc, const Liveness& live, Values& values, bool everything);

std::string print(const Reg& reg, const program::Program& program, bool with_id);
// "R1=ctx() R10=fp0 fp-8=mmmmmmmm"; with a previous state only what differs from it.
std::string print(const State& state, const program::Program& program, const State* previous = nullptr);

}  // namespace anybpf::verifier
