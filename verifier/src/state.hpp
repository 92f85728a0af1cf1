// SPDX-License-Identifier: Apache-2.0
// The abstract state: what the verifier knows at one instruction on one path. Registers and stack of up to eight
// frames, the records and sockets that are still to be released, and the lock that is held.
//
// Two graphs run beside it (Values). Every number carries the id of the value it is, with the values it was computed
// from as parents; copies share the id, so that a comparison of one sharpens all. When a number decides something (a
// branch that is not walked, an address, a size), its value and all it came from are marked. Every write to a stack
// slot likewise gives the slot a new version, which is marked when it is read. A remembered state therefore knows, once
// all paths from it are walked, which of its contents mattered: only these are kept, and the rest may be anything in a
// state that it covers.
#pragma once

#include <array>
#include <bit>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "anybpf/abi/types.hpp"
#include "anybpf/program/program.hpp"
#include "anybpf/verifier/arena.hpp"
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
    // Objects of the kernel's that a program holds (objects.cpp).
    inner_map_or_null,  // what a lookup in a map of maps gives; `object` is that inner map (map_of), `id` as above
    map_key,            // a key of map `object`
    // Sockets without BTF, and with (cast_socket). `id` while they may be zero; `object` is the reference by which they
    // live, 0 where the program holds none; `off` the struct of the kernel's BTF that one was cast to.
    sock_common,
    sock_common_or_null,
    socket,
    socket_or_null,
    tcp_sock,
    tcp_sock_or_null,
    xdp_sock,
    xdp_sock_or_null,
    cast_socket,
    cast_socket_or_null,
    flow_keys,
    trace_buffer,   // of a writable tracepoint
    kernel_object,  // a structure that only its BTF describes
    // A struct of BTF: `object` is its type, of the kernel's BTF or, where `flags` has own, of the program's. `id` is
    // that of a null, or of a reference.
    btf,
    arena,   // whatever address in the program's arena: nothing is known of it, and it may be zero
    memory,  // `object` bytes; `flags` says what may be done with them, `id` as above, `off` the dynptr they lie in
    // What object slots of the stack hold (dynptr.cpp), and a dynptr that a function is given.
    dynptr,      // `object` is its kind
    iterator,    // `object` is its type, `off` counts its elements
    interrupts,  // saved flags; `object` is the id of those that were saved before
};
std::string_view describe(Type type);  // "a pointer to a map value"

constexpr bool is_pointer(Type type) { return type != Type::uninit && type != Type::scalar; }
constexpr bool is_packet(Type type) { return type == Type::packet || type == Type::packet_meta; }
// The same when it has been found not to be zero; the type itself where it cannot be.
constexpr Type without_null(Type type) {
    switch (type) {
        case Type::map_value_or_null:
            return Type::map_value;
        case Type::record_or_null:
            return Type::record;
        case Type::inner_map_or_null:
            return Type::map;
        case Type::sock_common_or_null:
            return Type::sock_common;
        case Type::socket_or_null:
            return Type::socket;
        case Type::tcp_sock_or_null:
            return Type::tcp_sock;
        case Type::xdp_sock_or_null:
            return Type::xdp_sock;
        case Type::cast_socket_or_null:
            return Type::cast_socket;
        case Type::uninit:
        case Type::scalar:
        case Type::ctx:
        case Type::stack:
        case Type::map:
        case Type::map_value:
        case Type::record:
        case Type::task:
        case Type::function:
        case Type::packet:
        case Type::packet_meta:
        case Type::packet_end:
        case Type::map_key:
        case Type::sock_common:
        case Type::socket:
        case Type::tcp_sock:
        case Type::xdp_sock:
        case Type::cast_socket:
        case Type::flow_keys:
        case Type::trace_buffer:
        case Type::kernel_object:
        case Type::btf:
        case Type::arena:
        case Type::memory:
        case Type::dynptr:
        case Type::iterator:
        case Type::interrupts:
            break;
    }
    return type;
}
constexpr bool may_be_null(Type type) { return without_null(type) != type; }
// A socket that BTF does not describe; any socket.
constexpr bool is_plain_socket(Type type) {
    const Type there = without_null(type);
    return there == Type::sock_common || there == Type::socket || there == Type::tcp_sock || there == Type::xdp_sock;
}
constexpr bool is_socket(Type type) { return is_plain_socket(type) || without_null(type) == Type::cast_socket; }

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
// An object of the program's that something else owns: it goes when the lock is given back.
constexpr u16 non_owning = 1024;
constexpr u16 by_lock = 2048;  // interrupt flags that taking a lock saved
}  // namespace flag

