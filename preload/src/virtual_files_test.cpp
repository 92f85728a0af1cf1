// SPDX-License-Identifier: Apache-2.0
#include "virtual_files.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "anybpf/abi/syscalls.hpp"

namespace anybpf::preload {
namespace {

const VirtualFacts facts{64, [] { return std::string("btf"); }};

std::string text_of(std::string_view path) {
    VirtualFile file;
    if (find_virtual(path, facts, &file) != Where::found) return "(none)";
    return file.directory ? "(directory)" : file.text;
}

TEST(VirtualFiles, TracefsAnswersFromTheTables) {
    for (const std::string root : {"/sys/kernel/tracing", "/sys/kernel/debug/tracing"}) {
        EXPECT_EQ(text_of(root), "(directory)");
        EXPECT_EQ(text_of(root + "/events/syscalls/sys_enter_openat"), "(directory)");
        EXPECT_EQ(text_of(root + "/events/syscalls/sys_enter_openat/id"),
                  std::to_string(abi::sys_enter_of(257).v) + "\n");
        EXPECT_EQ(text_of(root + "/events/raw_syscalls/sys_exit/format"), abi::format_text(abi::raw_sys_exit));
        EXPECT_THAT(text_of(root + "/available_events"), testing::HasSubstr("\nsyscalls:sys_exit_newstat\n"));
        EXPECT_THAT(text_of(root + "/available_filter_functions"), testing::HasSubstr("__x64_sys_execve\n"));
    }
}

TEST(VirtualFiles, WhatTheHostHasIsNotSeen) {
    for (const auto* path : {"/sys/kernel/tracing/events/sched", "/sys/kernel/tracing/events/sched/sched_switch/id",
                             "/sys/kernel/tracing/trace", "/sys/kernel/tracing/events/syscalls/sys_enter_stat/id",
                             "/sys/kernel/tracing/events/syscalls/sys_enter_openat/id/x", "/sys/kernel/btf/nvme",
                             "/sys/bus/event_source/devices/cpu/type", "/proc/kallsyms/x", "/boot/config-6.1.0"})
        EXPECT_EQ(find_virtual(path, facts, nullptr), Where::missing) << path;
    for (const auto* path : {"/sys/kernel", "/sys/kernel/tracingx", "/sys/devices/system/cpu/online", "/etc/passwd", "",
                             "/proc/self/maps"})
        EXPECT_EQ(find_virtual(path, facts, nullptr), Where::elsewhere) << path;
}

TEST(VirtualFiles, SmallOnes) {
    EXPECT_EQ(text_of("/sys/devices/system/cpu/possible"), "0-63\n");
    EXPECT_EQ(text_of("/sys/kernel/btf/vmlinux"), "btf");
    EXPECT_EQ(text_of("/sys/bus/event_source/devices/kprobe/type"), "8\n");
    EXPECT_EQ(text_of("/sys/bus/event_source/devices/uprobe/type"), "9\n");
    EXPECT_EQ(text_of("/sys/bus/event_source/devices/kprobe/format/retprobe"), "config:0\n");
    EXPECT_EQ(text_of("/sys/bus/event_source/devices/uprobe/format/ref_ctr_offset"), "config:32-63\n");
    EXPECT_THAT(text_of("/proc/kallsyms"), testing::StartsWith("ffffffff81001000 T __x64_sys_read\n"));
}

TEST(VirtualFiles, PlainPaths) {
    EXPECT_EQ(plain_path("/sys//kernel/./tracing/"), "/sys/kernel/tracing");
    EXPECT_EQ(plain_path("/"), "/");
    EXPECT_EQ(plain_path("relative"), "");
    EXPECT_EQ(plain_path(""), "");
}

}  // namespace
}  // namespace anybpf::preload
