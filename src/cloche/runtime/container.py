"""Containers and their lifecycle: create, start, execute, kill, pause, delete.

      create           start            the process ends
    ---------> created ------> running ------------------> stopped --- delete --> gone
                 |               |  ^                          ^
                 |         pause v  | resume                   |
                 |              paused                         |
                 +--- the process ends, or is killed ----------+

Status is never stored: it follows from the process, the gate and the freezer.
"""

from __future__ import annotations

from cloche import os
from cloche.errors import ClocheError, FailedPrecondition, NotFound
from cloche.kernel import pidfd
from cloche.kernel.cgroups.files import frozen
from cloche.runtime.failures import ExecFailed
from cloche.runtime.state import Folder, Lock, State, is_locked, names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from cloche.kernel.cgroups.cgroup import Cgroup
    from cloche.runtime.criu.options import CheckpointOptions
    from cloche.runtime.execute import Started
    from cloche.spec.config import Config, Hook
    from cloche.spec.config import Process as ProcessConfig

__all__ = ["Container", "ExecFailed", "Process", "containers"]

ALLOWED = {
    "start": ("created",),
    "kill": ("created", "running", "paused"),
    "pause": ("created", "running"),
    "resume": ("paused",),
    "execute": ("created", "running"),
    "delete": ("stopped",),
}


class Process:
    """A process in a container, started by us: its parent is this process.

    pid; pidfd, readable when it ended; console: the master of its terminal, or None.
    """

    def __init__(self, started: Started) -> None:
        self.pid = started.pid
        self.pidfd = started.pidfd
        self.console: int | None = None if started.console < 0 else started.console
        self._status: int | None = None

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def fileno(self) -> int:
        """The pidfd, for select and poll."""
        return self.pidfd

    def wait(self) -> int:
        """Wait for the end and reap: the exit code, or 128 and the signal that killed it."""
        if self._status is None:
            ended = pidfd.wait(self.pidfd)
            self._status = ended.status if ended else 0
        return self._status

    def kill(self, signal: int) -> None:
        """Send a signal; nothing happens when it ended."""
        try:
            pidfd.send_signal(self.pidfd, signal)
        except ProcessLookupError:
            pass

    def take_console(self) -> int:
        """The terminal's master, which is now the caller's to close. -1 without a terminal."""
        console, self.console = self.console, None
        return -1 if console is None else console

    def close(self) -> None:
        """Close the descriptors; the process goes on."""
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1
        if self.console is not None:
            os.close(self.console)
            self.console = None


