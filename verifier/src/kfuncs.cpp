// SPDX-License-Identifier: Apache-2.0
// Calls of the kernel's functions (kfuncs): what the kernel's BTF says of their arguments, by type and by the endings
// of the arguments' names, and what abi/kfuncs.def says of the call.
#include <algorithm>
#include <string>

#include "walker.hpp"

namespace anybpf::verifier {

using abi::ProgType;
using btf::Kind;
namespace kfunc = abi::kfunc;

namespace {

constexpr u64 max_size = u64{1} << 29;

bool ends(const btf::Parameter& parameter, std::string_view suffix) { return parameter.name.ends_with(suffix); }
bool is_size(const btf::Parameter& parameter) { return ends(parameter, "__sz") || ends(parameter, "__szk"); }

// What a program's context is inside of the kernel.
std::string_view kernel_context(ProgType type) {
    using P = ProgType;
    const auto one_of = [&](auto... types) { return ((type == types) || ...); };
    if (one_of(P::socket_filter, P::sched_cls, P::sched_act, P::cgroup_skb, P::lwt_in, P::lwt_out, P::lwt_xmit,
               P::lwt_seg6local, P::sk_skb))
        return "sk_buff";
    if (type == P::xdp) return "xdp_buff";
    if (type == P::sock_ops) return "bpf_sock_ops_kern";
    if (type == P::cgroup_sock_addr) return "bpf_sock_addr_kern";
    if (type == P::cgroup_sock) return "sock";
    if (type == P::cgroup_sysctl) return "bpf_sysctl_kern";
    if (type == P::cgroup_sockopt) return "bpf_sockopt_kern";
    if (type == P::kprobe) return "pt_regs";
    if (type == P::perf_event) return "bpf_perf_event_data_kern";
    return "";
}

// The struct that programs of the type see at their context's address.
std::string_view program_context(ProgType type) {
    const std::string_view inside = kernel_context(type);
    if (inside == "sk_buff") return "__sk_buff";
    if (inside == "xdp_buff") return "xdp_md";
    return inside;
}

// Structs that the kernel passes for one another: programs' names, and its own.
bool same_projection(std::string_view a, std::string_view b) {
    const auto is = [&](std::string_view x, std::string_view y) { return (a == x && b == y) || (a == y && b == x); };
    return is("__sk_buff", "sk_buff") || is("xdp_md", "xdp_buff");
}

}  // namespace

const abi::Kfunc* Walker::kfunc_at(u32 pc) const {
    const isa::Insn& call = program_.insns[pc];
    const isa::Form& form = structure_.forms[pc];
    if (form.kind != isa::Kind::call || form.call != isa::CallKind::kfunc) return nullptr;
    const auto id = static_cast<u32>(call.imm);
    if (program_.kernel_btf == nullptr || call.off != 0 || !program_.kernel_btf->contains(id)) return nullptr;
    const btf::Type type = program_.kernel_btf->type(id);
    return type.kind == Kind::func ? abi::find_kfunc(type.name) : nullptr;
}

// check_kfunc_call() of Linux 6.18.
bool Walker::call_kfunc() {
    const auto id = static_cast<u32>(insn().imm);
    const abi::Kfunc* row = kfunc_at(pc_);
    if (row == nullptr) return fail(Finding::unknown_kfunc, id);
    if (!program_.gpl_compatible) return fail(Finding::kfunc_gpl_only, id);
    if (!abi::may_call(row->who, program_.type, program_.expected_attach_type))
        return fail(Finding::kfunc_program_type, id, static_cast<i64>(program_.type));
    if (row->name.view().starts_with("bpf_xdp_metadata_")) return fail(Finding::kfunc_device, id);
    if (row->has(kfunc::sleepable)) {
        if (!sleepable()) return fail(Finding::kfunc_sleepable, id);
        if (!may_sleep_here()) return false;
    }
    if (row->has(kfunc::rcu_protected) && !in_rcu_section()) return fail(Finding::kfunc_needs_rcu, id);

    const btf::Btf& btf = *program_.kernel_btf;
    const btf::Type prototype = btf.type(btf.type(id).target());
    kfunc_ = {};
    kfunc_.row = row;
    kfunc_.prototype = prototype;
    if (state_.lock.held && !allowed_under_lock()) return fail(Finding::lock_held_kfunc, id, state_.lock.insn);
    const bool locks = row->name.view().starts_with("bpf_res_spin_lock");
    if (locks && !lock_failure()) return false;
    if (prototype.vlen > 5) return fail(Finding::unknown_kfunc, id);
    for (u32 i = 0; i < prototype.vlen; ++i)
        if (!kfunc_argument(i)) return false;
    if (row->has(kfunc::release) && kfunc_.released == 0) return fail(Finding::kfunc_release, id);
    if (row->name == "bpf_throw") return throw_exception();
    if (row->name == "bpf_rbtree_add_impl" && !call_less()) return false;
    return kfunc_effect() && kfunc_result();
}

// check_kfunc_args() of Linux 6.18.
bool Walker::kfunc_argument(u32 i) {
    const btf::Btf& btf = *program_.kernel_btf;
    const btf::Type& prototype = kfunc_.prototype;
    const abi::Kfunc& row = *kfunc_.row;
    const btf::Parameter parameter = btf.parameter(prototype, i);
    const u32 index = i + 1;
    if (ends(parameter, "__ign") || ends(parameter, "__prog")) return true;
    if (!readable(index)) return false;
    const Reg at = reg(index);
    const btf::Type type = btf.type(btf.skip_modifiers(parameter.type));
    if (type.kind != Kind::ptr) return kfunc_number(index, parameter);

    if (row.name == "bpf_cast_to_kern_ctx")
        return at.type == Type::ctx || fail(Finding::kfunc_argument, index, insn().imm);
    const bool vouched = row.has(kfunc::trusted | kfunc::rcu);
    const bool nullable = ends(parameter, "__nullable") || ends(parameter, "__opt");
    if (at.is_scalar()) mark(at);
    if (vouched && !nullable && (at.is_zero() || may_be_null(at)))
        return fail(Finding::maybe_null, index, static_cast<i64>(at.type));
    if (at.has(flag::referenced) && row.has(kfunc::release)) {
        if (!at.value.is_constant(0)) return fail(Finding::kfunc_argument, index, insn().imm);
        kfunc_.released = at.id;
    }
    const u32 target = btf.skip_modifiers(type.target());
    const btf::Type object = btf.type(target);
    const bool sized = i + 1U < prototype.vlen && is_size(btf.parameter(prototype, i + 1));
    if (at.is_zero() && nullable && !sized) return true;
    if (i == 0 && row.has(kfunc::iter_new | kfunc::iter_next | kfunc::iter_destroy))
        return iterator_argument(index, target);
    if (object.name == "bpf_dynptr" || object.name == "bpf_dynptr_kern") return dynptr_argument(index, parameter);
    if (ends(parameter, "__irq_flag")) return interrupt_argument(index);
    if (ends(parameter, "__str")) {
        std::string_view text;
        return string_argument(index, text);
    }
    if (ends(parameter, "__map")) return deferred_map(index);  // also p__map
    if (object.name == "bpf_list_head") return root_argument(index, FieldKind::list_head);
    if (object.name == "bpf_rb_root") return root_argument(index, FieldKind::tree_root);
    if (object.name == "bpf_list_node") return node_argument(index, FieldKind::list_node);
    if (object.name == "bpf_rb_node") return node_argument(index, FieldKind::tree_node);
    if (object.name == "bpf_wq") return deferred_argument(index, FieldKind::work_queue);
    if (object.name == "bpf_task_work") return deferred_argument(index, FieldKind::task_work);
    if (object.name == "bpf_res_spin_lock") return resilient_lock_argument(index);
    if (ends(parameter, "__alloc")) return allocated_argument(index);
    if (ends(parameter, "__refcounted_kptr")) return counted_argument(index);
    if (object.kind == Kind::func_proto) return function_argument(index);
    if (is_context(object.name)) {
        if (at.type == Type::ctx) return at.value.is_constant(0) || fail(Finding::context_offset, index);
        if (at.type != Type::btf) return fail(Finding::kfunc_argument, index, insn().imm);
    }
    if (at.type == Type::btf && object.is_composite()) return kfunc_object(index, target);
    if (sized) return true;  // looked at with its size
    if (!is_of_numbers(btf, target)) return fail(Finding::kfunc_argument, index, insn().imm);
    if (at.is_zero()) return true;
    const u64 bytes = btf.size(target).value_or(0);
    return update_argument(index, bytes, bytes);
}

bool Walker::kfunc_number(u32 index, const btf::Parameter& parameter) {
    const Reg at = reg(index);
    if (!at.is_scalar()) return fail(Finding::kfunc_argument, index, insn().imm);
    const bool constant = ends(parameter, "__k") || ends(parameter, "__szk") || ends(parameter, "_buf_size");
    if (constant) {
        mark(at);
        if (!at.is_constant()) return fail(Finding::size_not_constant, index);
        kfunc_.constant = at.value.umin;
        if (ends(parameter, "_buf_size")) kfunc_.buffer = at.value.umin;
        kfunc_.read_only = ends(parameter, "rdonly_buf_size");
    }
    if (!is_size(parameter)) return true;
    // The size of the argument before it.
    mark(at);
    if (at.value.smin < 0 || at.value.umax >= max_size)
        return fail(Finding::unbounded_size, index, at.value.smin, at.value.smax);
    const u32 memory = index - 1;
    const Reg& buffer = reg(memory);
    const btf::Parameter before = program_.kernel_btf->parameter(kfunc_.prototype, memory - 1);
    if (buffer.is_zero() && (ends(before, "__opt") || ends(before, "__nullable") || at.is_zero())) return true;
    return update_argument(memory, at.value.umin, at.value.umax);
}

bool Walker::is_context(std::string_view name) const {
    const std::string_view mine = program_context(program_.type);
    return !mine.empty() && (name == mine || same_projection(name, mine));
}

// process_kf_arg_ptr_to_btf_id() of Linux 6.18, with the trust that is asked for.
bool Walker::kfunc_object(u32 index, u32 wanted) {
    const btf::Btf& btf = *program_.kernel_btf;
    const Reg& at = reg(index);
    const abi::Kfunc& row = *kfunc_.row;
    if (may_be_null(at)) return fail(Finding::maybe_null, index, static_cast<i64>(at.type));
    if (at.has(flag::own)) return fail(Finding::kfunc_argument, index, insn().imm);
    if (row.has(kfunc::trusted | kfunc::rcu) && !is_trusted(at) && !(row.has(kfunc::rcu) && at.has(flag::rcu)))
        return fail(Finding::typed_untrusted, index, type_argument(at));
    const bool strict = row.has(kfunc::trusted) || (row.has(kfunc::release) && at.has(flag::referenced));
    const bool fixed = at.value.is_constant() && at.value.smin >= 0;
    const bool same = strict ? at.object == wanted && at.value.is_constant(0)
                             : fixed && lies_within(btf, at.object, at.value.umin, wanted);
    if (same || same_projection(btf.type(at.object).name, btf.type(wanted).name)) return true;
    return fail(Finding::typed_argument, index, type_argument(at), wanted);
}

// Sections in which what RCU keeps stays whole, or nothing else runs on the CPU.
bool Walker::kfunc_effect() {
    const std::string_view name = kfunc_.row->name;
    if (name == "bpf_rcu_read_lock") {
        if (state_.sections.rcu_locked) return fail(Finding::section_nested);
        state_.sections.rcu_locked = true;
    } else if (name == "bpf_rcu_read_unlock") {
        if (!state_.sections.rcu_locked) return fail(Finding::section_unmatched);
        state_.sections.rcu_locked = false;
        leave_rcu_section();
    } else if (name == "bpf_preempt_disable") {
        ++state_.sections.preempt_off;
    } else if (name == "bpf_preempt_enable") {
        if (state_.sections.preempt_off == 0) return fail(Finding::section_unmatched);
        --state_.sections.preempt_off;
    } else if (name == "bpf_wq_set_callback_impl") {
        return call_later(kfunc_.function, kfunc_.map, kfunc_.lookup, Async::work_queue);
    } else if (name.starts_with("bpf_task_work_schedule_")) {
        return call_later(kfunc_.function, kfunc_.map, kfunc_.lookup, Async::task_work);
    }
    return true;
}

// What only RCU kept may be gone from now on.
void Walker::leave_rcu_section() {
    // An object of the program's is not even readable then.
    lose([](const Reg& copy) { return copy.type == Type::btf && copy.has(flag::rcu) && copy.has(flag::own); });
    const auto kept = [](const Reg& copy) { return copy.type == Type::btf && copy.has(flag::rcu); };
    state_.change(kept, [](Reg& copy) {
        copy.flags = static_cast<u16>((copy.flags & ~(flag::rcu | flag::null)) | flag::untrusted);
        copy.id = 0;
    });
    for (Frame& frame : state_.frames)
        for (Slot& slot : frame.stack)
            if (slot.bytes[0] == Byte::object && slot.saved.type == Type::iterator && slot.saved.has(flag::rcu)) {
                slot.saved.flags = static_cast<u16>((slot.saved.flags & ~flag::rcu) | flag::untrusted);
                slot.version = values_.fresh(slot.version);
            }
}

bool Walker::may_sleep_here() {
    if (state_.sections.rcu_locked || state_.sections.preempt_off != 0 || state_.sections.interrupts_off != 0)
        return fail(Finding::sleeps_in_section);
    return true;
}

// At the end of the program, and where another takes over.
bool Walker::sections_ended() {
    if (state_.sections.rcu_locked || state_.sections.preempt_off != 0 || state_.sections.interrupts_off != 0)
        return fail(Finding::section_open);
    return true;
}

bool Walker::kfunc_result() {
    const btf::Btf& btf = *program_.kernel_btf;
    const abi::Kfunc& row = *kfunc_.row;
    const Reg first = reg(1);
    if (kfunc_.released != 0 && !row.has(kfunc::iter_destroy)) release(kfunc_.released);
    for (u32 r = 1; r <= 5; ++r) reg(r) = {};
    if (row.has(kfunc::iter_next)) return next_element();
    if (row.name == "bpf_cast_to_kern_ctx") return cast_context(first);
    if (row.name == "bpf_rdonly_cast") return cast_read_only();
    if (row.name == "bpf_dynptr_slice" || row.name == "bpf_dynptr_slice_rdwr") {
        reg(0) = dynptr_memory(static_cast<u32>(kfunc_.constant), row.name == "bpf_dynptr_slice");
        return true;
    }
    if (const auto own = own_result()) return *own;
    if (row.name.view().starts_with("bpf_res_spin_lock")) {
        reg(0) = constant(0);
        return true;
    }
    const u32 type_id = btf.skip_modifiers(kfunc_.prototype.target());
    const btf::Type type = btf.type(type_id);
    if (type_id == 0) {
        reg(0) = {};
        return true;
    }
    if (type.kind != Kind::ptr) {
        const auto bytes = btf.size(type_id);
        reg(0) = unknown(bytes && *bytes < 8 && !signed_number(btf, type) ? Number::of_width(8 * *bytes)
                                                                          : Number::unknown());
        return true;
    }
    return kfunc_pointer(btf.skip_modifiers(type.target()));
}

bool Walker::signed_number(const btf::Btf& btf, const btf::Type& type) {
    return type.kind == Kind::int_ ? btf.int_info(type).is_signed : type.flag;
}

bool Walker::kfunc_pointer(u32 target) {
    const btf::Btf& btf = *program_.kernel_btf;
    const abi::Kfunc& row = *kfunc_.row;
    Reg& out = reg(0);
    if (btf.type(target).is_composite()) {
        out = Reg::pointer(Type::btf, target);
        if (row.name == "bpf_get_kmem_cache") out.flags = flag::untrusted;
        if (row.has(kfunc::rcu_protected)) out.flags = flag::rcu;
    } else if (target == 0 && !kfunc_.buffer) {
        out = unknown();  // an address that nothing is known of
        return true;
    } else {
        out = Reg::pointer(Type::memory, static_cast<u32>(kfunc_.buffer.value_or(btf.size(target).value_or(0))));
        if (!kfunc_.buffer || kfunc_.read_only) out.flags = flag::read_only;
    }
    if (row.has(kfunc::ret_null)) out.flags |= flag::null, out.id = next_id_++;
    if (row.has(kfunc::acquire)) {
        if (out.id == 0) out.id = next_id_++;
        out.flags |= flag::referenced;
        state_.references.push_back({out.id, pc_});
    }
    return true;
}

bool Walker::cast_context(const Reg& context) {
    if (context.type != Type::ctx) return fail(Finding::kfunc_argument, 1, insn().imm);
    const std::string_view name = kernel_context(program_.type);
    const u32 type = name.empty() ? 0 : kernel_struct(name);
    if (type == 0) return fail(Finding::kfunc_unsupported, insn().imm);
    reg(0) = Reg::pointer(Type::btf, type);
    reg(0).flags = flag::trusted;
    return true;
}

bool Walker::cast_read_only() {
    const btf::Btf& btf = *program_.kernel_btf;
    const auto id = static_cast<u32>(kfunc_.constant);
    if (!btf.contains(id) || (id != 0 && btf.type(id).kind != Kind::struct_))
        return fail(Finding::kfunc_argument, 2, insn().imm);
    reg(0) = id != 0 ? Reg::pointer(Type::btf, id) : Reg::pointer(Type::memory);
    reg(0).flags = static_cast<u16>(flag::untrusted | (id == 0 ? flag::read_only : 0));
    return true;
}

}  // namespace anybpf::verifier
