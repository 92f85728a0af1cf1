// SPDX-License-Identifier: Apache-2.0
// Linking: an image gets the addresses of this process, and a place where it runs.
//
// Raw because it writes addresses as numbers into what will be executed. It is safe because each is that of a map,
// value or helper of this process, at a place inside the code which the compiler named for it.
#include <cstring>

#include "anybpf/base/bytes.hpp"
#include "anybpf/engine/code.hpp"
#include "anybpf/engine/layout.hpp"

namespace anybpf::engine {
namespace {

constexpr u32 image_magic = 0x63726261;  // "abrc"
constexpr u16 image_version = 1;         // moves on with layout.hpp, abi::Run and helpers.def
constexpr u32 no_enter = ~0U;
constexpr u32 max_code = 1U << 27;

struct Header {
    u32 magic = image_magic;
    u16 version = image_version, reserved = 0;
    u32 code_bytes = 0, instruction_bytes = 0;
    u32 body = 0, tail_body = 0, enter = 0;
    u32 patch_count = 0, array_count = 0, reserved2 = 0;
};
static_assert(sizeof(Header) == 40 && sizeof(CodeImage::Patch) == 16 && sizeof(CodeImage::Array) == 24);

template <class T>
Result<std::vector<T>> take_all(ByteReader& in, u32 count) {
    const auto bytes = ANYBPF_TRY(in.take_bytes(std::size_t{count} * sizeof(T)));
    std::vector<T> all(count);
    if (!bytes.empty()) std::memcpy(all.data(), bytes.data(), bytes.size());
    return all;
}

tl::unexpected<Error> malformed(std::string message) { return fail(Errc::malformed, "machine code: " + message); }

u64 address(const void* at) { return reinterpret_cast<u64>(at); }

Result<u64> address_of(const CodeImage::Patch& patch, std::span<const BoundMap> maps,
                       const abi::HelperBodies* helpers) {
    using Address = CodeImage::Address;
    switch (patch.what) {
        case Address::helper:
            if (helpers == nullptr || patch.index >= helpers->size() || (*helpers)[patch.index] == nullptr)
                return fail(Errc::unsupported,
                            "helper " + std::string(abi::helper_name(patch.index)) + " is not available here");
            return reinterpret_cast<u64>((*helpers)[patch.index]);
        case Address::packet:
            return reinterpret_cast<u64>(&abi::load_packet_of);
        case Address::map:
        case Address::value:
        case Address::array:
            break;
    }
    if (patch.index >= maps.size()) return malformed("an unknown map");
    const BoundMap& map = maps[patch.index];
    if (patch.what == Address::map) return address(map.map);
    const std::byte* const values = patch.what == Address::array ? map.array.values : map.values;
    if (values == nullptr) return malformed("the map has no values of fixed address");
    return address(values) + patch.offset;
}

}  // namespace

std::vector<std::byte> CodeImage::bytes() const {
    const Header header{.code_bytes = static_cast<u32>(code.size()),
                        .instruction_bytes = instruction_bytes,
                        .body = body,
                        .tail_body = tail_body,
                        .enter = enter.value_or(no_enter),
                        .patch_count = static_cast<u32>(patches.size()),
                        .array_count = static_cast<u32>(arrays.size())};
    std::vector<std::byte> out;
    const auto add = [&](std::span<const std::byte> part) { out.insert(out.end(), part.begin(), part.end()); };
    add(std::as_bytes(std::span(&header, 1)));
    add(std::as_bytes(std::span(patches)));
    add(std::as_bytes(std::span(arrays)));
    add(code);
    return out;
}

Result<CodeImage> CodeImage::read(std::span<const std::byte> bytes) {
    ByteReader in(bytes);
    const auto header = ANYBPF_TRY(in.take<Header>());
    if (header.magic != image_magic || header.version != image_version) return malformed("of another kind or version");
    // Not within the braces: a return from there leaves behind what was made before it.
    CodeImage image;
    image.instruction_bytes = header.instruction_bytes;
    image.body = header.body;
    image.tail_body = header.tail_body;
    if (header.enter != no_enter) image.enter = header.enter;
    image.patches = ANYBPF_TRY(take_all<Patch>(in, header.patch_count));
    image.arrays = ANYBPF_TRY(take_all<Array>(in, header.array_count));
    image.code = ANYBPF_TRY(take_all<std::byte>(in, header.code_bytes));
    const auto is_code = [&](u32 offset) { return offset < header.instruction_bytes; };
    if (header.code_bytes > max_code || header.instruction_bytes > header.code_bytes || !is_code(header.body) ||
        !is_code(header.tail_body) || (image.enter && !is_code(*image.enter)))
        return malformed("an entry lies outside");
    for (const Patch& patch : image.patches) {
        if (patch.at > header.code_bytes || header.code_bytes - patch.at < sizeof(u64))
            return malformed("an address lies outside");
        if (patch.what > Address::array) return malformed("an address of an unknown kind");
    }
    return image;
}

Result<std::shared_ptr<const JitProgram>> CodeImage::link(std::span<const BoundMap> maps,
                                                          const abi::HelperBodies* helpers, CodeMemory& memory) const {
    for (const Array& array : arrays) {
        if (array.map >= maps.size()) return malformed("an unknown map");
        const abi::ArrayPlace& place = maps[array.map].array;
        if (array != Array{array.map, place.entries, place.stride, place.block})
            return malformed("an array has another shape");
    }
    std::vector<std::byte> linked = code;
    for (const Patch& patch : patches) {
        const u64 value = ANYBPF_TRY(address_of(patch, maps, helpers));
        std::memcpy(linked.data() + patch.at, &value, sizeof(value));
    }
    auto program = std::make_shared<JitProgram>(memory);
    program->code = ANYBPF_TRY(memory.place(linked));
    program->instruction_bytes = instruction_bytes;
    program->body = address(program->code.data() + body);
    program->tail_body = address(program->code.data() + tail_body);
    program->enter = enter ? address(program->code.data() + *enter) : 0;
    return program;
}

}  // namespace anybpf::engine
