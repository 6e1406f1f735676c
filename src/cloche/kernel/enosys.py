"""The few instructions before a seccomp filter that say "no such system call" as an old kernel would.

A profile that denies what it does not name answers EPERM to a system call invented after it was
written. Programs then believe that they may not use it, instead of falling back to an older call as
they would after ENOSYS (this broke clone3, faccessat2 and statx in turn). So every number
above the largest one that the profile names gets ENOSYS, as under runc.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

# Instructions of classic BPF, see linux/bpf_common.h; offsets into struct seccomp_data.
_LOAD = 0x20
_JUMP = 0x05
_JUMP_EQUAL = 0x15
_JUMP_GREATER = 0x25
_JUMP_BITS_SET = 0x45
_RETURN = 0x06
_NUMBER_OFFSET = 0
_ARCH_OFFSET = 4
_RETURN_ENOSYS = 0x00050000 | 38
_X32_BIT = 1 << 30

SCMP_X32 = 0x4000003E
AUDIT_X86_64 = 0xC000003E
_S390 = (0x16, 0x80000016)

Instruction = tuple[int, int, int, int]
"""Code, offset if true, offset if false, constant: struct sock_filter."""


def encode(program: list[Instruction]) -> bytes:
    """The instructions as the kernel takes them."""
    order = sys.byteorder
    return b"".join(
        code.to_bytes(2, order) + bytes((if_true, if_false)) + (constant & 0xFFFFFFFF).to_bytes(4, order)
        for code, if_true, if_false, constant in program
    )


def stub(last: Mapping[int, int]) -> list[Instruction]:
    """Instructions to be put before a filter; what they let through falls into it.

    last: SCMP_ARCH_* to the largest system call number that the profile names there. Order matters:
        the first architectures are looked for first.
    """
    sections: dict[int, list[Instruction]] = {}
    for arch, number in last.items():
        audit = AUDIT_X86_64 if arch == SCMP_X32 else arch
        if audit not in sections:
            sections[audit] = _section(audit, number, last)
    length = 1 + sum(1 + len(section) for section in sections.values())
    program: list[Instruction] = [(_LOAD, 0, 0, _ARCH_OFFSET)]
    for audit, section in sections.items():
        program.append((_JUMP_EQUAL, 0, len(section), audit))
        program += section[:-1]
        program.append((_JUMP, 0, 0, length - len(program) - 1))
    return program


def _section(audit: int, number: int, last: Mapping[int, int]) -> list[Instruction]:
    """What happens once the architecture is known; the last instruction is to leave for the filter."""
    load, leave = (_LOAD, 0, 0, _NUMBER_OFFSET), (_JUMP, 0, 0, 0)
    refuse = (_RETURN, 0, 0, _RETURN_ENOSYS)
    if audit == AUDIT_X86_64:
        plain, x32 = last.get(AUDIT_X86_64), last.get(SCMP_X32)
        # An ABI that the profile has no rule for is the filter's own business.
        return [
            load,
            (_JUMP_BITS_SET, 1, 0, _X32_BIT),
            (_JUMP_GREATER, 1, 2, plain) if plain is not None else (_JUMP, 0, 0, 2),
            (_JUMP_GREATER, 0, 1, x32) if x32 is not None else (_JUMP, 0, 0, 1),
            refuse,
            leave,
        ]
    if audit in _S390:
        # Large numbers arrive as 0, setup(2), which nobody calls, when the kernel does not know them.
        return [load, (_JUMP_EQUAL, 1, 0, 0), (_JUMP_GREATER, 0, 1, number), refuse, leave]
    return [load, (_JUMP_GREATER, 0, 1, number), refuse, leave]
