// SPDX-License-Identifier: Apache-2.0
// Raw because it maps and protects memory and changes stacks. It is safe because all of it is its own, and no page is
// writable and executable at once.
#include "guarded_raw.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <mutex>

#include "anybpf/abi/types.hpp"
#include "anybpf/base/assert.hpp"

namespace anybpf::differential {
namespace {

constexpr std::size_t page = 4096;
std::size_t pages(std::size_t size) { return (size + page - 1) / page * page; }

// Places for programs that are bound one after the other: a place is filled from its end towards its start, then
// sealed, and filled again when the last program in it is gone.
class FarCodeMemory final : public engine::CodeMemory {
  public:
    Result<std::span<std::byte>> reserve(std::size_t size) override {
        const std::lock_guard lock(mutex_);
        size = (size + 15) / 16 * 16;
        if (size + page > place_bytes) return fail(Errc::too_big, "the program's code is larger than its place");
        if (open_ != nullptr && open_->used + size + page > place_bytes) ANYBPF_TRY(seal_open());
        if (open_ == nullptr) {
            const auto empty = std::ranges::find_if(places_, [](const Place& place) { return place.programs == 0; });
            if (empty == places_.end()) return fail(Errc::out_of_memory, "all places for code are taken");
            ANYBPF_TRY(protect(*empty, PROT_READ | PROT_WRITE));  // what it held before
            empty->used = 0;
            open_ = &*empty;
        }
        const std::size_t mapped = pages(open_->used);
        open_->used += size;
        if (pages(open_->used) > mapped) ANYBPF_TRY(protect(*open_, PROT_READ | PROT_WRITE));
        ++open_->programs;
        return std::span(end_of(*open_) - open_->used, size);
    }
    Result<> seal(std::span<std::byte>) override { return {}; }
    void release(std::span<std::byte> code) override {
        const std::lock_guard lock(mutex_);
        --places_[static_cast<std::size_t>(code.data() - base()) / place_bytes].programs;
    }
    Result<> seal_all() {
        const std::lock_guard lock(mutex_);
        return open_ == nullptr ? Result<>() : seal_open();
    }

  private:
    struct Place {
        std::size_t used = 0;
        u32 programs = 0;
    };
    static constexpr std::size_t place_bytes = 256 * page;
    static std::byte* base() {
        static std::byte* const at = [] {
            void* const wanted = std::bit_cast<void*>(std::uintptr_t{0x123400000000});
            void* const got = ::mmap(wanted, 16 * place_bytes, PROT_NONE,
                                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
            ANYBPF_ASSERT(got == wanted);
            return static_cast<std::byte*>(got);
        }();
        return at;
    }
    std::byte* end_of(const Place& place) const {
        return base() + static_cast<std::size_t>(&place - places_.data() + 1) * place_bytes - page;
    }
    Result<> protect(const Place& place, int protection) const {
        const std::size_t size = pages(place.used);
        if (size != 0 && ::mprotect(end_of(place) - size, size, protection) != 0)
            return fail_errno("mprotect of code's memory");
        return {};
    }
    Result<> seal_open() {
        ANYBPF_TRY(protect(*open_, PROT_READ | PROT_EXEC));
        open_ = nullptr;
        return {};
    }
    std::mutex mutex_;
    std::array<Place, 16> places_{};
    Place* open_ = nullptr;
};
FarCodeMemory& far_memory() {
    static FarCodeMemory memory;
    return memory;
}

void call(void* function) { (*static_cast<const std::function<void()>*>(function))(); }

}  // namespace

// Without a system call, which ucontext's functions make for the signal mask.
extern "C" void anybpf_differential_on_stack(std::byte* top, void (*function)(void*), void* argument);
asm(R"(
    .globl anybpf_differential_on_stack
    .type anybpf_differential_on_stack, @function
anybpf_differential_on_stack:
    push %rbp
    mov %rsp, %rbp
    mov %rdi, %rsp
    mov %rdx, %rdi
    call *%rsi
    mov %rbp, %rsp
    pop %rbp
    ret
)");

Result<Guarded> Guarded::make(std::size_t size) {
    const std::size_t all = pages(size) + 2 * page;
    void* const at = ::mmap(nullptr, all, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) return fail_errno("mmap between guard pages");
    Guarded guarded({static_cast<std::byte*>(at), all});
    if (::mprotect(guarded.bytes().data(), all - 2 * page, PROT_READ | PROT_WRITE) != 0)
        return fail_errno("mprotect between guard pages");
    return guarded;
}

Guarded::~Guarded() {
    if (!whole_.empty()) ::munmap(whole_.data(), whole_.size());
}

std::span<std::byte> Guarded::bytes() const { return whole_.subspan(page, whole_.size() - 2 * page); }

Result<engine::Interpreter::Frames> guarded_frames(bool in_front) {
    // A page for each, and one behind each.
    static const auto made = []() -> Result<std::byte*> {
        constexpr std::size_t all = (2 * abi::max_frames + 1) * page;
        void* const at = ::mmap(nullptr, all, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (at == MAP_FAILED) return fail_errno("mmap of guarded frames");
        std::byte* const first = static_cast<std::byte*>(at) + page;
        for (u32 depth = 0; depth < abi::max_frames; ++depth)
            if (::mprotect(first + 2 * depth * page, page, PROT_READ | PROT_WRITE) != 0)
                return fail_errno("mprotect of guarded frames");
        return first;
    }();
    std::byte* const first = ANYBPF_TRY(made);
    return engine::Interpreter::Frames{first + (in_front ? std::size_t{abi::stack_size} : page), 2 * page};
}

engine::CodeMemory& far_code_memory() { return far_memory(); }
Result<> seal_far_code() { return far_memory().seal_all(); }

void call_on(std::span<std::byte> stack, const std::function<void()>& function) {
    anybpf_differential_on_stack(stack.data() + stack.size(), call, const_cast<std::function<void()>*>(&function));
}

}  // namespace anybpf::differential
