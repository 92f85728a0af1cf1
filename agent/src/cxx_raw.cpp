// SPDX-License-Identifier: Apache-2.0
// What the agent needs of the C++ runtime, its own. Nothing is thrown in the agent, so a throw is a bug: it traps, as
// an assertion would. With these definitions at hand the linker takes no unwinder, no demangler and no emergency pool
// from the compiler's libraries, which would cost every exec relocations, constructors and a mapping.
#include <cstddef>
#include <typeinfo>

#define ANYBPF_TRAPS __attribute__((noreturn, cold, used))

extern "C" {
ANYBPF_TRAPS void __cxa_pure_virtual() { __builtin_trap(); }
ANYBPF_TRAPS void __cxa_throw(void*, std::type_info*, void (*)(void*)) { __builtin_trap(); }
ANYBPF_TRAPS void* __cxa_allocate_exception(std::size_t) { __builtin_trap(); }
ANYBPF_TRAPS void __cxa_free_exception(void*) { __builtin_trap(); }
ANYBPF_TRAPS void* __cxa_begin_catch(void*) { __builtin_trap(); }
ANYBPF_TRAPS void __cxa_end_catch() { __builtin_trap(); }
ANYBPF_TRAPS void __cxa_rethrow() { __builtin_trap(); }
ANYBPF_TRAPS int __gxx_personality_v0(int, int, unsigned long, void*, void*) { __builtin_trap(); }
ANYBPF_TRAPS void _Unwind_Resume(void*) { __builtin_trap(); }
}

namespace std {
ANYBPF_TRAPS void terminate() noexcept { __builtin_trap(); }
}  // namespace std
