// SPDX-License-Identifier: Apache-2.0
// What stands behind the opaque types of the interface for C, and how a failure becomes C's.
#pragma once

#include "anybpf/anybpf.h"
#include "anybpf/embed.hpp"

struct anybpf_machine {
    anybpf::embed::Machine machine;
};
struct anybpf_map {
    anybpf::embed::Map map;
};
struct anybpf_program {
    anybpf::embed::Program program;
};

namespace anybpf::embed {

// Keeps the message for anybpf_error(); the negative errno.
int c_failure(const Error& error);

}  // namespace anybpf::embed
