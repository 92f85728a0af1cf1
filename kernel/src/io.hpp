// SPDX-License-Identifier: Apache-2.0
// Whole reads and writes of files.
#pragma once

#include <unistd.h>

#include <cerrno>
#include <span>

#include "anybpf/base/types.hpp"

namespace anybpf::kernel {

inline bool read_at(int fd, std::span<std::byte> bytes, u64 offset) {
    while (!bytes.empty()) {
        const ssize_t count = ::pread(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0) return false;
        bytes = bytes.subspan(static_cast<std::size_t>(count));
        offset += static_cast<u64>(count);
    }
    return true;
}

inline bool write_at(int fd, std::span<const std::byte> bytes, u64 offset) {
    while (!bytes.empty()) {
        const ssize_t count = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0) return false;
        bytes = bytes.subspan(static_cast<std::size_t>(count));
        offset += static_cast<u64>(count);
    }
    return true;
}

}  // namespace anybpf::kernel
