// SPDX-License-Identifier: Apache-2.0
// execve: the tree's injector puts the agent into the new image. Where none can (ptrace is refused, or somebody else
// traces this process), the dynamic loader does, by a copy of the environment; the guest's own array is never written.
// What cannot be traced (setuid, not x86-64; without an injector also static, or of another C library) starts without
// the agent and is named in a notice.
// Safe because the guest's strings are read through copy(), and the copy lives in a mapping of its own that the exec
// replaces, or that is unmapped when the exec fails.
#include <elf.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>

#include "anybpf/agent/environment.hpp"
#include "state.hpp"

namespace anybpf::agent {
namespace {

constexpr u64 longest_text = 1 << 20, most_entries = 1 << 20;

// Length of the guest's text at address, without NUL; -1 when it cannot be read.
i64 text_length(u64 address) {
    for (u64 length = 0; length < longest_text;) {
        std::array<char, 256> part;
        const u64 room = 256 - ((address + length) & 255);  // never across a page
        if (!copy(part.data(), reinterpret_cast<const void*>(address + length), room)) return -1;
        for (u64 i = 0; i < room; ++i)
            if (part[i] == '\0') return static_cast<i64>(length + i);
        length += room;
    }
    return -1;
}

bool starts_with(u64 address, std::string_view prefix) {
    std::array<char, 32> start{};
    for (u64 i = 0; i < prefix.size(); ++i)
        if (!fetch(start[i], address + i) || start[i] != prefix[i]) return false;
    return true;
}

class Writer {  // appends text to memory that is known to suffice
  public:
    explicit Writer(char* at) : at_(at) {}
    char* position() const { return at_; }
    void text(std::string_view what) {
        std::memcpy(at_, what.data(), what.size());
        at_ += what.size();
    }
    void number(u64 value, u32 base) {
        std::array<char, 24> digits;
        u32 count = 0;
        do {
            digits[count++] = "0123456789abcdef"[value % base];
            value /= base;
        } while (value != 0);
        while (count != 0) *at_++ = digits[--count];
    }
    void end() { *at_++ = '\0'; }
    bool guest_text(u64 address, u64 length) {
        if (!copy(at_, reinterpret_cast<const void*>(address), length)) return false;
        at_ += length;
        return true;
    }

