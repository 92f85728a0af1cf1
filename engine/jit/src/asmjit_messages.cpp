// SPDX-License-Identifier: Apache-2.0
// What asmjit says, in place of its own: Debian's archive is not made for shared libraries, and the file of it that
// prints to stderr is the one that cannot be linked into them. Defined here, it is never asked for.
#include <asmjit/core.h>

#include "anybpf/base/assert.hpp"

ASMJIT_BEGIN_NAMESPACE
namespace DebugUtils {

const char* errorAsString(Error error) noexcept {
    switch (error) {
        case kErrorOk:
            return "no error";
        case kErrorOutOfMemory:
            return "out of memory";
        case kErrorTooLarge:
            return "too large";
        case kErrorInvalidDisplacement:
            return "a jump is too far";
        default:
            return "not encodable";
    }
}

void debugOutput(const char*) noexcept {}

void assertionFailed(const char* file, int line, const char* what) noexcept {
    anybpf::assertion_failed(what, file, line);
}

}  // namespace DebugUtils
ASMJIT_END_NAMESPACE
