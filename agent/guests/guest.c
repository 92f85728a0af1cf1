// SPDX-License-Identifier: Apache-2.0
// What a traced program may do, one subcommand each. Each checks by itself that the system behaved as it must, prints
// what it saw, and ends with 0; the test runs it untraced and traced and compares, and compares the counts.
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/rseq.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

extern char** environ;

#define CHECK(condition)                                                                                              \
    do {                                                                                                              \
        if (!(condition)) {                                                                                           \
            char line_[256];                                                                                          \
            const int n_ = snprintf(line_, sizeof line_, "%d: failed: %s (errno %d)\n", __LINE__, #condition, errno); \
            if (write(1, line_, (size_t)n_) < 0) abort();                                                             \
            _exit(99);                                                                                                \
        }                                                                                                             \
    } while (0)

static long raw3(long nr, long a, long b, long c) {
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(nr), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
    return result;
}

static void on(int signal, void (*handler)(int, siginfo_t*, void*), int flags) {
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | flags};
    CHECK(sigaction(signal, &action, NULL) == 0);
}

static volatile sig_atomic_t hits, last_code;
static void count_hit(int signal, siginfo_t* info, void* context) {
    (void)signal, (void)context;
    hits = hits + 1;
    last_code = info->si_code;
}

static void arm_timer(long first_us, long every_us) {
    const struct itimerval timer = {{0, every_us}, {0, first_us}};
    CHECK(setitimer(ITIMER_REAL, &timer, NULL) == 0);
}

static int status_of(pid_t pid) {
    int status = 0;
    pid_t got;
    do got = waitpid(pid, &status, 0);
    while (got < 0 && errno == EINTR);
    CHECK(got == pid);
    return status;
}

// --- plain calls, threads, processes
static void calls(long count) {
    const pid_t parent = getppid();
    for (long i = 1; i < count; ++i) CHECK(getppid() == parent);
}

static void* thread_calls(void* count) {
    calls((long)count);
    return NULL;
}
static void threads(long many, long count) {
    pthread_t thread[64];
    for (long i = 0; i < many; ++i) CHECK(pthread_create(&thread[i], NULL, thread_calls, (void*)count) == 0);
    for (long i = 0; i < many; ++i) CHECK(pthread_join(thread[i], NULL) == 0);
}

static void forks(void) {
    for (int i = 0; i < 5; ++i) {
        const pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            calls(10);
            _exit(i);
        }
        CHECK(WEXITSTATUS(status_of(pid)) == i);
    }
}

static void* fork_in_thread(void* unused) {
    forks();
    return unused;
}
static void thread_forks(void) {
    pthread_t thread[4];
    for (int i = 0; i < 4; ++i) CHECK(pthread_create(&thread[i], NULL, fork_in_thread, NULL) == 0);
    for (int i = 0; i < 4; ++i) CHECK(pthread_join(thread[i], NULL) == 0);
}

static void vforks(void) {
    for (int i = 0; i < 5; ++i) {
        const pid_t pid = vfork();
        CHECK(pid >= 0);
        if (pid == 0) {
            getppid();
            if (i == 4) execl("/nonexistent", "x", NULL);
            if (i == 0 || i == 2) execl("/bin/true", "true", NULL);
            _exit(i);
        }
        CHECK(WEXITSTATUS(status_of(pid)) == (i == 4 ? 4 : i % 2 ? i : 0));
        calls(3);
    }
}

static void spawns(void) {
    char* arguments[] = {"true", NULL};
    on(SIGCHLD, count_hit, 0);  // which the child of posix_spawn resets for itself
    on(SIGUSR1, count_hit, 0);
    for (int i = 0; i < 5; ++i) {
        pid_t pid;
        CHECK(posix_spawn(&pid, "/bin/true", NULL, NULL, arguments, environ) == 0);
        CHECK(status_of(pid) == 0);
    }
    raise(SIGUSR1);
    CHECK(hits == 6);
    signal(SIGCHLD, SIG_DFL);
    pid_t pid;
    CHECK(posix_spawn(&pid, "/nonexistent", NULL, NULL, arguments, environ) == ENOENT);
    CHECK(system("exit 7") == 7 << 8);
    FILE* pipe = popen("echo piped", "r");
    char text[16] = "";
    CHECK(fgets(text, sizeof text, pipe) && strcmp(text, "piped\n") == 0 && pclose(pipe) == 0);
}

static char child_stack[65536] __attribute__((aligned(16)));
static int clone_child(void* unused) {
    (void)unused;
    for (int i = 0; i < 10; ++i) getppid();
    return 5;
}
static void clones(void) {
    struct clone_args arguments = {.exit_signal = SIGCHLD};
    const long pid = syscall(SYS_clone3, &arguments, sizeof arguments);
    CHECK(pid >= 0);
    if (pid == 0) {
        calls(10);
        _exit(3);
    }
    CHECK(WEXITSTATUS(status_of((pid_t)pid)) == 3);
    const long plain = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    CHECK(plain >= 0);
    if (plain == 0) _exit(4);
    CHECK(WEXITSTATUS(status_of((pid_t)plain)) == 4);
    const pid_t shared = clone(clone_child, child_stack + sizeof child_stack, CLONE_VM | CLONE_VFORK | SIGCHLD, NULL);
    CHECK(shared > 0 && WEXITSTATUS(status_of(shared)) == 5);
    struct clone_args bad = {.flags = ~0ULL};
    CHECK(syscall(SYS_clone3, &bad, sizeof bad) == -1 && errno == EINVAL);
}

static atomic_int alien_done;
static int alien_child(void* unused) {
    (void)unused;
    for (int i = 0; i < 5000; ++i) raw3(SYS_getppid, 0, 0, 0);
    for (int i = 0; i < 5000; ++i) getppid();
    alien_done = 1;
    return 6;
}
// A child that shares memory and thread-local memory while the parent runs on.
static void alien(void) {
    const pid_t pid =
        clone(alien_child, child_stack + sizeof child_stack, CLONE_VM | CLONE_FS | CLONE_FILES | SIGCHLD, NULL);
    CHECK(pid > 0);
    const pid_t parent = getppid();
    while (!alien_done) CHECK(getppid() == parent);
    CHECK(WEXITSTATUS(status_of(pid)) == 6);
}