struct Reg {
    Type type = Type::uninit;
    u8 frame = 0;
    u16 flags = 0;
    u32 id = 0;  // of a scalar: its value in Values; see Type for the others
    u32 object = 0;
    // Of packet and packet_meta: see there. Of an inner map and what was found in it: which of the lookups it is of. A
    // scalar is the value `object` (or its own, where that is 0) plus `off`; where `frame` is 1, modulo 2^32, and both
    // fit into 32 bits.
    i32 off = 0;
    Number value;  // of a scalar; otherwise what has been added to the pointer
    friend bool operator==(const Reg&, const Reg&) = default;

    bool is_scalar() const { return type == Type::scalar; }
    bool is_constant() const { return is_scalar() && value.is_constant(); }
    bool is_zero() const { return is_scalar() && value.is_constant(0); }
    // The reference by which it lives; 0: none.
    u32 reference() const {
        if (is_socket(type)) return object;
        if (has(flag::referenced)) return id;
        return type == Type::record || type == Type::record_or_null ? id : 0;
    }
    u32 base() const { return object != 0 ? object : id; }  // of a scalar
    void unlink() {
        if (is_scalar() && off != 0) object = 0, off = 0, frame = 0;
    }
    static Reg number(const Number& value, u32 id) { return {.type = Type::scalar, .id = id, .value = value}; }
    bool has(u16 wanted) const { return (flags & wanted) != 0; }
    static Reg pointer(Type type, u32 object = 0, u32 id = 0) {
        return {.type = type, .id = id, .object = object, .value = Number::constant(0)};
    }
};

inline bool may_be_null(const Reg& reg) { return may_be_null(reg.type) || reg.has(flag::null); }
// An object that the program has allocated, and holds: nobody else has it.
inline bool is_owned(const Reg& reg) {
    constexpr u16 counted = flag::own | flag::referenced;
    return reg.type == Type::btf && reg.flags == counted;
}
// ... or may reach by any pointer that is good.
inline bool is_allocated(const Reg& reg) {
    return reg.type == Type::btf && reg.has(flag::own) && !reg.has(flag::untrusted) &&
           !(reg.has(flag::percpu) && reg.has(flag::rcu));
}

enum class Byte : u8 {
    invalid,  // never written
    misc,     // some data
    zero,
    saved,   // of the register in `saved`
    object,  // of what only the kernel's functions touch, and `saved` describes
};

// What the bytes of a slot are, to be compared at once.
struct Bytes : std::array<Byte, 8> {
    static constexpr Bytes all(Byte byte) { return {{byte, byte, byte, byte, byte, byte, byte, byte}}; }
    constexpr u64 word() const { return std::bit_cast<u64>(*this); }
    friend constexpr bool operator==(const Bytes& a, const Bytes& b) { return a.word() == b.word(); }
    constexpr bool untouched() const { return word() == 0; }  // all invalid
    // How many of the first are such.
    constexpr u32 leading(Byte byte) const { return static_cast<u32>(std::countr_zero(word() ^ all(byte).word())) / 8; }
};

struct Slot {
    Bytes bytes{};
    u32 version = 0;
    Reg saved;  // its low bytes lie in the slot's first bytes

    u32 saved_bytes() const { return bytes.leading(Byte::saved); }
    bool has_pointer() const { return bytes[0] == Byte::saved && is_pointer(saved.type); }
    // Forgets what the saved register was: its bytes are plain data from now on, those of an address not even that
    // where addresses must not get out.
    void demote(bool pointers_are_data) {
        if (bytes[0] != Byte::saved && bytes[0] != Byte::object) return;
        const Byte left = is_pointer(saved.type) && !pointers_are_data ? Byte::invalid : Byte::misc;
        for (Byte& byte : bytes)
            if (byte == Byte::saved) byte = left;
        saved = {};
    }
};

