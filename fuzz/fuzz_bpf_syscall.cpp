// SPDX-License-Identifier: Apache-2.0
// bpf(2), perf_event_open(2), ioctl and mmap with attributes of any kind: nothing may crash, and when all descriptors
// are closed nothing may stay in the root. Input: a sequence of calls, each {what, size, changes}; a change puts a
// byte, a descriptor made before, or the address of a buffer somewhere into the attributes.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <span>
#include <vector>

#include "anybpf/base/assert.hpp"
#include "anybpf/kernel/kernel.hpp"

using namespace anybpf;

namespace {

class Input {
  public:
    Input(const u8* data, std::size_t size) : at_(data), end_(data + size) {}
    bool more() const { return at_ != end_; }
    u8 byte() { return more() ? *at_++ : 0; }
    u16 word() { return static_cast<u16>(byte() | byte() << 8); }

  private:
    const u8 *at_, *end_;
};

std::string root_directory() {
    std::string name = "/dev/shm/anybpf-fuzz-XXXXXX";
    ANYBPF_ASSERT(::mkdtemp(name.data()) != nullptr);
    return name;
}

// What pointers in the attributes lead to: instructions, keys, names; the calls write here, too. It lies in the middle
// of much address space without memory, so that a pointer with another low byte leads to EFAULT and not into our heap.
std::span<std::byte> pointed_at() {
    constexpr std::size_t around = std::size_t{1} << 33, size = 4096;
    static std::byte* const at = [] {
        void* reserved = ::mmap(nullptr, around, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        ANYBPF_ASSERT(reserved != MAP_FAILED);
        auto* middle = static_cast<std::byte*>(reserved) + around / 2;
        ANYBPF_ASSERT(::mprotect(middle, size, PROT_READ | PROT_WRITE) == 0);
        return middle;
    }();
    return {at, size};
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const u8* data, std::size_t size) {
    static const std::string directory = root_directory();
    static const bool at_exit = std::atexit([] { std::filesystem::remove_all(directory); }) == 0;
    ANYBPF_ASSERT(at_exit);
    {
        auto opened = kernel::Kernel::open(directory);
        if (!opened) std::fprintf(stderr, "%s\n", opened.error().message.c_str());
        ANYBPF_ASSERT(opened.has_value());
        kernel::Kernel& kernel = **opened;
        std::vector<int> descriptors;
        alignas(8) std::array<std::byte, 512> attr{};
        const std::span<std::byte> buffer = pointed_at();
        std::fill(buffer.begin(), buffer.end(), std::byte{0});
        Input in(data, size);
        for (int calls = 0; calls < 32 && in.more(); ++calls) {
            const u8 what = in.byte();
            const unsigned attr_size = in.byte() * 2U;
            if ((what & 0x80) == 0) attr = {};
            for (int changes = in.byte() % 32; changes > 0 && in.more(); --changes) {
                const u8 kind = in.byte();
                const std::size_t at = in.byte();
                if (kind < 128) {
                    attr[at] = static_cast<std::byte>(in.byte());
                } else if (kind < 160) {
                    const u64 address = reinterpret_cast<u64>(buffer.data()) + in.byte() * 16U;
                    if (at + 8 <= attr.size()) std::memcpy(attr.data() + at, &address, 8);
                } else if (kind < 192 && !descriptors.empty()) {
                    const int fd = descriptors[in.byte() % descriptors.size()];
                    std::memcpy(attr.data() + at, &fd, std::min<std::size_t>(sizeof(fd), attr.size() - at));
                } else {
                    // A run of bytes for the buffer.
                    const std::size_t to = in.word() % buffer.size();
                    for (std::size_t i = to, end = std::min<std::size_t>(buffer.size(), to + kind % 64); i < end; ++i)
                        buffer[i] = static_cast<std::byte>(in.byte());
                }
            }
            const int fd = descriptors.empty() ? 0 : descriptors[in.byte() % descriptors.size()];
            long result = -1;
            bool makes = false;
            switch (what % 64) {
                case 60:
                    result = kernel.perf_event_open(attr.data(), -1, in.byte() % 4, -1, in.byte() & 8U);
                    makes = true;
                    break;
                case 61: {
                    constexpr std::array<unsigned long, 7> requests = {0x2400,     0x2401,     0x2403, 0x40042408,
                                                                       0xc008240a, 0x80082407, 0x24ff};
                    unsigned long argument;
                    std::memcpy(&argument, attr.data(), sizeof(argument));
                    if (fd > 2) (void)kernel.ioctl(fd, requests[in.byte() % requests.size()], argument);
                    break;
                }
                case 62: {
                    const std::size_t length = (in.byte() % 20U) * 4096U;
                    const long at =
                        fd > 2 ? kernel.mmap(nullptr, length, in.byte() % 4, MAP_SHARED, fd, (in.byte() % 4) * 4096)
                               : -1;
                    if (at > 0) ::munmap(reinterpret_cast<void*>(at), length);
                    break;
                }
                case 63:
                    if (fd > 2)
                        (void)kernel.wake_fd(fd), (void)kernel.readable(fd), kernel.drain(fd), (void)kernel.fdinfo(fd);
                    break;
                default: {
                    const int command = what % 64;
                    // Large maps and repeat counts only take memory and time.
                    if (command == 10) std::memset(attr.data() + 33, 0, 3);
                    if (command == 0)
                        for (const std::size_t number : {4U, 8U, 12U}) std::memset(attr.data() + number + 2, 0, 2);
                    result = kernel.bpf(command, attr.data(), attr_size);
                    makes = command == 0 || command == 5 || command == 7 || (command >= 13 && command <= 14) ||
                            (command >= 17 && command <= 19) || command == 28 || command == 30;
                    break;
                }
            }
            if (makes && result > 2) descriptors.push_back(static_cast<int>(result));
        }
        for (const int fd : descriptors) ::close(fd);
        std::error_code ignored;
        std::filesystem::remove_all(directory + "/pins", ignored);
    }
    ANYBPF_ASSERT(std::filesystem::is_empty(directory));
    return 0;
}