// --- registers
struct vectors {
    uint8_t bytes[16][32];
};
static void registers(void) {
    struct vectors before, after;
    for (size_t i = 0; i < sizeof before; ++i) ((uint8_t*)&before)[i] = (uint8_t)(i * 7 + 1);
    const int avx = __builtin_cpu_supports("avx");
    for (int round = 0; round < 3; ++round) {
        memset(&after, 0, sizeof after);
        uint64_t general[16], flags = 0, rcx = 0, r11 = 0, here = 0;
        memset(general, 0, sizeof general);
#define LOAD(n) "vmovdqu 32*" #n "(%%r15), %%ymm" #n "\n"
#define STORE(n) "vmovdqu %%ymm" #n ", 32*" #n "(%%r15)\n"
#define LOADX(n) "movdqu 32*" #n "(%%r15), %%xmm" #n "\n"
#define STOREX(n) "movdqu %%xmm" #n ", 32*" #n "(%%r15)\n"
#define ALL(F) F(0) F(1) F(2) F(3) F(4) F(5) F(6) F(7) F(8) F(9) F(10) F(11) F(12) F(13) F(14) F(15)
        if (avx)
            __asm__ volatile("mov %0, %%r15\n" ALL(LOAD) "mov $110, %%eax\n syscall\n mov %1, %%r15\n" ALL(
                                 STORE) "vzeroupper" ::"r"(&before),
                             "r"(&after)
                             : "rax", "rcx", "r11", "r15", "memory");
        else
            __asm__ volatile(
                "mov %0, %%r15\n" ALL(LOADX) "mov $110, %%eax\n syscall\n mov %1, %%r15\n" ALL(STOREX)::"r"(&before),
                "r"(&after)
                : "rax", "rcx", "r11", "r15", "memory");
        for (int i = 0; i < 16; ++i) CHECK(memcmp(before.bytes[i], after.bytes[i], avx ? 32 : 16) == 0);
        // General registers, status flags, rcx and r11 as the instruction leaves them, and the red zone.
        __asm__ volatile(
            "mov %[g], %%rax\n push %%rbx\n push %%rbp\n"
            "mov %%rax, -16(%%rsp)\n"  // red zone
            "mov $0x1111, %%rbx\n mov $0x2222, %%rbp\n mov $0x3333, %%r12\n mov $0x4444, %%r13\n mov $0x5555, %%r14\n"
            "mov $0x6666, %%r15\n mov $0x77, %%rdi\n mov $0x88, %%rsi\n mov $0x99, %%rdx\n mov $0xaa, %%r10\n"
            "mov $0xbb, %%r8\n mov $0xcc, %%r9\n"
            "movq $0x1234567, -120(%%rsp)\n"
            "mov $0x7f, %%al\n add $1, %%al\n stc\n"  // OF and SF and CF set
            "mov $110, %%eax\n syscall\n"
            "1: pushfq\n pop %%rax\n push %%rax\n mov -8(%%rsp), %%rax\n"
            "mov -8(%%rsp), %%rax\n lea 8(%%rsp), %%rsp\n mov -16(%%rsp), %%rax\n"
            "mov %%rbx, (%%rax)\n mov %%rbp, 8(%%rax)\n mov %%r12, 16(%%rax)\n mov %%r13, 24(%%rax)\n mov %%r14, "
            "32(%%rax)\n"
            "mov %%r15, 40(%%rax)\n mov %%rdi, 48(%%rax)\n mov %%rsi, 56(%%rax)\n mov %%rdx, 64(%%rax)\n"
            "mov %%r10, 72(%%rax)\n mov %%r8, 80(%%rax)\n mov %%r9, 88(%%rax)\n mov %%rcx, 96(%%rax)\n mov %%r11, "
            "104(%%rax)\n"
            "lea 1b(%%rip), %%rbx\n mov %%rbx, 112(%%rax)\n mov -120(%%rsp), %%rbx\n mov %%rbx, 120(%%rax)\n"
            "pop %%rbp\n pop %%rbx\n" ::[g] "r"(general)
            : "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory", "cc");
        (void)flags, (void)rcx, (void)r11, (void)here;
        const uint64_t want[] = {0x1111, 0x2222, 0x3333, 0x4444, 0x5555, 0x6666, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc};
        for (int i = 0; i < 12; ++i) CHECK(general[i] == want[i]);
        CHECK(general[12] == general[14]);      // rcx: the address behind the instruction
        CHECK((general[13] & 0x881) == 0x881);  // r11: OF, SF, CF
        CHECK(general[15] == 0x1234567);
    }
}

static void flags_kept(void) {
    for (int i = 0; i < 3; ++i) {
        uint64_t flags = 0;
        __asm__ volatile(
            "mov $0x7f, %%al\n add $1, %%al\n stc\n std\n mov $110, %%eax\n syscall\n pushfq\n cld\n pop %0\n"
            : "=r"(flags)::"rax", "rcx", "r11", "memory", "cc");
        CHECK((flags & 0xc81) == 0xc81);
        __asm__ volatile("xor %%eax, %%eax\n mov $110, %%eax\n syscall\n pushfq\n pop %0\n"
                         : "=r"(flags)::"rax", "rcx", "r11", "memory", "cc");
        CHECK((flags & 0xcc1) == 0x40);
    }
}

static void gate32(void) {
    long pid;
    __asm__ volatile("int $0x80" : "=a"(pid) : "a"(20) : "memory");
    CHECK(pid == getpid());
}

// --- signals
static void restarts(void) {
    int ends[2];
    char byte;
    CHECK(pipe(ends) == 0);
    on(SIGALRM, count_hit, 0);
    arm_timer(20000, 0);
    CHECK(read(ends[0], &byte, 1) == -1 && errno == EINTR && hits == 1);
    on(SIGALRM, count_hit, SA_RESTART);
    const pid_t pid = fork();
    if (pid == 0) {
        struct timespec pause = {0, 120000000};
        nanosleep(&pause, NULL);
        CHECK(write(ends[1], "x", 1) == 1);
        _exit(0);
    }
    arm_timer(20000, 20000);
    CHECK(read(ends[0], &byte, 1) == 1 && byte == 'x' && hits >= 3);
    arm_timer(0, 0);
    CHECK(status_of(pid) == 0);
    struct timespec left, pause = {0, 100000000};
    arm_timer(20000, 0);
    CHECK(nanosleep(&pause, &left) == -1 && errno == EINTR && left.tv_nsec > 0);
}

static void masks(void) {
    sigset_t all, none, now;
    sigfillset(&all);
    sigemptyset(&none);
    CHECK(sigprocmask(SIG_SETMASK, &all, &now) == 0 && !sigismember(&now, SIGSYS));
    CHECK(sigprocmask(SIG_SETMASK, NULL, &now) == 0);
    for (int s = 1; s < 32; ++s) CHECK(sigismember(&now, s) == (s != SIGKILL && s != SIGSTOP));
    calls(10);
    on(SIGSEGV, count_hit, 0);
    on(SIGUSR1, count_hit, 0);
    hits = 0;
    kill(getpid(), SIGSEGV);
    kill(getpid(), SIGUSR1);
    CHECK(hits == 0);
    CHECK(sigpending(&now) == 0 && sigismember(&now, SIGSEGV) && sigismember(&now, SIGUSR1));
    const pid_t pid = fork();
    if (pid == 0) {
        CHECK(sigprocmask(SIG_SETMASK, NULL, &now) == 0 && sigismember(&now, SIGSYS));
        CHECK(sigpending(&now) == 0 && !sigismember(&now, SIGUSR1) && !sigismember(&now, SIGSEGV));
        _exit(0);
    }
    CHECK(status_of(pid) == 0);
    CHECK(sigprocmask(SIG_SETMASK, &none, NULL) == 0);
    CHECK(hits == 2);
    CHECK(sigprocmask(SIG_SETMASK, NULL, &now) == 0 && !sigismember(&now, SIGSYS) && !sigismember(&now, SIGUSR1));
    CHECK(sigprocmask(42, &all, NULL) == -1 && errno == EINVAL);
    CHECK(syscall(SYS_rt_sigprocmask, SIG_BLOCK, (void*)8, NULL, 8) == -1 && errno == EFAULT);
    printf("masks %d\n", (int)hits);
}

static void waits(void) {
    sigset_t usr1, all_but, none;
    sigemptyset(&none);
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    sigfillset(&all_but);
    sigdelset(&all_but, SIGUSR1);
    on(SIGUSR1, count_hit, 0);
    CHECK(sigprocmask(SIG_BLOCK, &usr1, NULL) == 0);
    hits = 0;
    struct timespec zero = {0, 0}, second = {1, 0};
    raise(SIGUSR1);
    CHECK(sigsuspend(&all_but) == -1 && errno == EINTR && hits == 1);
    raise(SIGUSR1);
    CHECK(ppoll(NULL, 0, &second, &all_but) == -1 && errno == EINTR && hits == 2);
    raise(SIGUSR1);
    CHECK(pselect(0, NULL, NULL, NULL, &second, &all_but) == -1 && errno == EINTR && hits == 3);
    const int epoll = epoll_create1(0);
    struct epoll_event event;
    raise(SIGUSR1);
    CHECK(epoll_pwait(epoll, &event, 1, 1000, &all_but) == -1 && errno == EINTR && hits == 4);
    raise(SIGUSR1);
    CHECK(ppoll(NULL, 0, &zero, NULL) == 0 && hits == 4);
    siginfo_t info;
    CHECK(sigtimedwait(&usr1, &info, &second) == SIGUSR1 && hits == 4);
    CHECK(sigtimedwait(&usr1, &info, &zero) == -1 && errno == EAGAIN);
    const int fd = signalfd(-1, &usr1, 0);
    raise(SIGUSR1);
    struct signalfd_siginfo got;
    CHECK(read(fd, &got, sizeof got) == sizeof got && got.ssi_signo == SIGUSR1);
    CHECK(sigprocmask(SIG_SETMASK, NULL, &none) == 0 && sigismember(&none, SIGUSR1) && !sigismember(&none, SIGSYS));
    printf("waits %d\n", (int)hits);
}

