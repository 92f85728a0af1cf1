// SPDX-License-Identifier: Apache-2.0
// Opening and loading an object, as a command does it: sections are looked at first, and failures have an exit status.
#pragma once

#include "anybpf/object/loader.hpp"
#include "object_file.hpp"
#include "sections.hpp"

namespace anybpf::cli {

using object::LibbpfLog;
using object::Loaded;
using object::shorten_verifier_log;

struct LoadOptions {
    std::string only;   // load this program alone
    u32 log_level = 0;  // of the verifier's log
    bool verbose = false;
    bool fill_in = false;  // as object::OpenOptions
    std::string name;      // of the object, where the file's is a temporary one's
};

// open: sections are checked, nothing is loaded yet. load: Exit::refused with the verifier's message,
// Exit::map_refused, ...
Outcome<Loaded> open_object(const ObjectFile& file, const LoadOptions& options, const LibbpfLog& log);
Outcome<> load_object(const Loaded& loaded, const ObjectFile& file, const LibbpfLog& log);

}  // namespace anybpf::cli
