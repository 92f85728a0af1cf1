// SPDX-License-Identifier: Apache-2.0
#include <bpf/bpf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <mutex>

#include "anybpf/embed_object.hpp"
#include "anybpf/object/loader.hpp"
#include "anybpf/preload/preload.hpp"
#include "state.hpp"

namespace anybpf::embed {

namespace {

Errc errc_of(object::Trouble what) {
    switch (what) {
        case object::Trouble::no_memory:
            return Errc::out_of_memory;
        case object::Trouble::unreadable:
            return Errc::malformed;
        case object::Trouble::no_such_program:
            return Errc::not_found;
        case object::Trouble::refused:
            return Errc::rejected;
        case object::Trouble::map_refused:
            return Errc::too_big;
        case object::Trouble::not_permitted:
            return Errc::permission_denied;
        case object::Trouble::failed:
            break;
    }
    return Errc::invalid_argument;
}

tl::unexpected<Error> failed(const std::string& name, const object::Failure& failure) {
    return fail(errc_of(failure.what), fmt::format("{}: {}", name, failure.message));
}

Result<Fd> again(int fd) {
    Fd copy(::fcntl(fd, F_DUPFD_CLOEXEC, 3));
    if (!copy.valid()) return fail_errno("fcntl(F_DUPFD_CLOEXEC)");
    return copy;
}

}  // namespace

// libbpf's system calls are answered by the application's kernel until its object is closed; the handles live on.
Result<Object> Object::load(const Machine& machine, std::span<const std::byte> file, const std::string& name) {
    static std::mutex one_at_a_time;  // there is one print function of libbpf, and one interposition, in a process
    const std::scoped_lock lock(one_at_a_time);
    const auto interposition = preload::install(*machine.state()->kernel);
    const object::LibbpfLog log(false);
    const auto loaded = object::open(file, {.only = {}, .log_level = 0, .name = name}, log);
    if (!loaded) return failed(name, loaded.error());
    if (const auto done = object::load(*loaded, log); !done) return failed(name, done.error());

    Object result;
    bpf_map* map = nullptr;
    bpf_object__for_each_map(map, loaded->object()) {
        Fd fd = ANYBPF_TRY(again(bpf_map__fd(map)));
        result.maps_.emplace(bpf_map__name(map), ANYBPF_TRY(machine.adopt_map(std::move(fd))));
    }
    bpf_program* program = nullptr;
    bpf_object__for_each_program(program, loaded->object()) {
        Fd fd = ANYBPF_TRY(again(bpf_program__fd(program)));
        result.programs_.emplace(bpf_program__name(program), ANYBPF_TRY(machine.adopt_program(std::move(fd))));
    }
    return result;
}

Result<Object> Object::load_file(const Machine& machine, const std::string& path) {
    const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file.valid()) return fail_errno("open", path);
    std::vector<std::byte> bytes;
    std::array<std::byte, 65536> part;
    for (ssize_t got; (got = ::read(file.get(), part.data(), part.size())) != 0;) {
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return fail_errno("read", path);
        bytes.insert(bytes.end(), part.begin(), part.begin() + got);
    }
    const std::string name = path.substr(path.rfind('/') + 1);
    return load(machine, bytes, name.substr(0, name.find('.')));
}

const Program* Object::program(std::string_view name) const {
    const auto found = programs_.find(name);
    return found == programs_.end() ? nullptr : &found->second;
}
const Map* Object::map(std::string_view name) const {
    const auto found = maps_.find(name);
    return found == maps_.end() ? nullptr : &found->second;
}

}  // namespace anybpf::embed
