// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace anybpf::conformance {

// From now on an access of memory that is not there ends the process with exit status 1 and a message.
void report_faults();

}  // namespace anybpf::conformance
