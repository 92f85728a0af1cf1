// SPDX-License-Identifier: Apache-2.0
// What a program's section name says, checked before libbpf sees it, so that a misspelt name gets the nearest right
// ones.
#pragma once

#include "object_file.hpp"

namespace anybpf::cli {

enum class Where : u8 { user, kernel };

// Every program's section is one that libbpf knows (Exit::unknown_section).
Outcome<> check_sections(const ObjectFile& object);

// Every program can be attached: its kind is served in user space, and what it names is there (Exit::unknown_section,
// Exit::no_attach_point). In the kernel only libbpf can tell.
Outcome<> check_attach_points(const ObjectFile& object, Where where);

}  // namespace anybpf::cli