static int depth;
static void nesting(int signal, siginfo_t* info, void* context) {
    (void)info, (void)context;
    hits = hits + 1;
    sigset_t now;
    sigprocmask(SIG_SETMASK, NULL, &now);
    CHECK(sigismember(&now, signal));
    if (++depth < 5) {
        raise(signal == SIGUSR1 ? SIGUSR2 : SIGRTMIN + depth);
        getppid();
    }
    --depth;
}
static void nested(void) {
    on(SIGUSR1, nesting, 0);
    on(SIGUSR2, nesting, SA_RESTART);
    for (int i = 0; i < 5; ++i) on(SIGRTMIN + i, nesting, 0);
    for (int i = 0; i < 100; ++i) raise(SIGUSR1);
    CHECK(depth == 0);
    printf("nested %d\n", (int)hits);
    // A mask that the handler writes into its frame holds after it.
    sigset_t all, now;
    sigfillset(&all);
    hits = 0;
    for (int i = 0; i < 3; ++i) on(SIGRTMIN + i, count_hit, 0);
    sigprocmask(SIG_BLOCK, &all, NULL);
    for (int i = 0; i < 3; ++i)
        for (int s = SIGRTMIN; s < SIGRTMIN + 3; ++s) raise(s);
    sigemptyset(&all);
    sigprocmask(SIG_SETMASK, &all, &now);
    printf("queued %d\n", (int)hits);
}

static void fill_mask(int signal, siginfo_t* info, void* context) {
    (void)signal, (void)info;
    sigfillset(&((ucontext_t*)context)->uc_sigmask);
}
static void frame_mask(void) {
    on(SIGUSR1, fill_mask, 0);
    raise(SIGUSR1);
    sigset_t now, none;
    calls(10);
    raw3(SYS_getppid, 0, 0, 0);
    CHECK(sigprocmask(SIG_SETMASK, NULL, &now) == 0 && sigismember(&now, SIGSYS) && sigismember(&now, SIGUSR2));
    sigemptyset(&none);
    CHECK(sigprocmask(SIG_SETMASK, &none, NULL) == 0);
    CHECK(sigprocmask(SIG_SETMASK, NULL, &now) == 0 && !sigismember(&now, SIGSYS));
}

static char own_stack[65536];
static sigjmp_buf jump;
static int on_own_stack(const void* at) {
    return (const char*)at >= own_stack && (const char*)at < own_stack + sizeof own_stack;
}
static void alt_handler(int signal, siginfo_t* info, void* context) {
    int local = 0;
    CHECK(on_own_stack(&local));
    stack_t now;
    CHECK(sigaltstack(NULL, &now) == 0 && now.ss_flags == SS_ONSTACK && now.ss_sp == own_stack &&
          now.ss_size == sizeof own_stack);
    stack_t other = {.ss_sp = own_stack, .ss_size = 8192};
    CHECK(sigaltstack(&other, NULL) == -1 && errno == EPERM);
    CHECK(((ucontext_t*)context)->uc_stack.ss_sp == own_stack);
    CHECK(!on_own_stack((void*)((ucontext_t*)context)->uc_mcontext.gregs[REG_RSP]) || hits);
    hits = hits + 1;
    volatile char canary[512];
    memset((void*)canary, 0x5a, sizeof canary);
    raw3(SYS_getppid, 0, 0, 0);  // dispatched on this stack
    if (signal == SIGUSR1 && hits < 10) raise(hits == 1 ? SIGUSR2 : SIGUSR2);
    for (size_t i = 0; i < sizeof canary; ++i) CHECK(canary[i] == 0x5a);
    if (signal == SIGSEGV) {
        last_code = info->si_code;
        siglongjmp(jump, 1);
    }
}
static int overflow(int n) {
    volatile char room[4096];
    room[0] = (char)n;
    return n == -1 ? room[0] : overflow(n + 1) + room[0];
}
static void altstack(void) {
    stack_t now, mine = {.ss_sp = own_stack, .ss_size = sizeof own_stack};
    CHECK(sigaltstack(NULL, &now) == 0 && now.ss_flags == SS_DISABLE);
    stack_t small = {.ss_sp = own_stack, .ss_size = 100};
    CHECK(sigaltstack(&small, NULL) == -1 && errno == ENOMEM);
    CHECK(sigaltstack(&mine, NULL) == 0);
    CHECK(sigaltstack(NULL, &now) == 0 && now.ss_flags == 0 && now.ss_sp == own_stack);
    on(SIGUSR1, alt_handler, SA_ONSTACK);
    on(SIGUSR2, alt_handler, SA_ONSTACK);
    raise(SIGUSR1);
    CHECK(hits == 2);
    on(SIGSEGV, alt_handler, SA_ONSTACK);
    for (volatile int i = 0; i < 3; ++i) {
        hits = 10;
        if (sigsetjmp(jump, 1) == 0) {
            overflow(0);
            CHECK(0);
        }
        calls(3);
        printf("overflow caught, code %d\n", (int)last_code);
    }
    stack_t off = {.ss_flags = SS_DISABLE};
    CHECK(sigaltstack(&off, NULL) == 0 && sigaltstack(NULL, &now) == 0 && now.ss_flags == SS_DISABLE);
}

static void jump_out(int signal, siginfo_t* info, void* context) {
    (void)signal, (void)info, (void)context;
    siglongjmp(jump, 1);
}
static void jumps(void) {
    int ends[2];
    CHECK(pipe(ends) == 0);
    on(SIGALRM, jump_out, 0);
    for (volatile int i = 0; i < 200; ++i) {
        if (sigsetjmp(jump, 1) == 0) {
            char byte;
            arm_timer(500, 0);
            if (i % 2)
                while (read(ends[0], &byte, 1)) {
                }
            else
                for (;;) getppid();
        }
    }
    calls(5);
}

static void* volatile fault_address;
static volatile uintptr_t fault_ip;
static void on_fault(int signal, siginfo_t* info, void* context) {
    hits = hits + 1;
    last_code = info->si_code;
    fault_address = info->si_addr;
    fault_ip = (uintptr_t)((ucontext_t*)context)->uc_mcontext.gregs[REG_RIP];
    if (hits == 1) {
        siglongjmp(jump, signal);
    }
    mprotect((void*)((uintptr_t)info->si_addr & ~4095UL), 4096, PROT_READ | PROT_WRITE);
}
static void faults(void) {
    on(SIGSEGV, on_fault, 0);
    on(SIGBUS, on_fault, 0);
    hits = 0;
    const int got = sigsetjmp(jump, 1);
    if (got == 0) *(volatile int*)16 = 1;
    CHECK(got == SIGSEGV && fault_address == (void*)16 && last_code == SEGV_MAPERR);
    volatile char* page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    page[5] = 7;
    CHECK(page[5] == 7 && hits == 2 && fault_address == (void*)(page + 5) && last_code == SEGV_ACCERR);
    kill(getpid(), SIGBUS);
    CHECK(hits == 3 && last_code == SI_USER);
    struct sigaction seen;
    CHECK(sigaction(SIGSEGV, NULL, &seen) == 0 && seen.sa_sigaction == on_fault);
}
static void die_by_fault(const char* how) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGSEGV);
    if (strcmp(how, "blocked") == 0) {
        on(SIGSEGV, count_hit, 0);
        sigprocmask(SIG_BLOCK, &set, NULL);
    }
    if (strcmp(how, "ignored") == 0) {
        signal(SIGSEGV, SIG_IGN);
        raise(SIGSEGV);
    }
    if (strcmp(how, "sent") == 0) raise(SIGSEGV);
    if (strcmp(how, "sys") == 0) raise(SIGSYS);
    if (strcmp(how, "bus") == 0) raise(SIGBUS);
    if (strcmp(how, "term") == 0) raise(SIGTERM);
    if (strcmp(how, "once") == 0) {
        on(SIGSEGV, count_hit, SA_RESETHAND);
        raise(SIGSEGV);
        CHECK(hits == 1);
        raise(SIGSEGV);
    }
    *(volatile int*)16 = 1;
}

