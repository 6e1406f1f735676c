"""Reading and writing the small files of a cgroup, without Python's buffering in between."""

from __future__ import annotations

import errno

from cloche import os
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Write(Record):
    """One value to be written to one file of a cgroup.

    controller: whose file it is; source: the place in linux.resources that asked for it.
    optional: nothing is lost where this kernel has no such file.
    otherwise: what to write instead where it has none.
    """

    controller: str
    file: str
    value: str
    source: str
    optional: bool = False
    otherwise: Write | None = None


def gone(error: OSError) -> bool:
    """Whether the cgroup is no more: removed before its file was opened, or in between (ENODEV)."""
    return error.errno in (errno.ENOENT, errno.ENODEV)


def read(path: str) -> str:
    """A whole file of a cgroup, without its last newline."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts = []
        while part := os.read(descriptor, 65536):
            parts.append(part)
    finally:
        os.close(descriptor)
    return b"".join(parts).decode(errors="surrogateescape").rstrip("\n")


def frozen(paths: Mapping[str, str]) -> bool:
    """Whether a cgroup itself was frozen, not merely one above it. paths: directories by controller."""
    try:
        if "freezer" in paths:
            return read(f"{paths['freezer']}/freezer.self_freezing") == "1"
        unified = paths.get("")
        return unified is not None and read(f"{unified}/cgroup.freeze") == "1"
    except OSError as error:
        if not gone(error):
            raise
        return False


def write(path: str, *values: str) -> None:
    """Give a file of a cgroup its value, or several one after another; each in one write(2)."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        for value in values:
            os.write(descriptor, value.encode())
    except OSError as error:
        error.filename = path
        raise
    finally:
        os.close(descriptor)


def write_all(directory: str, writes: Iterable[Write]) -> None:
    """Make one controller's writes in an order that the kernel accepts.

    Limits that depend on each other (memory and memory with swap, quota and period) are refused
    with EINVAL in one order when they rise and in the other when they fall. So what was refused is tried
    again for as long as another write of the same controller went through.
    Raises OSError naming the limit, the value and the file.
    """
    pending = list(writes)
    while pending:
        refused = []
        for item in pending:
            error = _attempt(directory, item)
            if error is not None:
                refused.append((item, error))
        if len(refused) == len(pending):
            item, error = refused[0]
            raise OSError(error.errno, f"{item.source}: {item.value!r}: {error.strerror}", error.filename)
        pending = [item for item, _ in refused]


def _attempt(directory: str, item: Write) -> OSError | None:
    try:
        write(f"{directory}/{item.file}", item.value)
    except OSError as error:
        if error.errno == errno.ENOENT and item.otherwise:
            return _attempt(directory, item.otherwise)
        if error.errno != errno.ENOENT or not item.optional:
            return error
    return None
