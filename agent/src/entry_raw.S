// SPDX-License-Identifier: Apache-2.0
// The ways into and out of the agent. Everything here follows from three rules:
//  - the arena is the only code whose `syscall` the kernel does not hand to us (Syscall User Dispatch), and the system
//    calls of the guest are made there, with the guest's exact registers and stack pointer;
//  - rcx and r11 are the kernel's to spoil in a system call, so they are free between a site and its stub; all else is
//    saved before the first C++ instruction and restored after the last;
//  - whatever instruction a signal interrupts, the signal handler can tell by the address what state the guest is in:
//    in a stub (its system call not made, or made), leaving (start over), or in the agent (the signal waits).
// Safe because no instruction here depends on the guest's stack or memory, and no state survives a system call except
// which stub made it.

#define SLOT_GO 0
#define SLOT_AFTER 8
#define SLOT_NR 16
#define SLOT_ENTRY_BUSY 21
#define SLOT_EXIT_BUSY 22
#define SLOT_RESUME 24
#define STATE_R15 0
#define STATE_R14 8
#define STATE_R13 16
#define STATE_R12 24
#define STATE_BP 32
#define STATE_BX 40
#define STATE_R11 48
#define STATE_R10 56
#define STATE_R9 64
#define STATE_R8 72
#define STATE_AX 80
#define STATE_CX 88
#define STATE_DX 96
#define STATE_SI 104
#define STATE_DI 112
#define STATE_ORIG 120
#define STATE_IP 128
#define STATE_CS 136
#define STATE_FLAGS 144
#define STATE_SP 152
#define STATE_SS 160
#define STATE_PUBLISH 168
#define STATE_DEFERRED 176
#define STATE_SLOT 184
#define STATE_IN_USE 208
#define STATE_BARE 219
#define STACK_SIZE (256 * 1024 + 2048)
// A thread finds what is its own by the gs base, which nothing else in 64-bit user space uses: it is there from a
// program's first instruction on, whatever C library comes later, and a thread keeps it that shares all else.
#define OWN_ACTIVE 8
#define OWN_STATE 16
#define OWN_NEXT 24
#define OWN_FLAGS 32
#define OWN_CLONE_SLOT 40

.macro global name
    .globl \name
    .hidden \name
\name:
.endm

    .section anybpf_arena, "ax", @progbits
    .p2align 12
global anybpf_arena_begin

// Slot 0 is libc's syscall(): the instruction before its system call loads the sixth argument.
global anybpf_stub_r9
    mov 8(%rsp), %r9
    jmp anybpf_stubs + 6

// The 32-bit gate from 64-bit code: made for the guest, not reported. Slots from the end of the table.
    .p2align 4
global anybpf_int80
    .set i, 2040
    .rept 8
    int $0x80
    jmp *anybpf_slots + 32 * i + SLOT_AFTER(%rip)
    .p2align 4
    .set i, i + 1
    .endr
global anybpf_int80_end

// rt_sigreturn on behalf of the guest: rax and rsp are set, it does not come back.
global anybpf_bare_syscall
    syscall
    ud2

// The same on behalf of a visitor, who waits behind it.
global anybpf_visit_call
    syscall
    int3

// Where our own signal handler returns to.
global anybpf_agent_restorer
    mov $15, %eax
    syscall
    ud2

// The thread ends: its state may be another's the moment in_use is clear, so nothing touches it afterwards.
global anybpf_thread_exit
    mov %gs:OWN_STATE, %rcx
    movl $0, STATE_IN_USE(%rcx)
    syscall
    ud2

// A clone whose child shares memory and has a state of its own, which it finds by its stack pointer: it has its parent's
// gs base. All signals but ours are blocked. What the child calls it calls below its stack's red zone, as a signal would.
global anybpf_clone
    syscall
    mov %rax, %rcx
    jrcxz 1f
    mov %gs:OWN_CLONE_SLOT, %r11
    jmp anybpf_exit
1:  lea -128(%rsp), %rsp
    push %r11
    push %rdi
    push %rsi
    push %rdx
    push %r8
    push %r9
    push %r10
    push %rbp
    lea 128 + 8 * 8(%rsp), %rdi
    mov %rsp, %rbp
    and $-16, %rsp
    cld
    call anybpf_newborn
    mov %rbp, %rsp
    mov %rax, %rcx
    xor %eax, %eax
    pop %rbp
    pop %r10
    pop %r9
    pop %r8
    pop %rdx
    pop %rsi
    pop %rdi
    popfq
    lea 128(%rsp), %rsp
    mov %rcx, %r11
    jmp anybpf_exit
global anybpf_clone_end

