"""A stored container becomes a running one: facts are settled, config.json written, a parent found."""

from __future__ import annotations

import os

from cloche.engine import etcfiles, namespaces, networking, rootfs, specification, volumes
from cloche.engine.kept import Kept
from cloche.engine.specification import Facts
from cloche.errors import ClocheError, FailedPrecondition, NotFound
from cloche.kernel import passwd
from cloche.runtime.container import Container as RuntimeContainer
from cloche.shim.ownership import Ownership
from cloche.shim.parent import Parent, Request
from cloche.store import containers as store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from cloche.engine.context import Context
    from cloche.engine.options import Options
    from cloche.engine.terminal import Attached
    from cloche.spec.config import Config
    from cloche.store.containers import Container

REAPER = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "native", "cloche-reaper")
"""Where the wheel installs the program for `--init`."""


def start(
    context: Context, row: Container, *, hold: bool = False, console_size: tuple[int, int] | None = None
) -> int:
    """See `Container.start`."""
    with Start(context, row) as starting:
        on_exit: tuple[str, ...] = ()
        if starting.kept.options.auto_remove:
            from cloche.engine.removal import command_line

            on_exit = command_line(context, row.id)
        request = starting.request(on_exit=on_exit, console_size=console_size)
        return starting.in_shim(request.replace(hold=hold))


def run(
    context: Context,
    row: Container,
    *,
    stdio: tuple[int, int, int],
    on_start: Callable[[Attached], None] | None,
    durable: bool = True,
) -> int:
    """See `Container.run`. durable: whether its start and end are worth a record."""
    from cloche.engine.terminal import LocalTerminal, size_of

    with Start(context, row) as starting:
        options = starting.kept.options
        size = size_of(stdio) if options.tty else None
        parent = starting.here(starting.request(durable=durable, console_size=size))
        parent.listen()
        stdin = stdio[0] if options.stdin_open else -1
        with LocalTerminal((stdin, stdio[1], stdio[2]), parent, tty=options.tty) as terminal:
            if on_start is not None:
                on_start(parent)
            return parent.serve(terminal, released=starting.leave)


class Start:
    """One start of a container: a `with` block that holds its lock and its root file system.

    At the end of the block the lock goes with the parent: kept by a shim, or given up.
    """

    def __init__(self, context: Context, row: Container) -> None:
        self.context = context
        self.row = row
        self.kept = Kept.of(row)

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
        if self._root >= 0:
            os.close(self._root)
        self._ownership.release()

    def leave(self) -> None:
        """It has ended: give up its networks, and the lock before the block ends."""
        try:
            networking.detach(self.context, self.row.id)
        finally:
            self._ownership.release()

    def _attacher(self) -> Callable[[int], None] | None:
        """Who brings it into its networks."""
        hosts = f"{self.context.directory(self.row.id)}/hosts"
        return networking.attacher(
            self.context,
            self.row.id,
            self.kept.image_config,
            self.kept.options,
            name=self.row.name,
            hosts_file=hosts,
        )

    def _clear(self) -> None:
        """Remove what a parent that was killed left of the last run, unless that still goes on."""
        try:
            left = RuntimeContainer.load(self.context.runtime_root, self.row.id)
            if left.status() in ("running", "paused"):
                raise FailedPrecondition("the container is running already (its parent was killed)")
            left.delete(force=True)
        except NotFound:
            pass
        networking.detach(self.context, self.row.id)

    def request(
        self,
        *,
        durable: bool = True,
        on_exit: tuple[str, ...] = (),
        console_size: tuple[int, int] | None = None,
    ) -> Request:
        """What the parent is told. Raises InvalidArgument and NotFound for settings that cannot be met.

        console_size: rows and columns that the console has from the first moment.
        """
        context, options = self.context, self.kept.options
        directory = context.directory(self.row.id)
        os.makedirs(directory, 0o700, exist_ok=True)
        return Request(
            container_id=self.row.id,
            config=self._sized(self.config(directory), console_size),
            directory=directory,
            run_directory=context.run_directory(self.row.id),
            runtime_root=context.runtime_root,
            log_path=f"{directory}/log.json",
            stdin_open=options.stdin_open,
            input_ends=options.stdin_once,
            durable=durable,
            on_exit=on_exit,
        )

    @staticmethod
    def _sized(config: Config, size: tuple[int, int] | None) -> Config:
        if size is not None and config["process"].get("terminal"):
            config["process"]["consoleSize"] = {"height": size[0], "width": size[1]}
        return config

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
            shm_source=shared_memory(options),
            reaper=REAPER if options.init else "",
        )
        return specification.build(kept.image_config, options, facts)

    def in_shim(self, request: Request) -> int:
        """Have a process of its own be the parent; returns the container's pid once it runs."""
        from cloche.engine import detached

        mounts = rootfs.mounts_of(self.context, self.row)
        lock = self._ownership.fileno()
        return detached.start(self.context, request, mounts, lock=lock, attach=self._attacher())

    def here(self, request: Request) -> Parent:
        """Be the parent: the container runs, and `serve` is the caller's to call."""
        parent = Parent(request)
        try:
            parent.start(self._root, attach=self._attacher())
        except BaseException:
            # Its program may be what cannot be executed: it was in its networks by then.
            networking.detach(self.context, self.row.id)
            raise
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


def shared_memory(options: Options) -> str:
    """The host's /dev/shm where the IPC namespace is the host's.

    One that joins another container's namespace has a /dev/shm of its own: a mount of another mount
    namespace cannot be taken over, and no process of ours enters one.
    """
    return "/dev/shm" if namespaces.mode(options, "ipc") == "host" else ""


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
