// SPDX-License-Identifier: Apache-2.0
// The reads that may fault. Leaf code that touches neither stack nor callee-saved registers, so that going on at `faulted`
// from any instruction between the two labels is a plain return. Kept out of C++ because a compiler may move a load.
    .text
    .globl  anybpf_safe_copy, anybpf_safe_text, anybpf_safe_begin, anybpf_safe_end, anybpf_safe_faulted
    .hidden anybpf_safe_copy, anybpf_safe_text, anybpf_safe_begin, anybpf_safe_end, anybpf_safe_faulted
    .type   anybpf_safe_copy, @function
    .type   anybpf_safe_text, @function
    .p2align 4
anybpf_safe_begin:

// rdi to, rsi from, rdx size -> rax 0
anybpf_safe_copy:
    cmpq    $256, %rdx
    jae     5f
1:  subq    $8, %rdx
    jb      2f
    movq    (%rsi), %rax
    movq    %rax, (%rdi)
    addq    $8, %rsi
    addq    $8, %rdi
    jmp     1b
2:  addq    $8, %rdx
    jz      4f
3:  movb    (%rsi), %al
    movb    %al, (%rdi)
    incq    %rsi
    incq    %rdi
    decq    %rdx
    jnz     3b
4:  xorl    %eax, %eax
    ret
5:  movq    %rdx, %rcx
    rep movsb
    xorl    %eax, %eax
    ret

// rdi to, rsi from, rdx size > 0 -> rax bytes copied: up to and including a NUL, or size without one
    .p2align 4
anybpf_safe_text:
    xorl    %eax, %eax
1:  movb    (%rsi,%rax), %cl
    movb    %cl, (%rdi,%rax)
    incq    %rax
    testb   %cl, %cl
    jz      2f
    cmpq    %rdx, %rax
    jb      1b
2:  ret
anybpf_safe_end:

// -> rax -1, from either
anybpf_safe_faulted:
    movq    $-1, %rax
    ret
    .size   anybpf_safe_copy, anybpf_safe_text - anybpf_safe_copy
    .size   anybpf_safe_text, anybpf_safe_end - anybpf_safe_text
    .section .note.GNU-stack, "", @progbits
