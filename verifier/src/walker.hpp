// SPDX-License-Identifier: Apache-2.0
// The walk over all paths of a program, depth first, with one abstract state. A branch that can go both ways puts one
// side aside; a path ends at exit, or where a state that was walked before covers the present one. What follows is one
// class in several files: walker.cpp (paths, remembered states, calls between subprograms, the log), numbers.cpp
// (arithmetic and comparisons), memory.cpp (loads, stores, what helpers touch), calls.cpp (helpers), objects.cpp (maps,
// sockets, timers), address_spaces.cpp (arenas), locks.cpp, callbacks.cpp, typed.cpp (objects of the kernel's BTF),
// kfuncs.cpp, kptrs.cpp (pointers in map values), graph.cpp (objects of the program's, lists and trees),
// exceptions.cpp, deferred.cpp (work that runs later), dynptr.cpp (dynptrs and iterators) and globals.cpp (functions
// that are judged by their types).
//
// Every check returns false after it has recorded what is wrong with fail().
#pragma once

#include <functional>

#include "anybpf/abi/helper.hpp"
#include "anybpf/abi/kfunc.hpp"
#include "anybpf/btf/btf.hpp"
#include "records.hpp"
#include "structure.hpp"

namespace anybpf::verifier {

class Walker {
  public:
    // The arena outlives the walker.
    Walker(const program::Program& program, const Options& options, const Structure& structure, Arena& arena,
           Report& report);
    void run();

    // For tests: sees every state before its instruction is walked.
    std::function<void(u32 pc, const State& state)> observe;
    bool remember_all = false;  // wherever states are compared

    // For explanations: each step that is walked, with the one before it on its path.
    struct Trod {
        u32 pc = 0;
        i32 before = -1;
    };
    std::vector<Trod>* trail = nullptr;
    i32 trail_end() const { return trod_; }
    const std::vector<u32>& stack_use() const { return stack_use_; }  // by subprogram

  private:
    using Region = program::Region;

    // A remembered state. Where it lies in the tree of paths: `parent` is the one before it on its path, `open` counts
    // the paths from it that are not walked to their end yet.
    struct Seen {
        // The state while paths from it are open, what mattered of it afterwards; neither when it has been forgotten.
        Shared<State> state;
        Kept kept;
        u32 bytes = 0;  // of these
        u32 time = 0;   // when it was remembered
        u32 pc = 0;
        i32 parent = -1;
        u32 open = 0;
        // A path from here was cut off because it came back into what `loop` covers: in a round of bpf_loop(), where
        // `loop` is of the same activation, or at a may_goto. Until `loop` is walked to its end, this state says
        // nothing outside of that activation, or to a path that has passed no may_goto since `loop`.
        i32 loop = -1;
        u32 iterator = 0;               // whose next element is asked for here
        u32 depth = 0, activation = 0;  // of the running frame; outlives the state
        u32 passed = 0;                 // State::passed
        bool may_goto = false;          // stands at one
    };
    // A remembered state in the list of those at an instruction, with what tells most of the time that it does not
    // cover the present one: the state itself lies elsewhere in memory.
    struct Candidate {
        u32 seen = 0;
        u32 call_site = 0;  // of the running frame
        u32 hits = 0, misses = 0;
        bool closed = false;  // the difference is to what was kept
        Comparison::Difference difference;
    };
    struct Pending {
        State state;
        u32 pc = 0;
        i32 parent = -1;
        std::size_t values = 0;  // how many there were when its step had ended
        i32 trod = -1;
        bool alone = false;  // its first state is to be remembered
    };
    enum class Step : u8 { failed, next, path_end };

    // walker.cpp
    bool fail(Finding what, i64 a = 0, i64 b = 0, i64 c = 0);
    Step visit();  // compares with the remembered states, and remembers
    Step step();
    Step execute();
    bool cut(u32 index, bool loop);
    bool usable(const Seen& seen) const;
    void remember();
    void forget(std::vector<Candidate>& list, std::size_t at);
    void close_path();
    void close(Seen& seen);
    bool resume();
    State* fork(u32 pc);
    bool set_aside(State state, u32 pc);
    void end_step();
    bool set_aside_alone(State state, u32 pc);
    bool call_subprogram(u32 target);
    bool enter(State& state, u32 target, bool callback);
    Step leave();
    bool returns_within(const Reg& result, i64 least, i64 most);
    Step leave_callback();
    void widen(State& now, i32 from);
    bool may_goto();
    bool packet_load();
    bool wide(u32 pc);
    void log_insn();
    void log_effect(const State& before);
    void append(std::string_view text);
    std::string statistics() const;

