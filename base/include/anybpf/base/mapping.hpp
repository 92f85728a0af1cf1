// SPDX-License-Identifier: Apache-2.0
// Mapping owns a range of mapped memory.
#pragma once

#include <span>
#include <utility>

#include "anybpf/base/result.hpp"

namespace anybpf {

enum class Access : u8 { read, read_write };
enum class Pages : u8 { small, huge };  // huge: where the machine has them, and as far as the range holds whole ones

// mmap of a file by the system call itself: where libc's mmap is interposed (preload/), that answers for descriptors of
// our own objects as the kernel would, and not with the file. MAP_FAILED and errno on failure.
void* map_descriptor(void* at, std::size_t size, int protection, int flags, int fd, std::size_t offset);

class Mapping {
  public:
    Mapping() = default;
    // size bytes, rounded up to pages, zeroed and private to the process.
    static Result<Mapping> anonymous(std::size_t size, Pages pages = Pages::small);
    // size bytes of the file from offset 0, shared with everybody who maps it; the descriptor may be closed afterwards.
    static Result<Mapping> shared(int fd, std::size_t size, Access access);

    Mapping(Mapping&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}
    Mapping& operator=(Mapping&& other) noexcept {
        std::swap(bytes_, other.bytes_);
        return *this;
    }
    ~Mapping();

    std::span<std::byte> bytes() const { return bytes_; }
    std::byte* data() const { return bytes_.data(); }
    std::size_t size() const { return bytes_.size(); }
    // Gives the range up: it stays mapped until the process ends.
    std::span<std::byte> release() { return std::exchange(bytes_, {}); }

  private:
    explicit Mapping(std::span<std::byte> bytes) : bytes_(bytes) {}
    std::span<std::byte> bytes_;
};

}  // namespace anybpf
