// SPDX-License-Identifier: Apache-2.0
// What the agent needs of a C library, its own, hidden from the program: memory, system calls, the clock. So the agent
// needs no C library in its host, which may be static, or Go's, or at its first instruction; it never enters the host's
// malloc (whose lock the interrupted thread may hold), is no cancellation point, does not run vector
// code that the guest's registers would not survive, and its system calls are not seen as the program's.
//
// The heap is one bump allocator over chunks from mmap with free lists by power of two: memory is asked for when
// something is loaded, seldom given back, and never on a hook path. Safe because every size is rounded and recorded in
// a header before the block, and the lock is only held here.
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/auxv.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <ctime>
#include <new>

#include "state.hpp"

namespace {

using anybpf::u32;
using anybpf::u64;
using anybpf::agent::at_path;
using anybpf::agent::open_path;
using anybpf::agent::raw;

// What is mapped, in no order; an entry of size 0 is free.
ANYBPF_TABLE std::array<anybpf::agent::MemoryRange, 1024> mappings;
std::atomic<u32> mapping_count{0};

void forget_mapping(u64 begin, u64 size) {
    for (u32 i = 0; i < std::min<u32>(mapping_count.load(), mappings.size()); ++i)
        if (mappings[i].begin >= begin && mappings[i].begin < begin + size) mappings[i].size = 0;
}
long listed(long at, u64 size) {
    if (at >= 0 || at < -4095) anybpf::agent::list_mapping(static_cast<u64>(at), size);
    return at;
}

constexpr u64 header_size = 16, chunk_size = 1 << 20;
std::atomic<u32> heap_lock{0};
char* chunk = nullptr;
u64 chunk_left = 0;
void* free_blocks[48];

struct Header {
    u64 order;
    u64 unused;
};

u32 order_of(u64 size) {
    const u64 total = size + header_size;
    u32 order = 5;
    while ((1ULL << order) < total) ++order;
    return order;
}

void* allocate(u64 size) {
    if (size > (1ULL << 40)) return nullptr;
    const u32 order = order_of(size);
    const u64 total = 1ULL << order;
    char* block = nullptr;
    anybpf::agent::lock(heap_lock);
    if (free_blocks[order] != nullptr) {
        block = static_cast<char*>(free_blocks[order]);
        __builtin_memcpy(&free_blocks[order], block + header_size, sizeof(void*));
    } else if (total > chunk_size / 4) {
        const long at =
            listed(raw(SYS_mmap, 0, total, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), total);
        if (at > 0) block = reinterpret_cast<char*>(at);
    } else {
        if (chunk_left < total) {
            const long at = listed(raw(SYS_mmap, 0, chunk_size, PROT_READ | PROT_WRITE,
                                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0),
                                   chunk_size);
            chunk = at > 0 ? reinterpret_cast<char*>(at) : nullptr;
            chunk_left = at > 0 ? chunk_size : 0;
        }
        if (chunk_left >= total) {
            block = chunk;
            chunk += total;
            chunk_left -= total;
        }
    }
    anybpf::agent::unlock(heap_lock);
    if (block == nullptr) return nullptr;
    const Header header{order, 0};
    __builtin_memcpy(block, &header, sizeof(header));
    return block + header_size;
}

u64 capacity(void* memory) {
    Header header;
    __builtin_memcpy(&header, static_cast<char*>(memory) - header_size, sizeof(header));
    return (1ULL << header.order) - header_size;
}

void release(void* memory) {
    if (memory == nullptr) return;
    char* const block = static_cast<char*>(memory) - header_size;
    Header header;
    __builtin_memcpy(&header, block, sizeof(header));
    anybpf::agent::lock(heap_lock);
    __builtin_memcpy(block + header_size, &free_blocks[header.order], sizeof(void*));
    free_blocks[header.order] = block;
    anybpf::agent::unlock(heap_lock);
}

long checked(long result) {
    if (result >= 0 || result < -4095) return result;
    errno = static_cast<int>(-result);
    return -1;
}

}  // namespace

void anybpf::agent::list_mapping(u64 begin, u64 size) {
    lock(process.list_lock);
    u32 i = 0;
    while (i < mapping_count.load() && mappings[i].size != 0) ++i;
    if (i < mappings.size()) {
        mappings[i] = {begin, size};
        if (i == mapping_count.load()) mapping_count.store(i + 1);
    }
    unlock(process.list_lock);
}
std::span<const anybpf::agent::MemoryRange> anybpf::agent::listed_mappings() {
    return std::span(mappings).first(mapping_count.load());
}

void anybpf::agent::give_heap(char* memory, u64 size) {
    chunk = memory;
    chunk_left = size;
}

