// SPDX-License-Identifier: Apache-2.0
// Where the values of ARRAY and PERCPU_ARRAY lie: what maps lay out and engines look up without a call.
#pragma once

#include <cstddef>

#include "anybpf/base/types.hpp"

namespace anybpf::abi {

struct ArrayPlace {
    std::byte* values = nullptr;  // value 0 (of virtual CPU 0)
    u64 stride = 0;               // bytes from one value to the next
    u64 block = 0;                // bytes from one virtual CPU's values to the next one's; 0: all share the same
    u32 entries = 0;              // 0: the map is no array

    // Requires an index below entries, and a virtual CPU that the map has.
    std::byte* at(u32 index, u32 vcpu) const { return values + vcpu * block + index * stride; }
};

}  // namespace anybpf::abi