// A value in an arena that copies share until one of them is written to.
template <class T>
class Shared {
  public:
    Shared() = default;
    template <class... A>
    explicit Shared(Arena& arena, A&&... arguments) : block_(make(arena, std::forward<A>(arguments)...)) {}
    Shared(const Shared& other) : block_(other.block_) {
        if (block_ != nullptr) ++block_->users;
    }
    Shared(Shared&& other) noexcept : block_(std::exchange(other.block_, nullptr)) {}
    Shared& operator=(Shared other) noexcept {
        std::swap(block_, other.block_);
        return *this;
    }
    ~Shared() {
        if (block_ == nullptr || --block_->users > 0) return;
        Arena& arena = *block_->arena;
        std::destroy_at(block_);
        arena.give_back(block_, sizeof(Block));
    }

    explicit operator bool() const { return block_ != nullptr; }
    const T& get() const { return block_->value; }
    T& own() {
        if (block_->users > 1) {
            --block_->users;
            block_ = make(*block_->arena, std::as_const(block_->value));
        }
        return block_->value;
    }

  private:
    struct Block {
        template <class... A>
        explicit Block(Arena& from, A&&... arguments) : arena(&from), value(std::forward<A>(arguments)...) {}
        Arena* arena;
        u32 users = 1;
        T value;
    };
    template <class... A>
    static Block* make(Arena& arena, A&&... arguments) {
        return std::construct_at(static_cast<Block*>(arena.take(sizeof(Block))), arena, std::forward<A>(arguments)...);
    }
    Block* block_ = nullptr;
};

// At most N values, in place. They may be moved by copying their bytes.
template <class T, std::size_t N>
class Few {
  public:
    Few() {}
    Few(const Few& other) {
        for (const T& item : other) push(item);
    }
    Few(Few&& other) noexcept { take(other); }
    Few& operator=(const Few& other) { return *this = Few(other); }
    Few& operator=(Few&& other) noexcept {
        clear();
        take(other);
        return *this;
    }
    ~Few() { clear(); }

    std::size_t size() const { return size_; }
    T& operator[](std::size_t i) { return items_[i]; }
    const T& operator[](std::size_t i) const { return items_[i]; }
    T* begin() { return items_; }
    T* end() { return items_ + size_; }
    const T* begin() const { return items_; }
    const T* end() const { return items_ + size_; }
    void push(T item) { std::construct_at(items_ + size_++, std::move(item)); }
    void pop() { std::destroy_at(items_ + --size_); }
    void clear() {
        while (size_ > 0) pop();
    }

  private:
    void take(Few& other) {
        size_ = std::exchange(other.size_, 0);
        std::memcpy(static_cast<void*>(items_), static_cast<const void*>(other.items_), size_ * sizeof(T));
    }
    u32 size_ = 0;
    union {
        T items_[N];
    };
};

// A list that grows and shrinks at its end, in pieces: nothing is moved.
template <class T>
class Pile {
  public:
    explicit Pile(Arena& arena) : arena_(arena) {}
    Pile(const Pile&) = delete;
    Pile& operator=(const Pile&) = delete;
    ~Pile() { shrink(0); }

    std::size_t size() const { return size_; }
    T& operator[](std::size_t i) { return pieces_[i / each][i % each]; }
    const T& operator[](std::size_t i) const { return pieces_[i / each][i % each]; }
    T& back() { return (*this)[size_ - 1]; }
    template <class... A>
    T& push(A&&... arguments) {
        if (size_ == room_) {
            pieces_.push_back(static_cast<T*>(arena_.take(sizeof(T) * each)));
            room_ += each;
        }
        T& place = (*this)[size_++];
        return *std::construct_at(&place, std::forward<A>(arguments)...);
    }
    void shrink(std::size_t size) {
        if constexpr (std::is_trivially_destructible_v<T>)
            size_ = size;
        else
            while (size_ > size) std::destroy_at(&(*this)[--size_]);
    }

  private:
    static constexpr std::size_t each = std::bit_floor(std::max<std::size_t>(8192 / sizeof(T), 1));
    Arena& arena_;
    std::vector<T*> pieces_;
    std::size_t size_ = 0, room_ = 0;
};

constexpr std::size_t slots_per_chunk = 8;
using Chunk = std::array<Slot, slots_per_chunk>;

// The slots of a frame: [i] is fp-8*(i+1); what lies beyond size() was never written.
class Stack {
  public:
    explicit Stack(Arena& arena) : arena_(&arena) {}
    std::size_t size() const { return size_; }
    void resize(std::size_t size) {
        for (; size_ < size; size_ += slots_per_chunk) {
            if (near_.size() < kernel_chunks)
                near_.push(Shared<Chunk>(*arena_));
            else
                far_.emplace_back(*arena_);
        }
    }
    const Slot& operator[](std::size_t i) const { return at(i / slots_per_chunk).get()[i % slots_per_chunk]; }
    Slot& operator[](std::size_t i) { return at(i / slots_per_chunk).own()[i % slots_per_chunk]; }