class Container:
    """A container of a state root."""

    def __init__(self, root: str, folder: Folder, state: State) -> None:
        self.root = root
        self.folder = folder
        self.stored = state
        self._config: Config | None = None

    @classmethod
    def load(cls, root: str, container_id: str) -> Container:
        """Raises NotFound."""
        folder = Folder(root, container_id)
        return cls(root, folder, folder.read())

    @property
    def id(self) -> str:
        return self.stored.id

    @property
    def bundle(self) -> str:
        return self.stored.bundle

    @property
    def pid(self) -> int:
        """The host's number of the container's process; 0 before it exists."""
        return self.stored.pid

    @property
    def created(self) -> str:
        """RFC 3339."""
        return self.stored.created

    @property
    def config(self) -> Config:
        """config.json as it was at create."""
        if self._config is None:
            self._config = self.folder.read_config()
        return self._config

    @property
    def annotations(self) -> dict[str, str]:
        return self.config.get("annotations", {})

    @property
    def cgroup(self) -> Cgroup:
        # Whoever only asks for a status needs none of this.
        from cloche.kernel.cgroups.cgroup import Cgroup
        from cloche.kernel.cgroups.layout import layout

        return Cgroup.load(layout(), self.stored.cgroup_paths)

    def status(self) -> str:
        """creating, created, running, paused or stopped."""
        process = self.stored.open_process()
        if process is None:
            return "creating" if not self.stored.pid and is_locked(self.folder) else "stopped"
        os.close(process)
        if self.folder.has_gate():
            return "created"
        return "paused" if frozen(self.stored.cgroup_paths) else "running"

    def state(self) -> dict[str, Any]:
        """The state document of the runtime specification."""
        status = self.status()
        pid = 0 if status == "stopped" else self.pid
        return self.described(self.config, pid=pid, status=status) | {"owner": ""}

    def described(self, config: Config, *, pid: object, status: str) -> dict[str, Any]:
        """The same but for the owner, of what is known already. config: as at create."""
        state: dict[str, Any] = {
            "ociVersion": config["ociVersion"],
            "id": self.id,
            "pid": pid,
            "status": status,
            "bundle": self.bundle,
            "rootfs": self.stored.rootfs,
            "created": self.created,
        }
        if annotations := config.get("annotations"):
            state["annotations"] = annotations
        return state

    def require(self, action: str) -> str:
        """The status, where it allows what is asked (ALLOWED). Raises FailedPrecondition."""
        status = self.status()
        if status not in ALLOWED[action]:
            raise FailedPrecondition(f"cannot {action} a container that is {status}: {self.id!r}")
        return status

    def start(self) -> None:
        """Open the gate, and return when the program was executed.

        Raises ExecFailed when it could not be; the container is stopped then.
        """
        from cloche.runtime.starting import start

        start(self)

    def run_poststart_hooks(self) -> None:
        """After the program was executed; one that fails ends the container (runtime-spec 1.3)."""
        if hooks := self.config.get("hooks", {}).get("poststart"):
            try:
                self._run_hooks("poststart", hooks, "running", self.pid)
            except ClocheError:
                self._end_process()
                raise

    def _run_poststop_hooks(self) -> list[str]:
        """After everything is gone; what fails is a warning, as there is nothing left to undo."""
        warnings = []
        for hook in self.config.get("hooks", {}).get("poststop", ()):
            try:
                self._run_hooks("poststop", [hook], "stopped", 0)
            except ClocheError as error:
                warnings.append(str(error))
        return warnings

    def _run_hooks(self, kind: str, hooks: list[Hook], status: str, pid: int) -> None:
        from cloche.runtime.hooks import run_hooks, state_document

        state = state_document(self.config, self.id, bundle=self.bundle, status=status, pid=pid)
        run_hooks(kind, hooks, state)

    def kill(self, signal: int, *, everyone: bool = False) -> None:
        """Send a signal to the container's process.

        everyone: to all in its cgroup, as also happens for SIGKILL without a pid namespace of its
        own, where the others would survive.
        """
        from cloche.runtime.killing import kill

        kill(self, signal, everyone=everyone)

    @property
    def has_cgroups(self) -> bool:
        """Not so where it was made without root and nothing is delegated."""
        return bool(self.stored.cgroup_paths)

    def require_cgroups(self, action: str) -> None:
        """Raises FailedPrecondition for a container without cgroups. action: what cannot be done."""
        if not self.has_cgroups:
            raise FailedPrecondition(
                f"cannot {action} container {self.id!r}: it has no cgroups of its own: run it as root, or "
                "have cgroups delegated to this user"
            )

    def pause(self) -> None:
        """Freeze the container's cgroup."""
        self.require_cgroups("pause")
        with Lock(self.folder):
            self.require("pause")
            self.cgroup.freeze()

    def resume(self) -> None:
        """Thaw the container's cgroup."""
        with Lock(self.folder):
            self.require("resume")
            self.cgroup.thaw()

    def processes(self) -> list[int]:
        """The host's pids of all processes in the container."""
        self.require_cgroups("list the processes of")
        return self.cgroup.processes()

    def execute(
        self,
        process: ProcessConfig,
        *,
        stdio: tuple[int, int, int] = (0, 1, 2),
        preserve_fds: int = 0,
        ignore_paused: bool = False,
        subgroups: Mapping[str, str] | None = None,
    ) -> Process:
        """Run one more process. process: as in config.json, validated.

        subgroups: cgroups below the container's to run in, by controller; "" for all or cgroup2.
        Raises ExecFailed when the program cannot be executed.
        """
        from cloche.runtime.joining import execute_in

        with Lock(self.folder):
            status = self.status()
            if status == "paused" and not ignore_paused:
                raise FailedPrecondition(f"cannot exec in a paused container: {self.id!r}")
            if status not in ("created", "running", "paused"):
                raise FailedPrecondition(f"cannot exec in a {status} container: {self.id!r}")
            cgroup = self.cgroup.below(subgroups) if subgroups else self.cgroup
            started = execute_in(self, process, stdio=stdio, preserve_fds=preserve_fds, cgroup=cgroup)
            return Process(started)

    def checkpoint(self, options: CheckpointOptions, *, ready: Callable[[], None] | None = None) -> None:
        """Write the processes into files, with criu: see cloche.runtime.criu.checkpoint."""
        from cloche.runtime.criu.checkpoint import checkpoint

        checkpoint(self, options, ready=ready)

    def delete(self, *, force: bool = False) -> list[str]:
        """Remove the cgroups and the state. force: kill first, whatever the status.

        Can be repeated after a crash at any point. Returns warnings: poststop hooks that failed.
        """
        with Lock(self.folder):
            status = self.status()
            if status != "stopped" and not force:
                raise FailedPrecondition(
                    f"cannot delete container {self.id!r} that is not stopped: it is {status}"
                )
            has_hooks = bool(self.config.get("hooks", {}).get("poststop"))
            self.destroy()
        return self._run_poststop_hooks() if has_hooks else []

    def destroy(self) -> None:
        """Kill what runs, remove the cgroups, free the id; the lock is held by the caller."""
        self._end_process()
        if self.cgroup.exists():
            self.cgroup.kill()
        if self.stored.unit:
            from cloche.runtime.scope import scope_of

            scope_of(self.stored).release()
        self.cgroup.destroy()
        self.folder.remove()

    def _end_process(self) -> None:
        process = self.stored.open_process()
        if process is None:
            return
        from cloche.runtime.killing import end

        try:
            end(self, process)
        finally:
            os.close(process)


def containers(root: str) -> list[Container]:
    """Every container of a state root, sorted by id; what vanishes meanwhile is left out."""
    found = []
    for name in names(root):
        try:
            found.append(Container.load(root, name))
        except NotFound:
            continue
    return found
