// SPDX-License-Identifier: Apache-2.0
// ByteReader: the one way to read untrusted bytes. Every access is checked against the end; nothing is read in place
// through a cast, so alignment never matters. Borrowed bytes must outlive the reader and its slices.
#pragma once

#include <cstring>
#include <span>
#include <type_traits>

#include "anybpf/base/result.hpp"

namespace anybpf {

class ByteReader {
  public:
    explicit ByteReader(std::span<const std::byte> bytes) : bytes_(bytes) {}

    // Copies the next sizeof(T) bytes; T is a plain aggregate.
    template <class T>
        requires std::is_trivially_copyable_v<T>
    Result<T> take() {
        T value;
        const auto from = ANYBPF_TRY(take_bytes(sizeof(T)));
        std::memcpy(&value, from.data(), sizeof(T));
        return value;
    }

    Result<std::span<const std::byte>> take_bytes(std::size_t count);

    // A part of the whole input, wherever the reader stands.
    Result<std::span<const std::byte>> slice(std::size_t offset, std::size_t size) const;

    // The text from offset to the next NUL, which must lie inside.
    Result<std::string_view> text_at(std::size_t offset) const;

    Result<> seek(std::size_t offset);
    std::size_t position() const { return position_; }
    std::size_t remaining() const { return bytes_.size() - position_; }
    std::size_t size() const { return bytes_.size(); }

  private:
    std::span<const std::byte> bytes_;
    std::size_t position_ = 0;
};

}  // namespace anybpf
