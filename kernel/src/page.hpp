// SPDX-License-Identifier: Apache-2.0
// How the root's page is laid out, and what is asked of its directory.
#pragma once

#include <array>

#include "anybpf/base/text.hpp"
#include "anybpf/kernel/root.hpp"

namespace anybpf::kernel {

constexpr std::size_t page_header = (sizeof(RootPage) + 127) / 128 * 128;  // the table wants this alignment

inline std::size_t vcpu_bytes() { return maps::VcpuTable::bytes(maps::VcpuTable::default_slots); }
inline std::size_t page_bytes() { return page_header + vcpu_bytes() + sizeof(ObjectTable); }

constexpr u64 table_word(ObjectId object) { return (u64{static_cast<u32>(object.kind)} + 1) << 32 | object.id; }

constexpr std::array<Text<7>, object_kinds> kind_names = {"map", "prog", "link", "btf", "event"};

// A directory of this user that nobody else can open.
Result<> check_owner(const std::string& path);

}  // namespace anybpf::kernel
