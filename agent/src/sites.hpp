// SPDX-License-Identifier: Apache-2.0
// The system call sites of the C library that this agent was built beside, by build id, so that a process that gets a
// second thread need not read the library's whole text. Written by agent/find_sites.py at build time; used only where
// the bytes agree.
#pragma once

#include <array>
#include <span>

#include "anybpf/base/types.hpp"

namespace anybpf::agent {

struct KnownLibrary {
    std::array<u8, 20> build_id;
    std::span<const u32> sites;  // offsets from the load address, of the instruction that is patched
};
extern const std::span<const KnownLibrary> known_libraries;

}  // namespace anybpf::agent