static void actions(void) {
    struct sigaction mine = {.sa_sigaction = count_hit, .sa_flags = SA_SIGINFO | SA_RESTART | SA_NODEFER}, old;
    sigaddset(&mine.sa_mask, SIGUSR2);
    sigaddset(&mine.sa_mask, SIGSYS);
    for (int i = 0; i < 2; ++i) {
        const int signal = i ? SIGSYS : SIGUSR1;
        CHECK(sigaction(signal, NULL, &old) == 0 && old.sa_handler == SIG_DFL);
        CHECK(sigaction(signal, &mine, NULL) == 0);
        CHECK(sigaction(signal, NULL, &old) == 0 && old.sa_sigaction == count_hit);
        CHECK((old.sa_flags & ~0x04000000) == (SA_SIGINFO | SA_RESTART | SA_NODEFER));
        CHECK(sigismember(&old.sa_mask, SIGUSR2) && sigismember(&old.sa_mask, SIGSYS) &&
              !sigismember(&old.sa_mask, SIGUSR1));
        hits = 0;
        raise(signal);
        CHECK(hits == 1 && last_code == SI_TKILL);
        struct sigaction off = {.sa_handler = SIG_IGN};
        CHECK(sigaction(signal, &off, &old) == 0 && old.sa_sigaction == count_hit);
        raise(signal);
        CHECK(hits == 1);
        CHECK(sigaction(signal, NULL, &old) == 0 && old.sa_handler == SIG_IGN);
        off.sa_handler = SIG_DFL;
        CHECK(sigaction(signal, &off, &old) == 0 && old.sa_handler == SIG_IGN);
    }
    on(SIGUSR1, count_hit, SA_RESETHAND);
    hits = 0;
    raise(SIGUSR1);
    CHECK(hits == 1 && sigaction(SIGUSR1, NULL, &old) == 0 && old.sa_handler == SIG_DFL);
    CHECK(sigaction(SIGKILL, &mine, NULL) == -1 && errno == EINVAL);
    CHECK(syscall(SYS_rt_sigaction, SIGUSR1, (void*)8, NULL, 8) == -1 && errno == EFAULT);
}

// Where a handler sees the program: in the C library or here, never elsewhere.
static volatile uintptr_t seen_ip, seen_sp;
static void see_ip(int signal, siginfo_t* info, void* context) {
    (void)signal, (void)info;
    const greg_t* r = ((ucontext_t*)context)->uc_mcontext.gregs;
    seen_ip = (uintptr_t)r[REG_RIP];
    seen_sp = (uintptr_t)r[REG_RSP];
    hits = hits + 1;
}
static int known_place(uintptr_t ip) {
    Dl_info place;
    if (!dladdr((void*)ip, &place)) return 0;
    return strstr(place.dli_fname, "libc.so") != NULL || strstr(place.dli_fname, "guest") != NULL ||
           strstr(place.dli_fname, "vdso") != NULL || strstr(place.dli_fname, "ld-linux") != NULL;
}
static void places(void) {
    on(SIGALRM, see_ip, 0);
    int ends[2];
    char byte;
    CHECK(pipe(ends) == 0);
    arm_timer(10000, 0);
    CHECK(read(ends[0], &byte, 1) == -1 && errno == EINTR);
    Dl_info place;
    CHECK(dladdr((void*)seen_ip, &place) && strstr(place.dli_fname, "libc.so") != NULL);
    CHECK(((unsigned char*)seen_ip)[-2] == 0x0f && ((unsigned char*)seen_ip)[-1] == 0x05);
    on(SIGALRM, see_ip, SA_RESTART);
    arm_timer(200, 200);
    hits = 0;
    const pid_t parent = getppid();
    for (long i = 0; hits < 500; ++i) {
        CHECK((i % 3 ? getppid() : raw3(SYS_getppid, 0, 0, 0)) == parent);
        if (i % 100 == 0) CHECK(known_place(seen_ip));
        CHECK(known_place(seen_ip) || seen_ip == 0);
    }
    arm_timer(0, 0);
}

// The test traces this: from a breakpoint before each call it steps on, and sends SIGUSR1 at an instruction of its
// choice. What the handler sees is code of the guest's own, and the calls go on as if nothing had been.
static uintptr_t seen_ips[4096];
static void see_step(int signal, siginfo_t* info, void* context) {
    see_ip(signal, info, context);
    if (hits <= 4096) seen_ips[hits - 1] = seen_ip;
}
static void stepped(long count) {
    on(SIGUSR1, see_step, 0);
    const pid_t parent = getppid();
    for (int i = 0; i < 3; ++i) getppid();
    for (long i = 0; i < count; ++i) {
        __asm__ volatile("int3");
        CHECK(getppid() == parent);
    }
    int stray = 0;
    for (int i = 0; i < hits && i < 4096; ++i) stray += !known_place(seen_ips[i]);
    printf("%d %d\n", (int)hits, stray);
}

// Between bytes of the first path, each answered in the second, a thousand calls.
static void phases(const char* in, const char* out) {
    const int from = open(in, O_RDONLY), to = open(out, O_WRONLY);
    char byte = 0;
    CHECK(from >= 0 && to >= 0);
    while (read(from, &byte, 1) == 1) {
        calls(1000);
        CHECK(write(to, &byte, 1) == 1);
    }
}

static void* storm_calls(void* count) {
    const pid_t parent = getppid();
    for (long i = 1; i < (long)count; ++i) CHECK(getppid() == parent);
    return NULL;
}
// Exact counts under a storm of signals: the test subtracts the pairs that show a restart.
static void storm(long count) {
    on(SIGALRM, count_hit, SA_RESTART);
    on(SIGUSR1, count_hit, SA_RESTART);
    arm_timer(100, 100);
    pthread_t thread[4];
    for (int i = 0; i < 4; ++i) CHECK(pthread_create(&thread[i], NULL, storm_calls, (void*)count) == 0);
    for (int i = 0; i < 200; ++i) {
        pthread_kill(thread[i % 4], SIGUSR1);
        struct timespec pause = {0, 50000};
        nanosleep(&pause, NULL);
    }
    for (int i = 0; i < 4; ++i) CHECK(pthread_join(thread[i], NULL) == 0);
    arm_timer(0, 0);
}

// --- cancellation in C
static void* sleeper(void* unused) {
    pthread_cleanup_push((void (*)(void*))puts, "cleaned up");
    for (;;) pause();
    pthread_cleanup_pop(0);
    return unused;
}
static void* blocked_reader(void* fd) {
    char byte;
    pthread_cleanup_push((void (*)(void*))puts, "reader cleaned up");
    (void)!read(*(int*)fd, &byte, 1);
    pthread_cleanup_pop(0);
    return NULL;
}
static void* busy(void* unused) {
    pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
    for (;;) raw3(SYS_getppid, 0, 0, 0);
    return unused;
}
static void cancel(void) {
    int ends[2];
    CHECK(pipe(ends) == 0);
    void* (*bodies[])(void*) = {sleeper, blocked_reader, busy};
    for (int round = 0; round < 5; ++round)
        for (int i = 0; i < 3; ++i) {
            pthread_t thread;
            void* result = NULL;
            CHECK(pthread_create(&thread, NULL, bodies[i], ends) == 0);
            usleep(2000);
            CHECK(pthread_cancel(thread) == 0 && pthread_join(thread, &result) == 0 && result == PTHREAD_CANCELED);
        }
}

