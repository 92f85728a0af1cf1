// SPDX-License-Identifier: Apache-2.0
// What asmjit has to say, in place of its own: nothing but an error's text. Debian's archive is not made for shared
// libraries, and the file of it that prints to stderr cannot be linked into one; and the printers of two architectures'
// instructions would come along into every process that has the agent. What is defined here is never asked for there.
// Should another version of asmjit ask for more, the linker says so.
#include <asmjit/x86.h>

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

// No code of ours is logged.
namespace Formatter {
Error formatLabel(String&, FormatFlags, const BaseEmitter*, uint32_t) noexcept { return kErrorOk; }
Error formatDataType(String&, FormatFlags, Arch, TypeId) noexcept { return kErrorOk; }
Error formatData(String&, FormatFlags, Arch, TypeId, const void*, size_t, size_t) noexcept { return kErrorOk; }
}  // namespace Formatter

Error Logger::logf(const char*, ...) noexcept { return kErrorOk; }

// These are asmjit's own business, and not in its headers.
// NOLINTBEGIN(readability-identifier-naming)
namespace EmitterUtils {
void logLabelBound(BaseAssembler*, const Label&) noexcept;
void logInstructionEmitted(BaseAssembler*, InstId, InstOptions, const Operand_&, const Operand_&, const Operand_&,
                           const Operand_*, uint32_t, uint32_t, uint8_t*) noexcept;
Error logInstructionFailed(BaseEmitter*, Error, InstId, InstOptions, const Operand_&, const Operand_&, const Operand_&,
                           const Operand_*) noexcept;

void logLabelBound(BaseAssembler*, const Label&) noexcept {}
void logInstructionEmitted(BaseAssembler*, InstId, InstOptions, const Operand_&, const Operand_&, const Operand_&,
                           const Operand_*, uint32_t, uint32_t, uint8_t*) noexcept {}
Error logInstructionFailed(BaseEmitter* emitter, Error error, InstId, InstOptions, const Operand_&, const Operand_&,
                           const Operand_&, const Operand_*) noexcept {
    emitter->resetInstOptions();
    emitter->resetExtraReg();
    emitter->resetInlineComment();
    return emitter->reportError(error);
}
}  // namespace EmitterUtils

// Prologues, checks and texts for those who ask for them; we do not.
namespace x86 {
void assignEmitterFuncs(BaseEmitter*);
void assignEmitterFuncs(BaseEmitter*) {}
}  // namespace x86
// NOLINTEND(readability-identifier-naming)

ASMJIT_END_NAMESPACE