    // numbers.cpp
    bool alu();
    bool extend();
    bool swap();
    bool move(bool is64, Reg& from);
    void link(Reg& sum, const Reg& before, isa::AluOp op, bool is64, const Reg& operand);
    bool blur(u32 source, bool is64);
    bool pointer_arithmetic(isa::AluOp op, bool is64, Reg& dst, const Reg& operand);
    Step jump();
    Step compare_numbers(Compare op, const Reg& a, const Reg& b, u32 target);
    Step compare_pointers(Compare op, bool is64, const Reg& a, const Reg& b, u32 target);
    void replace(State& state, const Reg& old, const Number& value, u32 new_id);
    void settle_null(State& state, u32 id, bool null);
    Step compare_packets(Compare op, const Reg& at, u32 target);
    static void learn_range(State& state, const Reg& at, bool open);
    void lose_packets();
    // Pointers for which it holds are no pointers any more, wherever they lie.
    template <class F>
    void lose(F&& lost) {
        const State& now = state_;
        for (std::size_t f = 0; f < now.frames.size(); ++f) {
            for (u32 r = 0; r < now.frames[f].regs.size(); ++r)
                if (lost(now.frames[f].regs[r]))
                    state_.frames[f].regs[r] = options_.allow_ptr_leaks ? unknown() : Reg{};
            for (std::size_t s = 0; s < now.frames[f].stack.size(); ++s) {
                const Slot& slot = now.frames[f].stack[s];
                if (slot.bytes[0] != Byte::saved || !lost(slot.saved)) continue;
                Slot& mine = state_.frames[f].stack[s];
                mine.demote(options_.allow_ptr_leaks);
                mine.version = values_.fresh();
            }
        }
    }

    // memory.cpp
    bool load();
    bool store();
    bool atomic();
    bool load_from(u32 base, i32 off, u32 size, bool sign, Reg& out);
    bool store_to(u32 base, i32 off, u32 size, const Reg& value, u32 value_reg);
    bool check_strict_alignment(u32 base_reg, i64 off, u32 size);
    bool check_alignment(const Reg& base, i64 off, u32 size);
    bool check_object(const Reg& base, i64 off, i64 size, i64 limit, Finding finding);
    bool check_map_access(u32 map, bool write);
    bool load_context(const Reg& base, u32 base_reg, i32 off, u32 size, Reg& out);
    bool store_context(const Reg& base, u32 base_reg, i32 off, u32 size, const Reg& value, u32 value_reg);
    bool check_memory(const Reg& base, u32 base_reg, i64 off, i64 size, bool write);
    bool check_packet(const Reg& base, i64 off, i64 size, bool write);
    bool check_trace_buffer(const Reg& base, u32 base_reg, i64 off);
    bool stack_range(const Reg& base, u32 base_reg, i64 off, i64 size, i64& low, i64& high);
    bool load_stack(const Reg& base, u32 base_reg, i32 off, u32 size, bool sign, Reg& out);
    bool store_stack(const Reg& base, u32 base_reg, i32 off, u32 size, const Reg& value, u32 value_reg);
    bool store_slot(u32 frame, i64 at, u32 size, const Reg& value);
    // Formats text for the user who loaded the program, from addresses too (%s, %p).
    static bool formats(abi::HelperId helper);
    bool read_stack_bytes(u32 frame, i64 low, i64 high, bool argument);
    bool write_stack_bytes(u32 frame, i64 low, i64 high, i64 sure_low, i64 sure_high);
    Slot& slot_at(u32 frame, i64 at);
    const Slot& slot_seen(u32 frame, i64 at) const;
    void use_stack(u32 frame, i64 low);
    bool note_region(Region region);
    Region region_of(const Reg& base) const;
    bool memory_argument(u32 reg, u64 least, u64 most, bool write, abi::ArgKind kind);
    bool update_argument(u32 index, u64 least, u64 most);

