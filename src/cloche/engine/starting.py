"""A stored container becomes a running one: facts are settled, config.json written, a parent found."""

from __future__ import annotations

import os

from cloche.engine import etcfiles, namespaces, rootfs, specification, volumes
from cloche.engine.kept import Kept
from cloche.engine.specification import Facts
from cloche.errors import ClocheError, FailedPrecondition, NotFound
from cloche.kernel import passwd
from cloche.kernel.paths import open_in_root
from cloche.runtime.container import Container as RuntimeContainer
from cloche.shim.ownership import Ownership
from cloche.shim.parent import Parent, Request
from cloche.store import containers as store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from cloche.engine.context import Context
    from cloche.engine.options import Options
    from cloche.spec.config import Config
    from cloche.store.containers import Container

REAPER = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "native", "cloche-reaper")
"""Where the wheel installs the program for `--init`."""


class Start:
    """One start of a container: a `with` block that holds its lock and its root file system.

    At the end of the block the lock goes with the parent: kept by a shim, or given up.
    """

    def __init__(self, context: Context, row: Container) -> None:
        self.context = context
        self.row = row
        self.kept = Kept.from_bytes(row.options)
        self._shared = SharedMemory()

    def __enter__(self) -> Start:
        """Raises FailedPrecondition where it runs already, or its files cannot be mounted."""
        self._ownership = Ownership(self.context.run_directory(self.row.id))
        try:
            self._clear()
            self._root = rootfs.assemble(rootfs.mounts_of(self.context, self.row))
        except BaseException:
            self._ownership.release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._shared.close()
        if self._root >= 0:
            os.close(self._root)
        self._ownership.release()

    def release(self) -> None:
        """Give up the lock before the block ends."""
        self._ownership.release()

    def _clear(self) -> None:
        """Remove what a parent that was killed left of the last run."""
        try:
            RuntimeContainer.load(self.context.runtime_root, self.row.id).delete(force=True)
        except NotFound:
            pass

    def request(self, *, durable: bool = True, on_exit: tuple[str, ...] = ()) -> Request:
        """What the parent is told. Raises InvalidArgument and NotFound for settings that cannot be met."""
        context, options = self.context, self.kept.options
        directory = context.directory(self.row.id)
        os.makedirs(directory, 0o700, exist_ok=True)
        return Request(
            container_id=self.row.id,
            config=self.config(directory),
            directory=directory,
            run_directory=context.run_directory(self.row.id),
            runtime_root=context.runtime_root,
            log_path=f"{directory}/log.json",
            stdin_open=options.stdin_open,
            input_ends=options.stdin_once,
            durable=durable,
            on_exit=on_exit,
        )

    def config(self, directory: str) -> Config:
        """The container's config.json for this start."""
        kept, options = self.kept, self.kept.options
        name = specification.hostname(options, self.row.id)
        facts = Facts(
            container_id=self.row.id,
            identity=passwd.lookup(self._root, options.user or kept.image_config.user, options.groups),
            files=etcfiles.write(directory, etcfiles.contents(options, name)),
            places=tuple(volumes.places(self.context, kept)),
            pids=joined_pids(self.context, kept),
            swap=swap_is_counted(),
            reaper=REAPER if options.init else "",
        )
        self._shared.open(options, facts.pids)
        return specification.build(kept.image_config, options, facts.replace(shm_source=self._shared.source))

    def in_shim(self, request: Request) -> int:
        """Have a process of its own be the parent; returns the container's pid once it runs."""
        from cloche.shim.launch import launch

        return launch(request, rootfs=self._root, lock=self._ownership.fileno())

    def here(self, request: Request) -> Parent:
        """Be the parent: the container runs, and `serve` is the caller's to call."""
        parent = Parent(request)
        parent.start(self._root)
        # Kept open it would keep the mount alive beyond the container.
        os.close(self._root)
        self._root = -1
        return parent


def joined_pids(context: Context, kept: Kept) -> dict[str, int]:
    """A process of each container whose namespaces are joined. Raises NotFound, FailedPrecondition."""
    found = {}
    for option, reference in namespaces.joined(kept.options).items():
        with context.metadata.read() as tx:
            row = store.find(tx, context.namespace, reference)
        try:
            container = RuntimeContainer.load(context.runtime_root, row.id)
            running = container.status() in ("running", "paused")
        except ClocheError:
            running = False
        if not running:
            raise FailedPrecondition(
                f"cannot join the {option} namespace of container {reference}: not running"
            )
        found[option] = container.pid
    return found


class SharedMemory:
    """The /dev/shm that comes with a shared IPC namespace, as a path that a start may open.

    Another container's is found inside its root by the kernel and held open: the path leads to that
    very descriptor, since by name the container could point it at anything of the host's.
    """

    def __init__(self) -> None:
        self.source = ""
        self._descriptor = -1

    def open(self, options: Options, pids: Mapping[str, int]) -> None:
        """Raises FailedPrecondition where the other container has none."""
        if namespaces.mode(options, "ipc") == "host":
            self.source = "/dev/shm"
        elif "ipc" in pids:
            try:
                root = os.open(f"/proc/{pids['ipc']}/root", os.O_PATH | os.O_CLOEXEC)
                try:
                    self._descriptor = open_in_root(root, "/dev/shm", os.O_PATH | os.O_DIRECTORY)
                finally:
                    os.close(root)
            except OSError as error:
                raise FailedPrecondition(f"cannot share the container's /dev/shm: {error}") from error
            self.source = f"/proc/{os.getpid()}/fd/{self._descriptor}"

    def close(self) -> None:
        """Let go of it: what was mounted from it stays."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


_swap: list[bool] = []


def swap_is_counted() -> bool:
    """Whether this kernel can limit memory and swap together."""
    if not _swap:
        from cloche.kernel.cgroups.layout import layout

        legacy = [each for each in layout().legacy if "memory" in each.controllers]
        if legacy:
            _swap.append(os.path.exists(f"{legacy[0].mountpoint}/memory.memsw.limit_in_bytes"))
        else:
            _swap.append(os.path.exists("/proc/swaps"))
    return _swap[0]