// --- seccomp
static void install_filter(uint32_t action, int number) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, action),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {4, code};
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}
static void answer_trap(int signal, siginfo_t* info, void* context) {
    (void)signal;
    greg_t* r = ((ucontext_t*)context)->uc_mcontext.gregs;
    CHECK(info->si_code == 1 && info->si_syscall == SYS_getppid && info->si_call_addr == (void*)r[REG_RIP]);
    CHECK(known_place((uintptr_t)info->si_call_addr));
    r[REG_RAX] = 4242;
}
static void trapped(void) {
    on(SIGSYS, answer_trap, 0);
    install_filter(SECCOMP_RET_TRAP, SYS_getppid);
    CHECK(getppid() == 4242 && syscall(SYS_getppid) == 4242 && raw3(SYS_getppid, 0, 0, 0) == 4242);
}
static void trapped_default(void) {
    install_filter(SECCOMP_RET_TRAP, SYS_getppid);
    getppid();
}
// Only read, write, exit and the return from signals.
static void strict(void) {
    on(SIGALRM, count_hit, SA_RESTART);
    arm_timer(300, 300);
    CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) == 0);
    for (int i = 0; i < 20000; ++i) (void)!write(-1, "", 0);
    while (hits < 20) {
    }
    raw3(SYS_write, 1, (long)"strict\n", 7);
    raw3(SYS_exit, 0, 0, 0);
}

// --- the image
static void environment(char** argv) {
    (void)argv;
    for (char** entry = environ; *entry; ++entry) puts(*entry);
    char** at = environ;
    while (*at) ++at;
    int found = 0;
    for (const Elf64_auxv_t* v = (const Elf64_auxv_t*)(at + 1); v->a_type != AT_NULL; ++v)
        found |= v->a_type == AT_PHDR;
    printf("auxv %d\n", found);
    FILE* file = fopen("/proc/self/environ", "r");
    int c;
    while ((c = fgetc(file)) != EOF)
        if (c) putchar(c);
    puts("");
    stack_t stack;
    sigset_t set;
    CHECK(sigaltstack(NULL, &stack) == 0 && stack.ss_flags == SS_DISABLE);
    CHECK(sigprocmask(SIG_SETMASK, NULL, &set) == 0);
    printf("blocked %d %d\n", sigismember(&set, SIGSYS), sigismember(&set, SIGUSR1));
    struct sigaction old;
    for (int i = 1; i < 32; ++i)
        if (sigaction(i, NULL, &old) == 0)
            printf("%d%c", i, old.sa_handler == SIG_IGN ? 'i' : old.sa_handler == SIG_DFL ? 'd' : '?');
    puts("");
    int fds = 0;
    for (int fd = 0; fd < 64; ++fd) fds += raw3(SYS_fcntl, fd, 1, 0) >= 0;
    printf("fds %d\n", fds);
}
// Everything that a program can ask about itself, but where its memory is and what the kernel does with its signals.
static int print_image(struct dl_phdr_info* image, size_t size, void* unused) {
    (void)size, (void)unused;
    printf("image %s\n", image->dlpi_name);
    return 0;
}
static int compare_names(const void* a, const void* b) { return strcmp(*(char* const*)a, *(char* const*)b); }
static void print_folder(const char* path) {
    char* names[256];
    size_t count = 0;
    DIR* folder = opendir(path);
    CHECK(folder != NULL);
    for (struct dirent* entry; (entry = readdir(folder)) != NULL && count < 256;)
        if (entry->d_name[0] != '.') names[count++] = strdup(entry->d_name);
    closedir(folder);
    qsort(names, count, sizeof names[0], compare_names);
    printf("%s:", path);
    for (size_t i = 0; i < count; ++i) printf(" %s", names[i]);
    puts("");
}
static void print_lines(const char* path, const char* const* wanted) {
    char line[512];
    FILE* file = fopen(path, "r");
    CHECK(file != NULL);
    while (fgets(line, sizeof line, file) != NULL)
        for (const char* const* each = wanted; *each != NULL; ++each)
            if (strncmp(line, *each, strlen(*each)) == 0) fputs(line, stdout);
    fclose(file);
}
static void* looking_thread(void* unused) {
    stack_t stack;
    sigset_t set;
    CHECK(sigaltstack(NULL, &stack) == 0 && sigprocmask(SIG_SETMASK, NULL, &set) == 0);
    printf("thread: stack %d %zu, blocked %d %d %d\n", stack.ss_flags, stack.ss_size, sigismember(&set, SIGSYS),
           sigismember(&set, SIGTRAP), sigismember(&set, SIGTERM));
    return unused;
}
static void looks(char** argv) {
    environment(argv);
    print_folder("/proc/self/fd");
    print_folder("/proc/self/fdinfo");
    static const char* const status[] = {"TracerPid", "NoNewPrivs", "Seccomp", "SigPnd", "ShdPnd", "SigBlk",
                                         "SigIgn",    "Threads",    "Umask",   "Cap",    "Groups", NULL};
    print_lines("/proc/self/status", status);
    static const char* const limits[] = {"Max", NULL};
    print_lines("/proc/self/limits", limits);
    dl_iterate_phdr(print_image, NULL);
    sigset_t pending;
    CHECK(sigpending(&pending) == 0);
    for (int signal = 1; signal < 65; ++signal) {
        struct sigaction old;
        if (raw3(SYS_rt_sigaction, signal, 0, (long)&old) == 0 && old.sa_handler != SIG_DFL)
            printf("%d handled\n", signal);
        if (sigismember(&pending, signal) == 1) printf("%d pending\n", signal);
    }
    struct itimerval timer;
    for (int kind = ITIMER_VIRTUAL; kind <= ITIMER_PROF; ++kind)  // the test has set an alarm
        CHECK(getitimer(kind, &timer) == 0 && timer.it_value.tv_sec == 0 && timer.it_value.tv_usec == 0);
    CHECK(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD);
    unsigned long gs = 1;
    char name[16];
    CHECK(syscall(SYS_arch_prctl, 0x1004 /* ARCH_GET_GS */, &gs) == 0 && gs == 0 && prctl(PR_GET_NAME, name) == 0);
    printf("%s %d %d %d\n", name, prctl(PR_GET_DUMPABLE), prctl(PR_GET_PDEATHSIG, &gs), prctl(PR_GET_KEEPCAPS));
    void* list = NULL;
    size_t length = 0;
    CHECK(syscall(SYS_get_robust_list, 0, &list, &length) == 0);
    Dl_info where;
    printf("robust list: %zu bytes, not of an image: %d\n", length, dladdr(list, &where) == 0);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, looking_thread, NULL) == 0 && pthread_join(thread, NULL) == 0);
    int tasks = 0;
    DIR* folder = opendir("/proc/self/task");
    for (struct dirent* entry; (entry = readdir(folder)) != NULL;) tasks += entry->d_name[0] != '.';
    closedir(folder);
    printf("threads %d\n", tasks);
}
static void inherit(char** argv) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGSYS);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGBUS, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    on(SIGSEGV, count_hit, 0);
    char* environment[] = {"A=1", "LD_PRELOAD=libm.so.6", "B=2", NULL};
    execle(argv[0], argv[0], "environment", NULL, environment);
    _exit(98);
}
// No descriptor of ours is there to be closed, and none is free. What is executed then must run, traced or not.
static void descriptors(char** argv) {
    CHECK(syscall(SYS_close_range, 3, ~0U, 0) == 0);
    calls(10);
    for (int fd = 3; fd < 100; ++fd) CHECK(dup2(1, fd) == fd);
    const struct rlimit limit = {100, 100};
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0 && open("/dev/null", O_RDONLY) == -1 && errno == EMFILE);
    calls(10);
    const pid_t pid = fork();
    if (pid == 0) {
        CHECK(syscall(SYS_close_range, 3, ~0U, 0) == 0);
        execl(argv[0], argv[0], "calls", "10", NULL);
        _exit(97);
    }
    CHECK(status_of(pid) == 0);
    execl(argv[2], argv[2], NULL);
    _exit(96);
}