    template <class S, class T>
    struct Iterator {
        S* stack;
        std::size_t i;
        T& operator*() const { return (*stack)[i]; }
        Iterator& operator++() { return ++i, *this; }
        bool operator==(const Iterator& other) const { return i == other.i; }
    };
    auto begin() const { return Iterator<const Stack, const Slot>{this, 0}; }
    auto end() const { return Iterator<const Stack, const Slot>{this, size_}; }
    auto begin() { return Iterator<Stack, Slot>{this, 0}; }
    auto end() { return Iterator<Stack, Slot>{this, size_}; }

  private:
    static constexpr std::size_t kernel_chunks = abi::stack_size / (8 * slots_per_chunk);
    const Shared<Chunk>& at(std::size_t chunk) const {
        return chunk < kernel_chunks ? near_[chunk] : far_[chunk - kernel_chunks];
    }
    Shared<Chunk>& at(std::size_t chunk) { return chunk < kernel_chunks ? near_[chunk] : far_[chunk - kernel_chunks]; }

    Arena* arena_;
    std::size_t size_ = 0;
    Few<Shared<Chunk>, kernel_chunks> near_;
    std::vector<Shared<Chunk>> far_;  // of larger stacks
};

// Functions that run by themselves, at some later time.
enum class Async : u8 { no, timer, work_queue, task_work };

struct Frame {
    explicit Frame(Arena& arena) : stack(arena) {}

    u32 subprogram = 0;
    u32 call_site = 0;      // the calling instruction in the frame below
    bool callback = false;  // called by the helper at call_site
    Async async{};          // of the first one: who calls the function, if not the program
    u32 activation = 0;     // of the bpf_loop() that this frame is in; 0: none
    u32 rounds = 0;         // of it that were entered
    std::array<Reg, 11> regs{};
    Stack stack;
};

// The frames of a state, the running one last.
class Frames {
  public:
    std::size_t size() const { return frames_.size(); }
    const Frame& operator[](std::size_t i) const { return frames_[i].get(); }
    Frame& operator[](std::size_t i) { return frames_[i].own(); }
    const Frame& back() const { return frames_[size() - 1].get(); }
    Frame& back() { return frames_[size() - 1].own(); }
    Frame& push(Arena& arena) {
        frames_.push(Shared<Frame>(arena, arena));
        return back();
    }
    void pop_back() { frames_.pop(); }

    template <class F, class T>
    struct Iterator {
        F* frames;
        std::size_t i;
        T& operator*() const { return (*frames)[i]; }
        Iterator& operator++() { return ++i, *this; }
        bool operator==(const Iterator& other) const { return i == other.i; }
    };
    auto begin() const { return Iterator<const Frames, const Frame>{this, 0}; }
    auto end() const { return Iterator<const Frames, const Frame>{this, size()}; }
    auto begin() { return Iterator<Frames, Frame>{this, 0}; }
    auto end() { return Iterator<Frames, Frame>{this, size()}; }

  private:
    Few<Shared<Frame>, abi::max_frames> frames_;
};

struct Reference {
    u32 id = 0;
    u32 insn = 0;  // that acquired it
};

// A lock that may be held.
struct Lock {
    bool held = false;
    bool resilient = false, interrupts = false;  // of that kind; took with interrupts off
    bool own = false;                            // lies in an object that the program allocated
    u32 map = 0, id = 0;                         // of the map value it lies in, or of that object's reference
    u32 insn = 0;                                // that took it
    bool same(const Lock& other) const { return own == other.own && map == other.map && id == other.id; }
};

// The sections that the path is in.
struct Sections {
    bool rcu_locked = false;
    u32 preempt_off = 0;     // how many times
    u32 interrupts_off = 0;  // the id of the flags that were saved last; 0: they are on
    bool alike(const Sections& other) const {
        return rcu_locked == other.rcu_locked && preempt_off == other.preempt_off &&
               (interrupts_off == 0) == (other.interrupts_off == 0);
    }
};

