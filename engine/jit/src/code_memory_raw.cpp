// SPDX-License-Identifier: Apache-2.0
// Pages for machine code, from the system.
//
// Raw because it maps memory and makes it executable. It is safe because pages are writable or executable and never
// both: they are made executable after the last byte was written, nobody makes them writable again, and no two programs
// share one.
#include <sys/mman.h>

#include "anybpf/engine/jit.hpp"

namespace anybpf::engine {
namespace {

class MappedCodeMemory final : public CodeMemory {
  public:
    Result<std::span<std::byte>> reserve(std::size_t size) override {
        constexpr std::size_t page = 4096;
        size = (size + page - 1) / page * page;
        void* const at = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (at == MAP_FAILED) return fail_errno("cannot map memory for machine code");
        return std::span(static_cast<std::byte*>(at), size);
    }
    Result<> seal(std::span<std::byte> code) override {
        if (::mprotect(code.data(), code.size(), PROT_READ | PROT_EXEC) != 0)
            return fail_errno("cannot make machine code executable");
        return {};
    }
    void release(std::span<std::byte> code) override { ::munmap(code.data(), code.size()); }
};

}  // namespace

CodeMemory& mapped_code_memory() {
    static MappedCodeMemory memory;
    return memory;
}

}  // namespace anybpf::engine
