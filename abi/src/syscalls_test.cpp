// SPDX-License-Identifier: Apache-2.0
#include "anybpf/abi/syscalls.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/utsname.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace anybpf::abi {
namespace {

TEST(Syscalls, EveryNameFindsItsRow) {
    for (const auto& call : syscalls()) {
        EXPECT_EQ(find_syscall(call.number), &call);
        EXPECT_EQ(syscall_by_name(call.name), &call);
        EXPECT_EQ(syscall_by_function(call.function), &call);
        EXPECT_EQ(syscall_by_kernel_symbol(kernel_symbol(call)), &call);
        for (const auto id : {sys_enter_of(call.number), sys_exit_of(call.number)}) {
            EXPECT_EQ(find_tracepoint(category(id), tracepoint_name(id)), id);
            EXPECT_EQ(number_of(id), call.number);
        }
    }
    EXPECT_EQ(tracepoints().size(), 2 + 2 * syscalls().size());
}

TEST(Syscalls, NamesThatDiffer) {
    EXPECT_EQ(syscall_by_name("stat")->number, 4U);
    EXPECT_EQ(syscall_by_name("stat")->function, "newstat");
    EXPECT_EQ(syscall_by_function("stat"), nullptr);
    EXPECT_EQ(syscall_by_name("umount2")->function, "umount");
    EXPECT_EQ(syscall_by_name("uname")->function, "newuname");
    EXPECT_EQ(syscall_by_name("sendfile")->function, "sendfile64");
    EXPECT_EQ(syscall_by_name("pread64")->function, "pread64");
    EXPECT_EQ(syscall_by_name("openat")->number, 257U);
    EXPECT_EQ(syscall_by_name("getppid")->argument_count, 0U);
}

TEST(Syscalls, UnknownOnes) {
    EXPECT_EQ(find_syscall(134), nullptr);  // uselib left the kernel
    EXPECT_EQ(find_syscall(400), nullptr);
    EXPECT_EQ(find_syscall(syscall_numbers), nullptr);
    EXPECT_EQ(find_syscall(0xffffffff), nullptr);
    EXPECT_EQ(syscall_by_kernel_symbol("sys_openat"), nullptr);
    EXPECT_EQ(syscall_by_kernel_symbol("__x64_sys_"), nullptr);
    EXPECT_FALSE(find_tracepoint("syscalls", "sys_enter_stat"));
    EXPECT_FALSE(find_tracepoint("syscalls", "sys_enter"));
    EXPECT_FALSE(find_tracepoint("sched", "sched_switch"));
    EXPECT_FALSE(tracepoint_exists({0}));
    EXPECT_FALSE(tracepoint_exists(sys_enter_of(134)));
    EXPECT_FALSE(tracepoint_exists({0xffffffff}));
}

TEST(Syscalls, RecordSizes) {
    EXPECT_EQ(record_size(raw_sys_enter), 64U);
    EXPECT_EQ(record_size(raw_sys_exit), 24U);
    EXPECT_EQ(record_size(sys_enter_of(257)), 48U);
    EXPECT_EQ(record_size(sys_enter_of(110)), 12U);
    EXPECT_EQ(record_size(sys_exit_of(257)), 24U);
}

TEST(Syscalls, FormatOfAnEntry) {
    EXPECT_EQ(format_text(sys_enter_of(3)),
              "name: sys_enter_close\nID: 1031\nformat:\n"
              "\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n"
              "\tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;\n"
              "\tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;\n"
              "\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;\n\n"
              "\tfield:int __syscall_nr;\toffset:8;\tsize:4;\tsigned:1;\n"
              "\tfield:unsigned int fd;\toffset:16;\tsize:8;\tsigned:0;\n\n"
              "print fmt: \"fd: 0x%08lx\", ((unsigned long)(REC->fd))\n");
}

TEST(Syscalls, NearestNames) {
    EXPECT_THAT(nearest_tracepoints("syscalls:sys_enter_opnat"), testing::Contains("syscalls:sys_enter_openat"));
    EXPECT_EQ(nearest_tracepoints("syscalls:sys_enter_opnat", 1).front(), "syscalls:sys_enter_openat");
    EXPECT_EQ(nearest_kernel_symbols("__x64_sys_execv", 1).front(), "__x64_sys_execve");
    EXPECT_THAT(nearest_tracepoints("q"), testing::IsEmpty());
}

// The running kernel as the oracle, wherever tracefs can be read: all but the ids must be equal.
TEST(Syscalls, FormatsAreTheKernels) {
    namespace fs = std::filesystem;
    const fs::path events = "/sys/kernel/tracing/events";
    utsname kernel{};
    uname(&kernel);
    std::error_code error;
    if (!fs::exists(events / "raw_syscalls", error)) GTEST_SKIP() << "no readable tracefs at /sys/kernel/tracing";
    if (std::strncmp(kernel.release, "6.18", 4) != 0) GTEST_SKIP() << "not Linux 6.18 but " << kernel.release;
    std::size_t compared = 0;
    for (const auto id : tracepoints()) {
        std::ifstream file(events / category(id) / tracepoint_name(id) / "format");
        if (!file) continue;  // this kernel is built without the call
        std::stringstream text;
        for (std::string line; std::getline(file, line);)
            text << (line.starts_with("ID: ") ? "ID: " + std::to_string(id.v) : line) << '\n';
        EXPECT_EQ(format_text(id), text.str());
        ++compared;
    }
    EXPECT_GT(compared, 600U);
}

}  // namespace
}  // namespace anybpf::abi
