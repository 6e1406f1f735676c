"""Idmapped mounts: files of a mount appear with other owners (mount_setattr(2), MOUNT_ATTR_IDMAP).

The kernel takes the mapping from a user namespace, whose only use here is to be that argument: it
is made by a process of cloche-init that waits until its namespace is open, and is gone then.
"""

from __future__ import annotations

import errno
import os

from cloche.errors import FailedPrecondition
from cloche.kernel.mount_options import MOUNT_ATTR_IDMAP
from cloche.kernel.syscalls import mount_setattr
from cloche.runtime import operations as op
from cloche.runtime.caller import CallerOperation, Performing, WriteIdMaps
from cloche.runtime.plan import CALLER, STAGE_ONE, STAGE_TWO, Plan, Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloche.runtime.operations import Slot
    from cloche.spec.config import IDMapping

_CLONE_NEWUSER = 0x10000000

IdRanges = tuple[tuple[int, int, int], ...]
"""(id in the file system, id it appears as, how many), as in /proc/PID/uid_map."""


def ranges(mappings: Sequence[IDMapping]) -> IdRanges:
    """A configuration's mappings."""
    return tuple((m["containerID"], m["hostID"], m["size"]) for m in mappings)


def user_namespace(uids: IdRanges, gids: IdRanges) -> int:
    """A descriptor of a new user namespace with these maps, in which nobody lives; the caller's.

    Raises InvalidArgument when the kernel refuses a map.
    """
    # Imported here, since executing plans is what performs the operations below.
    from cloche.runtime.execute import execute

    kept: list[int] = []
    place = "uidMappings"
    steps = (
        Step(place, STAGE_ONE, op.CloneProcess(_CLONE_NEWUSER, "")),
        Step(place, STAGE_TWO, op.AwaitCaller()),
        Step(place, CALLER, WriteIdMaps(uids, gids)),
        Step(place, CALLER, _KeepUserNamespace(kept)),
        Step(place, STAGE_TWO, op.Execute(("user namespace",), ())),
    )
    try:
        with Performing() as performing:
            execute(Plan(steps), performing)
    except _KeptError:
        return kept[0]
    raise FailedPrecondition("the process of a user namespace ended before the namespace was opened")


class _KeptError(Exception):
    """The namespace is open: its process, which was never to execute anything, is to be killed."""


class _KeepUserNamespace(CallerOperation):
    kept: list[int]

    def perform(self, performing: Performing) -> None:
        self.kept.append(os.open(f"/proc/{performing.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC))
        raise _KeptError


class MakeUserNamespace(CallerOperation):
    """A user namespace that does nothing but hold these maps, made once for all mounts with the same."""

    slot: Slot
    uids: IdRanges
    gids: IdRanges

    def perform(self, performing: Performing) -> None:
        """See the class."""
        if self.slot not in performing.descriptors:
            performing.descriptors[self.slot] = user_namespace(self.uids, self.gids)


class MapTree(CallerOperation):
    """mount_setattr(2) with MOUNT_ATTR_IDMAP of a detached mount, before anybody can see it.

    source: what the mount shows, for the error where its file system cannot be idmapped.
    """

    tree: Slot
    user_namespace: Slot
    recursive: bool
    source: str

    def perform(self, performing: Performing) -> None:
        """See the class."""
        namespace = performing.descriptors[self.user_namespace]
        try:
            map_mount(performing.descriptors[self.tree], namespace, recursive=self.recursive)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EPERM):
                raise
            below = " or one mounted below it" if self.recursive else ""
            raise FailedPrecondition(
                f"config.json: {self.tree}: cannot be idmapped: the file system of {self.source!r}{below} "
                f"does not allow it, or is idmapped already ({os.strerror(error.errno).lower()})"
            ) from None


def map_mount(mount: int, namespace: int, *, recursive: bool = False) -> None:
    """Let the files of a detached mount appear with the owners that a user namespace's maps give.

    mount, namespace: descriptors, borrowed. A rootfs lent to `create` can be mapped so before.
    Raises OSError with EINVAL where the file system cannot do it.
    """
    mount_setattr(mount, "", add=MOUNT_ATTR_IDMAP, user_namespace=namespace, recursive=recursive)
