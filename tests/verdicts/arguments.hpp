// SPDX-License-Identifier: Apache-2.0
// What the tools over random programs are told alike.
#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>

#include "anybpf/base/types.hpp"

namespace anybpf::verdicts {

struct Arguments {
    u64 count = 10'000, seed = 1;
    std::optional<u64> only;
    u32 jobs = 1;
    bool json = false, check = false;

    void add_to(CLI::App& app, const std::string& what_is_checked) {
        app.add_option("--count", count, "how many programs")->capture_default_str();
        app.add_option("--seed", seed, "of the first")->capture_default_str();
        app.add_option("--jobs", jobs, "in so many processes")->capture_default_str()->check(CLI::Range(1, 1024));
        app.add_option("--only", only, "one program, by its seed");
        app.add_flag("--json", json, "the counts as JSON");
        app.add_flag("--check", check, "the exit status is 1 " + what_is_checked);
    }
};

}  // namespace anybpf::verdicts
