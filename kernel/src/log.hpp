// SPDX-License-Identifier: Apache-2.0
// Log: the buffer that PROG_LOAD and BTF_LOAD write their log to, with the kernel's rules (kernel/bpf/log.c): what does
// not fit loses its beginning (its end with BPF_LOG_FIXED), and the call ends with ENOSPC.
#pragma once

#include <algorithm>

#include "anybpf/abi/uapi.hpp"
#include "user.hpp"

namespace anybpf::kernel {

struct Log {
    u32 level = 0, size = 0;
    u64 buffer = 0;

    Result<> check() const {
        namespace uapi = abi::uapi;
        if ((buffer != 0) != (size != 0) || (buffer != 0 && level == 0) || (level & ~uapi::log_mask) != 0 ||
            size > ~0U >> 2)
            return refuse(EINVAL, "the log's buffer, size and level do not go together");
        return {};
    }

    // Writes the text; true_size is what a sufficient buffer would need, NUL included.
    Result<> finish(std::string_view text, u32& true_size) const {
        true_size = 0;
        if (level == 0) return {};
        true_size = static_cast<u32>(text.size() + 1);
        if (buffer == 0) return {};
        std::string_view part = text;
        const bool cut = text.size() + 1 > size;
        if (cut)
            part =
                (level & abi::uapi::log_fixed) != 0 ? text.substr(0, size - 1) : text.substr(text.size() - (size - 1));
        if (!copy_to_user(buffer, std::as_bytes(std::span(part.data(), part.size()))) ||
            !copy_to_user(buffer + part.size(), std::array{std::byte{0}}))
            return fault();
        if (cut) return refuse(ENOSPC, "the log does not fit into its buffer");
        return {};
    }
};

}  // namespace anybpf::kernel
