// SPDX-License-Identifier: Apache-2.0
// Bytes as a program on its way in (check, disassemble, lower, bind) and as the lowered form from a file that somebody
// else wrote (bind). Nothing is run: unverified programs may do anything.
#include <cstring>

#include "anybpf/base/assert.hpp"
#include "anybpf/engine/engine.hpp"
#include "anybpf/engine/lower.hpp"
#include "anybpf/isa/text.hpp"

using namespace anybpf;

namespace {

template <class T>
std::vector<T> take_all(const u8* data, std::size_t size) {
    std::vector<T> items(size / sizeof(T));
    if (!items.empty()) std::memcpy(static_cast<void*>(items.data()), data, items.size() * sizeof(T));
    return items;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const u8* data, std::size_t size) {
    static std::byte value{};
    const engine::BoundMap maps[] = {{&value, &value}, {&value, nullptr}};

    const auto insns = take_all<isa::Insn>(data, size);
    const bool defect = isa::check(insns).has_value();
    (void)isa::disassemble(insns);
    const auto lowered = engine::lower_unverified(insns, 2);
    if (lowered) {
        ANYBPF_ASSERT(!defect);
        // What lowering yields is well-formed, but for a value of a map that has none.
        const auto bound = engine::Interpreter::bind(*lowered, maps);
        ANYBPF_ASSERT(bound || !lowered->map_uses.empty());
    }

    program::Lowered foreign;
    foreign.insns = take_all<program::LoweredInsn>(data, size);
    if (size != 0) {
        foreign.subprograms.push_back({0, data[0] * 8U});
        foreign.subprograms.push_back({data[size / 2], data[size - 1]});
        foreign.map_uses = take_all<program::MapUse>(data + size / 2, data[0] % 2U == 0 ? 0 : size - size / 2);
    }
    (void)engine::Interpreter::bind(foreign, maps);
    return 0;
}
