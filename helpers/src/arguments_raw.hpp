// SPDX-License-Identifier: Apache-2.0
// A program's registers as pointers. Safe because the verifier has proved, for each argument that the helper's contract
// calls memory, a map or a record, that the register holds the address of such a thing, with the size that stands
// beside it; arguments of kind `anything` go through safe_memory.hpp instead.
#pragma once

#include "anybpf/base/types.hpp"

namespace anybpf::helpers {

template <class T>
T* pointer(u64 argument) {
    return reinterpret_cast<T*>(argument);
}

inline u64 address(const void* pointer) { return reinterpret_cast<u64>(pointer); }

}  // namespace anybpf::helpers
