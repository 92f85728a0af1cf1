// SPDX-License-Identifier: Apache-2.0
// A map of a type that has no contents here: what a verifier must know of it, and nothing else. Elements can be
// written, as loaders do before they load a program, and are nowhere.
#include <cerrno>

#include "types.hpp"

namespace anybpf::maps {

namespace {
class Outline final : public Map {
  public:
    Outline(const Spec& spec, u32 id, const Place& place) : Map(spec, id, place) {}
    void* lookup(const void*, u32) override { return nullptr; }
    int update(const void*, const void*, u64, u32) override { return 0; }
    int erase(const void*, u32) override { return -ENOENT; }
    int copy_out(const void*, std::span<std::byte>, u32) override { return -ENOENT; }
    int copy_in(const void*, std::span<const std::byte>, u64, u32) override { return 0; }
    int next_key(const void*, void*) override { return -ENOENT; }
    void recover(u32) override {}
};
}  // namespace

std::unique_ptr<Map> open_outline(const Spec& spec, u32 id, const Place& place) {
    return std::make_unique<Outline>(spec, id, place);
}

}  // namespace anybpf::maps
