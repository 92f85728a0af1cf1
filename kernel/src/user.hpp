// SPDX-License-Identifier: Apache-2.0
// The caller's memory, whose addresses may be bad: bpf(2) answers EFAULT and does not crash.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "anybpf/base/result.hpp"

namespace anybpf::kernel {

[[nodiscard]] bool copy_from_user(std::span<std::byte> to, u64 from);
[[nodiscard]] bool copy_to_user(u64 to, std::span<const std::byte> from);

constexpr int not_supported = 524;  // ENOTSUPP, which no uapi header has

// A refusal of bpf(2): the errno is the answer, the text is for people.
tl::unexpected<Error> refuse(int error, std::string why);
tl::unexpected<Error> fault();

template <class T>
Result<T> read_user(u64 from) {
    T value;
    if (!copy_from_user(std::as_writable_bytes(std::span(&value, 1)), from)) return fault();
    return value;
}
template <class T>
Result<> write_user(u64 to, const T& value) {
    if (!copy_to_user(to, std::as_bytes(std::span(&value, 1)))) return fault();
    return {};
}
template <class T>
Result<std::vector<T>> read_user_table(u64 from, std::size_t count) {
    std::vector<T> table(count);
    if (count != 0 && !copy_from_user(std::as_writable_bytes(std::span(table)), from)) return fault();
    return table;
}
// Text up to its NUL or to `limit` bytes, as strncpy_from_user.
Result<std::string> read_user_text(u64 from, std::size_t limit);

// bpf_check_uarg_tail_zero: what the caller's structure has beyond `known` bytes must be zero (E2BIG).
Result<> check_tail_zero(u64 from, std::size_t known, std::size_t actual);

}  // namespace anybpf::kernel
