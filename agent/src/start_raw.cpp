// SPDX-License-Identifier: Apache-2.0
// The agent's beginning in a new image: the first constructor that runs (initfirst), while the process has one thread
// and none of its code has run. Takes what the old image or the supervisor left in the environment, opens the root,
// takes the signals, arms the dispatcher, and reports the exit of the execve that brought it.
// Safe because argument vector, environment and auxiliary vector are written only inside the array that the kernel
// laid out, before anybody has read it.
#include <link.h>
#include <sys/auxv.h>
#include <sys/syscall.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <string_view>

#include "anybpf/agent/environment.hpp"
#include "state.hpp"

extern "C" const char __bss_start[];

namespace anybpf::agent {
namespace {

struct Settings {
    bool present = false;
    u32 tree = 0;
    u64 nr = SYS_execve;
    SignalSet blocked = 0, ignored = 0;
};

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
void parse(std::string_view value, Settings& settings) {
    const auto colon = value.find(':');
    if (colon == std::string_view::npos) return;
    std::string_view numbers = value.substr(0, colon);
    const std::string_view root = value.substr(colon + 1);
    if (root.empty() || root.size() >= process.root.size()) return;
    std::memcpy(process.root.data(), root.data(), root.size());
    std::array<std::string_view, 8> fields{};
    u32 count = 0;
    while (count < fields.size()) {
        const auto comma = numbers.find(',');
        fields[count++] = numbers.substr(0, comma);
        if (comma == std::string_view::npos) break;
        numbers = numbers.substr(comma + 1);
    }
    settings.present = true;
    settings.tree = static_cast<u32>(parse_number(fields[0], 10));
    if (count < fields.size()) return;
    settings.nr = parse_number(fields[1], 10);
    settings.blocked = parse_number(fields[2], 16);
    settings.ignored = parse_number(fields[3], 16);
    process.agent_file = {parse_number(fields[4], 10), parse_number(fields[5], 10)};
    process.root_file = {parse_number(fields[6], 10), parse_number(fields[7], 10)};
}

// Takes our entries out. The array lies directly below the auxiliary vector, which some programs find by walking over
// it: two entries less make room for one that says "ignore me".
void clean_environment(char** environment, Settings& settings) {
    char** to = environment;
    char** from = environment;
    u32 removed = 0;
    for (; *from != nullptr; ++from) {
        char* entry = *from;
        const std::string_view text(entry);
        if (text.starts_with(variable)) {
            parse(text.substr(sizeof(variable) - 1), settings);
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
    if (removed == 0) return;
    *to++ = nullptr;
    if (removed == 2) {
        auto* const vector = reinterpret_cast<ElfW(auxv_t)*>(to);
        vector->a_type = AT_IGNORE;
        vector->a_un.a_val = 0;
    } else {
        while (to <= from) *to++ = nullptr;
    }
}

int find_self(dl_phdr_info* info, std::size_t, void* unused) {
    (void)unused;
    const auto here = reinterpret_cast<u64>(anybpf_arena_begin);
    for (int i = 0; i < info->dlpi_phnum; ++i) {
        const auto& segment = info->dlpi_phdr[i];
        if (segment.p_type != PT_LOAD || (segment.p_flags & PF_X) == 0) continue;
        const u64 begin = info->dlpi_addr + segment.p_vaddr;
        if (here < begin || here >= begin + segment.p_memsz) continue;
        process.text_begin = begin;
        process.text_end = begin + segment.p_memsz;
        const std::string_view name(info->dlpi_name);
        if (name.size() >= process.agent_path.size()) return 1;
        std::memcpy(process.agent_path.data(), name.data(), name.size());
        return 1;
    }
    return 0;
}

// What is zero at first and written by every exec, in one call instead of by a fault a page: all up to the page on
// which the first slots are.
void populate_zeros() {
    const u64 begin = reinterpret_cast<u64>(__bss_start) & ~4095ULL,
              last = reinterpret_cast<u64>(anybpf_slots) & ~4095ULL;
    raw(SYS_madvise, begin, last + 4096 - begin, madvise_populate_write);
}

void start(char** argv, char** environment) {
    populate_zeros();
    anybpf_tls_at = reinterpret_cast<u64>(&anybpf_tls) - reinterpret_cast<u64>(__builtin_thread_pointer());
    dl_iterate_phdr(find_self, nullptr);
    Settings settings;
    clean_environment(environment, settings);
    if (!settings.present || process.agent_path[0] != '/') return;
    if (process.root_file == FileId{} &&
        (!identify(process.agent_path.data(), process.agent_file) || !identify(process.root.data(), process.root_file)))
        return;
    process.tree = settings.tree;
    ThreadState* const state = make_first_state();
    if (state == nullptr) return;
    auto hooks = hooks::SyscallHooks::open(process.root.data(), settings.tree, anybpf_raw);
    if (!hooks) return;
    process.hooks = hooks->release();
    anybpf_tls.state = state;
    start_signals(settings.blocked, settings.ignored);
    find_libraries();
    mark_quiet();
    birth(state);
    if (settings.nr != 0) {
        SyscallRegisters registers{};
        registers.orig_ax = settings.nr;
        registers.sp = reinterpret_cast<u64>(argv) - 8;
        registers.cs = 0x33;
        registers.ss = 0x2b;
        registers.flags = 0x200;
        report_exit(state, registers, static_cast<u32>(settings.nr));
    }
    anybpf_tls.active = state;
}

}  // namespace
}  // namespace anybpf::agent

// glibc hands every constructor main's arguments.
extern "C" __attribute__((constructor)) void anybpf_start(int argc, char** argv, char** environment) {
    (void)argc;
    const int saved = errno;
    anybpf::agent::start(argv, environment);
    errno = saved;
}