// long anybpf_raw(number, a, b, c, d, e, f): the agent's own system calls.
global anybpf_raw
    mov %rdi, %rax
    mov %rsi, %rdi
    mov %rdx, %rsi
    mov %rcx, %rdx
    mov %r8, %r10
    mov %r9, %r8
    mov 8(%rsp), %r9
    syscall
    ret

// Stub i. A patched site jumps to its first byte, the dispatcher comes in at the second instruction (stub_call).
    .p2align 5
global anybpf_stubs
    .set i, 0
    .rept 2048
    mov anybpf_slots + 32 * i + SLOT_NR(%rip), %eax
    lea anybpf_slots + 32 * i(%rip), %r11
    {disp32} jmp anybpf_enter
    syscall
    lea anybpf_slots + 32 * i(%rip), %r11
    {disp32} jmp anybpf_exit
    .set i, i + 1
    .endr
global anybpf_stubs_end
    .p2align 12
// Where sites go that are patched at the instruction itself (patch_raw.cpp); written when they are.
global anybpf_puns
    .zero 65536
global anybpf_puns_end
global anybpf_arena_end

// Behind everything else that is zero at first, so that its first page lies beside the pages that every exec touches. On
// that page is what a call reads of the process (Process), and the first slots.
    .section anybpf_sites, "aw", @nobits
    .p2align 5
global anybpf_epoch
    .zero 8
global anybpf_seen
    .zero 8
    .p2align 5
global anybpf_slots
    .zero 32 * 2048

    .section .text.hot, "ax", @progbits
// Saves the guest's registers in its state (rcx), marks the thread busy, and moves to the agent's stack. r11: the slot.
// Until `active` is cleared the guest's stack pointer is still in place.
.macro save_registers
    mov %r15, STATE_R15(%rcx)
    mov %r14, STATE_R14(%rcx)
    mov %r13, STATE_R13(%rcx)
    mov %r12, STATE_R12(%rcx)
    mov %rbp, STATE_BP(%rcx)
    mov %rbx, STATE_BX(%rcx)
    mov %r10, STATE_R10(%rcx)
    mov %r9, STATE_R9(%rcx)
    mov %r8, STATE_R8(%rcx)
    mov %rax, STATE_AX(%rcx)
    mov %rdx, STATE_DX(%rcx)
    mov %rsi, STATE_SI(%rcx)
    mov %rdi, STATE_DI(%rcx)
    mov %rsp, STATE_SP(%rcx)
    mov %r11, STATE_SLOT(%rcx)
    mov SLOT_AFTER(%r11), %r11
    mov %r11, STATE_IP(%rcx)
    mov %r11, STATE_CX(%rcx)
    mov %rcx, %gs:OWN_STATE
    movq $0, %gs:OWN_ACTIVE
    mov %rcx, %rsp
    pushfq
    cld
    pop %rdx
    mov %rdx, STATE_FLAGS(%rcx)
    mov %rdx, STATE_R11(%rcx)
    mov %rcx, %rdi
.endm

// The guest's registers from its state (rcx), all but rcx, r11 and the flags.
.macro restore_registers
    mov STATE_R15(%rcx), %r15
    mov STATE_R14(%rcx), %r14
    mov STATE_R13(%rcx), %r13
    mov STATE_R12(%rcx), %r12
    mov STATE_BP(%rcx), %rbp
    mov STATE_BX(%rcx), %rbx
    mov STATE_R10(%rcx), %r10
    mov STATE_R9(%rcx), %r9
    mov STATE_R8(%rcx), %r8
    mov STATE_AX(%rcx), %rax
    mov STATE_DX(%rcx), %rdx
    mov STATE_SI(%rcx), %rsi
    mov STATE_DI(%rcx), %rdi
    mov STATE_SP(%rcx), %rsp
.endm

// rcx is zero when the slots' marks still hold: a comparison that leaves the flags as they are. The checksum is linear,
// so that of two equal numbers, and of no others, is zero.
.macro compare_epoch
    mov anybpf_epoch(%rip), %rcx
    mov (%rcx), %ecx
    crc32q anybpf_seen(%rip), %rcx
.endm

// Up to `passed` r11 is the slot, rcx is free, and all else is the guest's: a signal there finds the guest at its site.
    .p2align 5
global anybpf_enter
    movzbl SLOT_ENTRY_BUSY(%r11), %ecx
    jrcxz 3f
4:  mov %gs, %ecx
    jrcxz 5f
    jmp 2f
5:  mov %gs:OWN_ACTIVE, %rcx
    jrcxz 2f
    jmp enter_agent
2:  jmp *SLOT_GO(%r11)
3:  compare_epoch
    jrcxz 2b
    jmp 4b
