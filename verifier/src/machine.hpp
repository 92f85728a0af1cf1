// SPDX-License-Identifier: Apache-2.0
// A machine that runs a program in made-up memory and objects to everything the verifier should have refused: accesses
// outside of objects, reads of what was not written, stack beyond what the proof says, helpers called against their
// contracts, records, sockets and locks that are kept or given twice, runs that do not end. Addresses are numbers in a
// space of its own; nothing of this process is touched. A helper does what its contract in abi/helpers.def allows, by
// chance: the machine runs whatever calls one.
//
// One machine runs a program many times, with other input each time: what a seed says.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "anybpf/abi/context.hpp"
#include "anybpf/abi/helper.hpp"
#include "anybpf/program/program.hpp"
#include "anybpf/program/proof.hpp"
#include "structure.hpp"

namespace anybpf::verifier::testing {

class Machine {
  public:
    enum class What : u8 {
        stack,
        context,
        map_value,
        map_key,
        record,
        packet,  // and its metadata before it
        flow_keys,
        trace_buffer,
        socket,
        memory,  // of a dynptr
        kernel,  // something of the kernel's that programs only pass on
    };
    struct Object {
        u64 base = 0;
        u32 size = 0;
        u32 at = 0;  // in the memory of the machine
        u32 map = 0;
        u32 reference = 0;  // that it lives by
        What what{};
        abi::ObjectKind kind{};  // of a socket
        bool alive = true, readable = true, writable = true;
    };
    struct Frame {
        u32 first = 0;  // of the subprogram
        std::array<u64, 11> regs{};
        u32 return_to = 0;
        u32 least = 0;  // of its stack: what lies below is not its own
        u32 dirty = 0;  // chunks of eight slots that were written to since they were compared
        bool callback = false, async = false;
    };
    // Sees the machine before each instruction; false: it is not as it should be.
    class Observer {
      public:
        virtual bool at(Machine& machine, u32 pc) = 0;

      protected:
        ~Observer() = default;
    };

    // All of them outlive the machine.
    Machine(const program::Program& program, const Structure& structure, const program::Proof& proof);

    // What of the program the machine has not; empty where it runs all of it.
    static std::string_view cannot_run(const program::Program& program, const Structure& structure);

    // Whether all went well.
    bool run(u64 seed);
    std::string wrong() const;  // what did not

    Observer* observer = nullptr;
    bool reads_unwritten = false;  // privileged loads may

    // What an observer asks.
    const std::vector<Frame>& frames() const { return frames_; }
    // The one whose part of the address space it is, within its bounds or not; null: none.
    const Object* object_near(u64 address) const;
    const std::vector<Object>& objects() const { return objects_; }
    u64 context_base() const { return objects_[context].base; }
    u64 frame_pointer(std::size_t frame) const { return objects_[frame].base + stack_bytes; }
    const u8* stack(std::size_t frame) const { return memory_.data() + objects_[frame].at; }
    const u8* written(std::size_t frame) const { return stack(frame) + stack_bytes; }
    void compared(std::size_t frame) { frames_[frame].dirty = 0; }
    u64 packet_meta() const { return objects_[packet].base; }
    u64 packet_data() const { return packet_data_; }
    u64 packet_end() const { return objects_[packet].base + objects_[packet].size; }
    static u64 map_handle(u32 map) { return map_space | u64{map} << 8; }
    std::size_t references() const { return live_references_; }
    bool holds_lock() const { return lock_ != 0; }
    u32 epoch() const { return epoch_; }  // moves on when objects go
    u64 steps() const { return steps_; }  // of all runs

    static constexpr u32 stack_bytes = abi::stack_size;

  private:
    // The first objects; those of maps, records and sockets come behind them.
    enum : u32 { first_stack = 0, context = abi::max_frames, packet, flow_keys, trace_buffer, kernel, first_other };
    static constexpr u64 object_space = 0xffff'0000'0000'0000, map_space = 0xfffe'0000'0000'0000;
    static constexpr u64 middle = 0x4000'0000;  // of an object's part of the space: offsets go both ways from there
    static constexpr u32 max_objects = 0x4000, max_rounds = 50, max_size = 512;

