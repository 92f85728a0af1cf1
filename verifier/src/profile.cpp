// SPDX-License-Identifier: Apache-2.0
// The judgement in its order: what the object is, what each instruction is, what the verifier found; the first cause
// counts. What the verifier of 6.18 proved to be dead is not looked at, unless the older one cannot know that it is.
#include "anybpf/verifier/profile.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "anybpf/base/text.hpp"
#include "anybpf/isa/decode.hpp"
#include "anybpf/program/flow.hpp"

namespace anybpf::verifier {
namespace {

using abi::Feature;
using abi::HelperId;
using abi::KernelVersion;

constexpr i32 poisoned_call = 0xbad2310;  // what libbpf makes of an instruction that it could not relocate

constexpr auto words = texts<[] {
    return std::to_array<std::string_view>({
        "none",
        "",
#define ANYBPF_CAUSE(name, answer, sentence) #name, sentence,
#include "anybpf/verifier/causes.def"
    });
}>();

constexpr Answer answers[] = {
    Answer::yes,
#define ANYBPF_CAUSE(name, answer, sentence) Answer::answer,
#include "anybpf/verifier/causes.def"
};

Profile because(Cause cause, std::string what = {}, std::string where = {}, KernelVersion since = {},
                std::optional<Pc> pc = {}) {
    return {answers[static_cast<std::size_t>(cause)], cause, std::move(what), std::move(where), since, pc};
}

Profile because(Cause cause, Feature feature, std::optional<Pc> pc = {}) {
    return because(cause, std::string(to_string(feature)), {}, abi::since(feature), pc);
}

// Refusals that speak of this verifier and not of the kernel's: the kernel may well accept.
bool is_own_limit(const Report& report) {
    for (const Finding own :
         {Finding::unsupported_program_type, Finding::unsupported_insn, Finding::helper_unavailable,
          Finding::typed_load_unsupported, Finding::tail_call_in_frame, Finding::packet_load_in_callback,
          Finding::kfunc_unsupported, Finding::no_kernel_types, Finding::extension_target})
        if (report.diagnostic.what == own) return true;
    return false;
}

bool is_helper_call(const isa::Form& form) {
    return form.kind == isa::Kind::call && form.call == isa::CallKind::helper;
}

std::optional<Feature> feature_of(isa::AtomicOp op) {
    switch (isa::row(op).form) {
        case isa::AtomicForm::modify:
            return op == isa::AtomicOp::add ? std::nullopt : std::optional(Feature::atomics);
        case isa::AtomicForm::fetch:
        case isa::AtomicForm::exchange:
        case isa::AtomicForm::compare_exchange:
            return Feature::atomic_fetch;
        case isa::AtomicForm::load:
        case isa::AtomicForm::store:
            return Feature::atomic_order;
    }
    return std::nullopt;
}

std::optional<Feature> feature_of(isa::Pseudo pseudo) {
    switch (pseudo) {
        case isa::Pseudo::imm64:
        case isa::Pseudo::map_fd:
        case isa::Pseudo::map_idx:  // so are those of every program here, whatever it was loaded with
            return std::nullopt;
        case isa::Pseudo::map_value:
        case isa::Pseudo::map_idx_value:
            return Feature::direct_values;
        case isa::Pseudo::btf_id:
            return Feature::kernel_variables;
        case isa::Pseudo::func:
            return Feature::function_addresses;
    }
    return std::nullopt;
}

std::optional<Feature> feature_of(const isa::Insn& insn, const isa::Form& form) {
    const bool swaps_always =
        form.swap == isa::SwapOp::bswap16 || form.swap == isa::SwapOp::bswap32 || form.swap == isa::SwapOp::bswap64;
    switch (form.kind) {
        case isa::Kind::alu:
            if (form.alu == isa::AluOp::sdiv || form.alu == isa::AluOp::smod) return Feature::cpu_v4_division;
            return std::nullopt;
        case isa::Kind::extend:
            return Feature::cpu_v4_moves;
        case isa::Kind::swap:
            return swaps_always ? std::optional(Feature::cpu_v4_swap) : std::nullopt;
        case isa::Kind::cast:
            return Feature::address_spaces;
        case isa::Kind::jump:
            return form.is64 ? std::nullopt : std::optional(Feature::jump32);
        case isa::Kind::gotol:
            return Feature::cpu_v4_goto;
        case isa::Kind::may_goto:
            return Feature::may_goto;
        case isa::Kind::call:
            if (form.call == isa::CallKind::kfunc) return insn.off == 0 ? Feature::kfuncs : Feature::module_kfuncs;
            return form.call == isa::CallKind::subprogram ? std::optional(Feature::subprograms) : std::nullopt;
        case isa::Kind::load_sx:
            return Feature::cpu_v4_loads;
        case isa::Kind::atomic:
            return feature_of(form.atomic);
        case isa::Kind::wide:
            return feature_of(form.pseudo);
        case isa::Kind::ja:
        case isa::Kind::gotox:  // no version that is judged has it, nor callx
        case isa::Kind::callx:
        case isa::Kind::exit:
        case isa::Kind::load:
        case isa::Kind::store_imm:
        case isa::Kind::store:
        case isa::Kind::packet_abs:
        case isa::Kind::packet_ind:
            return std::nullopt;
    }
    return std::nullopt;
}

class Judge {
  public:
    Judge(const Subject& subject, KernelVersion kernel)
        : subject_(subject),
          program_(subject.program),
          version_(kernel),
          seen_(subject.report != nullptr && subject.report->accepted) {}

