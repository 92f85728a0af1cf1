// SPDX-License-Identifier: Apache-2.0
// The files by which the kernel describes its BPF, as text from our tables: tracefs, event_source, possible CPUs,
// kallsyms, BTF, configuration.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "anybpf/base/types.hpp"

namespace anybpf::preload {

struct VirtualFile {
    bool directory = false;
    bool writable = false;
    std::string text;
};

// What the answers depend on.
struct VirtualFacts {
    u32 possible_cpus = 0;
    std::function<std::string()> vmlinux_btf;
};

// Absolute, without doubled and trailing slashes and "." components; empty for a path that is not absolute.
std::string plain_path(std::string_view path);

// trace_pipe of tracefs, which is no text but a stream.
bool is_trace_pipe(std::string_view path);

enum class Where : u8 { elsewhere, missing, found };
// elsewhere: the path is the host's business; missing: it is ours and there is no such file (ENOENT). For plain paths.
Where find_virtual(std::string_view path, const VirtualFacts& facts, VirtualFile* file);

}  // namespace anybpf::preload
