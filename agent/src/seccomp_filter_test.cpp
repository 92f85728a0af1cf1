// SPDX-License-Identifier: Apache-2.0
#include "seccomp_filter.hpp"

#include <gtest/gtest.h>
#include <linux/audit.h>
#include <sys/syscall.h>

#include <cstddef>
#include <vector>

namespace anybpf::agent {
namespace {

using Filter = std::vector<sock_filter>;

u32 asked(const Filter& filter, int nr, u64 first = 0) {
    return answer_of(
        filter,
        {.nr = nr, .arch = AUDIT_ARCH_X86_64, .instruction_pointer = 0x7f0012345678, .args = {first, 0, 0, 0, 0, 0}});
}
constexpr u32 number_at = offsetof(seccomp_data, nr), first_at = offsetof(seccomp_data, args);

TEST(SeccompFilter, AnswersAsAnAllowList) {
    const Filter filter{
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, number_at), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_read, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_write, 1, 0), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
    EXPECT_EQ(asked(filter, SYS_read), SECCOMP_RET_ALLOW);
    EXPECT_EQ(asked(filter, SYS_write), SECCOMP_RET_ALLOW);
    EXPECT_EQ(asked(filter, SYS_gettid), SECCOMP_RET_KILL_PROCESS);
}

TEST(SeccompFilter, LooksAtArguments) {
    const Filter filter{BPF_STMT(BPF_LD | BPF_W | BPF_ABS, first_at),
                        BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0xf0),
                        BPF_STMT(BPF_ST, 3),
                        BPF_STMT(BPF_LDX | BPF_W | BPF_MEM, 3),
                        BPF_STMT(BPF_LD | BPF_W | BPF_IMM, 0x20),
                        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_X, 0, 0, 1),
                        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 22),
                        BPF_STMT(BPF_MISC | BPF_TXA, 0),
                        BPF_STMT(BPF_RET | BPF_A, 0)};
    EXPECT_EQ(asked(filter, 0, 0x1f), SECCOMP_RET_ERRNO | 22U);
    EXPECT_EQ(asked(filter, 0, 0x45), 0x40U);
}

TEST(SeccompFilter, TakesWhatIsNoFilterForTheWorst) {
    EXPECT_EQ(asked({}, SYS_read), SECCOMP_RET_KILL_PROCESS);
    EXPECT_EQ(asked({BPF_STMT(BPF_LD | BPF_W | BPF_ABS, number_at)}, SYS_read), SECCOMP_RET_KILL_PROCESS);
    EXPECT_EQ(asked({BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 4096)}, SYS_read), SECCOMP_RET_KILL_PROCESS);
    EXPECT_EQ(asked({BPF_STMT(BPF_LD | BPF_W | BPF_MEM, 16)}, SYS_read), SECCOMP_RET_KILL_PROCESS);
    EXPECT_EQ(asked({BPF_STMT(BPF_ALU | BPF_DIV | BPF_K, 0)}, SYS_read), SECCOMP_RET_KILL_PROCESS);
    EXPECT_EQ(asked({BPF_STMT(BPF_JMP | BPF_JA, 0xffffffff)}, SYS_read), SECCOMP_RET_KILL_PROCESS);
}

}  // namespace
}  // namespace anybpf::agent