global anybpf_enter_passed
enter_agent:
    save_registers
    call anybpf_on_enter
    jmp leave

    .p2align 5
global anybpf_exit
    movzbl SLOT_EXIT_BUSY(%r11), %ecx
    jrcxz 3f
4:  mov %gs, %ecx
    jrcxz 5f
    jmp 2f
5:  mov %gs:OWN_ACTIVE, %rcx
    jrcxz 6f
    jmp exit_agent
6:  mov %gs:OWN_STATE, %rcx         // of a vfork child that was killed in the agent: its parent is back
    jrcxz 2f
    jmp exit_agent
2:  mov SLOT_RESUME(%r11), %rcx
    jmp *%rcx
3:  compare_epoch
    jrcxz 2b
    jmp 4b
global anybpf_exit_passed
exit_agent:
    save_registers
    call anybpf_on_exit

// Leaves the agent: rax is where to go. From leave_check on, the way out reads the saved registers only, so a signal
// that arrives sends it back to leave_check, where it is found waiting.
leave:
    mov %rax, %gs:OWN_NEXT
global anybpf_leave_check
    mov %gs:OWN_STATE, %rcx
    cmpl $0, STATE_DEFERRED(%rcx)
    jne late
leave_restore:
    mov STATE_FLAGS(%rcx), %rax
    mov %rax, %gs:OWN_FLAGS
    test $0x400, %eax
    jnz 3f
2:  mov %eax, %edx
    shr $11, %edx
    and $1, %edx
    add $0x7f, %dl
    mov %al, %ah
    sahf
    restore_registers
    mov STATE_PUBLISH(%rcx), %rcx
    mov %rcx, %gs:OWN_ACTIVE
    mov %gs:OWN_NEXT, %rcx
    mov %gs:OWN_FLAGS, %r11
    jmp *%rcx
3:  std
    jmp 2b
global anybpf_leave_end

// Signals arrived while the agent ran; all are blocked now. Leaves by a trap, where they are delivered.
late:
    mov %rcx, %rdi
    call anybpf_on_late
    mov %rax, %gs:OWN_NEXT
    mov %gs:OWN_STATE, %rcx
    jmp leave_restore_late
// The same way out, but signals that wait no longer stop it. It lies outside the range that starts over.
leave_restore_late:
    mov STATE_FLAGS(%rcx), %rax
    and $-0x101, %rax           // a debugger's single step shows in pushfq, but is not the guest's
    push %rax
    popfq
    restore_registers
    mov %gs:OWN_NEXT, %rcx
    jmp *%rcx

// What a visitor finds (visit.hpp); it lies right before the entry of the image.
    .p2align 4
anybpf_directory:
    .long 0x76726261
    .long anybpf_visit_join - anybpf_directory
    .long anybpf_visit_leave - anybpf_directory
    .long anybpf_visit_finish - anybpf_directory
    .long anybpf_stubs - anybpf_directory
    .long anybpf_stubs_end - anybpf_directory
    .long anybpf_clone - anybpf_directory
    .long anybpf_clone_end - anybpf_directory
    .long anybpf_visit_call - anybpf_directory
    .zero 12
// Where the bootstrap of an injector enters, with its Arrival in rdi, on the stack of the image below what lies there:
// its first instruction has not run yet.
global anybpf_arrive
    call anybpf_arrived
    int3                            // to the visitor of a running program

global anybpf_visit_join
    lea anybpf_on_join(%rip), %rax
    jmp 1f
global anybpf_visit_leave
    lea anybpf_on_leave(%rip), %rax
    jmp 1f
global anybpf_visit_finish
    lea anybpf_on_finish(%rip), %rax
1:  mov %rdi, %rsi                  // the guest's vector registers are kept, as in a system call
    mov %rax, %rdi
    call anybpf_with_vectors
    int3

// To the image's first instruction, by the way out of a system call.
global anybpf_go
    mov %gs:OWN_STATE, %rsp
    jmp anybpf_leave_check

// The same without the agent: ip, sp. As the kernel leaves a new image's registers.
global anybpf_go_alone
    mov %rsi, %rsp
    mov %rdi, %rcx
    xor %eax, %eax
    xor %ebx, %ebx
    xor %edx, %edx
    xor %esi, %esi
    xor %edi, %edi
    xor %ebp, %ebp
    xor %r8d, %r8d
    xor %r9d, %r9d
    xor %r10d, %r10d
    xor %r11d, %r11d
    xor %r12d, %r12d
    xor %r13d, %r13d
    xor %r14d, %r14d
    xor %r15d, %r15d
    jmp *%rcx

// hlt raises SIGSEGV in user mode whatever the state of dispatch and of seccomp; our handler knows the address.
global anybpf_trap
    hlt
    ud2