struct State {
    Frames frames;
    std::vector<Reference> references;
    Lock lock;                      // that was taken last
    std::vector<Lock> outer_locks;  // those before it
    u32 rounds = 0;  // callbacks entered and may_goto passed: the same state in another round is no endless loop
    u32 passed = 0;  // of these, may_goto: how much of the run's budget this path has used
    Sections sections;

    Frame& frame() { return frames.back(); }
    const Frame& frame() const { return frames.back(); }
    u32 depth() const { return static_cast<u32>(frames.size()) - 1; }
    std::size_t bytes() const;
    // Calls visit(Reg&) for each register and each saved register of all frames that is `wanted`; what holds none of
    // them stays shared.
    template <class W, class F>
    void change(W&& wanted, F&& visit, bool in_stacks = true) {
        const State& now = *this;
        for (std::size_t f = 0; f < frames.size(); ++f) {
            const Reg* regs = now.frames[f].regs.data();
            for (u32 r = 0; r < 10; ++r) {
                if (!wanted(regs[r])) continue;
                visit(frames[f].regs[r]);
                regs = now.frames[f].regs.data();  // a copy, perhaps
            }
            if (!in_stacks) continue;
            for (std::size_t s = 0; s < now.frames[f].stack.size(); s += slots_per_chunk) {
                const Slot* slot = &now.frames[f].stack[s];
                for (std::size_t i = 0; i < slots_per_chunk; ++i) {
                    if (slot[i].bytes[0] != Byte::saved || !wanted(slot[i].saved)) continue;
                    visit(frames[f].stack[s + i].saved);
                    slot = &now.frames[f].stack[s];  // a copy, perhaps
                }
            }
        }
    }
};

// Where numbers and the contents of stack slots come from, and when they mattered last. Time is the number of
// remembered states (plus one): a value matters to a state where it was used after the state was remembered.
class Values {
  public:
    explicit Values(Arena& arena) : nodes_(arena) { nodes_.push(Node{0, 0, 0, 1, 0, ~0U}); }  // 0 is nobody
    u32 fresh(u32 parent = 0, u32 other = 0) {
        nodes_.push(Node{parent, other, 0, 0, now_ & 0x3fffffffU, 0});
        return static_cast<u32>(nodes_.size()) - 1;
    }
    // Whether a number with that id may lie in a stack.
    bool stored(u32 id) const { return nodes_[id].stored != 0; }
    void note_stored(u32 id) { nodes_[id].stored = 1; }
    bool used_since(u32 id, u32 time) const { return nodes_[id].used >= time; }
    // Used for what it decides, and not only because a path was cut off at a loop, where everything has to be kept.
    bool decides(u32 id) const { return nodes_[id].decides != 0; }
    // It is used here: it and all that it was computed from, at the time when that was.
    void mark(u32 id, bool decides = true) {
        Node& node = nodes_[id];
        const bool first = node.used == 0 || (decides && node.decides == 0);
        node.used = now_;
        if (decides) node.decides = 1;
        if (first && (node.parent != 0 || node.other != 0)) mark_origins(id);
    }
    u32 now() const { return now_; }
    void pass_time() { ++now_; }
    std::size_t count() const { return nodes_.size(); }
    // Forgets the newest: no state has them any more.
    void shrink(std::size_t count) { nodes_.shrink(count); }

  private:
    struct Node {
        u32 parent, other;
        u32 stored : 1, decides : 1, created : 30;
        u32 used;  // 0: never
    };
    void mark_origins(u32 id);

    Pile<Node> nodes_;
    std::vector<u32> todo_;
    u32 now_ = 1;
};

// Registers that are read before they are written, from each instruction on; bit r for register r.
using Liveness = std::vector<u16>;

// Which registers of a frame matter at pc: those of the running frame, or those of a caller after the return.
u16 live_registers(const State& state, std::size_t index, u32 pc, const Liveness& live);

// A register of a state, or what a slot holds.
struct Place {
    static constexpr u8 in_slot = 0xff;
    u8 reg = 0;    // or in_slot
    u8 frame = 0;  // as states count them
    u16 slot = 0;
    const Reg* find(const State& state) const;  // null where nothing can stand
};