  private:
    char* at_;
};

// How the agent can come into an image.
enum class Way : u8 { any, injected, none };
struct Verdict {
    Way way;
    const char* reason;  // why not any; null with none: the exec fails anyway, or nothing can be said
};

bool gains_privilege(const struct stat& file) {
    const auto uid = static_cast<uid_t>(raw(SYS_getuid)), gid = static_cast<gid_t>(raw(SYS_getgid));
    if (static_cast<uid_t>(raw(SYS_geteuid)) != uid || static_cast<gid_t>(raw(SYS_getegid)) != gid) return true;
    if ((file.st_mode & S_ISUID) != 0 && file.st_uid != uid) return true;
    return (file.st_mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP) && file.st_gid != gid;
}

// An image's file, whose beginning, where nearly all that is asked for lies, is read once.
struct Image {
    explicit Image(long file) : fd(file) {}
    long fd;
    long size = -1;  // of the beginning
    union {
        Elf64_Ehdr header;
        char text[1024];
    } start{};
    void open() { size = raw(SYS_pread64, fd, &start, sizeof(start) - 1, 0); }
    bool read(void* to, u64 count, u64 at) const {
        if (size > 0 && count <= static_cast<u64>(size) && at <= static_cast<u64>(size) - count) {
            std::memcpy(to, start.text + at, count);
            return true;
        }
        return raw(SYS_pread64, fd, to, count, at) == static_cast<long>(count);
    }
};

Verdict judge_elf(const Image& image) {
    const Elf64_Ehdr& header = image.start.header;
    if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_machine != EM_X86_64)
        return {Way::none, "not an x86-64 program"};
    const u32 count = header.e_phnum < 64 ? header.e_phnum : 64;
    for (u32 i = 0; i < count; ++i) {
        Elf64_Phdr segment{};
        if (!image.read(&segment, sizeof(segment), header.e_phoff + i * sizeof(segment))) break;
        if (segment.p_type != PT_INTERP) continue;
        std::array<char, 64> interpreter{};
        image.read(interpreter.data(), segment.p_filesz < 63 ? segment.p_filesz : 63, segment.p_offset);
        if (std::string_view(interpreter.data()).ends_with("/ld-linux-x86-64.so.2")) return {Way::any, nullptr};
        return {Way::injected, "linked against another C library"};
    }
    return {Way::injected, "a static program"};
}

long open_image(long directory, const char* path, long flags) {
    constexpr int how = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
    if (path[0] != '\0' || (flags & AT_EMPTY_PATH) == 0) return raw(SYS_openat, directory, path, how);
    std::array<char, 40> link{};
    Writer writer(link.data());
    writer.text("/proc/self/fd/");
    writer.number(static_cast<u64>(directory), 10);
    return raw(SYS_open, link.data(), how);
}

// Of what was opened, or could not be; closes it.
Verdict judge(long fd, long directory, const char* path, u32 depth) {
    if (fd == -EMFILE || fd == -ENFILE) return {Way::any, nullptr};  // nearly every program is dynamic
    if (fd == -EACCES && raw(SYS_faccessat, directory, path, 1) == 0) return {Way::none, "its file cannot be read"};
    if (fd < 0) return {Way::none, nullptr};
    struct stat file{};
    Image image(fd);
    Verdict verdict{Way::none, nullptr};
    if (raw(SYS_fstat, fd, &file) == 0 && S_ISREG(file.st_mode) && (file.st_mode & 0111) != 0) image.open();
    char* const text = image.start.text;
    if (image.size >= 4 && std::memcmp(text, ELFMAG, SELFMAG) == 0) {
        verdict =
            gains_privilege(file) ? Verdict{Way::none, "it gains privilege (setuid or setgid)"} : judge_elf(image);
    } else if (image.size > 2 && text[0] == '#' && text[1] == '!' && depth < 5) {
        text[255] = '\0';  // the kernel reads no more of it (BINPRM_BUF_SIZE)
        char* from = text + 2;
        while (*from == ' ' || *from == '\t') ++from;
        char* to = from;
        while (*to != '\0' && *to != ' ' && *to != '\t' && *to != '\n') ++to;
        *to = '\0';
        raw(SYS_close, fd);
        return judge(open_image(AT_FDCWD, from, 0), AT_FDCWD, from, depth + 1);
    }
    raw(SYS_close, fd);
    return verdict;
}

// One line in <root>/notices-<tree>, which the supervisor made and shows: pid, reason, path.
void notice(const char* reason, const char* path) {
    std::array<char, 1024> line;
    Writer writer(line.data());
    writer.text(process.root.data());
    writer.text("/notices-");
    writer.number(process.tree, 10);
    writer.end();
    const long fd = open_path(line.data(), O_WRONLY | O_APPEND | O_CLOEXEC);
    if (fd < 0) return;
    Writer text(line.data());
    text.number(static_cast<u64>(raw(SYS_getpid)), 10);
    text.text("\t");
    text.text(reason);
    text.text("\t");
    text.text(std::string_view(path).substr(0, 512));
    text.text("\n");
    raw(SYS_write, fd, line.data(), text.position() - line.data());
    raw(SYS_close, fd);
}

ExecChannel* channel() {
    if (process.channel != nullptr) return process.channel;
    std::array<char, 600> path;
    Writer writer(path.data());
    writer.text(process.root.data());
    writer.text("/exec-");
    writer.number(process.tree, 10);
    writer.end();
    const long fd = open_path(path.data(), O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) return nullptr;
    const long at = raw(SYS_mmap, 0, sizeof(ExecChannel), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    raw(SYS_close, fd);
    if (at < 0) return nullptr;
    list_mapping(static_cast<u64>(at), sizeof(ExecChannel));
    process.channel = reinterpret_cast<ExecChannel*>(at);
    return process.channel;
}

// For an image that will not see it: a descriptor that outlives the execve. The image closes it before it begins.
void take_agent_along(ThreadState* state) {
    const long fd = borrow_agent();
    state->lent = fd >= 0;
    state->agent_fd = static_cast<int>(fd);
    if (state->lent) raw(SYS_fcntl, fd, F_SETFD, 0);
}
void give_agent_back(ThreadState* state) {
    if (state->lent) raw(SYS_close, state->agent_fd);
    state->lent = false;
}

// As the agent of a new image will ask for it.
bool reaches_root() {
    const long fd = open_path(process.root.data(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) raw(SYS_close, fd);
    return fd >= 0;
}

// To the injector, which wakes up while the image's file is still being looked at.
class Question {
  public:
    explicit Question(ThreadState* state) : state_(state) {}
    Question(const Question&) = delete;
    Question& operator=(const Question&) = delete;

    void pose() {
        ExecChannel* const where = posed_ ? nullptr : channel();
        posed_ = true;
        if (where == nullptr || where->magic != exec_channel_magic) return;
        what_.tid = static_cast<u32>(raw(SYS_gettid));
        what_.nr = state_->nr;
        what_.blocked = state_->shadow;
        what_.ignored = ignored_signals(state_);
        request_ = agent::pose(*where, what_, call);
    }
    // A descriptor of the agent's file that the image will have, or unreachable. Before it is posed.
    void takes(i32 agent_fd) { what_.agent_fd = agent_fd; }
    // Root and agent are seen. Where no other thread can change the root directory, the image will see them.
    void seen() {
        const bool alone = !process.threaded || state_->parent != nullptr;
        if (request_ != nullptr && alone) request_->seen.store(1);
    }
    // True: it waits for the execve.
    bool answered() {
        ExecRequest* const request = std::exchange(request_, nullptr);
        return request != nullptr && answer(*request, call, [] { return process.hooks->supervisor_dead(); });
    }
    // It can be posed again.
    void withdraw() {
        if (answered()) let_go();
        posed_ = false;
    }
    static void let_go() { asm volatile("int3" ::: "memory"); }

  private:
    static long call(long number, u64 a, u64 b, u64 c, u64 d) { return raw(number, a, b, c, d); }

    ThreadState* const state_;
    ExecQuestion what_;
    ExecRequest* request_ = nullptr;
    bool posed_ = false;
};

// The new image finds the agent in a list of the dynamic loader's.
void change_environment(ThreadState* state, u64& environment) {
    // First pass: how much. Entries of ours are not expected, and dropped.
    const std::string_view agent(process.agent_path.data()), root(process.root.data());
    u64 count = 0, size = agent.size() + root.size() + 256;
    for (u64 entry = 0; environment != 0; ++count) {
        if (count == most_entries || !fetch(entry, environment + 8 * count)) return;
        if (entry == 0) break;
        if (!starts_with(entry, preload_variable)) continue;
        const i64 length = text_length(entry);
        if (length < 0) return;
        size += static_cast<u64>(length) + agent.size() + 2;
    }
    const u64 total = (count + 4) * 8 + size;
    const long memory = raw(SYS_mmap, 0, total, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory < 0) return;
    state->exec_memory = static_cast<u64>(memory);
    state->exec_size = total;
    state->pending = Pending::exec;

    auto* const array = reinterpret_cast<u64*>(memory);
    Writer writer(reinterpret_cast<char*>(memory) + (count + 4) * 8);
    u64 filled = 0;
    bool merged = false;
    for (u64 i = 0; i < count; ++i) {
        u64 entry = 0;
        fetch(entry, environment + 8 * i);
        if (starts_with(entry, variable) || starts_with(entry, padding_variable)) continue;
        if (starts_with(entry, preload_variable)) {
            const u64 value = entry + sizeof(preload_variable) - 1;
            const i64 length = text_length(value);
            array[filled++] = reinterpret_cast<u64>(writer.position());
            writer.text(preload_variable);
            writer.text(agent);
            writer.text(":");
            if (length < 0 || static_cast<u64>(length) > size || !writer.guest_text(value, static_cast<u64>(length)))
                return;  // the guest changes its environment while it runs exec: as it likes
            writer.end();
            merged = true;
        } else {
            array[filled++] = entry;
        }
    }
    array[filled++] = reinterpret_cast<u64>(writer.position());
    if (merged) {
        writer.text(padding_variable);
    } else {
        writer.text(preload_variable);
        writer.text(agent);
    }
    writer.end();
    array[filled++] = reinterpret_cast<u64>(writer.position());
    writer.text(variable);
    writer.number(process.tree, 10);
    writer.text(",");
    writer.number(state->nr, 10);
    writer.text(",");
    writer.number(state->shadow, 16);
    writer.text(",");
    writer.number(ignored_signals(state), 16);
    for (const FileId& file : {process.agent_file, process.root_file}) {
        writer.text(",");
        writer.number(file.device, 10);
        writer.text(",");
        writer.number(file.inode, 10);
    }
    writer.text(":");
    writer.text(root);
    writer.end();
    array[filled] = 0;
    environment = reinterpret_cast<u64>(array);
}

}  // namespace

void before_leaving() {
    if (!process.sealed) channel();
}

void before_exec(ThreadState* state) {
    auto& r = state->registers;
    const bool at = state->nr == SYS_execveat;
    const long directory = at ? static_cast<int>(r.di) : AT_FDCWD;
    const long flags = at ? static_cast<long>(r.r8) : 0;
    const u64 path_at = at ? r.si : r.di;
    u64& environment = at ? r.r10 : r.dx;
    if (process.sealed || process.hooks->orphaned()) return;

    std::array<char, 4096> path;
    const i64 path_length = text_length(path_at);
    if (path_length < 0 || path_length >= 4096 ||
        !copy(path.data(), reinterpret_cast<const void*>(path_at), static_cast<u64>(path_length) + 1))
        return;
    const long file = open_image(directory, path.data(), flags);
    Question question(state);
    if (file >= 0 && !process.away) question.pose();
    const Verdict verdict = judge(file, directory, path.data(), 0);
    if (verdict.way == Way::none) {
        question.withdraw();
        if (verdict.reason != nullptr) notice(verdict.reason, path.data());
        return;
    }
    const bool seen = is_file(process.agent_path.data(), process.agent_file) &&
                      raw(SYS_faccessat, AT_FDCWD, process.agent_path.data(), R_OK) == 0;
    const bool reached = reaches_root();
    if (!seen || !reached) {
        question.withdraw();
        if (reached) take_agent_along(state);
        question.takes(!reached ? unreachable : state->lent ? state->agent_fd : -1);
    }
    question.pose();
    if (seen && reached) question.seen();
    state->injected = question.answered();
    if (state->injected) {  // by who names what it cannot reach either
        state->pending = Pending::exec;
        return;
    }
    give_agent_back(state);
    if (!seen || !reached) {
        notice("the agent cannot be reached from its root directory", path.data());
        return;
    }
    if (verdict.way == Way::injected) {
        notice(verdict.reason, path.data());
        return;
    }
    change_environment(state, environment);
}

void forget_exec(ThreadState* state) {
    if (state->exec_memory != 0) raw(SYS_munmap, state->exec_memory, state->exec_size);
    state->exec_memory = 0;
    state->injected = false;
}

void after_exec(ThreadState* state) {
    if (state->injected) Question::let_go();
    give_agent_back(state);
    forget_exec(state);
}

}  // namespace anybpf::agent