// The one signal handler that the kernel knows. Its frame lies on the agent's stack, with every signal blocked but ours.
    .p2align 4
global anybpf_signal
    cld
    mov %gs, %ecx
    test %ecx, %ecx
    jnz 1f
    mov %gs:OWN_ACTIVE, %rcx
    test %rcx, %rcx
    jnz 3f
    mov %gs:OWN_STATE, %rcx
    test %rcx, %rcx
    jz 1f
3:  cmpb $0, STATE_BARE(%rcx)
    jne 5f
4:  mov %rsp, %rdi
    sub $8, %rsp
    call anybpf_on_signal
    add $16, %rsp
    jmp anybpf_agent_restorer
// A thread without a signal stack: the frame lies on the guest's, unless the agent was at work. Ours is empty then.
5:  mov %rcx, %rax
    sub %rsp, %rax
    cmp $STACK_SIZE, %rax
    jbe 4b
    mov %rsp, %rsi
    lea -448(%rcx), %rdi        // a SignalFrame, so that the stack is aligned as behind a call
    and $-16, %rdi
    sub $8, %rdi
    mov %rdi, %rsp
    mov $440 / 8, %ecx
    rep movsq
    jmp 4b
// No state: the guest's handler runs on the frame as it is.
1:  push %rdi
    push %rsi
    push %rdx
    lea 24(%rsp), %rsi
    call anybpf_handler_of
    pop %rdx
    pop %rsi
    pop %rdi
    test %rax, %rax
    jz 2f
    jmp *%rax
2:  add $8, %rsp
    jmp anybpf_agent_restorer

// The guest's handlers return here. Outside the arena, so the kernel hands the rt_sigreturn to us; byte for byte what
// unwinders and debuggers take for a signal frame.
    .p2align 4
    nop
global anybpf_guest_restorer
    .byte 0x48, 0xc7, 0xc0, 0x0f, 0x00, 0x00, 0x00
    .byte 0x0f, 0x05
    ud2

// The same where the kernel does not hand system calls to us: read as that, but it lies where nothing can be run, and the
// fault comes to us.
    .section .data.anybpf_restorer, "aw", @progbits
    .p2align 4
    .byte 0x90
global anybpf_fault_restorer
    .byte 0x48, 0xc7, 0xc0, 0x0f, 0x00, 0x00, 0x00
    .byte 0x0f, 0x05

    .section .text.hot, "ax", @progbits
// unsigned long anybpf_copy(to, from, size)
global anybpf_copy
    mov %rdx, %rcx
global anybpf_copy_begin
    rep movsb
global anybpf_copy_end
    xor %eax, %eax
    ret
global anybpf_copy_failed
    mov $1, %eax
    ret

// void anybpf_with_vectors(function, first, second): calls function(first, second) and keeps the sixteen xmm registers.
// The code that it calls is built for baseline x86-64, which cannot touch more of the vector state than these.
    .p2align 4
global anybpf_with_vectors
    push %rbp
    mov %rsp, %rbp
    sub $256, %rsp
    and $-16, %rsp
    movaps %xmm0, (%rsp)
    movaps %xmm1, 16(%rsp)
    movaps %xmm2, 32(%rsp)
    movaps %xmm3, 48(%rsp)
    movaps %xmm4, 64(%rsp)
    movaps %xmm5, 80(%rsp)
    movaps %xmm6, 96(%rsp)
    movaps %xmm7, 112(%rsp)
    movaps %xmm8, 128(%rsp)
    movaps %xmm9, 144(%rsp)
    movaps %xmm10, 160(%rsp)
    movaps %xmm11, 176(%rsp)
    movaps %xmm12, 192(%rsp)
    movaps %xmm13, 208(%rsp)
    movaps %xmm14, 224(%rsp)
    movaps %xmm15, 240(%rsp)
    mov %rdi, %rax
    mov %rsi, %rdi
    mov %rdx, %rsi
    call *%rax
    movaps (%rsp), %xmm0
    movaps 16(%rsp), %xmm1
    movaps 32(%rsp), %xmm2
    movaps 48(%rsp), %xmm3
    movaps 64(%rsp), %xmm4
    movaps 80(%rsp), %xmm5
    movaps 96(%rsp), %xmm6
    movaps 112(%rsp), %xmm7
    movaps 128(%rsp), %xmm8
    movaps 144(%rsp), %xmm9
    movaps 160(%rsp), %xmm10
    movaps 176(%rsp), %xmm11
    movaps 192(%rsp), %xmm12
    movaps 208(%rsp), %xmm13
    movaps 224(%rsp), %xmm14
    movaps 240(%rsp), %xmm15
    leave
    ret

    .section .note.GNU-stack, "", @progbits
