// SPDX-License-Identifier: Apache-2.0
// A recording from a stranger: it is refused with a line and a field, or everything in it can be handed on.
#include <string_view>

#include "anybpf/base/assert.hpp"
#include "recording.hpp"

using namespace anybpf;

namespace {

void hold_together(const cli::RecordedMap& map, bool within_map) {
    ANYBPF_ASSERT(map.name.find('\0') == std::string::npos);
    ANYBPF_ASSERT(map.frozen.empty() || map.frozen.size() == map.value_size);
    ANYBPF_ASSERT(map.inner.size() <= (within_map ? 0U : 1U));
    for (const cli::RecordedMap& inner : map.inner) hold_together(inner, true);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const u8* data, std::size_t size) {
    const auto read = cli::read_recording("r", {reinterpret_cast<const char*>(data), size});
    if (!read) {
        ANYBPF_ASSERT(read.error().exit == cli::Exit::truncated && read.error().message.starts_with("r:"));
        return 0;
    }
    ANYBPF_ASSERT(!read->empty());
    for (const cli::RecordedProgram& program : *read) {
        ANYBPF_ASSERT(!program.insns.empty() && program.insns.size() % 8 == 0);
        ANYBPF_ASSERT(program.func_info.empty() || program.func_info.size() % program.func_info_size == 0);
        ANYBPF_ASSERT(program.line_info.empty() || program.line_info.size() % program.line_info_size == 0);
        for (const cli::RecordedMap& map : program.maps) hold_together(map, false);
    }
    return 0;
}