    // calls.cpp
    bool call();
    bool call_helper(u32 id);
    bool argument(u32 index, const abi::HelperProto& proto);
    bool wrong_argument(u32 reg, abi::ArgKind kind);
    bool is_element(const Reg& key, u32 map);
    bool map_argument(u32 reg, const abi::HelperProto& proto);
    bool size_argument(u32 reg, abi::ArgKind kind);
    bool string_argument(u32 reg, std::string_view& text);
    bool release_record(u32 reg);
    bool set_result(const abi::HelperProto& proto);

    // objects.cpp
    const program::MapInfo& map_of(u32 object) const;
    bool check_maps();
    const Fields& known_fields(u32 object);
    const Record& fields_of(u32 object) { return known_fields(object).record; }
    const ValueField* field_of(u32 object, FieldKind kind) { return find_field(fields_of(object), kind); }
    bool check_map_fields(u32 map);
    bool check_fields(const Reg& base, i64 off, i64 size, const ValueField** pointer = nullptr);
    bool fail_leak(const Reference& reference);
    bool check_released();
    void release(u32 id);
    bool note_reference(u32 reg);
    bool socket_argument(u32 reg, abi::ArgKind kind);
    bool check_socket(const Reg& base, i64 off, u32 size);
    void give_socket(Type type, const abi::HelperProto& proto);
    bool give_element(const abi::HelperProto& proto);
    void settle(Reg& found);
    bool field_argument(u32 reg, abi::ArgKind argument, FieldKind kind);
    bool timer_argument(u32 reg);

    // address_spaces.cpp
    bool use_arena(u32 map);
    bool cast();
    static bool arena_arithmetic(Reg& dst, const Reg& operand);
    bool arena_atomic();

    // locks.cpp
    bool find_lock(u32 index, FieldKind kind, Lock& out);
    bool take_lock(const Lock& lock);
    bool give_lock(const Lock& lock);
    bool lock_argument(u32 index, abi::HelperId helper);
    bool resilient_lock_argument(u32 index);
    bool lock_failure();
    bool allowed_under_lock() const;
    bool allocation_locked(u32 index);

    // kptrs.cpp
    bool has_program_types(u32 map);
    bool kptr_target(const ValueField& field, const u32* map, u32& type, bool& own);
    bool load_kptr(const ValueField& field, u32 map, Reg& out);
    bool store_kptr(const ValueField& field, u32 map, const Reg& value, u32 value_reg);
    bool kptr_matches(const ValueField& field, const u32* map, u32 value_reg, const Reg& value);
    bool kptr_slot_argument(u32 index);
    bool kptr_argument(u32 index);
    bool exchange_kptr();

    // graph.cpp
    const Fields& own_fields(u32 type);
    const Record* record_of(const Reg& reg);
    bool check_own_fields(const Reg& base, i64 off, i64 size);
    bool allocated_argument(u32 index);
    bool counted_argument(u32 index);
    bool root_argument(u32 index, FieldKind kind);
    bool node_argument(u32 index, FieldKind kind);
    bool function_argument(u32 index);
    bool call_less();
    bool in_less() const;
    std::optional<bool> own_result();
    bool new_object(bool percpu);
    Reg element(u16 flags);
    void stop_owning(u32 id);
    void lose_borrowed();

    // exceptions.cpp
    bool throw_exception();
    bool check_throws();
    bool check_exception_callback();
    bool is_exception_callback() const;
    bool returns_as_program(const Reg& result);

    // deferred.cpp
    bool deferred_argument(u32 index, FieldKind kind);
    bool deferred_map(u32 index);
    bool sleepable() const;

    // stacks.cpp
    u32 stack_limit() const;
    bool finish_stacks();

    // callbacks.cpp
    bool call_back(abi::HelperId helper);
    void callback_arguments(abi::HelperId helper, const std::array<Reg, 11>& given, Frame& frame);
    void give_entry(u32 map, i32 lookup, Frame& frame);
    bool call_later(u32 function, u32 map, i32 lookup, Async how);

