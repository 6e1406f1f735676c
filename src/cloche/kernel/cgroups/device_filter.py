"""Device rules on cgroup v2: a small BPF program that the kernel asks before every open and mknod.

cgroup2 has no file for devices. `program` turns a state of rules (see devices.py) into eBPF, `attach`
puts it on a cgroup in place of the one before.
"""

from __future__ import annotations

import errno
import os
import sys

from cloche.kernel.cgroups.devices import EVERY, Rules
from cloche.kernel.syscalls import address_of, bpf

_PROG_LOAD, _PROG_ATTACH, _PROG_DETACH, _PROG_GET_FD_BY_ID, _PROG_QUERY = 5, 8, 9, 13, 16
_TYPE_CGROUP_DEVICE = 15
_ATTACH_CGROUP_DEVICE = 6
# Without it a container could have no filter of its own below ours (systemd inside makes them).
_ALLOW_MULTI = 2
_MOST_PROGRAMS = 64

_KINDS = {"b": 1, "c": 2}
_ACCESS = {"m": 1, "r": 2, "w": 4}
_ALL_ACCESS = 7

# Opcodes of linux/bpf.h and registers: r1 is the context, then what was taken out of it.
_LOAD_WORD, _MOVE, _MOVE_VALUE = 0x61, 0xBC, 0xB4
_AND_VALUE, _SHIFT_RIGHT_VALUE = 0x54, 0x74
_JUMP_EQUAL, _JUMP_NOT_EQUAL, _EXIT = 0x15, 0x55, 0x95
_RESULT, _CONTEXT, _KIND, _WANTED, _MAJOR, _MINOR = range(6)


def program(rules: Rules) -> bytes:
    """The instructions that answer 1 for what these rules allow and 0 for what they do not.

    An exception from "nothing" must cover all that is asked for at once; one from "everything" is met
    when any part of it is.
    """
    code = [
        _instruction(_LOAD_WORD, _KIND, _CONTEXT, 0),
        _instruction(_MOVE, _WANTED, _KIND),
        _instruction(_AND_VALUE, _KIND, value=0xFFFF),
        _instruction(_SHIFT_RIGHT_VALUE, _WANTED, value=16),
        _instruction(_LOAD_WORD, _MAJOR, _CONTEXT, 4),
        _instruction(_LOAD_WORD, _MINOR, _CONTEXT, 8),
    ]
    for (kind, major, minor), access in rules.exceptions:
        code += _exception(_KINDS[kind], major, minor, access, allowed=rules.allowed)
    code += _answer(rules.allowed)
    return b"".join(code)


def _exception(kind: int, major: int, minor: int, access: str, *, allowed: bool) -> list[bytes]:
    mask = sum(_ACCESS[letter] for letter in access)
    answer = _answer(not allowed)
    tests: list[tuple[int, int, int]] = [(_JUMP_NOT_EQUAL, _KIND, kind)]
    if mask != _ALL_ACCESS:
        tests.append((_JUMP_EQUAL, _CONTEXT, 0) if allowed else (_JUMP_NOT_EQUAL, _CONTEXT, 0))
    tests += [
        (_JUMP_NOT_EQUAL, register, number)
        for register, number in ((_MAJOR, major), (_MINOR, minor))
        if number != EVERY
    ]
    # The context is not needed any more, so its register holds the accesses that matter.
    bits = [
        _instruction(_MOVE, _CONTEXT, _WANTED),
        _instruction(_AND_VALUE, _CONTEXT, value=mask if allowed else _ALL_ACCESS & ~mask),
    ]
    code: list[bytes] = []
    for test, register, number in reversed(tests):
        code.insert(0, _instruction(test, register, offset=len(code) + len(answer), value=number))
        if register == _CONTEXT:
            code = bits + code
    return code + answer


def _answer(allowed: bool) -> list[bytes]:  # noqa: FBT001 - the answer itself
    return [_instruction(_MOVE_VALUE, _RESULT, value=int(allowed)), _instruction(_EXIT)]


def _instruction(code: int, target: int = 0, source: int = 0, offset: int = 0, value: int = 0) -> bytes:
    """struct bpf_insn."""
    order = sys.byteorder
    registers = target | source << 4 if order == "little" else target << 4 | source
    return bytes((code, registers)) + offset.to_bytes(2, order) + (value & 0xFFFFFFFF).to_bytes(4, order)


def attach(directory: str, rules: Rules) -> None:
    """Let these rules hold for a v2 cgroup and all below it, instead of those attached before.

    What was attached before goes only once the new program is there: in between both must agree.
    Raises OSError: EPERM without CAP_BPF and CAP_NET_ADMIN or CAP_SYS_ADMIN.
    """
    cgroup = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        before = attached(cgroup)
        new = _load(program(rules))
        try:
            bpf(_PROG_ATTACH, _words(cgroup, new, _ATTACH_CGROUP_DEVICE, _ALLOW_MULTI))
        finally:
            os.close(new)
        for number in before:
            _detach(cgroup, number)
    finally:
        os.close(cgroup)


def attached(cgroup: int) -> list[int]:
    """The numbers of the device programs attached to a cgroup itself, by its descriptor."""
    numbers = bytearray(4 * _MOST_PROGRAMS)
    query = bytearray(_words(cgroup, _ATTACH_CGROUP_DEVICE, 0, 0))
    query += address_of(numbers).to_bytes(8, sys.byteorder) + _words(_MOST_PROGRAMS, 0)
    bpf(_PROG_QUERY, query)
    count = int.from_bytes(query[24:28], sys.byteorder)
    return [int.from_bytes(numbers[4 * i : 4 * i + 4], sys.byteorder) for i in range(count)]


def _detach(cgroup: int, number: int) -> None:
    try:
        descriptor = bpf(_PROG_GET_FD_BY_ID, _words(number, 0, 0))
    except OSError as error:
        if error.errno == errno.ENOENT:  # gone with whoever else held it
            return
        raise
    try:
        bpf(_PROG_DETACH, _words(cgroup, descriptor, _ATTACH_CGROUP_DEVICE))
    finally:
        os.close(descriptor)


def _load(instructions: bytes) -> int:
    order = sys.byteorder
    licence = b"Apache"
    attributes = (
        _words(_TYPE_CGROUP_DEVICE, len(instructions) // 8)
        + address_of(instructions).to_bytes(8, order)
        + address_of(licence).to_bytes(8, order)
        + bytes(24)
        + b"cloche_devices".ljust(16, b"\0")
    )
    return bpf(_PROG_LOAD, attributes)


def _words(*values: int) -> bytes:
    return b"".join(value.to_bytes(4, sys.byteorder) for value in values)
