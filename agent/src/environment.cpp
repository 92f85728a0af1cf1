// SPDX-License-Identifier: Apache-2.0
#include "anybpf/agent/environment.hpp"

#include <algorithm>

namespace anybpf::agent {

std::vector<std::string> traced_environment(std::vector<std::string> environment, const std::string& agent,
                                            const std::string& root, u32 tree) {
    std::erase_if(environment, [](const std::string& entry) {
        return entry.starts_with(variable) || entry.starts_with(padding_variable);
    });
    const auto preload =
        std::ranges::find_if(environment, [](const std::string& entry) { return entry.starts_with(preload_variable); });
    // Two entries are added in either case: the agent replaces them with one entry of the auxiliary vector.
    if (preload == environment.end()) {
        environment.push_back(preload_variable + agent);
    } else {
        *preload = preload_variable + agent + ":" + preload->substr(sizeof(preload_variable) - 1);
        environment.push_back(padding_variable);
    }
    environment.push_back(variable + std::to_string(tree) + ":" + root);
    return environment;
}

}  // namespace anybpf::agent
