// SPDX-License-Identifier: Apache-2.0
#include "anybpf/engine/lower.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>

#include "anybpf/abi/context.hpp"
#include "anybpf/abi/helper.hpp"
#include "anybpf/abi/run.hpp"
#include "anybpf/engine/op.hpp"
#include "anybpf/isa/decode.hpp"
#include "fold.hpp"

namespace anybpf::engine {
namespace {

using isa::Form;
using isa::Insn;
using isa::Kind;
using program::Lowered;
using program::LoweredInsn;

// The four ops of one operation lie side by side: 64 bits with immediate, with register, 32 bits likewise.
constexpr Op variant(Op first, const Form& form) {
    return static_cast<Op>(static_cast<u16>(first) + (form.is64 ? 0 : 2) + (form.by_register ? 1 : 0));
}

Op alu_op(const Form& form) {
    switch (form.alu) {
#define ANYBPF_ALU(name, code, off, symbol, mnemonic, shape) \
    case isa::AluOp::name:                                   \
        return variant(Op::name##64_imm, form);
#include "anybpf/isa/isa.def"
    }
    return {};
}
Op jump_op(const Form& form) {
    switch (form.jump) {
#define ANYBPF_JUMP(name, code, symbol, mnemonic) \
    case isa::JumpOp::name:                       \
        return variant(Op::name##64_imm, form);
#include "anybpf/isa/isa.def"
    }
    return {};
}
Op extend_op(const Form& form) {
    switch (form.extend) {
#define ANYBPF_EXTEND(name, bits, text, narrow) \
    case isa::ExtendOp::name:                   \
        return form.is64 ? Op::name##_64 : Op::name##_32;
#include "anybpf/isa/isa.def"
    }
    return {};
}
Op swap_op(const Form& form) {
    switch (form.swap) {
#define ANYBPF_SWAP(name, code, bits, text) \
    case isa::SwapOp::name:                 \
        return Op::name;
#include "anybpf/isa/isa.def"
    }
    return {};
}
struct MemoryOps {
    Op load, load_sx, store_imm, store, acquire, release;
};
MemoryOps memory_ops(isa::Width width) {
    switch (width) {
#define ANYBPF_WIDTH(name, code, bytes, text, suffix)                            \
    case isa::Width::name:                                                       \
        return {Op::load_##name,  Op::load_sx_##name,      Op::store_imm_##name, \
                Op::store_##name, Op::load_acquire_##name, Op::store_release_##name};
#include "anybpf/isa/isa.def"
    }
    return {};
}
Op packet_op(const Form& form) {
    const bool abs = form.kind == Kind::packet_abs;
    switch (form.width) {
        case isa::Width::word:
            return abs ? Op::packet_abs_word : Op::packet_ind_word;
        case isa::Width::half:
            return abs ? Op::packet_abs_half : Op::packet_ind_half;
        case isa::Width::byte:
            return abs ? Op::packet_abs_byte : Op::packet_ind_byte;
        case isa::Width::dword:
            break;  // does not exist
    }
    return {};
}
Op atomic_op(const Form& form) {
    switch (form.atomic) {
#define ANYBPF_RMW(name)      \
    case isa::AtomicOp::name: \
        return form.is64 ? Op::atomic_##name##_dword : Op::atomic_##name##_word;
        ANYBPF_RMW(add)
        ANYBPF_RMW(or_)
        ANYBPF_RMW(and_)
        ANYBPF_RMW(xor_)
        ANYBPF_RMW(fetch_add)
        ANYBPF_RMW(fetch_or)
        ANYBPF_RMW(fetch_and)
        ANYBPF_RMW(fetch_xor)
        ANYBPF_RMW(xchg)
        ANYBPF_RMW(cmpxchg)
#undef ANYBPF_RMW
        case isa::AtomicOp::load_acquire:
            return memory_ops(form.width).acquire;
        case isa::AtomicOp::store_release:
            return memory_ops(form.width).release;
    }
    return {};
}

class Lowering {
  public:
    // Of what nobody verified: nothing is known but the instructions.
    Lowering(std::span<const Insn> insns, const program::Proof& proof, u32 map_count)
        : insns_(insns), proof_(proof), map_count_(map_count) {}
    Lowering(const program::Program& program, const program::Proof& proof)
        : insns_(program.insns),
          proof_(proof),
          map_count_(static_cast<u32>(program.maps.size())),
          contracts_(true),
          type_(program.type),
          attach_(program.expected_attach_type) {
        map_types_.reserve(program.maps.size());
        for (const program::MapInfo& map : program.maps) map_types_.push_back(map.type);
    }
    Result<Lowered> run();

  private:
    enum class Fate : u8 { dropped, kept, always_taken };

    bool reached(i64 pc) const {
        return pc >= 0 && pc < static_cast<i64>(insns_.size()) && proof_.insns[static_cast<u32>(pc)].reached;
    }
    // An instruction that exists and that no path reaches. What does not exist is not dead: it is an error.
    bool dead(i64 pc) const {
        return pc >= 0 && pc < static_cast<i64>(insns_.size()) && starts_[static_cast<u32>(pc)] && !reached(pc);
    }
    i64 distance_target(u32 pc, i64 distance) const { return static_cast<i64>(pc) + 1 + distance; }
    Fate fate(u32 pc, const Form& form) const;
    // The operation that is all that a helper does.
    [[nodiscard]] std::optional<Op> cheap_helper(u32 id) const {
        if (!contracts_) return {};
        if (id == static_cast<u32>(abi::HelperId::get_smp_processor_id)) return Op::get_vcpu;
        if (id == static_cast<u32>(abi::HelperId::get_current_pid_tgid)) return Op::get_pid_tgid;
        return {};
    }
    void find_targets();
    void find_known_arguments();
    [[nodiscard]] bool is_array(u32 map) const {
        return map < map_types_.size() &&
               (map_types_[map] == abi::MapType::array || map_types_[map] == abi::MapType::percpu_array);
    }
    [[nodiscard]] Result<> check_means() const;
    [[nodiscard]] bool loads_kernel_address(u32 pc, const Form& form) const;
    Result<> number();
    Result<i32> target(u32 pc, i64 distance) const;
    Result<u32> subprogram(u32 pc, i64 distance) const;
    Result<LoweredInsn> lower(u32 pc, const Form& form);
    [[nodiscard]] std::optional<i32> packet_address(u32 pc, const Form& form) const;
    [[nodiscard]] bool touches_sk_buff(u32 pc) const;
    [[nodiscard]] isa::Width kept_width(u32 pc, const Form& form) const;
    [[nodiscard]] i16 kept_offset(u32 pc, const Form& form) const;
    Result<LoweredInsn> lower_wide(u32 pc, const Form& form, LoweredInsn out);
    Result<LoweredInsn> lower_call(u32 pc, const Form& form, LoweredInsn out) const;
    tl::unexpected<Error> refuse(u32 pc, std::string_view what) const {
        return fail(Errc::unsupported, fmt::format("instruction {}: {}", pc, what));
    }

    std::span<const Insn> insns_;
    const program::Proof& proof_;
    u32 map_count_;
    bool contracts_ = false;
    abi::ProgType type_{};
    abi::AttachType attach_{};
    std::vector<bool> starts_;  // of instructions: false for the second half of a wide one
    std::vector<abi::MapType> map_types_;
    std::vector<bool> targets_;                // of jumps, and the starts of subprograms
    std::vector<std::optional<u32>> lookups_;  // calls that look up an element of the array with this index
    std::vector<std::optional<u32>> loops_;    // calls of bpf_loop with the subprogram that this instruction loads
    std::vector<bool> unused_;                 // loads for such calls alone
    std::vector<Fate> fates_;
    std::vector<i32> place_;  // of each instruction in the result; of a dropped one, that of its successor; -1: none
    Lowered out_;
};

// A conditional jump with a side that no path takes is no condition.
Lowering::Fate Lowering::fate(u32 pc, const Form& form) const {
    if (form.kind != Kind::jump && form.kind != Kind::may_goto) return Fate::kept;
    if (dead(distance_target(pc, insns_[pc].off))) return Fate::dropped;
    if (dead(pc + 1)) return Fate::always_taken;
    return Fate::kept;
}

void Lowering::find_targets() {
    targets_.assign(insns_.size(), false);
    const auto add = [&](i64 target) {
        if (target >= 0 && target < static_cast<i64>(insns_.size())) targets_[static_cast<u32>(target)] = true;
    };
    for (const program::Subprogram& sub : proof_.subprograms) add(sub.first);
    for (u32 pc = 0; pc < insns_.size(); pc += isa::slots(insns_[pc])) {
        const Kind kind = isa::decode(insns_[pc]).form.kind;
        if (kind == Kind::jump || kind == Kind::ja || kind == Kind::may_goto) add(distance_target(pc, insns_[pc].off));
        if (kind == Kind::gotol) add(distance_target(pc, insns_[pc].imm));
    }
}

// Finds calls that always get the same array to look into, or the same subprogram to loop over: those with the load of
// it before them on the same straight line. The load goes, too, when nothing but the call looks at it.
void Lowering::find_known_arguments() {
    lookups_.assign(insns_.size(), {});
    loops_.assign(insns_.size(), {});
    unused_.assign(insns_.size(), false);
    if (!contracts_) return;
    find_targets();
    struct Load {
        u32 pc;
        bool used;
    };
    std::optional<Load> map, function;  // in r1 and r2
    const auto calls = [](const Insn& insn, const Form& form, abi::HelperId helper) {
        return form.call == isa::CallKind::helper && static_cast<u32>(insn.imm) == static_cast<u32>(helper);
    };
    for (u32 pc = 0; pc < insns_.size(); pc += isa::slots(insns_[pc])) {
        const Insn& insn = insns_[pc];
        const Form form = isa::decode(insn).form;
        if (targets_[pc] || !reached(pc)) map.reset(), function.reset();
        if (form.kind == Kind::call) {
            if (calls(insn, form, abi::HelperId::map_lookup_elem) && map) {
                if (const auto index = static_cast<u32>(insns_[map->pc].imm); is_array(index)) {
                    lookups_[pc] = index;
                    unused_[map->pc] = !map->used;
                }
            }
            if (calls(insn, form, abi::HelperId::loop) && function &&
                !dead(distance_target(function->pc, insns_[function->pc].imm))) {
                loops_[pc] = function->pc;
                unused_[function->pc] = !function->used;
            }
        }
        if (form.kind == Kind::call || form.kind == Kind::callx) {
            map.reset();
            function.reset();
            continue;
        }
        const bool looks = form.kind == Kind::jump || form.kind == Kind::may_goto;
        const auto follow = [&](std::optional<Load>& load, u8 reg, isa::Pseudo loads) {
            if (form.kind == Kind::wide && form.pseudo == loads && insn.dst == reg)
                load = Load{pc, false};
            else if (!looks && insn.dst == reg)
                load.reset();
            else if (load && (looks || insn.src == reg))
                load->used = true;
        };
        follow(map, 1, isa::Pseudo::map_idx);
        follow(function, 2, isa::Pseudo::func);
    }
}

// Decides which instructions stay, and where.
Result<> Lowering::number() {
    if (proof_.insns.size() != insns_.size()) return fail(Errc::invalid_argument, "the proof is of another program");
    for (u32 pc = 0; pc < insns_.size(); pc += isa::slots(insns_[pc]))
        if (const auto defect = contracts_ ? isa::kernel_defect_at(insns_, pc) : isa::defect_at(insns_, pc);
            defect && proof_.insns[pc].reached)
            return refuse(pc, isa::to_string(*defect));
    fates_.assign(insns_.size(), Fate::dropped);
    place_.assign(insns_.size(), -1);
    starts_.assign(insns_.size(), false);
    for (u32 pc = 0; pc < insns_.size(); pc += isa::slots(insns_[pc])) starts_[pc] = true;
    find_known_arguments();
    i32 next = 0;
    for (u32 pc = 0; pc < insns_.size(); pc += isa::slots(insns_[pc])) {
        if (!proof_.insns[pc].reached) continue;
        place_[pc] = next;
        fates_[pc] = unused_[pc] ? Fate::dropped : fate(pc, isa::decode(insns_[pc]).form);
        if (fates_[pc] != Fate::dropped) ++next;
    }
    for (const program::Subprogram& sub : proof_.subprograms) {
        if (!reached(sub.first)) continue;
        if (place_[sub.first] < 0) return refuse(sub.first, "a subprogram starts inside an instruction");
        out_.subprograms.push_back({static_cast<u32>(place_[sub.first]), (sub.stack_bytes + 7) / 8 * 8});
    }
    if (next == 0 || out_.subprograms.empty() || out_.subprograms[0].first != 0)
        return fail(Errc::invalid_argument, "the program has no entry");
    return {};
}

Result<i32> Lowering::target(u32 pc, i64 distance) const {
    const i64 to = distance_target(pc, distance);
    if (!reached(to) || place_[static_cast<u32>(to)] < 0)
        return refuse(pc, fmt::format("{} is no instruction to jump to", to));
    return place_[static_cast<u32>(to)];
}

// The index of the subprogram that starts at the distance.
Result<u32> Lowering::subprogram(u32 pc, i64 distance) const {
    const auto first = static_cast<u32>(ANYBPF_TRY(target(pc, distance)));
    const auto found = std::ranges::lower_bound(out_.subprograms, first, {}, &program::LoweredSubprogram::first);
    if (found == out_.subprograms.end() || found->first != first)
        return refuse(pc, "the call does not lead to the start of a subprogram");
    return static_cast<u32>(found - out_.subprograms.begin());
}

Result<LoweredInsn> Lowering::lower_wide(u32 pc, const Form& form, LoweredInsn out) {
    const Insn& first = insns_[pc];
    const Insn& second = insns_[pc + 1];
    out.op = static_cast<u16>(Op::mov64_imm);
    out.src = 0;
    out.imm = 0;
    const auto at = static_cast<u32>(out_.insns.size());
    const auto map = static_cast<u32>(first.imm);
    switch (form.pseudo) {
        case isa::Pseudo::imm64:
            out.imm = static_cast<i64>(isa::wide_imm(first, second));
            return out;
        case isa::Pseudo::func:
            // A callback that no path calls, as of bpf_loop(0, ...), is gone: any number will do.
            if (dead(distance_target(pc, first.imm))) return out;
            out.imm = static_cast<i64>(function_value(ANYBPF_TRY(subprogram(pc, first.imm))));
            return out;
        case isa::Pseudo::map_idx:
        case isa::Pseudo::map_idx_value: {
            const bool value = form.pseudo == isa::Pseudo::map_idx_value;
            if (map >= map_count_) return refuse(pc, fmt::format("the program has no map {}", map));
            out_.map_uses.push_back({at, map, value ? static_cast<u32>(second.imm) : 0, value ? 1U : 0U});
            return out;
        }
        case isa::Pseudo::map_fd:
        case isa::Pseudo::map_value:
            break;
        case isa::Pseudo::btf_id:
            return refuse(pc, "there are no variables of the kernel's here");
    }
    return refuse(pc, "a map or variable reference is not resolved");
}

Result<LoweredInsn> Lowering::lower_call(u32 pc, const Form& form, LoweredInsn out) const {
    const Insn& insn = insns_[pc];
    out.src = 0;
    switch (form.call) {
        case isa::CallKind::helper: {
            const auto id = static_cast<u32>(insn.imm);
            if (const std::optional<u32>& map = lookups_[pc]) {
                out.op = static_cast<u16>(Op::lookup_array);
                out.src = 2;
                out.imm = *map;
                return out;
            }
            if (const std::optional<u32>& load = loops_[pc]) {
                out.op = static_cast<u16>(Op::loop);
                out.imm = out_.subprograms[ANYBPF_TRY(subprogram(*load, insns_[*load].imm))].first;
                return out;
            }
            if (const auto cheap = cheap_helper(id)) {
                out.op = static_cast<u16>(*cheap);
                out.imm = 0;
                return out;
            }
            if (id == 0 || id >= abi::helper_count) return refuse(pc, fmt::format("there is no helper {}", id));
            if (contracts_ && !abi::provides_helper(id))
                return refuse(pc, fmt::format("helper {}#{} is not available here", abi::helper_name(id), id));
            const bool tail = id == static_cast<u32>(abi::HelperId::tail_call);
            out.op = static_cast<u16>(tail ? Op::tail_call : Op::call_helper);
            out.imm = id;
            return out;
        }
        case isa::CallKind::subprogram:
            out.op = static_cast<u16>(Op::call_local);
            out.imm = out_.subprograms[ANYBPF_TRY(subprogram(pc, insn.imm))].first;
            return out;
        case isa::CallKind::kfunc:
            break;
    }
    return refuse(pc, "kernel functions cannot be called");
}

// Where a load of 32 bits that yields an address of the packet finds it: the context has it as 64 bits, behind what the
// kernel's struct has.
std::optional<i32> Lowering::packet_address(u32 pc, const Form& form) const {
    const auto first = abi::packet_addresses_at(type_);
    if (!first || proof_.insns[pc].region != program::Region::context) return std::nullopt;
    const auto yields = abi::context_load(type_, attach_, insns_[pc].off, isa::bytes(form.width));
    using Y = abi::Yield;
    const auto at = [&](std::size_t field) { return static_cast<i32>(*first + field); };
    if (yields == Y::packet) return at(offsetof(abi::PacketAddresses, data));
    if (yields == Y::packet_end) return at(offsetof(abi::PacketAddresses, data_end));
    if (yields == Y::packet_meta) return at(offsetof(abi::PacketAddresses, data_meta));
    return std::nullopt;
}

// Some words of struct __sk_buff are kept by Linux as fewer bytes: how many, at this offset; 4 elsewhere.
constexpr std::size_t kept_bytes(std::size_t field) {
    if (field == offsetof(abi::SkBuff, pkt_type)) return 1;
    for (const auto one :
         {offsetof(abi::SkBuff, queue_mapping), offsetof(abi::SkBuff, protocol), offsetof(abi::SkBuff, vlan_tci),
          offsetof(abi::SkBuff, vlan_proto), offsetof(abi::SkBuff, tc_index), offsetof(abi::SkBuff, tc_classid),
          offsetof(abi::SkBuff, gso_segs), offsetof(abi::SkBuff, gso_size)})
        if (field == one) return 2;
    return 4;
}

bool Lowering::touches_sk_buff(u32 pc) const {
    return proof_.insns[pc].region == program::Region::context &&
           (type_ == abi::ProgType::socket_filter ||
            (type_ != abi::ProgType::xdp && abi::packet_addresses_at(type_).has_value()));
}

// Of a store to it: no more than Linux keeps.
isa::Width Lowering::kept_width(u32 pc, const Form& form) const {
    if (touches_sk_buff(pc) && form.width == isa::Width::word &&
        kept_bytes(static_cast<std::size_t>(insns_[pc].off)) == 2)
        return isa::Width::half;
    return form.width;
}

// Of a load from it: where only a part of the word is asked for, Linux looks for it in what it keeps, and where that is
// no more than the part, gives all of it.
i16 Lowering::kept_offset(u32 pc, const Form& form) const {
    const auto off = static_cast<std::size_t>(insns_[pc].off), field = off / 4 * 4;
    if (touches_sk_buff(pc) && isa::bytes(form.width) < 4 && kept_bytes(field) <= isa::bytes(form.width))
        return static_cast<i16>(field);
    return insns_[pc].off;
}

Result<LoweredInsn> Lowering::lower(u32 pc, const Form& form) {
    const Insn& insn = insns_[pc];
    if (proof_.insns[pc].region == program::Region::btf_object)
        return refuse(pc, "it reads an object of the kernel's, and there is none here");
    LoweredInsn out{.op = 0, .dst = insn.dst, .src = insn.src, .off = insn.off, .imm = insn.imm};
    const auto with = [&](Op op) {
        out.op = static_cast<u16>(op);
        return out;
    };
    switch (form.kind) {
        case Kind::alu:
            out.off = 0;  // signed division's mark is in the op
            return with(alu_op(form));
        case Kind::extend:
            out.off = 0;
            return with(extend_op(form));
        case Kind::swap:
            out.imm = 0;
            return with(swap_op(form));
        case Kind::jump:
            out.off = ANYBPF_TRY(target(pc, insn.off));
            return with(fates_[pc] == Fate::always_taken ? Op::jump : jump_op(form));
        case Kind::ja:
            out.off = ANYBPF_TRY(target(pc, insn.off));
            return with(Op::jump);
        case Kind::gotol:
            out.off = ANYBPF_TRY(target(pc, insn.imm));
            out.imm = 0;
            return with(Op::jump);
        case Kind::may_goto:
            out.off = ANYBPF_TRY(target(pc, insn.off));
            return with(fates_[pc] == Fate::always_taken ? Op::jump : Op::may_goto);
        case Kind::call:
            return lower_call(pc, form, out);
        case Kind::callx:
            return with(Op::callx);
        case Kind::exit:
            return with(Op::exit);
        case Kind::load:
            if (loads_kernel_address(pc, form))
                return refuse(pc, fmt::format("the kernel's object at byte {} of the context is not here", insn.off));
            if (const auto address = packet_address(pc, form)) {
                out.off = *address;
                return with(Op::load_dword);
            }
            out.off = kept_offset(pc, form);
            return with(memory_ops(form.width).load);
        case Kind::load_sx:
            return with(memory_ops(form.width).load_sx);
        case Kind::store_imm:
            return with(memory_ops(kept_width(pc, form)).store_imm);
        case Kind::store:
            return with(memory_ops(kept_width(pc, form)).store);
        case Kind::atomic:
            out.imm = 0;
            return with(atomic_op(form));
        case Kind::wide:
            return lower_wide(pc, form, out);
        case Kind::packet_abs:
        case Kind::packet_ind:
            return with(packet_op(form));
        case Kind::cast:
            return refuse(pc, "address space casts (addr_space_cast) are not supported: there are no arena maps");
        case Kind::gotox:
            return refuse(pc, "indirect jumps (gotox) are not supported");
    }
    return refuse(pc, "unknown instruction");
}

// What the verifier lets pass, and nothing here can do.
Result<> Lowering::check_means() const {
    if (!contracts_) return {};
    using M = abi::MapType;
    for (const M type : map_types_) {
        const auto is = [&](auto... types) { return ((type == types) || ...); };
        if (!is(M::array, M::percpu_array, M::hash, M::percpu_hash, M::prog_array, M::perf_event_array, M::ringbuf))
            return fail(Errc::unsupported, fmt::format("maps of type {} hold nothing", abi::to_string(type)));
    }
    return {};
}

// The program would see an address of Linux.
bool Lowering::loads_kernel_address(u32 pc, const Form& form) const {
    if (!contracts_ || proof_.insns[pc].region != program::Region::context) return false;
    const auto yields = abi::context_load(type_, attach_, insns_[pc].off, isa::bytes(form.width));
    return yields && abi::is_kernel_address(*yields);
}

Result<Lowered> Lowering::run() {
    ANYBPF_TRY(check_means());
    ANYBPF_TRY(number());
    for (u32 pc = 0; pc < insns_.size(); pc += isa::slots(insns_[pc]))
        if (fates_[pc] != Fate::dropped) out_.insns.push_back(ANYBPF_TRY(lower(pc, isa::decode(insns_[pc]).form)));
    const Op last{out_.insns.back().op};
    if (last != Op::exit && last != Op::jump)
        return fail(Errc::unsupported, "the last instruction is neither exit nor goto");
    out_.proved = contracts_;
    return std::move(out_);
}

}  // namespace

std::string_view to_string(Op op) {
    switch (op) {
#define ANYBPF_OP(name, index) \
    case Op::name:             \
        return #name;
#include "anybpf/engine/ops.def"
    }
    return {};
}

// Types that run here. (Of programs that were never verified, nobody knows the type.)
bool runs_here(abi::ProgType type) {
    using P = abi::ProgType;
    for (const P one : {P::unspec, P::socket_filter, P::kprobe, P::tracepoint, P::raw_tracepoint, P::perf_event, P::xdp,
                        P::sched_cls, P::sched_act, P::cgroup_skb, P::lwt_in, P::lwt_out, P::lwt_xmit})
        if (type == one) return true;
    return false;
}

Result<Lowered> lower(const program::Program& program, const program::Proof& proof, Constants constants) {
    if (!runs_here(program.type))
        return fail(Errc::unsupported,
                    fmt::format("programs of type {} cannot run here", abi::to_string(program.type)));
    auto lowered = ANYBPF_TRY(Lowering(program, proof).run());
    if (constants == Constants::folded) fold(lowered, program.maps);
    return lowered;
}

Result<Lowered> lower_unverified(std::span<const Insn> insns, u32 map_count) {
    program::Proof proof;
    proof.insns.assign(insns.size(), {.reached = true});
    std::set<u32> starts = {0};
    for (u32 pc = 0; pc < insns.size(); pc += isa::slots(insns[pc])) {
        const isa::Decoded decoded = isa::decode(insns[pc]);
        if (decoded.defect) break;  // reported by lower
        if (decoded.form.kind == Kind::wide && pc + 1 < insns.size()) proof.insns[pc + 1].reached = false;
        const bool calls = decoded.form.kind == Kind::call && decoded.form.call == isa::CallKind::subprogram;
        const bool refers = decoded.form.kind == Kind::wide && decoded.form.pseudo == isa::Pseudo::func;
        const i64 target = static_cast<i64>(pc) + 1 + insns[pc].imm;
        if ((calls || refers) && target >= 0 && target < static_cast<i64>(insns.size()))
            starts.insert(static_cast<u32>(target));
    }
    for (const u32 start : starts) {
        const auto next = starts.upper_bound(start);
        const u32 last = next == starts.end() ? static_cast<u32>(insns.size()) : *next;
        if (start < insns.size() && proof.insns[start].reached)
            proof.subprograms.push_back(
                {.first = start, .last = last, .stack_bytes = abi::stack_size, .is_callback = false});
    }
    return Lowering(insns, proof, map_count).run();
}

}  // namespace anybpf::engine
