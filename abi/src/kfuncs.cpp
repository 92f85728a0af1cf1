// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>

#include "anybpf/abi/kfunc.hpp"

namespace anybpf::abi {
namespace {

using namespace kfunc;

constexpr auto rows = std::to_array<Kfunc>({
#define ANYBPF_KFUNC(name, who, flags) {#name, KfuncFor::who, flags},
#include "anybpf/abi/kfuncs.def"
});
constexpr std::string_view name_of(const Kfunc& kfunc) { return kfunc.name; }
static_assert(std::ranges::is_sorted(rows, {}, name_of));

}  // namespace

const Kfunc* find_kfunc(std::string_view name) {
    const auto row = std::ranges::lower_bound(rows, name, {}, name_of);
    return row != rows.end() && row->name == name ? &*row : nullptr;
}

bool may_call(KfuncFor who, ProgType type, AttachType attach) {
    using P = ProgType;
    const auto one_of = [&](auto... types) { return ((type == types) || ...); };
    const bool traces = one_of(P::tracepoint, P::perf_event, P::tracing, P::lsm);
    const bool cgroup = one_of(P::cgroup_skb, P::cgroup_sock, P::sock_ops, P::cgroup_device, P::cgroup_sock_addr,
                               P::cgroup_sysctl, P::cgroup_sockopt);
    switch (who) {
        case KfuncFor::all:
            return true;
        case KfuncFor::generic:
            return traces || cgroup || one_of(P::sched_cls, P::xdp, P::struct_ops, P::syscall);
        case KfuncFor::tracing:
            return traces;
        case KfuncFor::tracing_and_ops:
            return traces || one_of(P::struct_ops, P::syscall);
        case KfuncFor::iterators:
            return type == P::tracing && attach == AttachType::trace_iter;
        case KfuncFor::kprobe_session:
            return type == P::kprobe &&
                   (attach == AttachType::trace_kprobe_session || attach == AttachType::trace_uprobe_session);
        case KfuncFor::struct_ops:
            return type == P::struct_ops;
        case KfuncFor::syscall:
            return type == P::syscall;
        case KfuncFor::lsm:
            return type == P::lsm;
        case KfuncFor::cgroups:
            return cgroup;
        case KfuncFor::packets:
            return traces || cgroup ||
                   one_of(P::socket_filter, P::sched_cls, P::sched_act, P::lwt_in, P::lwt_out, P::lwt_xmit,
                          P::lwt_seg6local, P::sk_skb, P::netfilter);
        case KfuncFor::tc:
            return one_of(P::sched_cls, P::sched_act);
        case KfuncFor::sched_cls:
            return type == P::sched_cls;
        case KfuncFor::sched_cls_xdp:
            return one_of(P::sched_cls, P::xdp);
        case KfuncFor::tc_xdp:
            return one_of(P::sched_cls, P::sched_act, P::xdp);
        case KfuncFor::xdp:
            return type == P::xdp;
    }
    return false;
}

}  // namespace anybpf::abi
