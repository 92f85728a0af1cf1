// SPDX-License-Identifier: Apache-2.0
// The questions of anybpf doctor: each tries the thing itself, in a form that changes nothing here.
#pragma once

#include <string>

#include "anybpf/base/types.hpp"

namespace anybpf::cli {

enum class State : u8 { yes, no, partly };

struct Answer {
    State state = State::no;
    std::string detail;  // what is there, or why not
    int error = 0;       // errno of the attempt
    std::string mend{};  // where the asker knows better than the table
};

namespace asks {
#define ANYBPF_ASK(id, name, need, lost, mend_absent, mend_refused) Answer id();
#include "doctor.def"
}  // namespace asks

// errno of mapping a file as code, as the dynamic loader does it: not from a noexec mount, for one.
int code_mapping_error(const std::string& path);

}  // namespace anybpf::cli
