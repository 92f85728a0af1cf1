// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "failure.hpp"

namespace anybpf::cli {

// The folder with "vmlinux.h": the types of the running kernel, or ours where it publishes none. Written once for each
// content into the cache.
Outcome<std::string> vmlinux_header_folder();

}  // namespace anybpf::cli
