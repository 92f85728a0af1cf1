// SPDX-License-Identifier: Apache-2.0
// Attr: union bpf_attr as a command receives it, zero-extended to the size that this kernel knows.
#pragma once

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "anybpf/abi/uapi.hpp"
#include "user.hpp"

namespace anybpf::kernel {

class Attr {
  public:
    static Result<Attr> read(u64 address, unsigned size) {
        Attr attr;
        attr.address_ = address;
        attr.size_ = size;
        ANYBPF_TRY(check_tail_zero(address, abi::uapi::attr_size, size));
        if (!copy_from_user(std::span(attr.bytes_).first(std::min<std::size_t>(size, abi::uapi::attr_size)), address))
            return fault();
        return attr;
    }

    // The command's part; EINVAL where bytes behind its last member are set.
    template <class T>
    Result<T> as(u32 used = T::used) const {
        if (std::any_of(bytes_.begin() + used, bytes_.end(), [](std::byte byte) { return byte != std::byte{0}; }))
            return refuse(EINVAL, "the attributes have bytes behind the command's last member");
        return peek<T>();
    }
    template <class T>
    T peek() const {
        static_assert(sizeof(T) <= abi::uapi::attr_size);
        T value;
        std::memcpy(&value, bytes_.data(), sizeof(T));
        return value;
    }

    // Writes a member back to the caller.
    template <class T>
    Result<> put(std::size_t offset, const T& value) const {
        return write_user(address_ + offset, value);
    }
    unsigned size() const { return size_; }
    u64 address() const { return address_; }

  private:
    std::array<std::byte, abi::uapi::attr_size> bytes_{};
    u64 address_ = 0;
    unsigned size_ = 0;
};

}  // namespace anybpf::kernel