// A directory being read, in place of the C library's, which lives in the host's heap.
struct __dirstream {
    int fd;
    u32 filled, at;
    alignas(dirent64) char entries[4096];
};

extern "C" {

void* memcpy(void* __restrict to, const void* __restrict from, size_t size) {
    auto* d = static_cast<char*>(to);
    const auto* s = static_cast<const char*>(from);
    if (size >= 8 && size <= 64) {
        u64 last;
        __builtin_memcpy(&last, s + size - 8, 8);
        char* const end = d + size - 8;
        for (; d < end; d += 8, s += 8) {
            u64 word;
            __builtin_memcpy(&word, s, 8);
            __builtin_memcpy(d, &word, 8);
        }
        __builtin_memcpy(end, &last, 8);
        return to;
    }
    asm volatile("rep movsb" : "+D"(d), "+S"(s), "+c"(size)::"memory");
    return to;
}

void* memmove(void* to, const void* from, size_t size) {
    auto* d = static_cast<char*>(to);
    const auto* s = static_cast<const char*>(from);
    if (d <= s || d >= s + size) {
        asm volatile("rep movsb" : "+D"(d), "+S"(s), "+c"(size)::"memory");
        return to;
    }
    while (size != 0) {
        --size;
        d[size] = s[size];
        asm volatile("" ::: "memory");
    }
    return to;
}

void* memset(void* to, int value, size_t size) {
    void* d = to;
    asm volatile("rep stosb" : "+D"(d), "+c"(size) : "a"(value) : "memory");
    return to;
}

int memcmp(const void* a, const void* b, size_t size) {
    const auto* x = static_cast<const unsigned char*>(a);
    const auto* y = static_cast<const unsigned char*>(b);
    for (; size >= 8; size -= 8, x += 8, y += 8) {
        u64 p, q;
        __builtin_memcpy(&p, x, 8);
        __builtin_memcpy(&q, y, 8);
        if (p != q) return __builtin_bswap64(p) < __builtin_bswap64(q) ? -1 : 1;
    }
    for (; size != 0; --size, ++x, ++y)
        if (*x != *y) return *x - *y;
    return 0;
}

int bcmp(const void* a, const void* b, size_t size) { return memcmp(a, b, size); }

size_t strlen(const char* text) {
    size_t size = 0;
    while (text[size] != '\0') {
        ++size;
        asm volatile("" ::: "memory");
    }
    return size;
}

size_t strnlen(const char* text, size_t most) {
    size_t size = 0;
    while (size < most && text[size] != '\0') {
        ++size;
        asm volatile("" ::: "memory");
    }
    return size;
}

int strncmp(const char* a, const char* b, size_t most) {
    for (size_t i = 0; i < most; ++i) {
        const int difference = static_cast<unsigned char>(a[i]) - static_cast<unsigned char>(b[i]);
        if (difference != 0 || a[i] == '\0') return difference;
    }
    return 0;
}
int strcmp(const char* a, const char* b) { return strncmp(a, b, ~size_t{0}); }

// The C++ headers declare memchr twice, for const; the symbol is this one.
void* own_memchr(const void* in, int value, size_t size) asm("memchr");
void* own_memchr(const void* in, int value, size_t size) {
    const auto* at = static_cast<const unsigned char*>(in);
    for (size_t i = 0; i < size; ++i)
        if (at[i] == static_cast<unsigned char>(value)) return const_cast<unsigned char*>(at + i);
    return nullptr;
}

void* malloc(size_t size) { return allocate(size); }
void free(void* memory) { release(memory); }
void* calloc(size_t count, size_t size) {
    size_t total = 0;
    if (__builtin_mul_overflow(count, size, &total)) return nullptr;
    void* const memory = allocate(total);
    if (memory != nullptr) memset(memory, 0, total);
    return memory;
}
void* realloc(void* memory, size_t size) {
    if (memory != nullptr && size <= capacity(memory)) return memory;
    void* const bigger = allocate(size);
    if (bigger != nullptr && memory != nullptr) {
        memcpy(bigger, memory, capacity(memory));
        release(memory);
    }
    return bigger;
}
void* aligned_alloc(size_t alignment, size_t size) { return alignment <= header_size ? allocate(size) : nullptr; }

int open(const char* path, int flags, ...) {
    mode_t mode = 0;
    if ((flags & (O_CREAT | O_TMPFILE)) != 0) {
        va_list arguments;
        va_start(arguments, flags);
        mode = va_arg(arguments, mode_t);
        va_end(arguments);
    }
    return static_cast<int>(checked(open_path(path, flags, mode)));
}
int openat(int directory, const char* path, int flags, ...) {
    mode_t mode = 0;
    if ((flags & (O_CREAT | O_TMPFILE)) != 0) {
        va_list arguments;
        va_start(arguments, flags);
        mode = va_arg(arguments, mode_t);
        va_end(arguments);
    }
    return static_cast<int>(checked(raw(SYS_openat, directory, path, flags, mode)));
}
// What calls of these become in layers that are built with _FORTIFY_SOURCE.
int __open_2(const char* path, int flags) { return open(path, flags); }
void* __memcpy_chk(void* to, const void* from, size_t size, size_t) { return memcpy(to, from, size); }
void* __memmove_chk(void* to, const void* from, size_t size, size_t) { return memmove(to, from, size); }
void* __memset_chk(void* to, int value, size_t size, size_t) { return memset(to, value, size); }

int close(int fd) { return static_cast<int>(checked(raw(SYS_close, fd))); }
ssize_t read(int fd, void* to, size_t size) { return checked(raw(SYS_read, fd, to, size)); }
ssize_t pread(int fd, void* to, size_t size, off_t at) { return checked(raw(SYS_pread64, fd, to, size, at)); }
ssize_t write(int fd, const void* from, size_t size) { return checked(raw(SYS_write, fd, from, size)); }
int fstat(int fd, struct stat* to) noexcept { return static_cast<int>(checked(raw(SYS_fstat, fd, to))); }
static int stat_at(const char* path, struct stat* to, int flags) {
    return static_cast<int>(checked(at_path(
        path, flags, [=](int from, const char* name, int how) { return raw(SYS_newfstatat, from, name, to, how); })));
}
int stat(const char* path, struct stat* to) noexcept { return stat_at(path, to, 0); }
int lstat(const char* path, struct stat* to) noexcept { return stat_at(path, to, AT_SYMLINK_NOFOLLOW); }
int flock(int fd, int operation) noexcept { return static_cast<int>(checked(raw(SYS_flock, fd, operation))); }
int munmap(void* at, size_t size) noexcept {
    forget_mapping(reinterpret_cast<u64>(at), size);
    return static_cast<int>(checked(raw(SYS_munmap, at, size)));
}
void* mmap(void* at, size_t size, int protection, int flags, int fd, off_t offset) noexcept {
    return reinterpret_cast<void*>(checked(listed(raw(SYS_mmap, at, size, protection, flags, fd, offset), size)));
}
int memfd_create(const char* name, unsigned flags) noexcept {
    return static_cast<int>(checked(raw(SYS_memfd_create, name, flags)));
}
int madvise(void* at, size_t size, int advice) noexcept {
    return static_cast<int>(checked(raw(SYS_madvise, at, size, advice)));
}
int mprotect(void* at, size_t size, int protection) noexcept {
    return static_cast<int>(checked(raw(SYS_mprotect, at, size, protection)));
}
int access(const char* path, int mode) noexcept {
    return static_cast<int>(checked(at_path(path, 0, [=](int from, const char* name, int how) {
        return how == AT_EMPTY_PATH ? 0 : raw(SYS_faccessat, from, name, mode);  // who lends it has it
    })));
}
int statfs(const char* path, struct statfs* to) noexcept {
    return static_cast<int>(checked(at_path(path, 0, [=](int from, const char* name, int how) {
        return how == AT_EMPTY_PATH ? raw(SYS_fstatfs, from, to) : raw(SYS_statfs, name, to);
    })));
}
int fstatfs(int fd, struct statfs* to) noexcept { return static_cast<int>(checked(raw(SYS_fstatfs, fd, to))); }
int ftruncate(int fd, off_t size) noexcept { return static_cast<int>(checked(raw(SYS_ftruncate, fd, size))); }
int unlink(const char* path) noexcept { return static_cast<int>(checked(raw(SYS_unlink, path))); }
int rmdir(const char* path) noexcept { return static_cast<int>(checked(raw(SYS_rmdir, path))); }
int kill(pid_t pid, int signal) noexcept { return static_cast<int>(checked(raw(SYS_kill, pid, signal))); }
int fcntl(int fd, int command, ...) {
    va_list arguments;
    va_start(arguments, command);
    const long argument = va_arg(arguments, long);
    va_end(arguments);
    return static_cast<int>(checked(raw(SYS_fcntl, fd, command, argument)));
}
int prctl(int option, ...) noexcept {
    va_list arguments;
    va_start(arguments, option);
    long a[4];
    for (long& each : a) each = va_arg(arguments, long);
    va_end(arguments);
    return static_cast<int>(checked(raw(SYS_prctl, option, a[0], a[1], a[2], a[3])));
}
long syscall(long number, ...) noexcept {
    va_list arguments;
    va_start(arguments, number);
    long a[6];
    for (long& each : a) each = va_arg(arguments, long);
    va_end(arguments);
    const long result = raw(number, a[0], a[1], a[2], a[3], a[4], a[5]);
    return checked(number == SYS_mmap ? listed(result, static_cast<u64>(a[1])) : result);
}
int usleep(useconds_t time) {
    const timespec pause{static_cast<time_t>(time / 1'000'000), static_cast<long>(time % 1'000'000) * 1000};
    return static_cast<int>(checked(raw(SYS_nanosleep, &pause, 0)));
}

DIR* opendir(const char* path) {
    const int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return nullptr;
    auto* const directory = static_cast<DIR*>(malloc(sizeof(DIR)));
    directory->fd = fd;
    directory->filled = directory->at = 0;
    return directory;
}
// On x86-64 the kernel's linux_dirent64 is the C library's dirent.
dirent* readdir(DIR* directory) {
    if (directory->at == directory->filled) {
        const long size = checked(raw(SYS_getdents64, directory->fd, directory->entries, sizeof(directory->entries)));
        if (size <= 0) return nullptr;
        directory->filled = static_cast<u32>(size);
        directory->at = 0;
    }
    auto* const entry = reinterpret_cast<dirent*>(directory->entries + directory->at);
    directory->at += entry->d_reclen;
    return entry;
}
int closedir(DIR* directory) {
    const int fd = directory->fd;
    free(directory);
    return close(fd);
}

int* __errno_location() noexcept { return &anybpf::agent::own().error; }
int clock_gettime(clockid_t clock, timespec* to) noexcept {
    using Function = int (*)(clockid_t, timespec*);
    if (const u64 at = anybpf::agent::vdso_clock(); at != 0) return reinterpret_cast<Function>(at)(clock, to);
    return static_cast<int>(checked(raw(SYS_clock_gettime, clock, to)));
}
// The kernel keeps the CPU's number in the limit of a segment that is there for this (__CPUNODE_SEG).
int sched_getcpu() noexcept {
    constexpr u32 segment = 0x7b, cpu_bits = 12;
    u32 limit = 0;
    asm("lsl %1, %0" : "=r"(limit) : "r"(segment) : "cc");
    return static_cast<int>(limit & ((1U << cpu_bits) - 1));
}
unsigned long getauxval(unsigned long type) noexcept { return anybpf::agent::auxiliary(type); }

void abort() noexcept { __builtin_trap(); }
// Of layers' functions that only a tracer calls.
int pthread_mutex_unlock(pthread_mutex_t*) noexcept { __builtin_trap(); }
// The number alone: texts for it are the C library's. The header's declaration has another result.
char* own_strerror(int error) noexcept asm("strerror");
char* own_strerror(int error) noexcept {
    static char text[32];
    snprintf(text, sizeof text, "error %d", error);
    return text;
}
// Of printf's language only what an assertion says: %s and %d.
int snprintf(char* to, size_t size, const char* format, ...) {
    va_list arguments;
    va_start(arguments, format);
    size_t at = 0;
    const auto put = [&](const char* text) {
        for (; *text != '\0' && at + 1 < size; ++text) to[at++] = *text;
    };
    for (; *format != '\0' && at + 1 < size; ++format) {
        if (*format != '%') {
            to[at++] = *format;
            continue;
        }
        ++format;
        if (*format == 's') put(va_arg(arguments, const char*));
        if (*format == 'd') {
            char digits[12] = {};
            char* digit = digits + sizeof digits - 1;
            for (unsigned value = va_arg(arguments, unsigned); value != 0 || *digit == '\0'; value /= 10)
                *--digit = static_cast<char>('0' + value % 10);
            put(digit);
        }
    }
    va_end(arguments);
    if (size != 0) to[at] = '\0';
    return static_cast<int>(at);
}

pid_t getpid() noexcept { return static_cast<pid_t>(raw(SYS_getpid)); }
pid_t gettid() noexcept { return static_cast<pid_t>(raw(SYS_gettid)); }
pid_t getppid() noexcept { return static_cast<pid_t>(raw(SYS_getppid)); }
uid_t getuid() noexcept { return static_cast<uid_t>(raw(SYS_getuid)); }
gid_t getgid() noexcept { return static_cast<gid_t>(raw(SYS_getgid)); }
uid_t geteuid() noexcept { return static_cast<uid_t>(raw(SYS_geteuid)); }
gid_t getegid() noexcept { return static_cast<gid_t>(raw(SYS_getegid)); }

}  // extern "C"

void* operator new(std::size_t size) {
    void* const memory = allocate(size);
    if (memory == nullptr) __builtin_trap();
    return memory;
}
void* operator new[](std::size_t size) { return operator new(size); }
void operator delete(void* memory) noexcept { release(memory); }
void operator delete[](void* memory) noexcept { release(memory); }
void operator delete(void* memory, std::size_t) noexcept { release(memory); }
void operator delete[](void* memory, std::size_t) noexcept { release(memory); }