    Profile judge();

  private:
    std::optional<Profile> kind_of_program() const;
    std::optional<Profile> maps() const;
    std::optional<Profile> kfuncs() const;
    std::optional<Profile> instruction(std::span<const isa::Insn> insns, u32 pc, bool linked);
    std::optional<Profile> helper(HelperId id, std::optional<Pc> pc, bool reached);
    std::optional<Profile> context(const isa::Insn& insn, const isa::Form& form, Pc pc) const;
    std::optional<Profile> instructions(std::span<const isa::Insn> insns, bool linked);
    std::optional<Profile> mixtures() const;
    std::optional<Profile> global_functions() const;
    std::optional<Profile> stack() const;
    std::optional<Profile> verdict() const;
    std::optional<Profile> walk() const;

    bool has(KernelVersion since) const { return version_ >= since; }
    bool has(Feature feature) const { return has(abi::since(feature)); }
    // Code is dead by the values of frozen maps, which an older verifier does not look at, or by what the kernel has.
    bool dead_may_live() const {
        return subject_.asks_kernel || (subject_.has_constants && !has(Feature::frozen_values));
    }
    bool reached(u32 pc) const {
        return !seen_ || pc >= subject_.report->proof.insns.size() || subject_.report->proof.insns[pc].reached;
    }
    // f(pc, instruction, form) of what is reached, until it says true.
    template <class F>
    bool any(F&& f) const {
        for (u32 pc = 0; pc < program_.insns.size(); pc += isa::slots(program_.insns[pc])) {
            const auto [form, defect] = isa::decode(program_.insns[pc]);
            if (!defect && reached(pc) && f(pc, program_.insns[pc], form)) return true;
        }
        return false;
    }
    bool loops() const;