    // typed.cpp
    const btf::Btf& types_of(const Reg& reg) const;
    static i64 type_argument(const Reg& reg);  // of a diagnostic
    static bool is_trusted(const Reg& reg);
    bool in_rcu_section() const;
    const SafeMembers& safe_members();
    u32 kernel_struct(std::string_view name);  // 0: the kernel has none of that name
    Reg current_task();
    bool load_typed_context(i32 off, u32 size, Reg& out);
    bool load_typed(const Reg& base, u32 base_reg, i32 off, u32 size, bool sign, Reg& out);
    bool store_typed(const Reg& base, u32 base_reg, i32 off, u32 size);
    bool typed_argument(u32 index, abi::ArgKind kind);
    Reg typed_result(abi::RetKind kind);
    bool may_ask_for_paths() const;
    bool load_symbol(u32 id);
    u16 pointer_flags(const Reg& base, const Field& field);
    // kernel_views.cpp
    bool load_map_struct(const Reg& base, u32 base_reg, i32 off, u32 size, bool sign, Reg& out);
    u32 cast_type(abi::HelperId helper);
    bool load_cast_socket(const Reg& base, u32 base_reg, i32 off, u32 size, bool sign, Reg& out);
    Reg context_object(std::string_view name);
    u32 operation_object(u32 type);
    bool operation_writes_to(const Reg& base, i32 off, u32 size);
    // kfuncs.cpp
    const abi::Kfunc* kfunc_at(u32 pc) const;  // null: no call of one that is known
    bool call_kfunc();
    bool kfunc_argument(u32 i);
    bool kfunc_number(u32 index, const btf::Parameter& parameter);
    bool kfunc_object(u32 index, u32 wanted);
    bool kfunc_effect();
    bool kfunc_result();
    bool kfunc_pointer(u32 target);
    bool is_context(std::string_view name) const;
    bool cast_context(const Reg& context);
    bool cast_read_only();
    static bool signed_number(const btf::Btf& btf, const btf::Type& type);
    void leave_rcu_section();
    bool may_sleep_here();
    bool sections_ended();
    // globals.cpp
    btf::Type global_function(u32 subprogram) const;
    bool has_tag(const btf::Type& function, u32 argument, std::string_view wanted) const;
    bool global_prototype(const btf::Type& function, btf::Type& prototype);
    bool global_argument(const btf::Type& function, u32 i, Reg& out);
    bool untrusted_argument(const btf::Type& object, u32 i, Reg& out);
    bool call_global(u32 subprogram, const btf::Type& function);
    bool moves_packets(u32 subprogram);
    static bool moves_packets(std::span<const isa::Insn> insns, const program::Flow& flow, u32 subprogram);
    bool begin_global(u32 subprogram);
    bool global_registers(const btf::Type& function);
    // extension.cpp
    bool begin_extension();
    bool walk();
    // dynptr.cpp
    bool object_slots(u32 index, u32 count, u32& frame, i64& at);
    bool make_object(u32 frame, i64 at, u32 count, Reg what);
    const Reg* find_object(u32 frame, i64 at, u32 count, Type type);
    void unmake_object(u32 frame, i64 at, u32 count);
    bool spoil_object(u32 frame, i64 at);
    void lose_slices(u32 id);
    const Reg* dynptr_at(u32 index);
    bool make_dynptr(u32 index, u32 kind, u16 flags, u32 id);
    Reg dynptr_memory(u32 size, bool read_only);
    bool dynptr_argument(u32 index, const btf::Parameter& parameter);
    u32 iterator_here();
    bool iterator_argument(u32 index, u32 type);
    bool next_element();
    bool interrupt_argument(u32 index);
    bool helper_dynptr(u32 index, abi::ArgKind kind);

    Reg& reg(u32 index) { return state_.frame().regs[index]; }
    const Reg& seen(u32 index) const { return state_.frame().regs[index]; }  // to look at
    bool readable(u32 index);                                                // has a value
    // A number that decides something here must be what it is whenever a state is compared with this path's.
    void mark(const Reg& scalar) {
        if (scalar.is_scalar()) values_.mark(scalar.id);
    }
    Reg unknown(const Number& value = Number::unknown()) { return Reg::number(value, values_.fresh()); }
    Reg constant(u64 value) { return Reg::number(Number::constant(value), values_.fresh()); }
    const isa::Insn& insn() const { return program_.insns[pc_]; }
    const isa::Form& form() const { return structure_.forms[pc_]; }

    const program::Program& program_;
    const Options& options_;
    const Structure& structure_;
    Report& report_;

