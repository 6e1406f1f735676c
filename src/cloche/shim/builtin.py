"""The driver that runs a container in this process: `cloche.runtime`, without a program between.

An exec costs what the kernel takes and little else. The root file system is never mounted where
the host would see it: its mounts are assembled detached and handed to the container.
"""

from __future__ import annotations

import os

from cloche.errors import ClocheError, FailedPrecondition, InvalidArgument, NotFound, Unimplemented
from cloche.runtime.container import Container
from cloche.runtime.create import create
from cloche.runtime.failures import ExecFailed
from cloche.shim import timestamps
from cloche.shim.claims import CLAIMS
from cloche.shim.driver import Spawned
from cloche.shim.following import measured
from cloche.spec.document import dumps, load_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, TypeVar

    _T = TypeVar("_T")

    from cloche.kernel.cgroups.cgroup import Cgroup
    from cloche.runtime.container import Process
    from cloche.shim.driver import Stdio
    from cloche.spec.config import Config
    from cloche.spec.mount import Mount
    from cloche.wire.messages.runc_options import CheckpointOptions


class BuiltinDriver:
    """Runs one container. See `cloche.shim.driver.Driver`.

    root: the folder of the runtime's states. pivot, keyring, systemd: as for `runtime.create.create`.
    criu_work: where criu writes its logs; below the bundle where empty.
    config: config.json, once the container was created. worded: whether errors are as engines of others
    expect them; ours want them as they are. signals_directly: a signal can go to the process itself.
    """

    config: Config | None = None
    signals_directly = True

    def __init__(
        self,
        root: str,
        *,
        bundle: str,
        container_id: str,
        rootfs: tuple[Mount, ...],
        pivot: bool = True,
        keyring: bool = True,
        systemd: bool = False,
        criu_work: str = "",
        worded: bool = True,
    ) -> None:
        self.root = root
        self.bundle = bundle
        self.id = container_id
        self._rootfs = rootfs
        self._pivot = pivot
        self._keyring = keyring
        self._systemd = systemd
        self._criu_work = criu_work
        self._worded_errors = worded
        self._made: Container | None = None

    def create(self, *, stdio: Stdio, terminal: bool, checkpoint: str = "") -> Spawned:
        """See Driver.create."""
        self._log(b"")
        return self._worded("create", lambda: self._create(stdio, checkpoint, terminal=terminal))

    def _create(self, stdio: Stdio, checkpoint: str, *, terminal: bool) -> Spawned:
        from cloche.kernel.mounts import assemble
        from cloche.spec.validate import validate

        config = load_file(f"{self.bundle}/config.json")
        validate(config)
        config["process"]["terminal"] = terminal
        self.config = config
        rootfs = assemble(self._rootfs) if self._rootfs else None
        try:
            if checkpoint:
                return self._restore(config, rootfs, stdio, checkpoint)
            self._made, process = create(
                self.root,
                self.id,
                config,
                bundle=self.bundle,
                rootfs=rootfs,
                stdio=stdio,
                pivot=self._pivot,
                keyring=self._keyring,
                systemd=self._systemd,
            )
        finally:
            if rootfs is not None:
                os.close(rootfs)
        return _spawned(process)

    def _restore(self, config: Config, rootfs: int | None, stdio: Stdio, checkpoint: str) -> Spawned:
        """What is restored runs at once: it is frozen until `start`."""
        from cloche.runtime.criu.options import RestoreOptions
        from cloche.runtime.criu.restore import restore

        options = RestoreOptions(image_path=checkpoint, work_path=self._criu_folder(""))
        self._made, process = restore(
            self.root, self.id, config, bundle=self.bundle, options=options, rootfs=rootfs, stdio=stdio
        )
        self._made.pause()
        return _spawned(process)

    def _criu_folder(self, wanted: str) -> str:
        """Where criu writes its logs."""
        return wanted or self._criu_work or f"{self.bundle}/criu-work"

    @property
    def _container(self) -> Container:
        # Made by a fork of this process, it is known from its state on disk alone.
        if self._made is None:
            self._made = Container.load(self.root, self.id)
        return self._made

    def start(self) -> None:
        """See Driver.start."""
        container = self._container
        restored = not container.folder.has_gate() and container.status() == "paused"
        self._worded("start", container.resume if restored else container.start)

    def execute(self, exec_id: str, process: dict[str, Any], *, stdio: Stdio, terminal: bool) -> Spawned:
        """See Driver.execute."""
        from cloche.spec.validate import validate_process

        validate_process(process, f"exec {exec_id}")
        settings: Any = {**process, "terminal": terminal}
        return self._worded("exec", lambda: _spawned(self._container.execute(settings, stdio=stdio)))

    def kill(self, signal: int, *, everyone: bool) -> None:
        """See Driver.kill."""
        try:
            self._container.kill(signal, everyone=everyone)
        except (FailedPrecondition, ProcessLookupError):
            raise NotFound("process already finished") from None

    def pause(self) -> None:
        """See Driver.pause."""
        self._worded("pause", self._container.pause)

    def resume(self) -> None:
        """See Driver.resume."""
        self._worded("resume", self._container.resume)

    def update(self, resources: Mapping[str, Any]) -> None:
        """See Driver.update."""
        from cloche.runtime.update import update
        from cloche.spec.validate import validate_resources

        validate_resources(resources, "resources")
        limits: Any = resources
        # Another fork may have changed them since this process last looked.
        self._made = None
        self._worded("update", lambda: update(self._container, limits))

    def pids(self) -> list[int]:
        """See Driver.pids."""
        return self._container.processes()

    def checkpoint(self, path: str, options: CheckpointOptions) -> None:
        """See Driver.checkpoint."""
        from cloche.runtime.criu.options import CheckpointOptions as Wanted

        if options.empty_namespaces:
            raise Unimplemented("empty_namespaces: namespaces are written with all that is in them")
        wanted = Wanted(
            image_path=path or options.image_path,
            work_path=self._criu_folder(options.work_path),
            tcp_established=options.open_tcp,
            ext_unix_sk=options.external_unix_sockets,
            shell_job=options.terminal,
            file_locks=options.file_locks,
            manage_cgroups_mode=options.cgroups_mode,
            leave_running=not options.exit,
            parent_path=options.parent_path,
        )
        # Where the holder has the children, criu is among those that the reaper of orphans sees.
        with CLAIMS:
            self._worded("checkpoint", lambda: self._container.checkpoint(wanted))

    def delete(self) -> None:
        """See Driver.delete."""
        try:
            self._container.delete(force=True)
        except NotFound:
            return

    def cgroup(self) -> Cgroup | None:
        """See Driver.cgroup."""
        container = self._container
        return container.cgroup if container.has_cgroups else None

    def _worded(self, action: str, work: Callable[[], _T]) -> _T:
        """Do it; what goes wrong is logged, and begins as engines expect a runtime's failure to begin."""
        if not self._worded_errors:
            return measured(f"runtime {action}", work)
        prefix = f"OCI runtime {action} failed: "
        try:
            return measured(f"runtime {action}", work)
        except ExecFailed as error:
            failure: ClocheError = ExecFailed(f"{prefix}{error}", error.errno)
        except ClocheError as error:
            failure = type(error)(f"{prefix}{error}")
        except FileNotFoundError as error:
            failure = InvalidArgument(f"{prefix}{error.filename}: no such file or directory")
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            failure = FailedPrecondition(f"{prefix}{where}{error.strerror}")
        self._log(dumps({"level": "error", "msg": str(failure), "time": timestamps.now()}) + b"\n")
        raise failure

    def _log(self, line: bytes) -> None:
        """Append to log.json in the bundle, as other runtimes do; an empty line makes the file."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            log = os.open(f"{self.bundle}/log.json", flags, 0o644)
        except OSError:
            # The bundle is gone or read-only; the caller is told all the same.
            return
        try:
            os.write(log, line)
        except OSError:
            return
        finally:
            os.close(log)


def _spawned(process: Process) -> Spawned:
    """The same process in other hands: the descriptors are the receiver's now."""
    return Spawned(process.pid, process.pidfd, process.take_console())
