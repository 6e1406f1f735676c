"""The driver that executes another OCI runtime: runc, crun, runsc, youki, or a script around one.

    lane                        runtime                        kernel
    mount bundle/rootfs
    runc create ──────────────▶ makes the container ─────────▶ its process, the runtime's child
                                writes the pid file
    waits for the command ◀──── ends                           the process is handed to us, a subreaper
    reads the pid, opens a pidfd

What the commands take and say is runc's; where the others differ it is said here.
"""

from __future__ import annotations

import os

from cloche.errors import ClocheError, DeadlineExceeded, FailedPrecondition, NotFound, Unimplemented
from cloche.kernel import pidfd
from cloche.kernel.cgroups.cgroup import Cgroup
from cloche.kernel.cgroups.layout import directories_of, layout
from cloche.shim.claims import CLAIMS
from cloche.shim.console_socket import ConsoleSocket
from cloche.shim.driver import Spawned
from cloche.shim.following import measured
from cloche.shim.rootfs_mount import mount_rootfs, rootfs_of, unmount_rootfs
from cloche.shim.runtime_command import Flags, RuntimeCommand
from cloche.spec.document import dumps, load_file, loads
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from cloche.shim.driver import Stdio
    from cloche.spec.mount import Mount
    from cloche.wire.messages.runc_options import CheckpointOptions

_LOG = "log.json"
_INIT_PID = "init.pid"
# What makes a process may run hooks and read files of slow disks; the rest is short.
_CREATE_TIMEOUT_S = 120.0
_TIMEOUT_S = 30.0


class Runtime(Record):
    """Which runtime, and how it is to be run: options of containerd.runc.v1 that concern it.

    program: a path, or a name to look for in $PATH. root: the folder of its states; each of
    containerd's namespaces has one of its own below it. timeout_s: for commands that make no process;
    create_timeout_s for those that do.
    """

    program: str
    root: str = "/run/containerd/runc"
    systemd_cgroup: bool = False
    no_pivot_root: bool = False
    no_new_keyring: bool = False
    criu: str = ""
    timeout_s: float = _TIMEOUT_S
    create_timeout_s: float = _CREATE_TIMEOUT_S


