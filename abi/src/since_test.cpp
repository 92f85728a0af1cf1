// SPDX-License-Identifier: Apache-2.0
#include "anybpf/abi/since.hpp"

#include <gtest/gtest.h>

namespace anybpf::abi {
namespace {

TEST(Since, versions_are_read_and_printed) {
    for (const KernelVersion version : long_term_kernels) EXPECT_EQ(kernel_version(to_string(version)), version);
    EXPECT_EQ(kernel_version("5.19"), (KernelVersion{5, 19}));
    EXPECT_EQ(kernel_version("6.0"), (KernelVersion{6, 0}));
    for (const char* bad :
         {"", "5", "5.", ".4", "5.3", "5.20", "6.19", "7.0", "4.19", "5.04", "5.4.1", "5.4 ", "-5.4", "x"})
        EXPECT_FALSE(kernel_version(bad)) << bad;
    EXPECT_LT((KernelVersion{5, 4}), (KernelVersion{5, 10}));
    EXPECT_LT((KernelVersion{5, 19}), (KernelVersion{6, 0}));
}

// Helpers were numbered as they came, so a row with a wrong version shows.
TEST(Since, helpers_map_and_program_types_are_in_order) {
    for (u32 id = 2; id < helper_count; ++id)
        EXPECT_LE(since(static_cast<HelperId>(id - 1)), since(static_cast<HelperId>(id))) << helper_name(id);
    for (u32 type = 1; type <= static_cast<u32>(MapType::arena); ++type)
        EXPECT_LE(since(static_cast<MapType>(type - 1)), since(static_cast<MapType>(type))) << type;
    for (u32 type = 1; type <= static_cast<u32>(ProgType::netfilter); ++type)
        EXPECT_LE(since(static_cast<ProgType>(type - 1)), since(static_cast<ProgType>(type))) << type;
    EXPECT_EQ(since(static_cast<HelperId>(helper_count)), never);
    EXPECT_EQ(since(static_cast<MapType>(100)), never);
    EXPECT_EQ(since(static_cast<ProgType>(100)), never);
    EXPECT_EQ(since(static_cast<AttachType>(100)), never);
}

// The versions by which people choose between ways of doing a thing.
TEST(Since, known_dates) {
    EXPECT_EQ(since(HelperId::ringbuf_output), (KernelVersion{5, 8}));
    EXPECT_EQ(since(HelperId::loop), (KernelVersion{5, 17}));
    EXPECT_EQ(since(HelperId::probe_read_kernel), (KernelVersion{5, 5}));
    EXPECT_EQ(since(HelperId::timer_init), (KernelVersion{5, 15}));
    EXPECT_EQ(since(MapType::ringbuf), (KernelVersion{5, 8}));
    EXPECT_EQ(since(MapType::arena), (KernelVersion{6, 9}));
    EXPECT_EQ(since(ProgType::tracing), (KernelVersion{5, 5}));
    EXPECT_EQ(since(AttachType::trace_kprobe_multi), (KernelVersion{5, 18}));
    EXPECT_EQ(since(AttachType::tcx_ingress), (KernelVersion{6, 6}));
    EXPECT_EQ(since(Feature::atomic_fetch), (KernelVersion{5, 12}));
    EXPECT_EQ(kfunc_since("bpf_task_acquire"), (KernelVersion{6, 2}));
    EXPECT_EQ(kfunc_since("bpf_iter_num_new"), (KernelVersion{6, 4}));
    EXPECT_FALSE(kfunc_since("bpf_no_such_kfunc"));
}

TEST(Since, what_depends_on_the_program_type) {
    EXPECT_EQ(since(HelperId::get_attach_cookie, ProgType::kprobe), (KernelVersion{5, 15}));
    EXPECT_EQ(since(HelperId::get_attach_cookie, ProgType::tracing), (KernelVersion{5, 19}));
    EXPECT_EQ(since(HelperId::setsockopt, ProgType::sock_ops), (KernelVersion{4, 13}));
    EXPECT_EQ(since(HelperId::setsockopt, ProgType::cgroup_sock_addr), (KernelVersion{5, 8}));
    EXPECT_EQ(since(HelperId::get_current_pid_tgid, ProgType::kprobe), (KernelVersion{4, 2}));
    EXPECT_EQ(since(HelperId::get_current_pid_tgid, ProgType::cgroup_sock), (KernelVersion{5, 7}));
    EXPECT_EQ(since(HelperId::get_current_pid_tgid, ProgType::xdp), (KernelVersion{6, 10}));
    EXPECT_EQ(since(HelperId::get_current_comm, ProgType::sched_cls), (KernelVersion{6, 16}));
    EXPECT_EQ(since(HelperId::probe_read_kernel, ProgType::xdp), (KernelVersion{5, 8}));
    EXPECT_EQ(since(HelperId::strtol, ProgType::cgroup_sysctl), (KernelVersion{5, 2}));
    EXPECT_EQ(since(HelperId::strtol, ProgType::kprobe), (KernelVersion{6, 1}));
    EXPECT_EQ(stand_in(HelperId::probe_read_user_str), HelperId::probe_read_str);
    EXPECT_FALSE(stand_in(HelperId::ringbuf_output));
    EXPECT_EQ(sleepable_since(ProgType::tracing, AttachType::trace_fentry), (KernelVersion{5, 10}));
    EXPECT_EQ(sleepable_since(ProgType::tracing, AttachType::trace_raw_tp), never);
    EXPECT_EQ(sleepable_since(ProgType::kprobe, AttachType{}), (KernelVersion{6, 0}));
    EXPECT_EQ(sleepable_since(ProgType::xdp, AttachType::xdp), never);
}

TEST(Since, flags_and_fields) {
    EXPECT_FALSE(map_flags_since(0));
    EXPECT_FALSE(map_flags_since(map_no_prealloc));
    EXPECT_EQ(map_flags_since(map_mmapable)->since, (KernelVersion{5, 5}));
    EXPECT_EQ(map_flags_since(map_mmapable | 1U << 12)->name, "BPF_F_INNER_MAP");  // the later of the two
    EXPECT_FALSE(context_since(ProgType::sched_cls, 0, 4));
    EXPECT_FALSE(context_since(ProgType::sched_cls, 172, 4));
    EXPECT_EQ(context_since(ProgType::sched_cls, 176, 4)->since, (KernelVersion{5, 7}));
    EXPECT_EQ(context_since(ProgType::sched_cls, 180, 1)->since, (KernelVersion{5, 18}));
    EXPECT_EQ(context_since(ProgType::socket_filter, 184, 8)->name, "__sk_buff.hwtstamp");
    EXPECT_FALSE(context_since(ProgType::xdp, 176, 4));
    EXPECT_FALSE(context_since(ProgType::kprobe, 176, 8));
}

}  // namespace
}  // namespace anybpf::abi
