// SPDX-License-Identifier: Apache-2.0
// The one place where bytes of shared memory become structures. Safe because a structure laid over a shared file has
// fixed-width fields and no pointers, any bit pattern is a valid value of it, its place is asserted to lie inside the
// memory and to be aligned, and fields that others may change are atomics or are copied through atomics here.
#pragma once

#include <atomic>
#include <cstring>
#include <span>

#include "anybpf/base/assert.hpp"
#include "anybpf/base/types.hpp"

namespace anybpf::maps {

template <class T>
T* overlay(std::span<std::byte> memory, std::size_t offset, std::size_t count = 1) {
    static_assert(std::is_standard_layout_v<T>);
    ANYBPF_ASSERT(offset <= memory.size() && count <= (memory.size() - offset) / sizeof(T));
    ANYBPF_ASSERT(reinterpret_cast<std::uintptr_t>(memory.data() + offset) % alignof(T) == 0);
    return reinterpret_cast<T*>(memory.data() + offset);
}

// Unchecked, for the hot paths, where the caller has just compared the index with its bound.
template <class T>
T& overlay_at(std::byte* at) {
    return *reinterpret_cast<T*>(at);
}

inline u64 load_word(const std::byte* shared) {
    return __atomic_load_n(reinterpret_cast<const u64*>(shared), __ATOMIC_RELAXED);
}
inline void store_word(std::byte* shared, u64 word) {
    __atomic_store_n(reinterpret_cast<u64*>(shared), word, __ATOMIC_RELAXED);
}

// The next bytes of private memory, at most 8, as a word padded with zeros.
inline u64 word_of(const std::byte* bytes, std::size_t size) {
    u64 word = 0;
    std::memcpy(&word, bytes, size < 8 ? size : 8);
    return word;
}

// Copies between shared memory (aligned to 8, size rounded up to 8) and private bytes, word by word: a value of at most
// 8 bytes is never seen half written. In shared memory the last word is padded with zeros.
inline void copy_to_shared(std::byte* shared, const void* bytes, std::size_t size) {
    const auto* from = static_cast<const std::byte*>(bytes);
    std::size_t at = 0;
    for (; at + 8 <= size; at += 8) store_word(shared + at, word_of(from + at, 8));
    if (at < size) store_word(shared + at, word_of(from + at, size - at));
}
inline void copy_from_shared(void* bytes, const std::byte* shared, std::size_t size) {
    auto* to = static_cast<std::byte*>(bytes);
    std::size_t at = 0;
    for (; at + 8 <= size; at += 8) {
        const u64 word = load_word(shared + at);
        std::memcpy(to + at, &word, 8);
    }
    if (at < size) {
        const u64 word = load_word(shared + at);
        std::memcpy(to + at, &word, size - at);
    }
}
inline void zero_shared(std::byte* shared, std::size_t size) {
    for (std::size_t at = 0; at < size; at += 8) store_word(shared + at, 0);
}

}  // namespace anybpf::maps
