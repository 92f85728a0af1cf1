// SPDX-License-Identifier: Apache-2.0
// The format strings of trace_printk, trace_vprintk and snprintf, by the kernel's rules (bpf_bprintf_prepare and
// bstr_printf of 6.18): what it refuses is refused with the same errno before anything is written.
#pragma once

#include <span>

#include "anybpf/base/types.hpp"

namespace anybpf::helpers {

constexpr std::size_t max_format_arguments = 12;

// Writes at most out.size() bytes including the NUL that ends them (none for an empty span). format must hold a NUL
// within its bytes. Returns the length without NUL that the whole text has, or -EINVAL, -ENOSPC.
i64 format(std::span<char> out, std::span<const char> format, std::span<const u64> arguments);

}  // namespace anybpf::helpers
