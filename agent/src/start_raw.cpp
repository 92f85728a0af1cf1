// SPDX-License-Identifier: Apache-2.0
// The agent's beginning in a new image. Where an injector brought it, that is before the image's first instruction
// (anybpf_arrive in entry_raw.S); where the dynamic loader did, it is the first constructor that runs (initfirst), and
// takes what the old image or the supervisor left in the environment. Opens the root, takes the signals, arms the
// dispatcher, and reports the exit of the execve that brought it.
// Safe because the process has one thread; argument vector, environment and auxiliary vector are written only inside
// the array that the kernel laid out, before anybody has read it.
#include <link.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <string_view>

#include "anybpf/agent/environment.hpp"
#include "state.hpp"

extern "C" {
extern const char __bss_start[] __attribute__((visibility("hidden")));
void anybpf_go_alone(anybpf::u64 ip, anybpf::u64 sp) __attribute__((noreturn));  // entry_raw.S
void anybpf_go() __attribute__((noreturn));
}

namespace anybpf::agent {
namespace {

u64 parse_number(std::string_view text, u32 base) {
    u64 value = 0;
    for (const char c : text) {
        const u32 digit = c <= '9' ? static_cast<u32>(c - '0') : static_cast<u32>(c - 'a' + 10);
        if (digit >= base) break;
        value = value * base + digit;
    }
    return value;
}

// tree[,nr,blocked,ignored,files]:root
bool parse(std::string_view value, Inheritance& settings) {
    const auto colon = value.find(':');
    if (colon == std::string_view::npos) return false;
    std::string_view numbers = value.substr(0, colon);
    const std::string_view root = value.substr(colon + 1);
    if (root.empty() || root.size() >= process.root.size()) return false;
    std::memcpy(process.root.data(), root.data(), root.size());
    std::array<std::string_view, 8> fields{};
    u32 count = 0;
    while (count < fields.size()) {
        const auto comma = numbers.find(',');
        fields[count++] = numbers.substr(0, comma);
        if (comma == std::string_view::npos) break;
        numbers = numbers.substr(comma + 1);
    }
    settings = {.tree = static_cast<u32>(parse_number(fields[0], 10)), .nr = SYS_execve};
    if (count < fields.size()) return true;
    settings.nr = static_cast<u32>(parse_number(fields[1], 10));
    settings.blocked = parse_number(fields[2], 16);
    settings.ignored = parse_number(fields[3], 16);
    settings.agent = {parse_number(fields[4], 10), parse_number(fields[5], 10)};
    settings.root = {parse_number(fields[6], 10), parse_number(fields[7], 10)};
    return true;
}

// The dynamic loader's list begins with the agent.
void take_agent_path(char** environment) {
    for (; *environment != nullptr; ++environment) {
        const std::string_view text(*environment);
        if (!text.starts_with(preload_variable)) continue;
        const auto value = text.substr(sizeof(preload_variable) - 1);
        const auto path = value.substr(0, value.find(':'));
        if (path.size() < process.agent_path.size()) std::memcpy(process.agent_path.data(), path.data(), path.size());
        return;
    }
}

// Takes our entries out. The array lies directly below the auxiliary vector, which some programs find by walking over
// it: two entries less make room for one that says "ignore me".
bool clean_environment(char** environment, Inheritance& settings) {
    bool present = false;
    char** to = environment;
    char** from = environment;
    u32 removed = 0;
    for (; *from != nullptr; ++from) {
        char* entry = *from;
        const std::string_view text(entry);
        if (text.starts_with(variable)) {
            present = parse(text.substr(sizeof(variable) - 1), settings);
            std::memset(entry, 0, text.size());
            ++removed;
            continue;
        }
        if (text.starts_with(padding_variable)) {
            std::memset(entry, 0, text.size());
            ++removed;
            continue;
        }
        if (text.starts_with(preload_variable)) {
            auto value = text.substr(sizeof(preload_variable) - 1);
            const std::string_view agent(process.agent_path.data());
            if (value.starts_with(agent) && (value.size() == agent.size() || value[agent.size()] == ':')) {
                if (value.size() == agent.size()) {
                    std::memset(entry, 0, text.size());
                    ++removed;
                    continue;
                }
                const auto own = value.substr(agent.size() + 1);
                char* const start = entry + sizeof(preload_variable) - 1;
                std::memmove(start, own.data(), own.size());
                std::memset(start + own.size(), 0, agent.size() + 1);
            }
        }
        *to++ = entry;
    }
    if (removed == 0) return present;
    *to++ = nullptr;
    if (removed == 2) {
        auto* const vector = reinterpret_cast<ElfW(auxv_t)*>(to);
        vector->a_type = AT_IGNORE;
        vector->a_un.a_val = 0;
    } else {
        while (to <= from) *to++ = nullptr;
    }
    return present;
}

// What is zero at first and written by every exec, in one call instead of by a fault a page: all up to the page on
// which the first slots are.
void populate_zeros() {
    const u64 begin = reinterpret_cast<u64>(__bss_start) & ~4095ULL,
              last = reinterpret_cast<u64>(anybpf_slots) & ~4095ULL;
    raw(SYS_madvise, begin, last + 4096 - begin, madvise_populate_write);
}

// The hooks' own: none in a sealed process, where a reader that sleeps wakes by itself.
long call_of_hooks(long number, long a, long b, long c, long d, long e, long f) {
    return process.sealed ? -ENOSYS : anybpf_raw(number, a, b, c, d, e, f);
}

}  // namespace

// stack: where the image's first instruction finds its arguments. False: the image runs without the agent.
bool start(u64 stack, const Inheritance& inherited) {
    if (process.agent_path[0] != '/') return false;
    process.agent_file = inherited.agent;
    process.root_file = inherited.root;
    if (process.root_file == FileId{} &&
        (!identify(process.agent_path.data(), process.agent_file) || !identify(process.root.data(), process.root_file)))
        return false;
    process.tree = inherited.tree;
    ThreadState* const state = make_first_state();
    if (state == nullptr) return false;
    state->own = Own{.self = &state->own, .state = state};
    take_own(&state->own);
    auto hooks = hooks::SyscallHooks::open(process.root.data(), process.tree, call_of_hooks);
    if (!hooks) {
        take_own(nullptr);
        return false;
    }
    process.hooks = hooks->release();
    start_signals(inherited.blocked, inherited.ignored);
    find_first_text();
    mark_quiet();
    birth(state);
    if (process.scans) patch_all(true);
    if (inherited.nr != 0) {
        SyscallRegisters registers{};
        registers.orig_ax = inherited.nr;
        registers.sp = stack;
        registers.cs = 0x33;
        registers.ss = 0x2b;
        registers.flags = 0x200;
        report_exit(state, registers, inherited.nr);
    }
    return true;
}

namespace {

// Behind argument count, arguments and environment.
const u64* auxiliary_vector(u64 stack) {
    const auto* at = reinterpret_cast<const u64*>(stack);
    at += 1 + at[0] + 1;
    while (*at++ != 0) {
    }
    return at;
}

void loaded(char** argv, char** environment) {
    populate_zeros();
    find_self();
    const u64 stack = reinterpret_cast<u64>(argv) - 8;
    read_auxiliary(auxiliary_vector(stack));
    take_agent_path(environment);
    Inheritance inherited;
    if (!clean_environment(environment, inherited)) return;
    if (start(stack, inherited)) own().active = own().state;
}

// Nothing has run that could have changed the loader's code: to forget its page is to have the file's again.
void put_back_first_text(const Arrival& arrival) {
    constexpr u64 page = 4096;
    if (is_loader_text(arrival.text_at) && raw(SYS_madvise, arrival.text_at & ~(page - 1), page, MADV_DONTNEED) == 0)
        return;
    write_text(arrival.text_at, arrival.text.data(), arrival.text_size);
}

// The image's first instruction comes next: by the way out of a system call, which is the way for everything.
void arrived(Arrival& arrival) {
    populate_zeros();
    find_self();
    process.agent_path = arrival.agent_path;
    process.root = arrival.root_path;
    const u64 ip = arrival.ip, sp = arrival.sp;
    const Inheritance inheritance = arrival.inheritance;
    process.key = arrival.key;
    if (ip == 0) {
        write_text(arrival.text_at, arrival.text.data(), arrival.text_size);
        return arrived_late(reinterpret_cast<Visit&>(arrival));
    }
    read_auxiliary(auxiliary_vector(sp));
    put_back_first_text(arrival);
    arrival = Arrival{};
    if (!start(sp, inheritance)) anybpf_go_alone(ip, sp);
    ThreadState* const state = own().state;
    state->publish = state;
    state->registers = {};
    state->registers.sp = sp;
    state->registers.flags = 0x202;
    static Slot beginning;
    beginning.after = ip;
    state->slot = &beginning;
    state->next = own().next = ip;
    anybpf_go();
}

}  // namespace
}  // namespace anybpf::agent

// glibc hands every constructor main's arguments.
extern "C" __attribute__((constructor)) void anybpf_start(int argc, char** argv, char** environment) {
    (void)argc;
    anybpf::agent::loaded(argv, environment);
}

extern "C" void anybpf_arrived(anybpf::agent::Arrival* arrival) {
    anybpf::agent::relocate_self();
    anybpf_with_vectors(
        [](void* at, const void*) { anybpf::agent::arrived(*static_cast<anybpf::agent::Arrival*>(at)); }, arrival,
        nullptr);
}