// Other namespaces, and privileges that are given up.
static void namespaces(char** argv) {
    const int own = open("/proc/self/ns/uts", O_RDONLY | O_CLOEXEC);
    CHECK(own >= 0 && unshare(CLONE_NEWUTS | CLONE_FS | CLONE_FILES | CLONE_SYSVSEM) == 0);
    calls(10);
    CHECK(setns(own, CLONE_NEWUTS) == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    CHECK(prctl(PR_SET_DUMPABLE, 0) == 0 && prctl(PR_SET_DUMPABLE, 1) == 0);
    calls(10);
    const pid_t pid = fork();
    if (pid == 0) {
        CHECK(setsid() == getpid() && prctl(PR_SET_PDEATHSIG, SIGKILL) == 0);
        execl(argv[0], argv[0], "calls", "10", NULL);
        _exit(97);
    }
    CHECK(status_of(pid) == 0);
}

// Restartable sequences: a counter of its own for each CPU, without a locked instruction. Whoever is interrupted in the
// middle begins again, signal or not, and so no count is lost.
static struct {
    long count;
    char line[120];
} per_cpu[1024];
static void add_on_this_cpu(struct rseq* area) {
    for (;;) {
        const unsigned cpu = *(volatile unsigned*)&area->cpu_id_start;
        CHECK(cpu < 1024);
        __asm__ volatile goto(
            ".pushsection __rseq_cs, \"aw\"\n .balign 32\n"
            "3: .long 0, 0\n .quad 1f, 2f - 1f, 4f\n .popsection\n"
            "lea 3b(%%rip), %%rax\n mov %%rax, %[cs]\n"
            "1: cmp %[cpu], %[now]\n jnz %l[other]\n"
            "incq %[count]\n"
            "2:\n"
            ".pushsection .text.unlikely\n .byte 0x0f, 0xb9, 0x3d\n .long 0x53053053\n"
            "4: jmp %l[other]\n .popsection\n"
            :
            : [cs] "m"(area->rseq_cs), [cpu] "r"(cpu), [now] "m"(area->cpu_id), [count] "m"(per_cpu[cpu].count)
            : "rax", "memory", "cc"
            : other);
        return;
    other:;
    }
}
static void* count_per_cpu(void* rounds) {
    struct rseq* const area = (struct rseq*)((char*)__builtin_thread_pointer() + __rseq_offset);
    for (long i = 0; i < (long)rounds; ++i) {
        add_on_this_cpu(area);
        if (i % 4096 == 0) sched_yield();
    }
    return NULL;
}
static void restartable(long rounds) {
    CHECK(__rseq_size != 0);
    on(SIGALRM, count_hit, SA_RESTART);
    arm_timer(100, 100);
    pthread_t thread[4];
    for (int i = 0; i < 4; ++i) CHECK(pthread_create(&thread[i], NULL, count_per_cpu, (void*)rounds) == 0);
    for (int i = 0; i < 4; ++i) CHECK(pthread_join(thread[i], NULL) == 0);
    arm_timer(0, 0);
    long sum = 0;
    for (int i = 0; i < 1024; ++i) sum += per_cpu[i].count;
    printf("%ld\n", sum);
}

// Below another root directory, where nothing of the tracer is to be seen: from here on, in a child, and in images that
// start there.
static void chrooted(const char* folder) {
    CHECK(chroot(folder) == 0 && chdir("/") == 0);
    for (int i = 0; i < 10; ++i) getppid();
    char* static_image[] = {"/static", NULL};
    char* dynamic_image[] = {"/guest", "calls", "20", NULL};
    char* environment[] = {NULL};
    char* const* images[] = {static_image, dynamic_image, static_image};
    for (int i = 0; i < 3; ++i) {
        const pid_t pid = i == 2 ? vfork() : fork();
        if (pid == 0) {
            execve(images[i][0], images[i], environment);
            _exit(97);
        }
        CHECK(status_of(pid) == 0);
    }
    CHECK(execve("/nothing", static_image, environment) == -1 && errno == ENOENT);
    int open_files = 0;
    for (int fd = 0; fd < 1024; ++fd) open_files += fcntl(fd, F_GETFD) >= 0;
    printf("%d\n", open_files);
    fflush(stdout);
    execve(dynamic_image[0], dynamic_image, environment);
    _exit(96);
}
// Another user, who may not open what the tracer made for the one before. All threads become him, by a signal of the C
// library's: those that run, and those that wait.
static void* calling_thread(void* unused) {
    while (raw3(SYS_geteuid, 0, 0, 0) != 65534) continue;
    calls(10);
    return unused;
}
static void* waiting_thread(void* end) {
    char byte;
    CHECK(read(*(int*)end, &byte, 1) == 1 && raw3(SYS_geteuid, 0, 0, 0) == 65534);
    return NULL;
}
static void another_user(char** argv) {
    int ends[2];
    pthread_t thread[4];
    CHECK(pipe(ends) == 0);
    for (int i = 0; i < 4; ++i)
        CHECK(pthread_create(&thread[i], NULL, i % 2 ? waiting_thread : calling_thread, &ends[0]) == 0);
    CHECK(setresgid(65534, 65534, 65534) == 0 && setresuid(65534, 65534, 65534) == 0);
    CHECK(write(ends[1], "xy", 2) == 2);
    for (int i = 0; i < 4; ++i) CHECK(pthread_join(thread[i], NULL) == 0);
    char* image[] = {argv[0], "calls", "20", NULL};
    const pid_t pid = fork();
    if (pid == 0) {
        execve(image[0], image, environ);
        _exit(97);
    }
    CHECK(status_of(pid) == 0);
    execve(image[0], image, environ);
    _exit(96);
}
static void exec_failures(void) {
    char* arguments[] = {"x", NULL};
    CHECK(execve("/nonexistent", arguments, environ) == -1 && errno == ENOENT);
    CHECK(execve("/etc/passwd", arguments, environ) == -1 && errno == EACCES);
    CHECK(execve("/tmp", arguments, environ) == -1 && errno == EACCES);
    CHECK(syscall(SYS_execve, 8, arguments, environ) == -1 && errno == EFAULT);
    CHECK(syscall(SYS_execve, "/bin/true", arguments, 8) == -1 && errno == EFAULT);
    CHECK(getenv("LD_PRELOAD") == NULL);
    calls(3);
}
// Killed at any moment of an execve: the parent must see the end.
static void exec_killed(long rounds) {
    for (long i = 0; i < rounds; ++i) {
        const pid_t pid = fork();
        if (pid == 0) {
            execl("/bin/true", "true", NULL);
            _exit(1);
        }
        const struct timespec wait = {0, i % 150 * 20000};
        nanosleep(&wait, NULL);
        kill(pid, SIGKILL);
        int status = -1;
        CHECK(waitpid(pid, &status, 0) == pid && (status == 0 || status == SIGKILL));
    }
    puts("exec_killed");
}

// Sent a signal just behind an execve, where memory is limited, too: it arrives.
static void exec_signalled(long rounds) {
    for (long i = 0; i < rounds; ++i) {
        if (i == rounds / 2) {
            const struct rlimit limit = {1UL << 40, 1UL << 40};
            CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
        }
        char* arguments[] = {"sleep", "5", NULL};
        pid_t pid = 0;
        CHECK(posix_spawn(&pid, "/bin/sleep", NULL, NULL, arguments, environ) == 0);
        const struct timespec wait = {0, i % 20 * 100000};
        nanosleep(&wait, NULL);
        kill(pid, i % 2 ? SIGTERM : SIGUSR1);
        int status = -1;
        CHECK(waitpid(pid, &status, 0) == pid && status == (i % 2 ? SIGTERM : SIGUSR1));
    }
    puts("exec_signalled");
}

static void* exec_body(void* path) {
    execl(path, "guest", "calls", "5", NULL);
    return NULL;
}
static void exec_from_thread(char** argv) {
    pthread_t thread;
    pthread_create(&thread, NULL, exec_body, argv[0]);
    for (;;) pause();
}

static void contexts(void) {
    static ucontext_t main_context, other;
    static char stack[65536];
    static volatile int steps;
    for (steps = 0; steps < 10;) {
        CHECK(getcontext(&other) == 0);
        other.uc_stack.ss_sp = stack;
        other.uc_stack.ss_size = sizeof stack;
        other.uc_link = &main_context;
        makecontext(&other, (void (*)(void))getppid, 0);
        CHECK(swapcontext(&main_context, &other) == 0);
        ++steps;
    }
}

// A system call on a stack with hardly any room below.
static void tiny_stack(void) {
    static char stack[512] __attribute__((aligned(16)));
    memset(stack, 0x33, sizeof stack);
    long result;
    for (int i = 0; i < 3; ++i) {
        __asm__ volatile("mov %%rsp, %%r12\n lea 256(%1), %%rsp\n mov $110, %%eax\n syscall\n mov %%r12, %%rsp\n"
                         : "=&a"(result)
                         : "r"(stack)
                         : "rcx", "r11", "r12", "memory");
        CHECK(result == getppid());
    }
    for (size_t i = 0; i < sizeof stack; ++i) CHECK(stack[i] == 0x33);
}

// --- a sandbox that kills for whatever the program does not need itself
static void install_sandbox(const int* allowed, int count) {
    struct sock_filter code[64] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr))};
    int length = 1;
    for (int i = 0; i < count; ++i) {
        code[length++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)allowed[i], 0, 1);
        code[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    }
    code[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
    const struct sock_fprog program = {.len = (unsigned short)length, .filter = code};
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}
static void* signalled(void* unused) {
    for (int i = 0; i < 40; ++i) {
        volatile double kept = i * 1.5;
        CHECK(pthread_kill(pthread_self(), SIGUSR1) == 0);
        CHECK(kept == i * 1.5);
    }
    return unused;
}
// What glibc 2.36 asks of the kernel for threads, forks and a line of output, and getppid; handlers: rt_sigreturn, too.
static void sandbox(const char* kind) {
    static const int needed[] = {SYS_getppid,         SYS_write,     SYS_exit,   SYS_exit_group,
                                 SYS_clone3,          SYS_clone,     SYS_mmap,   SYS_mprotect,
                                 SYS_munmap,          SYS_madvise,   SYS_futex,  SYS_rt_sigprocmask,
                                 SYS_set_robust_list, SYS_rseq,      SYS_wait4,  SYS_rt_sigaction,
                                 SYS_newfstatat,      SYS_getrandom, SYS_getpid, SYS_brk,
                                 SYS_rt_sigreturn,    SYS_tgkill,    SYS_gettid, SYS_arch_prctl};
    const int all = sizeof needed / sizeof *needed;
    const int count = strcmp(kind, "followed") == 0 ? all : strcmp(kind, "handlers") == 0 ? all - 1 : all - 4;
    on(SIGUSR1, count_hit, SA_RESTART);
    install_sandbox(needed, count);
    pthread_t many[50];
    for (int round = 0; round < 3; ++round) {
        for (int i = 0; i < 50; ++i) CHECK(pthread_create(&many[i], NULL, thread_calls, (void*)100) == 0);
        for (int i = 0; i < 50; ++i) CHECK(pthread_join(many[i], NULL) == 0);
    }
    for (int i = 0; i < 5; ++i) {
        const pid_t pid = fork();
        if (pid == 0) {
            for (int n = 0; n < 10; ++n) getppid();
            pthread_t one;
            CHECK(pthread_create(&one, NULL, thread_calls, (void*)10) == 0 && pthread_join(one, NULL) == 0);
            _exit(i + 1);
        }
        CHECK(WEXITSTATUS(status_of(pid)) == i + 1);
    }
    for (int n = 0; n < 1000; ++n) getppid();
    if (count >= all - 1) {
        pthread_t one;
        CHECK(pthread_create(&one, NULL, signalled, NULL) == 0 && pthread_join(one, NULL) == 0);
        CHECK(hits == 40);
    }
    puts("sandboxed");
}