    struct Protected {
        u32 offset, size;
        bool lock;
    };
    struct Call {  // what the arguments of the present one have shown
        const abi::HelperProto* proto = nullptr;
        std::array<u64, 11> regs{};
        u32 map = 0;
        const u8* key = nullptr;
        u32 memory = 0;  // the register before a size
        u64 size = 0, allocate = 0;
        u32 function = 0;
        u32 reference = 0, released = 0;
        u32 field_map = 0;
        u64 field = 0;
        u32 dynptr = 0;  // behind the last one
        u64 dynptr_out = 0;
    };
    struct Dynptr {
        u64 base = 0;
        u32 size = 0;
        u32 reference = 0;
    };
    struct Later {
        u32 function, map;
    };

    u64 random() {
        u64 z = random_ += 0x9e37'79b9'7f4a'7c15;
        z = (z ^ (z >> 30)) * 0xbf58'476d'1ce4'e5b9;
        z = (z ^ (z >> 27)) * 0x94d0'49bb'1331'11eb;
        return z ^ (z >> 31);
    }
    u32 below(u32 bound) { return static_cast<u32>((random() >> 32) * bound >> 32); }
    u64 number();
    void fill(u32 at, u32 size);

    void begin(u64 seed);
    u32 take(u32 size);  // memory
    u32 add(What what, u32 size);
    void place(u32 index, u32 size);  // the object anew, at another address
    void new_packet();
    void fail(const char* what, u64 detail = 0);
    bool good() const { return wrong_ == nullptr; }

    u8* access(u64 address, u32 size, bool write);
    void check_region(const Object& object);
    u64 load(u64 address, u32 size);
    u64 load_context(u32 size);
    void store(u64 address, u32 size, u64 value);
    void atomic(const isa::Insn& insn, const isa::Form& form);
    bool in_arena() const;
    bool on_socket(u64 address, u32 size);

    void enter(u32 target, bool callback);
    void leave(u64 result, bool whole = true);
    bool subprogram(std::size_t depth);
    void run_later();
    void step();
    void wide(const isa::Insn& insn, u64& dst);

    // machine_helpers.cpp
    void helper(u32 id);
    bool argument(Call& call, u32 index);
    bool memory_argument(Call& call, u64 size, bool nonzero);
    bool map_argument(Call& call, u64 value);
    bool socket_argument(Call& call, u64 value, abi::ArgKind kind);
    bool field_argument(Call& call, u64 value, bool lock);
    bool dynptr_argument(Call& call, u64 value, abi::ArgKind kind);
    void write_random(u64 address, u64 size);
    u64 result(const Call& call);
    u64 element(const Call& call);
    u64 socket(const Call& call, abi::ObjectKind kind);
    u64 value_of(u32 map, u32 which);
    void give_entry(u32 map, u32 which);
    void call_back(const Call& call);
    void lock(const Call& call);
    bool tail_call();
    u32 new_reference();
    void release(u32 reference);
    void set_dynptr(u64 place, Dynptr dynptr);
    u32 maps() const { return static_cast<u32>(program_.maps.size()); }
    const program::MapInfo& map_of(u32 map) const;

    const program::Program& program_;
    const Structure& structure_;
    const program::Proof& proof_;
    std::vector<const abi::HelperProto*> helpers_;  // by instruction, where known already
    std::vector<u8> yields_;                        // by instruction: what a load from the context gives; see there
    std::vector<u32> stack_least_;                  // by instruction that starts a subprogram
    std::vector<std::vector<Protected>> fields_;    // by map, those in maps behind them
    bool may_goto_ = false;

    u64 random_ = 0;
    std::vector<Frame> frames_;
    std::vector<Object> objects_;
    std::vector<u8> memory_;
    u32 used_ = 0;              // of memory_
    std::vector<u32> values_;   // objects, two for each map; 0: not there yet
    std::vector<u32> touched_;  // of values_
    std::vector<bool> held_;    // by reference
    std::vector<Dynptr> dynptrs_;
    std::vector<Later> later_;
    u64 packet_data_ = 0;
    u64 lock_ = 0;
    u64 steps_ = 0, run_steps_ = 0;
    std::size_t live_references_ = 0;
    u32 pc_ = 0, budget_ = 0, epoch_ = 0, places_ = 0;
    const char* wrong_ = nullptr;
    u64 detail_ = 0;
};

}  // namespace anybpf::verifier::testing
