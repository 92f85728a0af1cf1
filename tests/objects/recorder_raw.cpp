// SPDX-License-Identifier: Apache-2.0
// A library that is preloaded into a tool: every program that the tool loads with bpf(2) becomes a line of the file
// that ANYBPF_RECORD names (docs/formats/recording.md), and nothing is attached.
//
// Maps, BTF and programs go to the live kernel, so that the tool meets what it probes for. What the kernel permits to
// nobody (EPERM), and everything that would attach, is answered with a descriptor of something else, so that the tool
// goes on to its next program. The file of each map is asked for its description where a program names it: nothing is
// kept of descriptors, which are duplicated and closed behind our back.
//
// Raw: system calls by instruction, because the function of that name is what is defined here; pointers in attributes
// are numbers. Both are the kernel's contract, and what the tool passes was good enough for the kernel a moment ago.
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <bit>
#include <cerrno>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace {

using u32 = std::uint32_t;
using u64 = std::uint64_t;

long raw(long number, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0, long f = 0) {
    long result;
    register long r10 asm("r10") = d;
    register long r8 asm("r8") = e;
    register long r9 asm("r9") = f;
    asm volatile("syscall"
                 : "=a"(result)
                 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                 : "rcx", "r11", "memory");
    return result;
}

long bpf(int command, const void* attr, u32 size) {
    return raw(SYS_bpf, command, std::bit_cast<long>(attr), static_cast<long>(size));
}

long as_libc(long result) {
    if (result >= 0) return result;
    errno = static_cast<int>(-result);
    return -1;
}

// --- what is said of a map

std::string hex(const void* bytes, std::size_t size) {
    constexpr std::string_view digits = "0123456789abcdef";
    std::string text;
    text.reserve(2 * size);
    for (std::size_t i = 0; i < size; ++i) {
        const auto byte = static_cast<const unsigned char*>(bytes)[i];
        text += digits[byte >> 4U];
        text += digits[byte & 15U];
    }
    return text;
}

std::string quoted(std::string_view text) {
    std::string result = "\"";
    for (const char c : text) {
        if (c >= ' ' && c != '"' && c != '\\' && c != '\x7f') {
            result += c;
            continue;
        }
        char escaped[8];
        std::snprintf(escaped, sizeof escaped, "\\u%04x", static_cast<unsigned>(static_cast<unsigned char>(c)));
        result += escaped;
    }
    return result + '"';
}

void add(std::string& line, const char* key, u64 value) {
    line += std::string(",\"") + key + "\":" + std::to_string(value);
}
void add(std::string& line, const char* key, const std::string& text) {
    line += std::string(",\"") + key + "\":" + quoted(text);
}

template <class Info>
bool info_of(int fd, Info& info) {
    bpf_attr attr{};
    attr.info.bpf_fd = static_cast<u32>(fd);
    attr.info.info_len = sizeof info;
    attr.info.info = std::bit_cast<u64>(&info);
    return bpf(BPF_OBJ_GET_INFO_BY_FD, &attr, sizeof attr) == 0;
}

std::string types_of(int fd) {
    bpf_btf_info info{};
    if (!info_of(fd, info)) return {};
    std::vector<char> bytes(info.btf_size);
    info = {};
    info.btf = std::bit_cast<u64>(bytes.data());
    info.btf_size = static_cast<u32>(bytes.size());
    return info_of(fd, info) ? hex(bytes.data(), bytes.size()) : std::string();
}

std::string types_by_id(u32 id) {
    bpf_attr attr{};
    attr.btf_id = id;
    const long fd = bpf(BPF_BTF_GET_FD_BY_ID, &attr, sizeof attr);
    if (fd < 0) return {};
    std::string types = types_of(static_cast<int>(fd));
    raw(SYS_close, fd);
    return types;
}

// The value of the only entry of a map that nobody can change any more; empty where it is not one.
std::string frozen_contents(int fd, const bpf_map_info& info) {
    if (info.type != BPF_MAP_TYPE_ARRAY || info.max_entries != 1 || (info.map_flags & BPF_F_RDONLY_PROG) == 0)
        return {};
    std::array<char, 64> path;
    std::array<char, 1024> text{};
    std::snprintf(path.data(), path.size(), "/proc/self/fdinfo/%d", fd);
    const long file = raw(SYS_open, std::bit_cast<long>(path.data()), O_RDONLY | O_CLOEXEC);
    if (file < 0) return {};
    raw(SYS_read, file, std::bit_cast<long>(text.data()), static_cast<long>(text.size() - 1));
    raw(SYS_close, file);
    if (std::strstr(text.data(), "frozen:\t1") == nullptr) return {};
    const u32 key = 0;
    std::vector<char> value(info.value_size);
    bpf_attr attr{};
    attr.map_fd = static_cast<u32>(fd);
    attr.key = std::bit_cast<u64>(&key);
    attr.value = std::bit_cast<u64>(value.data());
    return bpf(BPF_MAP_LOOKUP_ELEM, &attr, sizeof attr) == 0 ? hex(value.data(), value.size()) : std::string();
}

