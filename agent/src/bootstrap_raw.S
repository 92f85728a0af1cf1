// SPDX-License-Identifier: Apache-2.0
// What an injector writes over the first instructions of a new image: opens the agent's file, maps it as Arrival::image
// says, and goes to its entry with the Arrival in rdi. Every register is free: the kernel has cleared them. Where
// something fails it stops at a breakpoint; the injector waits there if that can happen (injector_raw.cpp).
// Safe because it reads and writes nothing but the Arrival, and what it has mapped.
#define ARRIVAL_BELOW 2048
#define ADDRESS 0
#define SIZE 8
#define DATA_AT 16
#define DATA_OFFSET 24
#define DATA_SIZE 32
#define ZEROS_AT 40
#define ZEROS_SIZE 48
#define ENTRY 56
#define AGENT_FD 152
#define AGENT_PATH 440

    .section .rodata, "a", @progbits
    .globl anybpf_bootstrap, anybpf_bootstrap_failed, anybpf_bootstrap_end
    .hidden anybpf_bootstrap, anybpf_bootstrap_failed, anybpf_bootstrap_end
anybpf_bootstrap:
    lea -ARRIVAL_BELOW(%rsp), %rbx
    mov %rbx, %rsp
    mov AGENT_FD(%rbx), %eax        // it may be open
    test %eax, %eax
    jns 1f
    mov $2, %eax                    // open(agent_path, O_RDONLY | O_CLOEXEC)
    lea AGENT_PATH(%rbx), %rdi
    mov $0x80000, %esi
    syscall
    test %eax, %eax
    js anybpf_bootstrap_failed
1:  mov %eax, %ebp
    mov $9, %eax                    // mmap(address, size, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0)
    mov ADDRESS(%rbx), %rdi
    mov SIZE(%rbx), %rsi
    mov $5, %edx
    mov $2, %r10d
    mov %ebp, %r8d
    xor %r9d, %r9d
    syscall
    cmp $-4095, %rax
    jae 2f
    mov %rax, %r12
    mov $9, %eax                    // its data: PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED
    mov DATA_AT(%rbx), %rdi
    add %r12, %rdi
    mov DATA_SIZE(%rbx), %rsi
    mov $3, %edx
    mov $0x12, %r10d
    mov DATA_OFFSET(%rbx), %r9
    syscall
    cmp $-4095, %rax
    jae 2f
    add DATA_SIZE(%rbx), %rax       // zeros to the end of its last page
    mov %rax, %rdi
    mov %eax, %ecx
    neg %ecx
    and $4095, %ecx
    xor %eax, %eax
    rep stosb
    mov $9, %eax                    // and behind it: MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS
    mov ZEROS_AT(%rbx), %rdi
    add %r12, %rdi
    mov ZEROS_SIZE(%rbx), %rsi
    mov $0x32, %r10d
    mov $-1, %r8
    xor %r9d, %r9d
    syscall
    cmp $-4095, %rax
    jae 2f
    mov $3, %eax                    // close
    mov %ebp, %edi
    syscall
    add ENTRY(%rbx), %r12
    mov %rbx, %rdi
    jmp *%r12
2:  mov $3, %eax                    // close: it is as it was
    mov %ebp, %edi
    syscall
anybpf_bootstrap_failed:
    int3
anybpf_bootstrap_end:

    .section .note.GNU-stack, "", @progbits
