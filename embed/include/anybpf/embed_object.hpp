// SPDX-License-Identifier: Apache-2.0
// Objects of clang's (`clang -target bpf -g -O2 -c`, or `anybpf compile`) inside an application: their maps are made,
// their references resolved, and their programs verified and loaded, all by libbpf. In a library of its own,
// libanybpf-object, which brings libbpf along, and calls of the C library (open, mmap, syscall ...) that pass through
// it: only while an object is being loaded they do anything but what they always do.
#pragma once

#include <map>

#include "anybpf/embed.hpp"

namespace anybpf::embed {

// All programs and maps of an object. Global variables are maps, too, named as libbpf names them: of an object "rules"
// those with a value lie in "rules.data", those without in "rules.bss", constants in "rules.rodata"; Map::values() is
// where they are.
class Object {
  public:
    // name: of the object, for its data maps and for messages. Errc::rejected: the verifier refuses a program; the
    // message explains. One object is loaded at a time, whichever threads call.
    static Result<Object> load(const Machine& machine, std::span<const std::byte> file, const std::string& name);
    // The file's name without folder and endings names the object.
    static Result<Object> load_file(const Machine& machine, const std::string& path);

    const std::map<std::string, Program, std::less<>>& programs() const { return programs_; }
    const std::map<std::string, Map, std::less<>>& maps() const { return maps_; }
    // Null where there is none of the name.
    const Program* program(std::string_view name) const;
    const Map* map(std::string_view name) const;

    using Programs = std::map<std::string, Program, std::less<>>;
    using Maps = std::map<std::string, Map, std::less<>>;
    // Everything, for a container of the caller's.
    std::pair<Programs, Maps> take() && { return {std::move(programs_), std::move(maps_)}; }

  private:
    Programs programs_;
    Maps maps_;
};

}  // namespace anybpf::embed
