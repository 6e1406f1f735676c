"""The operations of a plan that the caller performs itself, with the host's credentials.

Before the start they open what the container's process cannot open or must not see a path of: the
rootfs, the sources of bind mounts, namespace files, cgroup files. While init waits (AwaitCaller)
they do what only the host may do to the new process. Descriptors are kept under their slot's name.
"""

from __future__ import annotations

from cloche import os
from cloche.errors import InvalidArgument
from cloche.kernel import pidfd
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.runtime.operations import Slot
    from cloche.runtime.trace import Trace


LENT = "lent"
"""The slot of a descriptor that the container's process lends to the caller."""


class Performing:
    """What the caller's operations work on while a plan is executed: its descriptors and the process.

    trace: who wants to know how long each operation takes. handed: what stage two gets in answer.
    Closes its descriptors at the end of the `with` block; those lent to it stay open.
    """

    def __init__(self, trace: Trace | None = None) -> None:
        self.trace = trace
        self.descriptors: dict[str, int] = {}
        self.handed: list[int] = []
        self.pid = 0
        self.pidfd = -1
        self._lent: set[str] = set()

    def __enter__(self) -> Performing:
        return self

    def __exit__(self, *_: object) -> None:
        for slot, descriptor in self.descriptors.items():
            if slot not in self._lent:
                os.close(descriptor)
        self.descriptors.clear()

    def lend(self, slot: str, descriptor: int) -> None:
        """Use a descriptor that stays the lender's."""
        self.descriptors[slot] = descriptor
        self._lent.add(slot)


class CallerOperation(Record):
    """Base of the caller's operations."""

    def describe(self) -> str:
        """One line for people: the operation's name, and its arguments but for how they are kept."""
        name = "".join(f" {c.lower()}" if c.isupper() else c for c in type(self).__name__).strip()
        fields = zip(self._fields, self.values(), strict=True)
        shown = (f"{field}={value!r}" for field, value in fields if field not in ("slot", "flags") and value)
        return " ".join((name, *shown))

    def perform(self, performing: Performing) -> None:
        """Do it. Raises OSError or an error of cloche.errors."""
        raise NotImplementedError


class MakesMount(CallerOperation):
    """Base of those that fill their slot with a detached mount for stage two to attach."""

    slot: Slot


class CloneTree(MakesMount):
    """open_tree(2): a detached copy of what is mounted at a path of the host."""

    source: str
    recursive: bool

    def perform(self, performing: Performing) -> None:
        """See the class."""
        from cloche.kernel.syscalls import AT_FDCWD, AT_RECURSIVE, OPEN_TREE_CLONE, open_tree

        flags = OPEN_TREE_CLONE | (AT_RECURSIVE if self.recursive else 0)
        performing.descriptors[self.slot] = open_tree(AT_FDCWD, self.source, flags)


class FindTree(CallerOperation):
    """open_tree(2) without a copy: the place of a mount, to be cloned when its turn comes."""

    slot: Slot
    source: str

    def perform(self, performing: Performing) -> None:
        """See the class."""
        from cloche.kernel.syscalls import AT_FDCWD, open_tree

        performing.descriptors[self.slot] = open_tree(AT_FDCWD, self.source, 0)


class CloneFound(MakesMount):
    """open_tree(2) with OPEN_TREE_CLONE of what FindTree found, whose descriptor is closed."""

    found: Slot
    recursive: bool

    def perform(self, performing: Performing) -> None:
        """See the class."""
        from cloche.kernel.syscalls import AT_EMPTY_PATH, AT_RECURSIVE, OPEN_TREE_CLONE, open_tree

        flags = OPEN_TREE_CLONE | AT_EMPTY_PATH | (AT_RECURSIVE if self.recursive else 0)
        found = performing.descriptors.pop(self.found)
        try:
            performing.descriptors[self.slot] = open_tree(found, "", flags)
        finally:
            os.close(found)


class HandOver(CallerOperation):
    """Send a detached mount to stage two, which has requested it."""

    mount: Slot

    def perform(self, performing: Performing) -> None:
        """See the class."""
        performing.handed.append(performing.descriptors[self.mount])


class EntersStageOne(CallerOperation):
    """Base of those that need stage one, by `performing.pid`, before it has read its plan.

    Only the first operation of a plan can be one.
    """


class OpenFile(CallerOperation):
    """open(2) of a file or directory of the host: namespace files, cgroup files, fifos."""

    slot: Slot
    path: str
    flags: int

    def perform(self, performing: Performing) -> None:
        """See the class."""
        performing.descriptors[self.slot] = os.open(self.path, self.flags | os.O_CLOEXEC)


class WriteIdMaps(CallerOperation):
    """uid_map and gid_map of the process in its new user namespace: (inside, outside, size) each."""

    uids: tuple[tuple[int, int, int], ...]
    gids: tuple[tuple[int, int, int], ...]

    def perform(self, performing: Performing) -> None:
        """See the class."""
        if os.geteuid() != 0:
            from cloche.runtime.rootless import write_maps

            write_maps(performing.pid, self.uids, self.gids)
            return
        directory = f"/proc/{performing.pid}"
        for name, ranges in (("uid_map", self.uids), ("gid_map", self.gids)):
            lines = "".join(f"{inside} {outside} {size}\n" for inside, outside, size in ranges)
            _write(f"{directory}/{name}", lines)


class RaiseLimit(CallerOperation):
    """prlimit(2) of the process: a hard limit can be raised from outside its user namespace only."""

    resource: int
    soft: int
    hard: int

    def perform(self, performing: Performing) -> None:
        """See the class."""
        from cloche.kernel.syscalls import prlimit

        prlimit(performing.pid, self.resource, self.soft, self.hard)


class OpenRootOf(CallerOperation):
    """open(2) of the root directory of a process that a lent pidfd holds."""

    slot: Slot
    process: Slot
    pid: int

    def perform(self, performing: Performing) -> None:
        """See the class."""
        root = os.open(f"/proc/{self.pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # Had it ended before, the number could be another's by now, whose root may be the host's.
            pidfd.send_signal(performing.descriptors[self.process], 0)
        except OSError:
            os.close(root)
            raise
        performing.descriptors[self.slot] = root


class MoveProcess(CallerOperation):
    """Write the pid of the process to `cgroup.procs` of a cgroup2 directory."""

    directory: str

    def perform(self, performing: Performing) -> None:
        """See the class."""
        _write(f"{self.directory}/cgroup.procs", str(performing.pid))


class LimitProcesses(CallerOperation):
    """Write `pids.max` of a cgroup whose limit stage one, which is in it too, would have met."""

    path: str
    limit: int

    def perform(self, performing: Performing) -> None:
        """See the class."""
        _write(self.path, str(self.limit))


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    except OSError as error:
        raise InvalidArgument(f"{path}: cannot write {text.strip()!r}: {error.strerror}") from error
    finally:
        os.close(descriptor)
