// SPDX-License-Identifier: Apache-2.0
#include "anybpf/helpers/safe_memory.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <vector>

namespace anybpf::helpers {
namespace {

constexpr std::size_t page = 4096;

u64 address(const void* pointer) { return reinterpret_cast<u64>(pointer); }

// A readable page with a forbidden one behind it.
class SafeMemory : public testing::Test {
  protected:
    void SetUp() override {
        ASSERT_TRUE(install_fault_handler().has_value());
        void* at = ::mmap(nullptr, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        ASSERT_NE(at, MAP_FAILED);
        memory_ = static_cast<char*>(at);
        for (std::size_t i = 0; i < page; ++i) memory_[i] = static_cast<char>('a' + i % 26);
        ASSERT_EQ(::mprotect(memory_ + page, page, PROT_NONE), 0);
    }
    void TearDown() override { ::munmap(memory_, 2 * page); }
    char* memory_ = nullptr;
};

// Every length across the loops' boundaries, ending exactly at the border, and one byte beyond it.
TEST_F(SafeMemory, ReadsUpToTheBorderAndNotBeyond) {
    std::vector<char> to(2 * page);
    for (const std::size_t size :
         std::initializer_list<std::size_t>{0, 1, 7, 8, 9, 15, 16, 63, 64, 255, 256, 257, 1000, 4096}) {
        EXPECT_TRUE(read_memory(to.data(), address(memory_ + page - size), size)) << size;
        EXPECT_EQ(std::memcmp(to.data(), memory_ + page - size, size), 0) << size;
        EXPECT_FALSE(read_memory(to.data(), address(memory_ + page - size), size + 1)) << size;
    }
}

TEST_F(SafeMemory, BadAddresses) {
    char to[16];
    errno = 77;
    for (const u64 bad : {u64{0}, u64{1}, u64{0x1000}, address(memory_ + page), u64{0x8000000000000000},
                          u64{0x0000800000000000}, ~u64{0}, ~u64{0} - 7, u64{0xffffffff81000000}}) {
        EXPECT_FALSE(read_memory(to, bad, sizeof to)) << std::hex << bad;
        EXPECT_FALSE(read_memory(to, bad, 1)) << std::hex << bad;
        EXPECT_EQ(read_text(to, bad, sizeof to), -EFAULT) << std::hex << bad;
    }
    EXPECT_EQ(errno, 77);
}

TEST_F(SafeMemory, Text) {
    char to[16];
    EXPECT_EQ(read_text(to, address("hello"), sizeof to), 6);
    EXPECT_STREQ(to, "hello");
    EXPECT_EQ(read_text(to, address(""), sizeof to), 1);
    EXPECT_STREQ(to, "");
    EXPECT_EQ(read_text(to, address("hello"), 4), 4);
    EXPECT_STREQ(to, "hel");
    EXPECT_EQ(read_text(to, address("hello"), 1), 1);
    EXPECT_STREQ(to, "");
    EXPECT_EQ(read_text(to, 0, 0), 0);  // nothing is asked for
    // Text that ends at the border is read; text without an end before it is not; a short buffer never gets that far.
    EXPECT_EQ(read_text(to, address(memory_ + page - 5), sizeof to), -EFAULT);
    EXPECT_EQ(read_text(to, address(memory_ + page - 5), 5), 5);
    memory_[page - 1] = '\0';
    EXPECT_EQ(read_text(to, address(memory_ + page - 5), sizeof to), 5);
}

TEST_F(SafeMemory, FileShorterThanItsMapping) {
    char name[] = "/tmp/anybpf-safe-memory-XXXXXX";
    const int fd = ::mkstemp(name);
    ASSERT_GE(fd, 0);
    ::unlink(name);
    void* at = ::mmap(nullptr, page, PROT_READ, MAP_SHARED, fd, 0);
    ::close(fd);
    ASSERT_NE(at, MAP_FAILED);
    char to[8];
    EXPECT_FALSE(read_memory(to, address(at), sizeof to));  // SIGBUS
    ::munmap(at, page);
}

// A fault that is not ours still ends the process.
TEST_F(SafeMemory, OtherFaultsKill) {
    const pid_t child = ::fork();
    if (child == 0) {
        ::signal(SIGSEGV, SIG_DFL);  // whatever a sanitizer installed
        ::close(2);
        if (!install_fault_handler()) ::_exit(1);
        *const_cast<volatile char*>(memory_ + page) = 1;
        ::_exit(0);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV) << status;
}

}  // namespace
}  // namespace anybpf::helpers