class BinaryDriver:
    """Runs one container by the commands of a runtime. See `cloche.shim.driver.Driver`."""

    def __init__(
        self, runtime: Runtime, *, bundle: str, container_id: str, namespace: str, rootfs: tuple[Mount, ...]
    ) -> None:
        self.runtime = runtime
        self.bundle = bundle
        self.id = container_id
        self._rootfs = rootfs
        self._restored = False
        self._pid = 0
        self._cgroup: Cgroup | None = None
        flags = Flags(
            runtime.program,
            os.path.join(runtime.root, namespace),
            os.path.join(bundle, _LOG),
            runtime.systemd_cgroup,
            runtime.criu,
        )
        self._command = RuntimeCommand(flags)

    def create(self, *, stdio: Stdio, terminal: bool, checkpoint: str = "") -> Spawned:
        """See Driver.create. A checkpoint is restored at once and paused until `start`."""
        mount_rootfs(self.bundle, self._rootfs)
        try:
            if checkpoint:
                return self._restore(checkpoint, stdio=stdio, terminal=terminal)
            arguments = ["--bundle", self.bundle, *self._creation_flags()]
            spawned = self._spawn("create", arguments, _INIT_PID, stdio=stdio, terminal=terminal)
        except DeadlineExceeded:
            # Killed in the middle of it, it has not cleaned up after itself.
            self._quietly_delete()
            raise
        except BaseException as error:
            if isinstance(error, FailedPrecondition):
                error = self._explained(error, self._process(), rootfs_of(self.bundle))
            unmount_rootfs(self.bundle)
            raise error from None
        self._became(spawned)
        return spawned

    def _became(self, spawned: Spawned) -> None:
        self._pid = spawned.pid
        self._cgroup = cgroup_of(spawned.pid)

    def _process(self) -> dict[str, Any]:
        """The first process, as config.json has it; empty where that cannot be read."""
        try:
            config = load_file(os.path.join(self.bundle, "config.json"))
        except (ClocheError, OSError):
            return {}
        process = config.get("process") if isinstance(config, dict) else None
        return process if isinstance(process, dict) else {}

    def _root(self) -> str:
        """Where the container's files are seen as it sees them. runsc's own process is elsewhere."""
        inside, rootfs = f"/proc/{self._pid}/root", rootfs_of(self.bundle)
        try:
            return inside if os.path.samefile(inside, rootfs) else rootfs
        except OSError:
            return rootfs

    def _explained(self, error: FailedPrecondition, process: dict[str, Any], root: str) -> FailedPrecondition:
        from cloche.shim.runtime_errors import as_exec_failure

        return as_exec_failure(error, process, root)

    def _creation_flags(self) -> list[str]:
        flags = ["--no-pivot"] if self.runtime.no_pivot_root else []
        return [*flags, "--no-new-keyring"] if self.runtime.no_new_keyring else flags

    def _restore(self, checkpoint: str, *, stdio: Stdio, terminal: bool) -> Spawned:
        work = os.path.join(self.bundle, "criu-work")
        os.makedirs(work, 0o700, exist_ok=True)
        flags = ["--no-pivot"] if self.runtime.no_pivot_root else []
        arguments = [
            "--image-path",
            checkpoint,
            "--work-path",
            work,
            "--bundle",
            self.bundle,
            *flags,
            "--detach",
        ]
        spawned = self._spawn("restore", arguments, _INIT_PID, stdio=stdio, terminal=terminal)
        self._became(spawned)
        self._restored = True
        self.pause()
        return spawned

    def start(self) -> None:
        """See Driver.start."""
        if self._restored:
            self._restored = False
            return self.resume()
        try:
            self._run("start", self.id, deadline_s=self.runtime.create_timeout_s)
        except FailedPrecondition as error:
            raise self._explained(error, self._process(), rootfs_of(self.bundle)) from None

    def execute(self, exec_id: str, process: dict[str, Any], *, stdio: Stdio, terminal: bool) -> Spawned:
        """See Driver.execute."""
        name = f".exec-{os.urandom(6).hex()}"
        path = os.path.join(self.bundle, f"{name}.json")
        _write_private(path, dumps({**process, "terminal": terminal}))
        try:
            arguments = ["--process", path, "--detach"]
            return self._spawn("exec", arguments, f"{name}.pid", stdio=stdio, terminal=terminal)
        except FailedPrecondition as error:
            raise self._explained(error, process, self._root()) from None
        finally:
            _remove(path)
            _remove(os.path.join(self.bundle, f"{name}.pid"))

    def kill(self, signal: int, *, everyone: bool) -> None:
        """See Driver.kill."""
        self._run("kill", *(["--all"] if everyone else []), self.id, str(signal))

    def pause(self) -> None:
        """See Driver.pause."""
        self._run("pause", self.id)

    def resume(self) -> None:
        """See Driver.resume."""
        self._run("resume", self.id)

    def update(self, resources: Mapping[str, Any]) -> None:
        """See Driver.update. Raises Unimplemented for runsc, which has no such command."""
        try:
            self._run("update", "--resources", "-", self.id, data=dumps(dict(resources)))
        except FailedPrecondition as error:
            if "runsc flags" in str(error):
                raise Unimplemented("runsc cannot change the limits of a running container") from None
            raise

    def pids(self) -> list[int]:
        """See Driver.pids. Of a runtime that cannot tell: those in the container's cgroup."""
        try:
            said = self._run("ps", "--format", "json", self.id)
            found = loads(said.strip() or b"[]", "what the runtime's ps says")
            if isinstance(found, list) and all(type(pid) is int for pid in found):
                return sorted(found)
        except (ClocheError, OSError):
            if self._cgroup is None:
                raise
        return self._cgroup.processes() if self._cgroup else []

    def checkpoint(self, path: str, options: CheckpointOptions) -> None:
        """See Driver.checkpoint."""
        os.makedirs(path, 0o700, exist_ok=True)
        work = options.work_path or os.path.join(self.bundle, "criu-work")
        os.makedirs(work, 0o700, exist_ok=True)
        arguments = ["--image-path", path, "--work-path", work, *checkpoint_flags(options)]
        self._run("checkpoint", *arguments, self.id, deadline_s=self.runtime.create_timeout_s)

    def delete(self) -> None:
        """See Driver.delete. Whatever the runtime says, the root filesystem is unmounted."""
        try:
            self._run("delete", "--force", self.id)
        except NotFound:
            pass
        finally:
            unmount_rootfs(self.bundle)

    def cgroup(self) -> Cgroup | None:
        """See Driver.cgroup."""
        return self._cgroup

    def _run(self, action: str, *arguments: str, deadline_s: float = 0.0, data: bytes = b"") -> bytes:
        what = f"OCI runtime {action} failed"
        deadline_s = deadline_s or self.runtime.timeout_s
        return measured(
            f"runtime {action}",
            lambda: self._command.run(action, *arguments, what=what, deadline_s=deadline_s, data=data),
        )

    def _spawn(
        self, action: str, arguments: list[str], pid_name: str, *, stdio: Stdio, terminal: bool
    ) -> Spawned:
        """Run a command that leaves a process behind, which becomes ours."""
        pid_file = os.path.join(self.bundle, pid_name)
        _remove(pid_file)  # one that somebody left would be believed
        arguments = [*arguments, "--pid-file", pid_file]
        with CLAIMS:
            console = -1
            if terminal:
                console = self._run_with_console(action, arguments)
            else:
                self._make_process(action, arguments, stdio)
            try:
                pid = _read_pid(pid_file)
                return Spawned(pid, adopt(pid, self.runtime.program), console)
            except BaseException:
                if console >= 0:
                    os.close(console)
                raise

    def _run_with_console(self, action: str, arguments: list[str]) -> int:
        """The master of the new process's terminal. The command itself has no use for streams."""
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        try:
            with ConsoleSocket(self.bundle) as console:
                self._make_process(action, [*arguments, "--console-socket", console.path], (null, null, null))
                return console.take()
        finally:
            os.close(null)

    def _make_process(self, action: str, arguments: list[str], stdio: Stdio) -> None:
        what = f"OCI runtime {action} failed"
        deadline_s = self.runtime.create_timeout_s
        words = (action, *arguments, self.id)
        measured(
            f"runtime {action}",
            lambda: self._command.run(*words, what=what, deadline_s=deadline_s, stdio=stdio),
        )

    def _quietly_delete(self) -> None:
        """After a failure that is being reported."""
        try:
            self.delete()
        except (ClocheError, OSError):
            pass


