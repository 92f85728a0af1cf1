// SPDX-License-Identifier: Apache-2.0
#include "anybpf/base/bytes.hpp"

namespace anybpf {

Result<std::span<const std::byte>> ByteReader::take_bytes(std::size_t count) {
    const auto part = ANYBPF_TRY(slice(position_, count));
    position_ += count;
    return part;
}

Result<std::span<const std::byte>> ByteReader::slice(std::size_t offset, std::size_t size) const {
    if (offset > bytes_.size() || size > bytes_.size() - offset)
        return fail(Errc::truncated, std::to_string(size) + " bytes at offset " + std::to_string(offset) +
                                         " reach beyond the " + std::to_string(bytes_.size()) + " that there are");
    return bytes_.subspan(offset, size);
}

Result<std::string_view> ByteReader::text_at(std::size_t offset) const {
    if (offset >= bytes_.size())
        return fail(Errc::truncated, "text at offset " + std::to_string(offset) + " lies outside of the input");
    const auto rest = bytes_.subspan(offset);
    const void* end = std::memchr(rest.data(), 0, rest.size());
    if (!end) return fail(Errc::malformed, "text at offset " + std::to_string(offset) + " has no end");
    const auto* first = static_cast<const char*>(static_cast<const void*>(rest.data()));
    return std::string_view(first, static_cast<std::size_t>(static_cast<const char*>(end) - first));
}

Result<> ByteReader::seek(std::size_t offset) {
    if (offset > bytes_.size())
        return fail(Errc::truncated, "offset " + std::to_string(offset) + " lies outside of the input");
    position_ = offset;
    return {};
}

}  // namespace anybpf
