# SPDX-License-Identifier: Apache-2.0
"""Seccomp filters as tables: which system call gives which error, under which condition on its arguments. A table becomes a
classic BPF program that the kernel runs before each system call of a process and its children."""
import ctypes
import errno
import os
import re
import struct

SYSCALLS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../abi/include/anybpf/abi/syscalls.def")

# BPF: codes of instructions, and offsets into struct seccomp_data.
LOAD, EQUAL, GREATER, GREATER_EQUAL, ANY_BIT, AND, RETURN = 0x20, 0x15, 0x25, 0x35, 0x45, 0x54, 0x06
NUMBER, ARCHITECTURE, ARGUMENTS = 0, 4, 16
X86_64, X32_BIT = 0xC000003E, 0x40000000
ALLOW, ERRNO, KILL = 0x7FFF0000, 0x00050000, 0x80000000
SECCOMP_SET_MODE_FILTER, SECCOMP = 1, 317

libc = ctypes.CDLL(None, use_errno=True)


def numbers():
    """Name -> number of every system call of x86-64."""
    with open(SYSCALLS) as table:
        rows = re.findall(r"^ANYBPF_SYSCALL\( *(\d+), (\w+),", table.read(), re.M)
    return {name: int(number) for number, name in rows}


NUMBERS = numbers()


class Condition:
    """On one argument: `(value & mask) op operand`. The operands here all fit 32 bits; the upper half is looked at with ==."""

    def __init__(self, index, op, operand, mask=None):
        self.index, self.op, self.operand, self.mask = index, op, operand, mask

    def code(self, answer):
        """Instructions that end with the answer where the condition holds, and run on where it does not."""
        low, high = ARGUMENTS + 8 * self.index, ARGUMENTS + 8 * self.index + 4
        narrow = [(AND, 0, 0, self.mask)] if self.mask is not None else []
        if self.op == "any":  # one of these bits
            return [(LOAD, 0, 0, low), (ANY_BIT, 0, 1, self.operand), (RETURN, 0, 0, answer)]
        if self.op == "all":  # all of these bits
            return [(LOAD, 0, 0, low), (AND, 0, 0, self.operand), (EQUAL, 0, 1, self.operand), (RETURN, 0, 0, answer)]
        if self.op == "<":
            return [(LOAD, 0, 0, low), (GREATER_EQUAL, 1, 0, self.operand), (RETURN, 0, 0, answer)]
        code = [(LOAD, 0, 0, low), *narrow, (EQUAL, 0, 1, self.operand), (RETURN, 0, 0, answer)]
        if self.mask is not None:
            return code
        return [(LOAD, 0, 0, high), (EQUAL, 0, len(code), 0), *code]


def rule(name, condition, answer):
    """One system call under one condition; the accumulator holds the number before, and after when it runs on."""
    body = [*condition.code(answer), (LOAD, 0, 0, NUMBER)] if condition else [(RETURN, 0, 0, answer)]
    return [(EQUAL, 0, len(body), NUMBERS[name]), *body]


def ranges(names):
    """Consecutive numbers together."""
    found = []
    for number in sorted(NUMBERS[name] for name in names):
        if found and found[-1][1] == number - 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return found


HEAD = [(LOAD, 0, 0, ARCHITECTURE), (EQUAL, 1, 0, X86_64), (RETURN, 0, 0, ERRNO | errno.ENOSYS), (LOAD, 0, 0, NUMBER),
        (GREATER_EQUAL, 0, 1, X32_BIT), (RETURN, 0, 0, ERRNO | errno.ENOSYS)]


def allow_list(allowed, conditional, refused, default):
    """`allowed` without condition, `conditional` as [name, condition], `refused` as name -> errno; anything else gives
    `default`, and what is newer than the whole list ENOSYS, as runc has it."""
    code = list(HEAD)
    for first, last in ranges(allowed):
        code += [(GREATER_EQUAL, 0, 2, first), (GREATER, 1, 0, last), (RETURN, 0, 0, ALLOW)]
    for name, condition in conditional:
        code += rule(name, condition, ALLOW)
    for name, error in refused.items():
        code += rule(name, None, ERRNO | error)
    newest = max(NUMBERS[name] for name in [*allowed, *refused, *(name for name, _ in conditional)])
    return code + [(GREATER, 0, 1, newest), (RETURN, 0, 0, ERRNO | errno.ENOSYS), (RETURN, 0, 0, ERRNO | default)]


def deny_list(rows):
    """Rows of [name, condition or None, errno or KILL]; anything else is allowed."""
    code = list(HEAD)
    for name, condition, error in rows:
        code += rule(name, condition, KILL if error == KILL else ERRNO | error)
    return code + [(RETURN, 0, 0, ALLOW)]


class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def install(code):
    """For this process and its children, for ever. Needs CAP_SYS_ADMIN or PR_SET_NO_NEW_PRIVS."""
    program = Program(len(code), b"".join(struct.pack("HBBI", *instruction) for instruction in code))
    if libc.syscall(SECCOMP, SECCOMP_SET_MODE_FILTER, 0, ctypes.byref(program)) != 0:
        raise OSError(ctypes.get_errno(), "seccomp: " + os.strerror(ctypes.get_errno()))