// What mattered of a state to the paths from it, all of which were walked. Its lists lie in one block of the arena.
class Kept {
  public:
    struct OfFrame {
        u32 subprogram, call_site, rounds;
        u32 contents;  // how many are its
        u16 numbers;   // registers that hold any number
        bool callback;
        Async async;
    };
    struct Contents {
        Place place;
        bool decides;  // Values::decides
        Reg value;
    };
    struct InSlot {
        u16 frame, slot;
        Bytes bytes;
    };
    // What it is put together from.
    struct Draft {
        struct Found {
            Place place;
            bool decides;
            const Reg* value;
        };
        std::vector<OfFrame> frames;
        std::vector<Found> contents;
        std::vector<InSlot> slots;
    };

    struct Lists {
        std::span<const OfFrame> frames;     // the running one first
        std::span<const Contents> contents;  // in the order of frames
        std::span<const InSlot> slots;
        std::span<const Reference> references;
        std::span<const Lock> outer_locks;
        Lock lock;
        Sections sections;
        u32 bytes;  // of all of it
        Arena* arena;
    };

    Kept() = default;
    Kept(const State& state, u32 pc, u32 time, const Liveness& live, const Values& values, Arena& arena, Draft& draft);
    Kept(Kept&& other) noexcept : lists_(std::exchange(other.lists_, nullptr)) {}
    Kept& operator=(Kept&& other) noexcept {
        std::swap(lists_, other.lists_);
        return *this;
    }
    ~Kept() {
        if (lists_ != nullptr) lists_->arena->give_back(lists_, lists_->bytes);
    }
    const Lists* operator->() const { return lists_; }

  private:
    Lists* lists_ = nullptr;
};

// Decides whether all that an older state allows covers `now`; both stand before the same instruction.
class Comparison {
  public:
    enum class How : u8 {
        within,  // every live register and every slot of now is within old
        equal,   // both within each other
    };
    // What a comparison found not to be covered, as it was in the older state.
    struct Difference {
        Place place;
        Type type = Type::uninit;  // uninit: it was nothing of this kind
        i32 off = 0;
        u64 umin = 0, umax = 0;
        void note(Place where, const Reg& old) {
            place = where, type = old.type, off = old.off;
            umin = old.value.umin, umax = old.value.umax;
        }
        // Whether it is certain that an older state with it does not cover `now`.
        bool again(const State& now) const {
            if (type == Type::uninit) return false;
            const Reg* reg = place.find(now);
            return reg == nullptr || reg->type != type || reg->value.umin < umin || reg->value.umax > umax ||
                   (is_packet(type) && reg->off != off);
        }
    };
    bool covers(const Kept& old, const State& now, Difference& difference);
    bool covers(const State& old, const State& now, u32 pc, const Liveness& live, How how, Difference& difference);

  private:
    // Ids that were the same in old must be the same in now; then what holds of one holds of its copies there too.
    // Exactly one of both may map to the other where distinctness matters (references).
    struct Pair {
        u32 old, now;
    };
    static bool same_id(std::vector<Pair>& pairs, u32 old, u32 now);
    static bool linked(std::vector<Pair>& pairs, u32 old, u32 now);
    bool same_distance(const Reg& old, const Reg& now);
    bool regs(const Reg& old, const Reg& now);
    bool within(const Number& old, const Number& now) const;
    bool stacks(const Frame& old, const Frame& now);
    bool slots(const Slot& old, const Slot& now);
    bool locks(const Lock& old, const Lock& now);
    bool locks(const Lock& old, std::span<const Lock> outer, const State& now);
    bool references(std::span<const Reference> old, const std::vector<Reference>& now);
    void begin(bool equal);

    bool equal_ = false;
    std::vector<Pair> values_ids_, nulls_, references_, packets_;
    struct Base {
        u32 old, now;
        i64 moved;
        bool alike;
    };
    std::vector<Base> bases_;
};

// After `now` was cut off because old covers it: what mattered in old matters in now; all of it, where old is of a
// loop that is still walked.
void inherit_marks(const Kept& old, const State& now, Values& values);
void inherit_marks(const State& now, u32 pc, const Liveness& live, Values& values);

// A map of the program by its index; behind these, by the index of a map of maps, those in it.
const program::MapInfo& map_of(const program::Program& program, u32 object);

std::string print(const Reg& reg, const program::Program& program, bool with_id);
// "R1=ctx() R10=fp0 fp-8=mmmmmmmm"; with a previous state only what differs from it.
std::string print(const State& state, const program::Program& program, const State* previous = nullptr);
// An instruction with the names of what it calls: "call bpf_loop#181", "call bpf_obj_new_impl#71234".
std::string print_insn(const program::Program& program, u32 pc);

}  // namespace anybpf::verifier
