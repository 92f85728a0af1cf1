// SPDX-License-Identifier: Apache-2.0
// Pages for machine code, from the system.
//
// Raw because it maps memory and makes it executable. It is safe because pages are writable or executable and never
// both: they are of a file that is written before it is mapped, and that nobody can open afterwards, or, where there is
// no such file, they are made executable after the last byte was written. Nobody makes them writable again, and no two
// programs share one.
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>

#include "anybpf/base/fd.hpp"
#include "anybpf/engine/code.hpp"

namespace anybpf::engine {
namespace {

std::size_t whole_pages(std::size_t size) {
    constexpr std::size_t page = 4096;
    return (size + page - 1) / page * page;
}

class MappedCodeMemory final : public CodeMemory {
  public:
    Result<std::span<std::byte>> reserve(std::size_t size) override {
        size = whole_pages(size);
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

    // A new mapping needs no other processor's attention, as a change of protection does: that is most of the time.
    Result<std::span<std::byte>> place(std::span<const std::byte> code) override {
        const Fd file(::memfd_create("anybpf-code", MFD_CLOEXEC));
        const bool written = file.valid() && ::write(file.get(), code.data(), code.size()) == std::ssize(code);
        if (!written) return CodeMemory::place(code);
        const std::size_t size = whole_pages(code.size());
        void* const at = ::mmap(nullptr, size, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_POPULATE, file.get(), 0);
        if (at == MAP_FAILED) return CodeMemory::place(code);
        return std::span(static_cast<std::byte*>(at), size);
    }
};

}  // namespace

Result<std::span<std::byte>> CodeMemory::place(std::span<const std::byte> code) {
    const auto room = ANYBPF_TRY(reserve(code.size()));
    std::memcpy(room.data(), code.data(), code.size());
    auto sealed = seal(room);
    if (sealed) return room;
    release(room);
    return tl::make_unexpected(std::move(sealed).error());
}

CodeMemory& mapped_code_memory() {
    static auto& memory = *new MappedCodeMemory;  // no destructor at the end of the process
    return memory;
}

}  // namespace anybpf::engine
