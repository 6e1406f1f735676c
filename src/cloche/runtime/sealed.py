"""The program that executes plans, as a descriptor that nobody can change.

/proc/self/exe of a process that is entering a container leads to what it was started from. So
that is a sealed copy in memory, never a file of the host (the class of CVE-2019-5736).
"""

from __future__ import annotations

import fcntl
from errno import EINVAL

from cloche import os
from cloche.errors import FailedPrecondition

PROGRAM = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "native", "cloche-init")
"""Where the wheel installs cloche-init."""

_MFD_CLOEXEC = 1
_MFD_ALLOW_SEALING = 2
_MFD_EXEC = 0x10
_F_ADD_SEALS = 1033
_ALL_SEALS = 0xF  # seal, shrink, grow, write

# Descriptors below this are where init's own land (stdio, preserved, control).
HIGH = 64

_kept: dict[int, int] = {}


def sealed_memory(name: str, content: bytes, *, executable: bool = False) -> int:
    """A sealed memfd with this content; the caller owns the descriptor.

    Raises OSError, with EACCES where the machine forbids executable ones (vm.memfd_noexec=2).
    """
    flags = _MFD_CLOEXEC | _MFD_ALLOW_SEALING
    try:
        memory = os.memfd_create(name, flags | (_MFD_EXEC if executable else 0))
    except OSError:
        # MFD_EXEC is new in Linux 6.3; before it every memfd may be executed.
        memory = os.memfd_create(name, flags)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(memory, view) :]
        fcntl.fcntl(memory, _F_ADD_SEALS, _ALL_SEALS)
        os.lseek(memory, 0, os.SEEK_SET)
    except OSError:
        os.close(memory)
        raise
    return memory


def sealed_init() -> int:
    """The descriptor to execute cloche-init from: made once a process and kept (borrowed by callers)."""
    pid = os.getpid()
    kept = _kept.get(pid)
    if kept is None:
        _kept.clear()
        kept = _kept[pid] = _high(_open())
    return kept


def adopt_init(descriptor: int) -> None:
    """Use the descriptor that `sealed_init` gave the process that we were forked from, still open here.

    One copy in memory serves all that were forked from it: nobody can change it.
    """
    _kept.clear()
    _kept[os.getpid()] = descriptor


def _open() -> int:
    try:
        with open(PROGRAM, "rb", buffering=0) as file:
            content = file.readall()
    except FileNotFoundError:
        raise FailedPrecondition(f"{PROGRAM} is missing: install cloche again") from None
    if _executable_memory_is_allowed():
        return sealed_memory("cloche-init", content, executable=True)
    from cloche.kernel.mount_options import MOUNT_ATTR_RDONLY
    from cloche.kernel.syscalls import AT_FDCWD, OPEN_TREE_CLONE, mount_setattr, open_tree

    # The next best: the file itself through a read-only mount that exists as this descriptor only.
    tree = open_tree(AT_FDCWD, PROGRAM, OPEN_TREE_CLONE)
    mount_setattr(tree, "", add=MOUNT_ATTR_RDONLY)
    return tree


def _executable_memory_is_allowed() -> bool:
    try:
        with open("/proc/sys/vm/memfd_noexec", "rb", buffering=0) as file:
            return file.read(2).strip() != b"2"
    except OSError:
        return True


def _high(descriptor: int) -> int:
    """The same file at a number that no descriptor of the container will take."""
    try:
        return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, HIGH)
    except OSError as error:
        if error.errno != EINVAL:
            raise
        raise FailedPrecondition(
            f"this process may have no descriptor above {HIGH}: raise its limit of open files (ulimit -n)"
        ) from None
    finally:
        os.close(descriptor)