// A filter that lets most through: what is made behind it, and what is executed.
static void refused(char** argv) {
    install_filter(SECCOMP_RET_ERRNO | EPERM, SYS_getpgid);
    CHECK(getpgid(0) == -1 && errno == EPERM);
    threads(4, 100);
    forks();
    execl(argv[0], argv[0], "calls", "30", NULL);
    CHECK(0);
}

// As valgrind does. The agent's clock is there.
static void without_vdso(void) {
    const uintptr_t vdso = getauxval(AT_SYSINFO_EHDR);
    const ElfW(Ehdr)* header = (const void*)vdso;
    const ElfW(Phdr)* segment = (const void*)(vdso + header->e_phoff);
    while (segment->p_type != PT_LOAD) ++segment;
    CHECK(getppid() > 0);
    CHECK(munmap((void*)vdso, (segment->p_memsz + 4095) & ~4095UL) == 0);  // all of it, or the kernel refuses
    CHECK(getppid() > 0 && syscall(SYS_getppid) == getppid());
    forks();
    puts("without_vdso");
}

static void* ended(void* unused) {
    syscall(SYS_exit, 0);
    return unused;
}
static void many_threads(long count) {
    for (long i = 0; i < count; ++i) {
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, i % 7 ? thread_calls : ended, (void*)2) == 0);
        CHECK(pthread_join(thread, NULL) == 0);
    }
}

// --- sites without an instruction of five bytes before them: the number is in eax, or is zero
// Each is entered at its beginning, at the system call, and behind it with a result in rax; and each makes of a result
// what a C library does. They run in a copy, which a compiler at run time might have made, and which lies where such
// memory lies: in reach of jumps.
extern const char pun_begin[], pun_read[], pun_read_site[], pun_read_behind[], pun_moved[], pun_moved_site[],
    pun_moved_behind[], pun_kept[], pun_kept_site[], pun_short[], pun_end[];
__asm__(
    ".pushsection .rodata\n .p2align 4\n"  // what runs is the copy alone
    "pun_begin:\n"
    "pun_read: xor %eax, %eax\n"
    "pun_read_site: syscall\n"
    "pun_read_behind: cmp $-4096, %rax\n ja 1f\n ret\n"
    "1: neg %rax\n add $1000, %rax\n ret\n"
    ".skip 256, 0x90\n"
    "pun_moved: mov $39, %r9d\n mov %r9d, %eax\n"  // getpid
    "pun_moved_site: syscall\n"
    "pun_moved_behind: mov %rax, %rdx\n xor %eax, %eax\n lea 1(%rdx), %rax\n ret\n"
    "pun_kept: push %rbx\n xor %eax, %eax\n mov $110, %al\n"  // getppid
    "pun_kept_site: syscall\n lea 3(%rax), %rbx\n mov %rbx, %rax\n pop %rbx\n ret\n"
    "pun_short: xor %eax, %eax\n mov $110, %al\n syscall\n nop\n inc %eax\n ret\n"  // no room for a jump
    "pun_end: .popsection\n");
