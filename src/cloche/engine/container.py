"""One container of the engine: a handle on which everything is done that is done to containers."""

from __future__ import annotations

from cloche.engine import status
from cloche.engine.kept import Kept

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any

    from cloche.engine.context import Context
    from cloche.engine.execution import ExecOptions
    from cloche.engine.exits import ExitWatch
    from cloche.engine.logs import Line
    from cloche.engine.options import Options
    from cloche.engine.statistics import Statistics
    from cloche.engine.status import Status
    from cloche.engine.terminal import Attached
    from cloche.store.containers import Container as Row


class Container:
    """A container as the store knew it when it was looked up; `status` is always fresh.

    Methods raise NotFound once it was removed.
    """

    def __init__(self, context: Context, row: Row) -> None:
        self.context = context
        self.row = row
        self._kept: Kept | None = None

    def __repr__(self) -> str:
        return f"<Container {self.name} {self.id[:12]}>"

    @property
    def id(self) -> str:
        """64 hexadecimal digits."""
        return self.row.id

    @property
    def name(self) -> str:
        """As given, or found for it."""
        return self.row.name

    @property
    def image(self) -> str:
        """The image as it was asked for."""
        return self.row.image

    @property
    def labels(self) -> Mapping[str, str]:
        """The image's labels with the container's own over them."""
        return self.row.labels

    @property
    def created_at(self) -> str:
        """RFC 3339."""
        from cloche.shim.timestamps import rfc3339

        return rfc3339(self.row.created_at)

    @property
    def kept(self) -> Kept:
        """Settings and image facts from its making."""
        if self._kept is None:
            self._kept = Kept.of(self.row)
        return self._kept

    @property
    def options(self) -> Options:
        """The settings it was made with."""
        return self.kept.options

    @property
    def command(self) -> tuple[str, ...]:
        """What it runs: entrypoint and arguments."""
        from cloche.engine.program import command

        return tuple(command(self.kept.image_config, self.options))

    @property
    def directory(self) -> str:
        """Its durable directory."""
        return self.context.directory(self.id)

    @property
    def log_path(self) -> str:
        """Its log file, which may not be there yet."""
        return f"{self.directory}/log.json"

    def status(self) -> Status:
        """Its state now."""
        return status.of(self.context, self.id)

    def start(self, *, hold: bool = False, console_size: tuple[int, int] | None = None) -> int:
        """Start it with a parent of its own (a shim) and return its pid once its program runs.

        hold: its output waits (10 s at most) for the first who attaches, so that nothing is missed.
        console_size: rows and columns of its console, where it has one.

        Raises FailedPrecondition where it runs already, ExecFailed where the program cannot be run.
        """
        from cloche.engine import starting

        return starting.start(self.context, self.row, hold=hold, console_size=console_size)

    def run(
        self,
        *,
        stdio: tuple[int, int, int] = (0, 1, 2),
        on_start: Callable[[Attached], None] | None = None,
    ) -> int:
        """Start it with this process as its parent, attached to `stdio`; returns its exit code.

        on_start: given what the container's process can be signalled and resized through.
        """
        from cloche.engine import starting

        return starting.run(self.context, self.row, stdio=stdio, on_start=on_start)

    def stop(self, *, timeout_s: float | None = None, signal: str | int | None = None) -> None:
        """Ask it to end with its stop signal, and kill it when it has not after `timeout_s`.

        timeout_s: its own setting (10) when absent, below zero for no limit. One that does not run
        is left alone.
        """
        from cloche.engine import lifecycle

        lifecycle.stop(self.context, self.row, timeout_s=timeout_s, signal=signal)

    def kill(self, signal: str | int = "KILL") -> None:
        """Send a signal, by name or number. Raises FailedPrecondition where it does not run."""
        from cloche.engine import lifecycle

        lifecycle.kill(self.context, self.row, signal)

    def restart(self, *, timeout_s: float | None = None, signal: str | int | None = None) -> None:
        """`stop`, then `start`."""
        self.stop(timeout_s=timeout_s, signal=signal)
        self.start()

    def pause(self) -> None:
        """Freeze all its processes."""
        from cloche.engine import lifecycle

        lifecycle.pause(self.context, self.row)

    def resume(self) -> None:
        """Let frozen processes go on."""
        from cloche.engine import lifecycle

        lifecycle.resume(self.context, self.row)

    def wait(self) -> int:
        """Wait until it does not run; returns its last exit code."""
        from cloche.engine import lifecycle

        return lifecycle.wait(self.context, self.row)

    def watch(self) -> ExitWatch:
        """Its end as a descriptor for select, poll or asyncio. Raises Unavailable where it does not run."""
        from cloche.engine.exits import ExitWatch

        return ExitWatch(self.context, self.row)

    def rename(self, name: str) -> None:
        """Give it another name. Raises AlreadyExists."""
        from cloche.engine import lifecycle

        self.row = lifecycle.rename(self.context, self.row, name)

    def remove(self, *, force: bool = False, volumes: bool = False) -> None:
        """Remove it with its files. force: kill it first. volumes: its anonymous volumes too.

        Raises FailedPrecondition while it runs.
        """
        from cloche.engine import removal

        removal.remove(self.context, self.row, force=force, volumes=volumes)

    def logs(
        self,
        *,
        follow: bool = False,
        tail: int | None = None,
        since_ns: int | None = None,
        until_ns: int | None = None,
    ) -> Iterator[Line]:
        """The lines it has written, oldest first; tail: only the last so many.

        follow: go on until it ends. since_ns, until_ns: nanoseconds since 1970.
        """
        from cloche.engine import logs

        return logs.read(
            self.log_path,
            tail=tail,
            since_ns=since_ns,
            until_ns=until_ns,
            run_directory=self.context.run_directory(self.id) if follow else "",
        )

    def attach(
        self,
        *,
        stdio: tuple[int, int, int] = (0, 1, 2),
        stdin: bool = True,
        detach_keys: bytes = b"\x10\x11",
        on_start: Callable[[Attached], None] | None = None,
    ) -> int | None:
        """Join its streams until it ends (its exit code) or the keys are typed (None).

        Raises FailedPrecondition where it does not run.
        """
        from cloche.engine import attaching

        return attaching.attach(
            self.context, self.row, stdio=stdio, stdin=stdin, detach_keys=detach_keys, on_start=on_start
        )

    def execute(
        self,
        args: Sequence[str],
        options: ExecOptions | None = None,
        *,
        stdio: tuple[int, int, int] = (0, 1, 2),
        on_start: Callable[[Attached], None] | None = None,
    ) -> int:
        """Run one more command in it, attached to `stdio`, and return its exit code.

        Raises ExecFailed where it cannot be run, FailedPrecondition where the container does not.
        """
        from cloche.engine import execution

        return execution.run(self.context, self.row, args, options, stdio=stdio, on_start=on_start)

    def execute_detached(self, args: Sequence[str], options: ExecOptions | None = None) -> int:
        """Run one more command in it that nobody waits for; returns its pid."""
        from cloche.engine import execution

        return execution.detached(self.context, self.row, args, options)

    def top(self) -> tuple[list[str], list[list[str]]]:
        """(titles, rows) of its processes, in the columns of `ps -ef`."""
        from cloche.engine import top

        return top.processes(self.context, self.row)

    def stats(self) -> Statistics:
        """What it uses now. Raises FailedPrecondition where it does not run."""
        from cloche.engine import statistics

        return statistics.of(self.context, self.row)

    def diff(self) -> list[tuple[str, str]]:
        """What it changed in its file system: ("A" | "C" | "D", path), sorted by path."""
        from cloche.engine import changes

        return changes.of(self.context, self.row)

    def copy_out(self, path: str) -> Iterator[bytes]:
        """A file or tree of it as a tar archive, in parts. Raises NotFound."""
        from cloche.engine import copying

        return copying.copy_out(self.context, self.row, path)

    def copy_in(self, path: str, archive: Any) -> None:
        """Unpack a tar archive (a binary file) into a directory of it. Raises NotFound."""
        from cloche.engine import copying

        copying.copy_in(self.context, self.row, path, archive)

    def stat_path(self, path: str) -> dict[str, Any]:
        """Name, size, mode, mtime and linkTarget of a path in it. Raises NotFound."""
        from cloche.engine import copying

        return copying.stat_path(self.context, self.row, path)

    def export(self) -> Iterator[bytes]:
        """Its whole file system as a tar archive, in parts."""
        from cloche.engine import copying

        return copying.copy_out(self.context, self.row, "/", whole=True)

    def inspect(self) -> dict[str, Any]:
        """All that is known about it, in the shape of Docker's API."""
        from cloche.engine import inspection

        return inspection.container(self)
