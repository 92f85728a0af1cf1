// SPDX-License-Identifier: Apache-2.0
// BTF as it lies in memory (uapi/linux/btf.h).
#pragma once

#include "anybpf/base/types.hpp"

namespace anybpf::btf {

struct Header {
    u16 magic;
    u8 version, flags;
    u32 header_size;
    u32 type_offset, type_size;      // from the end of the header
    u32 string_offset, string_size;  // the same
};
static_assert(sizeof(Header) == 24);

constexpr u16 btf_magic = 0xeb9f;
constexpr u8 btf_version = 1;
constexpr u32 max_type = 0x000fffff, max_name_offset = 0x00ffffff, max_size = 16U << 20;

struct RawType {
    u32 name_offset;
    u32 info;  // vlen:16, unused:8, kind:5, unused:2, kind_flag:1
    u32 size_or_type;
};
static_assert(sizeof(RawType) == 12);
constexpr u32 info_mask = 0x9f00ffff;

constexpr u32 make_info(u8 kind, u32 vlen, bool flag) { return (flag ? 1U << 31 : 0U) | u32{kind} << 24 | vlen; }

// Encoding bits of an int, above its offset and bits.
constexpr u32 int_signed = 1, int_char = 2, int_bool = 4;

}  // namespace anybpf::btf