    Arena& arena_;
    State state_;
    Values values_;
    Comparison compare_;
    Kept::Draft draft_;
    u32 pc_ = 0;
    u32 next_ = 0;                           // where the present step leads
    bool from_callback_ = false;             // arrived at a bpf_loop() from the end of its callback
    i32 parent_ = -1;                        // the last remembered state of this path
    i32 before_ = -1;                        // the one before the state that was remembered at the present instruction
    u32 iterator_ = 0;                       // whose next element is asked for at the present instruction
    u64 insns_since_ = 0, jumps_since_ = 0;  // walked since a state was remembered, on any path; calls are jumps
    Pile<Pending> pending_;
    std::size_t ended_ = 0;  // of these, whose step has ended
    Pile<Seen> seen_;
    std::vector<std::vector<Candidate>> seen_at_;  // by instruction
    std::size_t seen_bytes_ = 0;
    u32 next_id_ = 1;             // of nulls, references and activations
    std::vector<u32> stack_use_;  // by subprogram
    std::vector<u8> called_back_, async_;
    std::vector<std::optional<Fields>> fields_;                        // by map, as map_of() counts
    std::vector<std::pair<u32, std::unique_ptr<Fields>>> own_fields_;  // by type of the program's BTF
    i32 trod_ = -1;                                                    // the last step of this path in *trail
    u32 argument_ = 0;          // of the present helper call, that is looked at; 0: none
    std::vector<u32> globals_;  // global functions that are called, in the order in which they are judged

    // What the arguments of the present helper call have shown so far.
    struct Arguments {
        u32 map = 0;
        u32 memory = 0;  // the register before a size
        abi::ArgKind memory_kind{};
        u64 least = 0, most = 0;  // bytes, of the last size
        u64 allocate = 0;
        u32 function = 0;
        u32 released = 0;
        u32 reference = 0;   // that an argument lives by
        i32 lookup = 0;      // Reg::off of the timer
        bool timer = false;  // `map` is the timer's
        std::string_view text;
        bool has_text = false;
        bool in_packet = false;             // memory arguments may lie in the packet
        bool in_array = false;              // the array has an element of the key
        const ValueField* field = nullptr;  // the pointer that is exchanged
        bool field_in_map = false;          // ... of `map`
    } arguments_;
    std::optional<SafeMembers> safe_members_;
    // What the arguments of the present call of a kernel function have shown so far.
    struct KfuncArguments {
        const abi::Kfunc* row = nullptr;
        btf::Type prototype;
        u32 released = 0;
        u64 constant = 0;  // of an argument that has to be one
        u32 frame = 0, slots = 0;
        i64 at = 0;                         // of an iterator
        Reg root;                           // where the list or the tree lies
        const ValueField* field = nullptr;  // ... and what it is
        u32 inserted = 0;                   // the reference that goes into it
        u32 counted = 0;                    // the type of the object that gets another owner
        bool owning = false;                // by an owner of it
        u32 function = 0;
        const ValueField* deferred = nullptr;  // the work queue in a value of `map`
        u32 map = 0;
        i32 lookup = 0;
        std::optional<u64> buffer;  // bytes of memory that it returns
        bool read_only = false;
    } kfunc_;
    Reg dynptr_argument_;
    u32 percpu_argument_ = 0;       // the type of the variable that a helper was given
    bool percpu_own_ = false;       // ... of the program's BTF
    std::optional<u32> arena_map_;  // the program's arena
    bool thrown_ = false;           // the present path ends by an exception
    // What was looked for in BTF already: a kernel's has more than 100,000 types.
    std::vector<std::pair<std::string_view, u32>> kernel_structs_;
    std::vector<std::pair<u32, bool>> percpu_symbols_;
    std::vector<u32> argument_tags_;  // of the program's functions
    std::vector<i8> moves_packets_;   // by subprogram; -1: not known yet
};

// Whether the helper serves maps of that type, called by such a program.
bool map_fits(abi::HelperId helper, abi::MapType type, abi::ProgType program, abi::AttachType attach);
// In a diagnostic's argument that is a type: of the program's BTF, not the kernel's.
constexpr i64 own_type_argument = i64{1} << 32;

// Whether bpf_snprintf() takes the format with that many arguments.
bool valid_format(std::string_view format, u64 arguments);

}  // namespace anybpf::verifier
