// SPDX-License-Identifier: Apache-2.0
// Raw mmap of a map's file. Safe because every piece is mapped over a range that was reserved as a whole just before,
// and the Mapping that is returned owns exactly that range. The system calls are made directly: see map_descriptor.
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "anybpf/maps/map.hpp"
#include "types.hpp"

namespace anybpf::maps {

Result<Mapping> map_file(int fd) {
    struct stat status{};
    if (::syscall(SYS_fstat, fd, &status) != 0) return fail_errno("fstat of a map's file");
    const auto size = static_cast<u64>(status.st_size);
    if (size < page_size || size % page_size != 0)
        return fail(Errc::malformed, "a map's file has " + std::to_string(size) + " bytes, not whole pages");
    alignas(MapHeader) std::array<u32, sizeof(MapHeader) / sizeof(u32)> words{};
    if (::syscall(SYS_pread64, fd, words.data(), sizeof words, size - page_size) != sizeof words)
        return fail_errno("read of a map's header");
    const auto type = static_cast<abi::MapType>(words[offsetof(MapHeader, type) / sizeof(u32)]);
    if (words[0] != map_magic || type != abi::MapType::ringbuf || size == page_size)
        return Mapping::shared(fd, size, Access::read_write);  // a wrong magic number is Map::open's to name

    // consumer page, producer page, data, data again, what follows the data
    const u64 data = words[offsetof(MapHeader, max_entries) / sizeof(u32)], data_end = 2 * page_size + data;
    if (data == 0 || data % page_size != 0 || data_end > size - page_size)
        return fail(Errc::malformed, "a ring buffer's file is shorter than its data");
    auto whole = ANYBPF_TRY(Mapping::anonymous(size + data));
    const auto place = [&](u64 at, u64 length, u64 offset) {
        return map_descriptor(whole.data() + at, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, offset) !=
               MAP_FAILED;
    };
    if (!place(0, data_end, 0) || !place(data_end, size - 2 * page_size, 2 * page_size))
        return fail_errno("mmap of a ring buffer");
    return whole;
}

}  // namespace anybpf::maps
