// SPDX-License-Identifier: Apache-2.0
// Raw mmap. Safe because a Mapping is the only owner of its range, and its size is what mmap was asked for.
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <bit>

#include "anybpf/base/mapping.hpp"

namespace anybpf {

void* map_descriptor(void* at, std::size_t size, int protection, int flags, int fd, std::size_t offset) {
    return std::bit_cast<void*>(::syscall(SYS_mmap, at, size, protection, flags, fd, offset));
}

Result<Mapping> Mapping::anonymous(std::size_t size, Pages pages) {
    void* at = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) return fail_errno("mmap of " + std::to_string(size) + " bytes");
    if (pages == Pages::huge) (void)::madvise(at, size, MADV_HUGEPAGE);
    return Mapping({static_cast<std::byte*>(at), size});
}

Result<Mapping> Mapping::shared(int fd, std::size_t size, Access access) {
    const int protection = access == Access::read ? PROT_READ : PROT_READ | PROT_WRITE;
    void* at = map_descriptor(nullptr, size, protection, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED) return fail_errno("mmap of a shared file");
    return Mapping({static_cast<std::byte*>(at), size});
}

Mapping::~Mapping() {
    if (!bytes_.empty()) ::munmap(bytes_.data(), bytes_.size());
}

}  // namespace anybpf
