// SPDX-License-Identifier: Apache-2.0
// What the agent needs of the C++ runtime, its own. Nothing is thrown in the agent, so a throw is a bug: it traps, as
// an assertion would. With these definitions at hand the linker takes no unwinder, no demangler and no emergency pool
// from the compiler's libraries, which would cost every exec relocations, constructors and a mapping.
#include <cstddef>
#include <typeinfo>

#define ANYBPF_TRAPS __attribute__((noreturn, cold, used))

extern "C" {
[[gnu::visibility("hidden")]] void* __dso_handle = nullptr;  // nothing of the agent is destroyed when its process ends

ANYBPF_TRAPS void __cxa_pure_virtual() { __builtin_trap(); }
ANYBPF_TRAPS void __cxa_throw(void*, std::type_info*, void (*)(void*)) { __builtin_trap(); }
ANYBPF_TRAPS void* __cxa_allocate_exception(std::size_t) { __builtin_trap(); }
ANYBPF_TRAPS void __cxa_free_exception(void*) { __builtin_trap(); }
ANYBPF_TRAPS void* __cxa_begin_catch(void*) { __builtin_trap(); }
ANYBPF_TRAPS void __cxa_end_catch() { __builtin_trap(); }
ANYBPF_TRAPS void __cxa_rethrow() { __builtin_trap(); }
ANYBPF_TRAPS int __gxx_personality_v0(int, int, unsigned long, void*, void*) { __builtin_trap(); }
ANYBPF_TRAPS void _Unwind_Resume(void*) { __builtin_trap(); }

// What guards a local static: its first byte, which compiled code tests by itself, is 1 when it is made; the second
// while it is being made.
__attribute__((used)) int __cxa_guard_acquire(unsigned* guard) {
    for (;;) {
        unsigned state = 0;
        if (__atomic_compare_exchange_n(guard, &state, 0x100, false, __ATOMIC_ACQUIRE, __ATOMIC_ACQUIRE)) return 1;
        if (state == 1) return 0;
    }
}
__attribute__((used)) void __cxa_guard_release(unsigned* guard) { __atomic_store_n(guard, 1, __ATOMIC_RELEASE); }
ANYBPF_TRAPS void __cxa_guard_abort(unsigned*) { __builtin_trap(); }
__attribute__((used)) int __cxa_atexit(void (*)(void*), void*, void*) { return 0; }
__attribute__((used)) char* gettext(const char* text) { return const_cast<char*>(text); }
__attribute__((used)) char __libc_single_threaded = 0;
}

namespace std {
ANYBPF_TRAPS void terminate() noexcept { __builtin_trap(); }
ANYBPF_TRAPS void __throw_bad_alloc() { __builtin_trap(); }
ANYBPF_TRAPS void __throw_bad_array_new_length() { __builtin_trap(); }
ANYBPF_TRAPS void __throw_bad_function_call() { __builtin_trap(); }
ANYBPF_TRAPS void __throw_length_error(const char*) { __builtin_trap(); }
ANYBPF_TRAPS void __throw_logic_error(const char*) { __builtin_trap(); }
ANYBPF_TRAPS void __throw_out_of_range_fmt(const char*, ...) { __builtin_trap(); }
ANYBPF_TRAPS void __throw_runtime_error(const char*) { __builtin_trap(); }
ANYBPF_TRAPS void __throw_system_error(int) { __builtin_trap(); }
}  // namespace std

// Nobody asks an object for its type: what answers is empty.
extern "C" {
extern const void* const empty_class[3] asm("_ZTVN10__cxxabiv117__class_type_infoE");
extern const void* const empty_derived_class[3] asm("_ZTVN10__cxxabiv120__si_class_type_infoE");
const void* const empty_class[3] = {};
const void* const empty_derived_class[3] = {};
}