static char* pun_copy;
static const char* copied(const char* at) { return pun_copy + (at - pun_begin); }
static void copy_puns(void) {
    pun_copy = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(pun_copy != MAP_FAILED);
    memcpy(pun_copy, pun_begin, (size_t)(pun_end - pun_begin));
    CHECK(mprotect(pun_copy, 4096, PROT_READ | PROT_EXEC) == 0);
}
// Calls `to` in the copy, with rax set.
static long enter_at(const char* to, long rax, long a) {
    __asm__ volatile("sub $136, %%rsp\n call *%[to]\n add $136, %%rsp"
                     : "+a"(rax)
                     : [to] "r"(copied(to)), "D"(a), "S"(0L), "d"(0L)
                     : "rcx", "r8", "r9", "r11", "memory", "cc");
    return rax;
}
static atomic_int strange_places;
// Whoever is interrupted stands in code that he knows.
static void look_where(int signal, siginfo_t* info, void* context) {
    (void)signal, (void)info;
    const uintptr_t ip = (uintptr_t)((ucontext_t*)context)->uc_mcontext.gregs[REG_RIP];
    if (ip - (uintptr_t)pun_copy >= 4096 && !known_place(ip)) atomic_fetch_add(&strange_places, 1);
    hits = hits + 1;
}
static void* pun_calls(void* count) {
    const long pid = getpid(), parent = getppid();
    for (long i = 0; i < (long)count; ++i) {
        CHECK(enter_at(pun_read, 0, -1) == 1000 + EBADF);
        CHECK(enter_at(pun_read_site, SYS_getpid, 0) == pid);
        CHECK(enter_at(pun_read_behind, 5, 0) == 5);
        CHECK(enter_at(pun_read_behind, -7, 0) == 1007);
        CHECK(enter_at(pun_moved, 0, 0) == pid + 1);
        CHECK(enter_at(pun_moved_behind, 41, 0) == 42);
        CHECK(enter_at(pun_kept, 0, 0) == parent + 3);
        CHECK(enter_at(pun_short, 0, 0) == parent + 1);
    }
    return NULL;
}
// Other code comes in the place of code that was patched, by a change of protection and by another mapping, with a call
// at the same address and something else behind it.
static void replaced_puns(void) {
    static const unsigned char other[] = {0x0f, 0x05, 0x48, 0x83, 0xc0, 0x07, 0xc3, 0x90};  // syscall; add $7,%rax; ret
    for (int mapped = 0; mapped < 2; ++mapped) {
        copy_puns();
        for (int i = 0; i < 20; ++i) CHECK(enter_at(pun_read, 0, -1) == 1000 + EBADF);
        if (mapped)
            CHECK(mmap(pun_copy, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
                  pun_copy);
        else
            CHECK(mprotect(pun_copy, 4096, PROT_READ | PROT_WRITE) == 0);
        memcpy((char*)copied(pun_read_site), other, sizeof other);
        CHECK(mprotect(pun_copy, 4096, PROT_READ | PROT_EXEC) == 0);
        for (int i = 0; i < 20; ++i) CHECK(enter_at(pun_read_site, SYS_getpid, 0) == getpid() + 7);
        CHECK(mprotect(pun_copy, 4096, PROT_READ) == 0 && mprotect(pun_copy, 4096, PROT_READ | PROT_EXEC) == 0);
        for (int i = 0; i < 20; ++i) CHECK(enter_at(pun_read_site, SYS_getpid, 0) == getpid() + 7);
    }
}
static void puns(long count) {
    replaced_puns();
    copy_puns();
    on(SIGALRM, look_where, SA_RESTART);
    on(SIGUSR1, look_where, SA_RESTART);
    arm_timer(100, 100);
    pthread_t thread[4];
    for (int i = 0; i < 4; ++i) CHECK(pthread_create(&thread[i], NULL, pun_calls, (void*)count) == 0);
    for (int i = 0; i < 400; ++i) {
        pthread_kill(thread[i % 4], SIGUSR1);
        struct timespec pause = {0, 20000};
        nanosleep(&pause, NULL);
    }
    for (int i = 0; i < 4; ++i) CHECK(pthread_join(thread[i], NULL) == 0);
    arm_timer(0, 0);
    CHECK(hits > 0 && strange_places == 0);
    const pid_t child = fork();
    if (child == 0) {
        pun_calls((void*)10);
        _exit(0);
    }
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

// Whether the C library's sites are patched once they have been used often, the one with its number in a register too.
static void patched(void) {
    for (int i = 0; i < 4; ++i) {
        getppid();
        syscall(SYS_getppid);
    }
    const unsigned char* generic = (const unsigned char*)syscall;
    int found = 0;
    for (int i = 0; i < 64; ++i) found |= generic[i] == 0xe9 && generic[i + 5] == 0x0f && generic[i + 6] == 0x05;
    const char* const own[] = {pun_read_site, pun_moved_site, pun_kept_site};
    int in_place = 0;
    copy_puns();
    pun_calls((void*)4);
    for (int i = 0; i < 3; ++i)
        in_place += (unsigned char)*copied(own[i]) == 0xe9 && (unsigned char)copied(own[i])[2] == 0xcc;
    printf("%d %d %d\n", *(const unsigned char*)getppid == 0xe9, found, in_place);
}

// Nanoseconds of one getppid: the best of many short batches.
static void bench(long batches) {
    double best = 1e9;
    for (long batch = 0; batch < batches; ++batch) {
        struct timespec a, b;
        clock_gettime(CLOCK_MONOTONIC, &a);
        for (int i = 0; i < 200; ++i) getppid();
        clock_gettime(CLOCK_MONOTONIC, &b);
        const double each = ((double)(b.tv_sec - a.tv_sec) * 1e9 + (double)(b.tv_nsec - a.tv_nsec)) / 200;
        if (each < best) best = each;
    }
    printf("%.1f ns\n", best);
}

int main(int argc, char** argv) {
    const char* what = argc > 1 ? argv[1] : "";
    const long a = argc > 2 ? atol(argv[2]) : 0, b = argc > 3 ? atol(argv[3]) : 0;
#define RUN(name, call)            \
    if (strcmp(what, name) == 0) { \
        call;                      \
        fflush(stdout);            \
        return 0;                  \
    }
    RUN("calls", calls(a))
    RUN("threads", threads(a, b))
    RUN("forks", forks())
    RUN("thread_forks", thread_forks())
    RUN("vforks", vforks())
    RUN("spawns", spawns())
    RUN("clones", clones())
    RUN("alien", alien())
    RUN("registers", registers())
    RUN("flags", flags_kept())
    RUN("gate32", gate32())
    RUN("restarts", restarts())
    RUN("masks", masks())
    RUN("waits", waits())
    RUN("nested", nested())
    RUN("frame_mask", frame_mask())
    RUN("altstack", altstack())
    RUN("jumps", jumps())
    RUN("faults", faults())
    RUN("die", die_by_fault(argc > 2 ? argv[2] : ""))
    RUN("actions", actions())
    RUN("places", places())
    RUN("stepped", stepped(a))
    RUN("phases", phases(argv[2], argv[3]))
    RUN("storm", storm(a))
    RUN("cancel", cancel())
    RUN("trapped", trapped())
    RUN("trapped_default", trapped_default())
    RUN("strict", strict())
    RUN("environment", environment(argv))
    RUN("looks", looks(argv))
    RUN("descriptors", descriptors(argv))
    RUN("namespaces", namespaces(argv))
    RUN("restartable", restartable(a))
    RUN("chrooted", chrooted(argv[2]))
    RUN("another_user", another_user(argv))
    RUN("inherit", inherit(argv))
    RUN("exec_failures", exec_failures())
    RUN("exec_killed", exec_killed(a))
    RUN("exec_signalled", exec_signalled(a))
    RUN("exec_from_thread", exec_from_thread(argv))
    RUN("contexts", contexts())
    RUN("tiny_stack", tiny_stack())
    RUN("many_threads", many_threads(a))
    RUN("sandbox", sandbox(argc > 2 ? argv[2] : ""))
    RUN("refused", refused(argv))
    RUN("without_vdso", without_vdso())
    RUN("patched", patched())
    RUN("puns", puns(a))
    RUN("bench", bench(a))
    puts("what?");
    return 2;
}
