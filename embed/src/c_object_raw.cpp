// SPDX-License-Identifier: Apache-2.0
// Raw because programs and maps of an object are handed out as C's handles, which stand for ours. It is safe because
// the object holds them in that form, and they go with it.
#include "anybpf/anybpf_object.h"
#include "anybpf/embed_object.hpp"
#include "c_handles.hpp"

namespace embed = anybpf::embed;

struct anybpf_object {
    std::map<std::string, anybpf_program, std::less<>> programs;
    std::map<std::string, anybpf_map, std::less<>> maps;
};

namespace {

anybpf_object* handle(anybpf::Result<embed::Object>&& loaded) {
    if (!loaded) {
        embed::c_failure(loaded.error());
        return nullptr;
    }
    auto* object = new anybpf_object;
    auto [programs, maps] = std::move(*loaded).take();
    for (auto& [name, program] : programs) object->programs.emplace(name, anybpf_program{std::move(program)});
    for (auto& [name, map] : maps) object->maps.emplace(name, anybpf_map{std::move(map)});
    return object;
}

}  // namespace

anybpf_object* anybpf_object_load(anybpf_machine* machine, const void* file, size_t size, const char* name) {
    return handle(embed::Object::load(machine->machine, {static_cast<const std::byte*>(file), size},
                                      name != nullptr ? name : "object"));
}
anybpf_object* anybpf_object_load_file(anybpf_machine* machine, const char* path) {
    return handle(embed::Object::load_file(machine->machine, path));
}
const anybpf_program* anybpf_object_program(const anybpf_object* object, const char* name) {
    const auto found = object->programs.find(name);
    return found == object->programs.end() ? nullptr : &found->second;
}
const anybpf_map* anybpf_object_map(const anybpf_object* object, const char* name) {
    const auto found = object->maps.find(name);
    return found == object->maps.end() ? nullptr : &found->second;
}
void anybpf_object_free(anybpf_object* object) { delete object; }
