"""Classic BPF for tests: run a seccomp program by hand, and read one out of a running process."""

from __future__ import annotations

import ctypes
import os
import struct

X86_64 = 0xC000003E
I386 = 0x40000003
X32_BIT = 1 << 30
ALLOW = 0x7FFF0000
ERRNO = 0x00050000

PTRACE_SEIZE = 0x4206
PTRACE_INTERRUPT = 0x4207
PTRACE_DETACH = 17
PTRACE_SECCOMP_GET_FILTER = 0x420C

_libc = ctypes.CDLL(None, use_errno=True)


def run(program: bytes, number: int, arguments: tuple[int, ...] = (), arch: int = X86_64) -> int:
    """What a program returns for a system call."""
    words = [*arguments, 0, 0, 0, 0, 0, 0][:6]
    data = struct.pack("=IIQ6Q", number & 0xFFFFFFFF, arch, 0, *(word & (2**64 - 1) for word in words))
    instructions = list(struct.iter_unpack("=HBBI", program))
    accumulator = index = at = 0
    memory = [0] * 16
    while True:
        code, if_true, if_false, constant = instructions[at]
        at += 1
        operand = index if code & 0x08 else constant
        kind = code & 0x07
        if code == 0x20:
            (accumulator,) = struct.unpack_from("=I", data, constant)
        elif kind == 0x00:
            accumulator = constant if code == 0x00 else memory[constant]
        elif kind == 0x01:
            index = constant if code == 0x01 else memory[constant]
        elif kind == 0x02:
            memory[constant] = accumulator
        elif kind == 0x03:
            memory[constant] = index
        elif kind == 0x04:
            assert code & 0xF0 == 0x50, hex(code)
            accumulator &= operand
        elif code == 0x05:
            at += constant
        elif kind == 0x05:
            tests = {
                0x10: accumulator == operand,
                0x20: accumulator > operand,
                0x30: accumulator >= operand,
                0x40: bool(accumulator & operand),
            }
            at += if_true if tests[code & 0xF0] else if_false
        elif kind == 0x06:
            return accumulator if code == 0x16 else constant
        else:
            raise AssertionError(f"instruction {code:#x} is not one of seccomp's")


def verdicts(program: bytes, numbers: range, arch: int = X86_64) -> dict[int, int]:
    """What a program returns for each of these numbers, all arguments zero."""
    return {number: run(program, number, (), arch) for number in numbers}


def filters_of(pid: int) -> list[bytes]:
    """The seccomp programs of a running process, the latest first (needs CAP_SYS_ADMIN)."""
    _ptrace(PTRACE_SEIZE, pid, 0, 0)
    try:
        _ptrace(PTRACE_INTERRUPT, pid, 0, 0)
        os.waitpid(pid, 0x40000000)  # __WALL: it need not be our child
        found: list[bytes] = []
        while (program := _filter(pid, len(found))) is not None:
            found.append(program)
        return found
    finally:
        _ptrace(PTRACE_DETACH, pid, 0, 0)


def _filter(pid: int, index: int) -> bytes | None:
    try:
        length = _ptrace(PTRACE_SECCOMP_GET_FILTER, pid, index, 0)
    except FileNotFoundError:
        return None
    buffer = ctypes.create_string_buffer(8 * length)
    _ptrace(PTRACE_SECCOMP_GET_FILTER, pid, index, ctypes.addressof(buffer))
    return buffer.raw


def _ptrace(request: int, pid: int, address: int, data: int) -> int:
    _libc.ptrace.restype = ctypes.c_long
    result: int = _libc.ptrace(
        ctypes.c_long(request), ctypes.c_long(pid), ctypes.c_void_p(address), ctypes.c_void_p(data)
    )
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), f"ptrace {request:#x}")
    return result