def checkpoint_flags(options: CheckpointOptions) -> list[str]:
    """Flags of `runc checkpoint` for the options of containerd.runc.v1."""
    flags = [] if options.exit else ["--leave-running"]
    named = {
        "--tcp-established": options.open_tcp,
        "--ext-unix-sk": options.external_unix_sockets,
        "--shell-job": options.terminal,
        "--file-locks": options.file_locks,
    }
    flags += [flag for flag, wanted in named.items() if wanted]
    if options.cgroups_mode:
        flags += ["--manage-cgroups-mode", options.cgroups_mode]
    if options.parent_path:
        flags += ["--parent-path", options.parent_path]
    for namespace in options.empty_namespaces:
        flags += ["--empty-ns", namespace]
    return flags


def adopt(pid: int, program: str) -> int:
    """A pidfd of a process that a runtime left to us; whoever reaps orphans leaves it alone from now on.

    Nobody else can have the number: the process is our child, and a child that was not reaped keeps it.
    Raises FailedPrecondition where it is not our child, so that nobody would learn how it ends.
    """
    CLAIMS.claim(pid)
    try:
        handle = pidfd.open(pid)
        try:
            pidfd.waitid(os.P_PIDFD, handle, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except BaseException:
            os.close(handle)
            raise
        return handle
    except (ProcessLookupError, ChildProcessError):
        CLAIMS.release(pid)
        raise FailedPrecondition(
            f"{program} says that process {pid} is the container's, but it was not handed to the shim: "
            "a wrapper around a runtime must not stay the parent of its processes, nor be a subreaper"
        ) from None


def cgroup_of(pid: int) -> Cgroup | None:
    """The cgroups that a container's process has for itself: those that are neither ours nor a root."""
    known = layout()
    roots = {hierarchy.mountpoint for hierarchy in (*known.legacy, known.unified) if hierarchy}
    ours = {hierarchy.own for hierarchy in (*known.legacy, known.unified) if hierarchy}
    try:
        found = directories_of(pid)
    except (ProcessLookupError, FileNotFoundError):
        return None
    paths = {name: path for name, path in found.items() if path not in roots | ours}
    return Cgroup.load(known, paths) if paths else None


def _read_pid(path: str) -> int:
    try:
        with open(path, "rb", buffering=0) as file:
            text = file.read(32).strip()
    except FileNotFoundError:
        text = b""
    if not text.isdigit() or not int(text):
        raise FailedPrecondition(f"the runtime has written no pid into {path!r}, but {text!r}")
    return int(text)


def _write_private(path: str, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        while data:
            data = data[os.write(descriptor, data) :]
    finally:
        os.close(descriptor)


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