    const Subject& subject_;
    const program::Program& program_;
    KernelVersion version_;
    bool seen_;                          // the verifier walked and accepted it: what is dead is known
    std::optional<Profile> callback_;    // where there are none yet
    std::optional<Profile> doubtful_;    // no, if the code is alive there
    std::optional<Profile> substitute_;  // libbpf's
};

std::optional<Profile> Judge::kind_of_program() const {
    const auto type = program_.type;
    const std::string name(to_string(type));
    if (const auto since = abi::since(type); !has(since)) return because(Cause::program_type, name, {}, since);
    // Of struct_ops it is the index of the member.
    const auto attach = program_.expected_attach_type;
    if (type != abi::ProgType::struct_ops && attach != abi::AttachType{})
        if (const auto since = abi::since(attach); !has(since))
            return because(Cause::attach_type, std::string(to_string(attach)), name, since);
    if (program_.sleepable)
        if (const auto since = abi::sleepable_since(type, attach); since != abi::never && !has(since))
            return because(Cause::sleepable, name, {}, since);
    if (subject_.fragments && !has(Feature::fragments)) return because(Cause::fragments, Feature::fragments);
    return std::nullopt;
}

std::optional<Profile> Judge::maps() const {
    for (const program::MapInfo& map : subject_.maps) {
        if (const auto since = abi::since(map.type); !has(since))
            return because(Cause::map_type, std::string(to_string(map.type)), map.name, since);
        if (const auto flags = abi::map_flags_since(map.flags); flags && !has(flags->since))
            return because(Cause::map_flags, std::string(flags->name), map.name, flags->since);
    }
    return std::nullopt;
}

std::optional<Profile> Judge::kfuncs() const {
    for (const std::string& name : subject_.kfuncs) {
        const auto since = abi::kfunc_since(name);
        if (since && !has(*since)) return because(Cause::kfunc, name, {}, *since);
        if (!since && !has(Feature::kfuncs)) return because(Cause::kfunc, name, {}, abi::since(Feature::kfuncs));
    }
    return std::nullopt;
}

std::optional<Profile> Judge::helper(HelperId id, std::optional<Pc> pc, bool reached) {
    const auto since = abi::since(id, program_.type);
    // A number that no version here has is the verifier's to refuse.
    if (since == abi::never || has(since)) return std::nullopt;
    const std::string name(abi::helper_name(static_cast<u32>(id)));
    // libbpf asks the kernel for the helper as such, and puts the other one in its place whatever the program type.
    const auto other = abi::stand_in(id);
    const auto* proto = other ? abi::find_helper(static_cast<u32>(*other)) : nullptr;
    if (proto != nullptr && !has(abi::since(id)) && may_call(proto->who, program_.type) && has(abi::since(*other))) {
        if (!substitute_) substitute_ = because(Cause::stand_in, name, {}, since, pc);
        return std::nullopt;
    }
    if (!reached && !dead_may_live()) return std::nullopt;
    const bool maybe_dead = !reached || subject_.asks_kernel || (!seen_ && subject_.has_constants);
    if (!maybe_dead) return because(Cause::helper, name, std::string(to_string(program_.type)), since, pc);
    if (!doubtful_) doubtful_ = because(Cause::perhaps_unused, "bpf_" + name + "()", {}, since, pc);
    return std::nullopt;
}

std::optional<Profile> Judge::context(const isa::Insn& insn, const isa::Form& form, Pc pc) const {
    const bool load = form.kind == isa::Kind::load || form.kind == isa::Kind::load_sx;
    const bool store = form.kind == isa::Kind::store || form.kind == isa::Kind::store_imm;
    if (!seen_ || (!load && !store) || pc.v >= subject_.report->proof.insns.size()) return std::nullopt;
    if (subject_.report->proof.insns[pc.v].region != program::Region::context) return std::nullopt;
    const auto field = abi::context_since(program_.type, insn.off, isa::bytes(form.width));
    if (!field || has(field->since)) return std::nullopt;
    return because(Cause::context_field, std::string(field->name), {}, field->since, pc);
}

std::optional<Profile> Judge::instruction(std::span<const isa::Insn> insns, u32 pc, bool linked) {
    const auto [form, defect] = isa::decode(insns[pc]);
    if (defect) return std::nullopt;  // the verifier's to refuse
    const std::optional<Pc> at = linked ? std::optional(Pc{pc}) : std::nullopt;
    const bool alive = !linked || reached(pc);
    // Before it walks, every verifier looks at every instruction, dead or not.
    // The helper that a callback is for says more than the callback.
    if (const auto feature = feature_of(insns[pc], form); feature && !has(*feature)) {
        if (*feature != Feature::function_addresses) return because(Cause::feature, *feature, at);
        if (!callback_) callback_ = because(Cause::feature, *feature, at);
    }
    if (is_helper_call(form)) return helper(static_cast<HelperId>(insns[pc].imm), at, alive);
    return alive && linked ? context(insns[pc], form, Pc{pc}) : std::nullopt;
}

std::optional<Profile> Judge::instructions(std::span<const isa::Insn> insns, bool linked) {
    for (u32 pc = 0; pc < insns.size(); pc += isa::slots(insns[pc]))
        if (auto found = instruction(insns, pc, linked)) return found;
    return std::nullopt;
}

std::optional<Profile> Judge::mixtures() const {
    if (subject_.report == nullptr) return std::nullopt;  // calls are not linked, and look like those of kfuncs
    const bool calls = any([&](u32, const isa::Insn&, const isa::Form& form) {
        return form.kind == isa::Kind::call && form.call == isa::CallKind::subprogram;
    });
    if (!calls) return std::nullopt;
    std::optional<Profile> found;
    any([&](u32 pc, const isa::Insn& insn, const isa::Form& form) {
        const bool tail_call = is_helper_call(form) && insn.imm == static_cast<i32>(HelperId::tail_call);
        const bool packet_load = form.kind == isa::Kind::packet_abs || form.kind == isa::Kind::packet_ind;
        if (!tail_call && !packet_load) return false;
        const Feature feature = tail_call ? Feature::tail_call_with_calls : Feature::packet_load_with_calls;
        if (!has(feature)) found = because(Cause::feature, feature, Pc{pc});
        return found.has_value();
    });
    return found;
}

// Whether an argument of that type is the context, for kernels that take no other pointer.
bool points_to_context(const btf::Btf& btf, const btf::Type& pointer, abi::ProgType type) {
    const auto target = btf.type(btf.skip_modifiers(pointer.target()));
    if (!target.is_composite())
        return abi::is_tracing(type) && target.kind == btf::Kind::int_;  // u64 *ctx of raw tracepoints
    for (const std::string_view context :
         {"__sk_buff", "xdp_md", "bpf_sock", "bpf_sock_addr", "bpf_sock_ops", "sk_msg_md", "pt_regs", "user_pt_regs",
          "bpf_perf_event_data", "bpf_raw_tracepoint_args", "bpf_cgroup_dev_ctx", "bpf_sysctl", "bpf_sockopt",
          "sk_reuseport_md", "bpf_sk_lookup"})
        if (target.name == context) return true;
    return false;
}

// Before 5.6 such a function is walked at each call, like a static one.
std::optional<Profile> Judge::global_functions() const {
    if (program_.btf == nullptr || !has(Feature::global_functions) || has(Feature::global_function_memory))
        return std::nullopt;
    const btf::Btf& btf = *program_.btf;
    for (std::size_t i = 1; i < program_.funcs.size(); ++i) {
        const auto& [pc, type_id] = program_.funcs[i];
        if (!btf.contains(type_id) || !reached(pc)) continue;
        const auto func = btf.type(type_id);
        if (func.kind != btf::Kind::func || btf::Btf::func_linkage(func) != btf::FuncLinkage::global) continue;
        const auto prototype = btf.type(func.target());
        if (prototype.kind != btf::Kind::func_proto) continue;
        for (u32 argument = 0; argument < prototype.vlen; ++argument) {
            const auto type = btf.type(btf.skip_modifiers(btf.parameter(prototype, argument).type));
            if (type.kind == btf::Kind::ptr && !points_to_context(btf, type, program_.type))
                return because(Cause::feature, Feature::global_function_memory, Pc{pc});
        }
    }
    return std::nullopt;
}

// Bytes of stack over the deepest chain of calls from a function, each frame rounded up to a multiple. Accepted
// programs don't recurse. known: what has been found, by function; 0 is not yet.
u32 chain_bytes(const program::Flow& flow, const program::Proof& proof, u32 function, u32 multiple,
                std::vector<u32>& known) {
    if (known[function] != 0) return known[function];
    const auto& frame = proof.subprograms[function];
    u32 deepest = 0;
    for (const program::Call& call : flow.calls) {
        const auto target = flow.starting_at(call.target);
        if (call.insn < frame.first || call.insn >= frame.last || !target || !proof.insns[call.insn].reached) continue;
        deepest = std::max(deepest, chain_bytes(flow, proof, *target, multiple, known));
    }
    return known[function] = (std::max(frame.stack_bytes, 1U) + multiple - 1) / multiple * multiple + deepest;
}

// Older verifiers round frames up to 32 bytes, newer ones to 16.
std::optional<Profile> Judge::stack() const {
    if (!seen_ || has(Feature::private_stacks)) return std::nullopt;
    const program::Flow flow = program::find_flow(program_.insns);
    const auto& proof = subject_.report->proof;
    if (proof.subprograms.size() != flow.starts.size()) return std::nullopt;
    const auto most = [&](u32 multiple) {
        std::vector<u32> known(proof.subprograms.size());
        return chain_bytes(flow, proof, 0, multiple, known);
    };
    if (most(16) > abi::stack_size) return because(Cause::feature, Feature::private_stacks);
    if (most(32) > abi::stack_size) return because(Cause::stack, Feature::private_stacks);
    return std::nullopt;
}

std::optional<Profile> Judge::verdict() const {
    const Report* report = subject_.report;
    if (report == nullptr) return because(Cause::not_walked, subject_.why_not_seen);
    if (report->accepted) return std::nullopt;
    const Pc pc = report->diagnostic.pc;
    if (report->diagnostic.what == Finding::unknown_helper && pc.v < program_.insns.size() &&
        program_.insns[pc.v].imm == poisoned_call)
        return because(Cause::relocation, {}, {}, {}, pc);
    const Cause cause = is_own_limit(*report) ? Cause::not_walked : Cause::refused;
    return because(cause, message(report->diagnostic, program_), {}, {}, pc);
}

// Whether control can come back to an instruction: a depth-first search for an edge to one that is still open. Calls
// don't count, for recursion is refused.
bool Judge::loops() const {
    enum class Mark : u8 { fresh, open, done };
    const auto& insns = program_.insns;
    std::vector<Mark> marks(insns.size(), Mark::fresh);
    struct Step {
        u32 pc, edge = 0;
    };
    std::vector<Step> path;
    for (const u32 start : program::find_flow(insns).starts) {
        if (!reached(start) || marks[start] != Mark::fresh) continue;
        path.push_back({start});
        marks[start] = Mark::open;
        while (!path.empty()) {
            Step& step = path.back();
            const u32 pc = step.pc;
            const u32 edge = step.edge++;
            if (edge == 2) {
                marks[pc] = Mark::done;
                path.pop_back();
                continue;
            }
            const auto form = isa::decode(insns[pc]).form;
            const bool goes_on = form.kind != isa::Kind::exit && form.kind != isa::Kind::ja &&
                                 form.kind != isa::Kind::gotol && form.kind != isa::Kind::gotox;
            std::optional<i64> next;
            if (edge == 0)
                next = program::jump_target(insns, pc);
            else if (goes_on)
                next = i64{pc} + isa::slots(insns[pc]);
            if (!next || *next < 0 || *next >= static_cast<i64>(insns.size())) continue;
            const auto to = static_cast<u32>(*next);
            if (marks[to] == Mark::open && reached(to)) return true;
            if (marks[to] != Mark::fresh || !reached(to)) continue;
            marks[to] = Mark::open;
            path.push_back({to});
        }
    }
    return false;
}

// Where the tables allow it and 6.18 accepts it: whether an older verifier, which knows less, does too.
std::optional<Profile> Judge::walk() const {
    if (version_ == abi::reference_kernel) return std::nullopt;
    const bool callbacks = any([](u32, const isa::Insn&, const isa::Form& form) {
        return form.kind == isa::Kind::wide && form.pseudo == isa::Pseudo::func;
    });
    bool dead = false;
    for (u32 pc = 0; pc < program_.insns.size(); pc += isa::slots(program_.insns[pc])) dead |= !reached(pc);
    if (dead && dead_may_live()) return because(Cause::unwalked);
    if (callbacks) return because(Cause::rounds, "callbacks");
    if (loops()) return because(Cause::rounds, "loops");
    if (subject_.report->processed > small_walk)
        return because(Cause::size, std::to_string(subject_.report->processed));
    if (has(Feature::bounds32)) return std::nullopt;
    const auto sums = [](u32, const isa::Insn&, const isa::Form& form) {
        return form.kind == isa::Kind::alu && form.is64 && form.by_register &&
               (form.alu == isa::AluOp::add || form.alu == isa::AluOp::sub);
    };
    const auto compares = [](u32, const isa::Insn&, const isa::Form& form) {
        return form.kind == isa::Kind::jump && !form.is64;
    };
    if (any(compares) && any(sums)) return because(Cause::bounds, Feature::bounds32);
    return std::nullopt;
}

Profile Judge::judge() {
    if (auto found = kind_of_program()) return *found;
    if (auto found = maps()) return *found;
    if (auto found = kfuncs()) return *found;
    if (auto found = instructions(program_.insns, true)) return *found;
    if (auto found = instructions(subject_.functions, false)) return *found;
    if (callback_) return *callback_;
    if (auto found = mixtures()) return *found;
    if (auto found = global_functions()) return *found;
    const auto deep = stack();
    if (deep && deep->answer == Answer::no) return *deep;
    const auto refusal = verdict();
    if (refusal && refusal->answer == Answer::no) return *refusal;
    if (doubtful_) return *doubtful_;
    if (version_ != abi::reference_kernel)
        for (const std::string& name : subject_.kfuncs)
            if (!abi::kfunc_since(name)) return because(Cause::unknown_kfunc, name);
    if (refusal) return *refusal;
    if (deep) return *deep;
    if (auto found = walk()) return *found;
    return substitute_ ? *substitute_ : Profile{};
}

}  // namespace

std::string_view to_string(Answer answer) {
    switch (answer) {
        case Answer::yes:
            return "yes";
        case Answer::no:
            return "no";
        case Answer::unknown:
            break;
    }
    return "unknown";
}

std::string_view to_string(Cause cause) { return words[2 * static_cast<std::size_t>(cause)]; }

Profile judge(const Subject& subject, KernelVersion kernel) { return Judge(subject, kernel).judge(); }

std::string explain(const Profile& profile) {
    return fmt::format(fmt::runtime(words[2 * static_cast<std::size_t>(profile.cause) + 1]),
                       fmt::arg("what", profile.what), fmt::arg("where", profile.where),
                       fmt::arg("since", to_string(profile.since)));
}

std::vector<BtfNeed> btf_needs(const btf::Btf& btf) {
    std::vector<BtfNeed> needs;
    static constexpr BtfNeed kinds[] = {
#define ANYBPF_BTF_KIND_SINCE(kind, major, minor) {btf::Kind::kind, {major, minor}},
#include "anybpf/abi/since.def"
    };
    for (const BtfNeed& need : kinds) {
        if (need.since <= abi::long_term_kernels.front()) continue;
        for (u32 id = 1; id < btf.count(); ++id) {
            if (btf.type(id).kind != need.kind) continue;
            needs.push_back(need);
            break;
        }
    }
    return needs;
}

}  // namespace anybpf::verifier
