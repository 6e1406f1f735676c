"""The root file system of a container as descriptors: assembled for a start, or as it is seen inside."""

from __future__ import annotations

import os

from cloche.errors import ClocheError, FailedPrecondition
from cloche.kernel import mounts as kernel_mounts
from cloche.kernel import pidfd
from cloche.runtime.container import Container as RuntimeContainer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloche.engine.context import Context
    from cloche.spec.mount import Mount
    from cloche.store.containers import Container


def assemble(mounts: Sequence[Mount]) -> int:
    """A detached mount from what a snapshotter gave; the caller closes it.

    Raises FailedPrecondition with what the kernel said.
    """
    try:
        return kernel_mounts.assemble(mounts)
    except OSError as error:
        reason = error.strerror or str(error)
        raise FailedPrecondition(f"the root file system cannot be mounted: {reason}") from error


def mounts_of(context: Context, row: Container) -> tuple[Mount, ...]:
    """What to mount for a container's own snapshot."""
    with context.metadata.read() as tx:
        return context.snapshotter(row.snapshotter).mounts(tx, row.snapshot_key)


class Root:
    """A container's root directory, for looking up and copying: descriptor in a `with` block.

    Of a running container it is what its processes see, mounts and all; mounting the snapshot a
    second time is not allowed by overlayfs. Of another it is the snapshot.
    """

    def __init__(self, context: Context, row: Container) -> None:
        self._context = context
        self._row = row
        self._descriptor = -1

    def __enter__(self) -> int:
        try:
            container = RuntimeContainer.load(self._context.runtime_root, self._row.id)
            if container.status() in ("created", "running", "paused"):
                self._descriptor = inside(container)
                return self._descriptor
        except ClocheError:
            pass
        self._descriptor = assemble(mounts_of(self._context, self._row))
        return self._descriptor

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


def inside(container: RuntimeContainer) -> int:
    """The root directory of a running container; the caller closes it.

    Raises FailedPrecondition where it has ended.
    """
    process = container.stored.open_process()
    if process is None:
        raise FailedPrecondition(f"container {container.id} is not running")
    try:
        root = os.open(f"/proc/{container.pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        # Only if the process still lives is the number above known to have been its.
        if pidfd.ended(container.pid):
            os.close(root)
            raise FailedPrecondition(f"container {container.id} is not running")
        return root
    except OSError as error:
        raise FailedPrecondition(f"container {container.id} is not running") from error
    finally:
        os.close(process)
