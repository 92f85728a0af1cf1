// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "anybpf/helpers/environment.hpp"

namespace anybpf::helpers {

// The task of the environment's thread, as new as the last tick of the coarse clock.
const Task* current_task(Environment& environment);

}  // namespace anybpf::helpers
