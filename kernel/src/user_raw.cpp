// SPDX-License-Identifier: Apache-2.0
// Raw addresses of the caller. Safe because only the kernel follows them: process_vm_readv(2) on ourselves, and where a
// sandbox forbids that, a pipe, whose write(2) and read(2) answer EFAULT as well.
#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "anybpf/base/fd.hpp"
#include "user.hpp"

namespace anybpf::kernel {
namespace {

void* pointer(u64 address) { return reinterpret_cast<void*>(address); }

bool copy_through_pipe(void* to, const void* from, std::size_t size) {
    std::array<int, 2> ends;
    if (::pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK) != 0) return false;
    const Fd out(ends[0]), in(ends[1]);
    auto* target = static_cast<std::byte*>(to);
    const auto* source = static_cast<const std::byte*>(from);
    while (size != 0) {
        // A pipe holds at least a page.
        const ssize_t put = ::write(in.get(), source, std::min<std::size_t>(size, 4096));
        if (put <= 0 || ::read(out.get(), target, static_cast<std::size_t>(put)) != put) return false;
        source += put;
        target += put;
        size -= static_cast<std::size_t>(put);
    }
    return true;
}

bool copy(void* to, const void* from, std::size_t size, bool from_user) {
    if (size == 0) return true;
    const iovec user{from_user ? const_cast<void*>(from) : to, size},
        ours{from_user ? to : const_cast<void*>(from), size};
    const ssize_t moved = from_user ? ::process_vm_readv(::getpid(), &ours, 1, &user, 1, 0)
                                    : ::process_vm_writev(::getpid(), &ours, 1, &user, 1, 0);
    if (moved < 0 && errno != EFAULT) return copy_through_pipe(to, from, size);
    return moved == static_cast<ssize_t>(size);
}

}  // namespace

bool copy_from_user(std::span<std::byte> to, u64 from) { return copy(to.data(), pointer(from), to.size(), true); }
bool copy_to_user(u64 to, std::span<const std::byte> from) {
    return copy(pointer(to), from.data(), from.size(), false);
}

tl::unexpected<Error> refuse(int error, std::string why) { return fail(Errc::invalid_argument, std::move(why), error); }
tl::unexpected<Error> fault() { return refuse(EFAULT, "an address that cannot be read or written"); }

Result<std::string> read_user_text(u64 from, std::size_t limit) {
    std::string text;
    // In pieces that end at page boundaries: the text may end just before memory that is not there.
    while (text.size() < limit) {
        const u64 at = from + text.size();
        const std::size_t piece = std::min<std::size_t>(limit - text.size(), 4096 - at % 4096);
        std::array<std::byte, 4096> bytes;
        if (!copy_from_user(std::span(bytes).first(piece), at)) return fault();
        const auto end = std::find(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(piece), std::byte{0});
        for (auto byte = bytes.begin(); byte != end; ++byte) text += static_cast<char>(*byte);
        if (end != bytes.begin() + static_cast<std::ptrdiff_t>(piece)) break;
    }
    return text;
}

Result<> check_tail_zero(u64 from, std::size_t known, std::size_t actual) {
    if (actual > 4096) return refuse(E2BIG, "a structure larger than a page");
    if (actual <= known) return {};
    const auto tail = ANYBPF_TRY(read_user_table<std::byte>(from + known, actual - known));
    if (std::any_of(tail.begin(), tail.end(), [](std::byte byte) { return byte != std::byte{0}; }))
        return refuse(E2BIG, "a structure with fields that are not known here");
    return {};
}

}  // namespace anybpf::kernel