std::mutex inner_lock;
std::map<u32, std::string> inner_maps;  // id of a map of maps -> what its maps are like

std::string describe_map(int fd) {
    bpf_map_info info{};
    if (!info_of(fd, info)) return {};
    std::string map = "{\"name\":" + quoted({info.name, ::strnlen(info.name, sizeof info.name)});
    add(map, "type", info.type);
    add(map, "key_size", info.key_size);
    add(map, "value_size", info.value_size);
    add(map, "max_entries", info.max_entries);
    add(map, "flags", info.map_flags);
    add(map, "extra", info.map_extra);
    if (info.btf_id != 0) {
        add(map, "btf_key", info.btf_key_type_id);
        add(map, "btf_value", info.btf_value_type_id);
        add(map, "btf", types_by_id(info.btf_id));
    }
    if (const std::string contents = frozen_contents(fd, info); !contents.empty()) add(map, "frozen", contents);
    const std::lock_guard locked(inner_lock);
    if (const auto inner = inner_maps.find(info.id); inner != inner_maps.end()) map += ",\"inner\":" + inner->second;
    return map + '}';
}

void note_inner(long outer, int inner) {
    bpf_map_info info{};
    if (outer < 0 || !info_of(static_cast<int>(outer), info)) return;
    std::string text = describe_map(inner);
    const std::lock_guard locked(inner_lock);
    inner_maps[info.id] = std::move(text);
}

// --- a program

// Instructions that name a map by its descriptor name it by its place in the list of maps instead, as with an fd_array.
// False where one of them names something that cannot be kept.
bool collect_maps(std::vector<bpf_insn>& insns, const int* fd_array, std::vector<std::string>& maps) {
    std::map<int, int> places;
    for (std::size_t i = 0; i < insns.size(); ++i) {
        bpf_insn& insn = insns[i];
        if (insn.code == (BPF_JMP | BPF_CALL) && insn.src_reg == BPF_PSEUDO_KFUNC_CALL && insn.off != 0) return false;
        if (insn.code != (BPF_LD | BPF_IMM | BPF_DW)) continue;
        ++i;
        const bool by_index = insn.src_reg == BPF_PSEUDO_MAP_IDX || insn.src_reg == BPF_PSEUDO_MAP_IDX_VALUE;
        if (!by_index && insn.src_reg != BPF_PSEUDO_MAP_FD && insn.src_reg != BPF_PSEUDO_MAP_VALUE) continue;
        if (by_index && fd_array == nullptr) continue;
        const int fd = by_index ? fd_array[insn.imm] : insn.imm;
        if (const auto [place, fresh] = places.try_emplace(fd, static_cast<int>(maps.size())); fresh) {
            maps.push_back(describe_map(fd));
            if (maps.back().empty()) return false;
        }
        insn.imm = places.at(fd);
        if (insn.src_reg == BPF_PSEUDO_MAP_FD) insn.src_reg = BPF_PSEUDO_MAP_IDX;
        if (insn.src_reg == BPF_PSEUDO_MAP_VALUE) insn.src_reg = BPF_PSEUDO_MAP_IDX_VALUE;
    }
    return true;
}

// Where a program is attached to other than by an id among the kernel's own types.
bool attaches_elsewhere(int fd) {
    if (fd == 0) return false;
    std::array<char, 16> name{};
    bpf_btf_info info{};
    info.name = std::bit_cast<u64>(name.data());
    info.name_len = name.size();
    return !info_of(fd, info) || info.kernel_btf == 0 || std::strcmp(name.data(), "vmlinux") != 0;
}

