// SPDX-License-Identifier: Apache-2.0
#include "loader.hpp"

#include <fmt/format.h>

namespace anybpf::cli {

namespace {

Exit exit_of(object::Trouble what) {
    switch (what) {
        case object::Trouble::unreadable:
            return Exit::truncated;
        case object::Trouble::no_such_program:
            return Exit::usage;
        case object::Trouble::refused:
            return Exit::refused;
        case object::Trouble::map_refused:
            return Exit::map_refused;
        case object::Trouble::not_permitted:
            return Exit::not_permitted;
        case object::Trouble::no_memory:
        case object::Trouble::failed:
            break;
    }
    return Exit::failed;
}

tl::unexpected<Failure> stop(const ObjectFile& file, const object::Failure& failure) {
    return stop(exit_of(failure.what), fmt::format("{}: {}", file.path(), failure.message));
}

}  // namespace

Outcome<Loaded> open_object(const ObjectFile& file, const LoadOptions& options, const LibbpfLog& log) {
    CLI_TRY(check_sections(file));
    auto opened = object::open(
        file.bytes(),
        {.only = options.only, .log_level = options.log_level, .fill_in = options.fill_in, .name = options.name}, log);
    if (!opened) return stop(file, opened.error());
    return std::move(*opened);
}

Outcome<> load_object(const Loaded& loaded, const ObjectFile& file, const LibbpfLog& log) {
    if (const auto done = object::load(loaded, log); !done) return stop(file, done.error());
    return {};
}

}  // namespace anybpf::cli