void record(const bpf_attr& attr, long answer) {
    const char* const path = std::getenv("ANYBPF_RECORD");
    if (path == nullptr) return;
    const auto* const first = std::bit_cast<const bpf_insn*>(attr.insns);
    std::vector<bpf_insn> insns(first, first + attr.insn_cnt);
    std::vector<std::string> maps;
    const bool whole = collect_maps(insns, std::bit_cast<const int*>(attr.fd_array), maps) &&
                       !attaches_elsewhere(static_cast<int>(attr.attach_prog_fd));
    std::string line = "{\"recording\":1";
    add(line, "name", std::string(attr.prog_name, ::strnlen(attr.prog_name, sizeof attr.prog_name)));
    add(line, "type", attr.prog_type);
    add(line, "attach_type", attr.expected_attach_type);
    add(line, "attach_btf_id", attr.attach_btf_id);
    add(line, "flags", attr.prog_flags);
    add(line, "license", std::string(std::bit_cast<const char*>(attr.license)));
    add(line, "answer", static_cast<u64>(answer < 0 ? -answer : 0));
    if (!whole) add(line, "lacks", "it refers to a program, a module or a map that is gone");
    if (attr.func_info_cnt != 0 || attr.line_info_cnt != 0) {
        add(line, "btf", types_of(static_cast<int>(attr.prog_btf_fd)));
        add(line, "func_info_size", attr.func_info_rec_size);
        add(line, "func_info",
            hex(std::bit_cast<void*>(attr.func_info), u64{attr.func_info_rec_size} * attr.func_info_cnt));
        add(line, "line_info_size", attr.line_info_rec_size);
        add(line, "line_info",
            hex(std::bit_cast<void*>(attr.line_info), u64{attr.line_info_rec_size} * attr.line_info_cnt));
    }
    add(line, "insns", hex(insns.data(), insns.size() * sizeof(bpf_insn)));
    line += ",\"maps\":[";
    for (const std::string& map : maps) line += (&map == maps.data() ? "" : ",") + (map.empty() ? "{}" : map);
    line += "]}\n";
    const long file = raw(SYS_open, std::bit_cast<long>(path), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (file < 0) return;
    raw(SYS_write, file, std::bit_cast<long>(line.data()), static_cast<long>(line.size()));
    raw(SYS_close, file);
}

// --- what stands for something

std::array<std::atomic<bool>, 65536> stand_ins;  // descriptors of events that do not exist

void mark(long fd, bool stands_in) {
    if (fd >= 0 && fd < static_cast<long>(stand_ins.size())) stand_ins[static_cast<std::size_t>(fd)] = stands_in;
}

long nothing() {
    const long fd = raw(SYS_eventfd2, 0, EFD_CLOEXEC);
    mark(fd, true);
    return fd;
}

long smallest_program() {
    static constexpr char licence[] = "GPL";
    const bpf_insn insns[] = {{BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 0}, {BPF_JMP | BPF_EXIT, 0, 0, 0, 0}};
    bpf_attr attr{};
    attr.prog_type = BPF_PROG_TYPE_SOCKET_FILTER;
    attr.insns = std::bit_cast<u64>(&insns[0]);
    attr.insn_cnt = 2;
    attr.license = std::bit_cast<u64>(&licence[0]);
    return bpf(BPF_PROG_LOAD, &attr, sizeof attr);
}

long answer_bpf(int command, const void* given, u32 size) {
    bpf_attr attr{};
    std::memcpy(&attr, given, std::min<std::size_t>(size, sizeof attr));
    switch (command) {
        case BPF_MAP_CREATE: {
            const long fd = bpf(command, given, size);
            if (attr.inner_map_fd != 0) note_inner(fd, static_cast<int>(attr.inner_map_fd));
            return fd;
        }
        case BPF_PROG_LOAD: {
            const long fd = bpf(command, given, size);
            record(attr, fd);
            return fd == -EPERM ? smallest_program() : fd;
        }
        case BPF_LINK_CREATE:
        case BPF_RAW_TRACEPOINT_OPEN:
            return nothing();
        case BPF_PROG_ATTACH:
        case BPF_PROG_DETACH:
        case BPF_PROG_TEST_RUN:
        case BPF_LINK_UPDATE:
            return 0;
        default:
            return bpf(command, given, size);
    }
}

// The buffers that programs write to exist; what would make a program run does not.
long answer_event(const perf_event_attr* event, long a, long b, long c, long d, long e) {
    if (event->type != PERF_TYPE_SOFTWARE || event->config != PERF_COUNT_SW_BPF_OUTPUT) return nothing();
    const long fd = raw(SYS_perf_event_open, a, b, c, d, e);
    mark(fd, false);
    return fd;
}

}  // namespace

extern "C" {

__attribute__((visibility("default"))) long syscall(long number, ...) {
    va_list list;
    va_start(list, number);
    long words[6];
    for (long& word : words) word = va_arg(list, long);
    va_end(list);
    const auto& [a, b, c, d, e, f] = words;
    if (number == SYS_bpf)
        return as_libc(answer_bpf(static_cast<int>(a), std::bit_cast<const void*>(b), static_cast<u32>(c)));
    if (number == SYS_perf_event_open)
        return as_libc(answer_event(std::bit_cast<const perf_event_attr*>(a), a, b, c, d, e));
    return as_libc(raw(number, a, b, c, d, e, f));
}

__attribute__((visibility("default"))) int ioctl(int fd, unsigned long request, ...) {
    va_list list;
    va_start(list, request);
    const long argument = va_arg(list, long);
    va_end(list);
    // '$' is the letter of all of perf's requests.
    if (((request >> 8U) & 0xff) == '$' && fd >= 0 && fd < static_cast<int>(stand_ins.size()) &&
        stand_ins[static_cast<std::size_t>(fd)])
        return 0;
    return static_cast<int>(as_libc(raw(SYS_ioctl, fd, static_cast<long>(request), argument)));
}
}
