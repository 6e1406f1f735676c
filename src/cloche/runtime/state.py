"""A container's state on disk: ROOT/ID with config.json, state.json and the fifos of its gate.

The state with the cgroup paths is written before a cgroup or a process exists, so that whatever a
crash leaves behind can be found and deleted.
"""

from __future__ import annotations

import errno
import fcntl
import time

from cloche import os
from cloche.errors import AlreadyExists, NotFound
from cloche.kernel import pidfd
from cloche.spec import document
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from cloche.spec.config import Config

FILTERS = "@filters"
"""Beside the containers: compiled seccomp filters. No container id has an @."""

_STAGING = "@half-"


class State(Record):
    """What is written down about a container.

    pid, start_time, boot_id: its process, which only the three together identify; pid 0: none yet.
    late_steps: place and description of the plan's steps behind the gate, by their index, for
    what `start` must say when one of them fails. created: RFC 3339.
    rootfs: path on the host, empty where it never was one. streams: what its standard descriptors
    were at the start, as /proc/PID/fd names them, by which a checkpoint knows pipes.
    unit: of systemd, where that has the cgroups; user_unit: of the user's systemd.
    """

    id: str
    bundle: str
    rootfs: str
    created: str
    cgroup_paths: Mapping[str, str]
    pid: int = 0
    start_time: int = 0
    boot_id: str = ""
    late_steps: Mapping[str, tuple[str, str]] = {}
    streams: Sequence[str] = ()
    unit: str = ""
    user_unit: bool = False

    def encode(self) -> bytes:
        """The document that is written down."""
        return document.dumps(dict(zip(self._fields, self.values(), strict=True)))

    def with_process(self, pid: int) -> State:
        """The same with its process."""
        return self.replace(pid=pid, start_time=pidfd.start_time(pid), boot_id=pidfd.boot_id())

    def open_process(self) -> int | None:
        """A pidfd of the container's own process; None when it ended (or is a zombie)."""
        if not self.pid or self.boot_id != pidfd.boot_id():
            return None
        try:
            descriptor = pidfd.open(self.pid)
        except ProcessLookupError:
            return None
        # Compared after opening: only now is the number known to stay the same process's.
        try:
            if pidfd.start_time(self.pid) == self.start_time and not pidfd.ended(self.pid):
                return descriptor
        except ProcessLookupError:
            pass
        os.close(descriptor)
        return None

    def hold_root(self) -> tuple[int, ...]:
        """Descriptors of the process's root directory and of its mount namespace, to be closed by the caller.

        With the second the first shows all mounts even after the process has ended. None of them where
        the process is gone, or not ours to look into.
        """
        held: list[int] = []
        try:
            for name in ("root", "ns/mnt"):
                held.append(os.open(f"/proc/{self.pid}/{name}", os.O_RDONLY | os.O_CLOEXEC))
        except OSError:
            for descriptor in held:
                os.close(descriptor)
            return ()
        return tuple(held)


class Folder:
    """The folder of one container below a state root."""

    def __init__(self, root: str, container_id: str) -> None:
        self.path = os.path.join(root, container_id)
        self.id = container_id

    def make(self, config: Config, state: State) -> Lock:
        """Take the id, with configuration and state in the folder from its first moment on.

        The folder is filled under another name and renamed: a crash leaves none that cannot be
        loaded. Returns the lock, which is held already. Raises AlreadyExists when the id is taken.
        """
        root = os.path.dirname(self.path)
        staging = Folder(root, f"{_STAGING}{self.id}")
        os.makedirs(root, 0o711, exist_ok=True)
        lock = staging._make_locked()
        try:
            # Nobody sees these before the rename: they need none of their own.
            _write(f"{staging.path}/config.json", document.dumps(config))
            _write(f"{staging.path}/state.json", state.encode())
            os.rename(staging.path, self.path)
        except OSError as error:
            staging.remove()
            lock.release()
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                raise AlreadyExists(f"container with given ID already exists: {self.id!r}") from None
            raise
        return lock

    def _make_locked(self) -> Lock:
        """Make the folder, empty and locked; again where somebody sweeps it away before it is locked."""
        while True:
            try:
                os.mkdir(self.path, 0o700)
            except FileExistsError:
                _sweep(self)
                os.mkdir(self.path, 0o700)
            lock = Lock(self)
            try:
                lock.take()
            except NotFound:
                continue
            return lock

    def make_gate(self) -> None:
        """The fifos between the container's process and `start`."""
        os.mkfifo(f"{self.path}/start.fifo", 0o600)
        os.mkfifo(f"{self.path}/result.fifo", 0o600)

    def has_gate(self) -> bool:
        """Whether the container was created and not started."""
        return os.path.exists(f"{self.path}/start.fifo")

    def take_failure(self) -> tuple[bytes, tuple[int, ...]]:
        """What a start by the launcher has met and left for us (native/starting.h); empty, as a rule.

        The report of the container's process, and what `State.hold_root` gives, which is inherited.
        """
        try:
            descriptor = os.open(f"{self.path}/failure", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return b"", ()
        try:
            data = os.read(descriptor, 4096)
        finally:
            os.close(descriptor)
        _unlink(f"{self.path}/failure")
        numbers = data[-8:]
        held = tuple(int.from_bytes(four, "little", signed=True) for four in (numbers[:4], numbers[4:]))
        # A launcher that was killed has kept its word, but its descriptors are gone.
        try:
            inherited = os.readlink(f"/proc/self/fd/{held[1]}").startswith("mnt:[")
        except OSError:
            inherited = False
        return data[:-8], held if inherited and held[0] >= 0 else ()

    def remove_gate(self) -> None:
        """The container was started."""
        for name in ("start.fifo", "result.fifo"):
            _unlink(f"{self.path}/{name}")

    def read_config(self) -> Config:
        """The configuration as it was at create. Raises NotFound."""
        config: Config = self._load("config.json")
        return config

    def write_config(self, config: Config) -> None:
        """Replace config.json whole: the limits were changed."""
        _write(f"{self.path}/config.json.new", document.dumps(config))
        os.rename(f"{self.path}/config.json.new", f"{self.path}/config.json")

    def write(self, state: State) -> None:
        """Replace state.json whole."""
        _write(f"{self.path}/state.json.new", state.encode())
        os.rename(f"{self.path}/state.json.new", f"{self.path}/state.json")

    def read(self) -> State:
        """Raises NotFound when there is no such container."""
        return State(**self._load("state.json"))

    def _load(self, name: str) -> Any:
        try:
            return document.load_file(f"{self.path}/{name}")
        except (FileNotFoundError, NotADirectoryError):
            raise NotFound(f"container does not exist: {self.id!r}") from None

    def remove(self) -> None:
        """Free the id, at once; what a crash leaves of the files then is swept later."""
        if not self.id.startswith(_STAGING):
            gone = Folder(os.path.dirname(self.path), f"{_STAGING}{self.id}.{os.getpid()}")
            os.rename(self.path, gone.path)
            gone.remove()
            return
        _remove_tree(self.path)


class Lock:
    """One at a time works on a container: create, start, exec and delete hold this.

    On the folder itself, so that a dead holder leaves nothing.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._descriptor = -1

    def __enter__(self) -> Lock:
        if self._descriptor < 0:
            self.take()
        return self

    def take(self) -> None:
        """Wait for the lock. Raises NotFound when the container is gone by then."""
        try:
            self._descriptor = os.open(self._folder.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise NotFound(f"container does not exist: {self._folder.id!r}") from None
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        if not self._is_current():
            # Deleted while we waited; a new one of the same name is another container.
            os.close(self._descriptor)
            raise NotFound(f"container does not exist: {self._folder.id!r}")

    def _is_current(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self._descriptor), os.stat(self._folder.path))
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """Let the next one work on the container."""
        os.close(self._descriptor)
        self._descriptor = -1

    def __exit__(self, *_: object) -> None:
        self.release()


def is_locked(folder: Folder) -> bool:
    """Whether somebody works on the container now."""
    try:
        descriptor = os.open(folder.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def names(root: str) -> list[str]:
    """The ids of a state root, sorted. What crashes left half made or half removed is removed."""
    found = []
    try:
        entries = sorted(os.listdir(root))
    except FileNotFoundError:
        return []
    for name in entries:
        if name.startswith(_STAGING):
            _sweep(Folder(root, name))
        elif name != FILTERS:
            found.append(name)
    return found


def sweep(root: str) -> None:
    """Remove what crashes left half made or half removed."""
    names(root)


def _sweep(folder: Folder) -> None:
    """Remove it unless somebody works on it; whoever waits for it meanwhile finds that it is gone."""
    try:
        descriptor = os.open(folder.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        folder.remove()
    except (BlockingIOError, FileNotFoundError):
        pass
    finally:
        os.close(descriptor)


def now() -> str:
    """The time in RFC 3339 with nanoseconds, UTC."""
    nanoseconds = time.time_ns()
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(nanoseconds // 1_000_000_000))
    return f"{seconds}.{nanoseconds % 1_000_000_000:09}Z"


def _write(path: str, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, data)
    finally:
        os.close(descriptor)


def streams(stdio: tuple[int, int, int]) -> tuple[str, ...]:
    """What descriptors are, for a state's `streams`."""
    return tuple(os.readlink(f"/proc/self/fd/{descriptor}") for descriptor in stdio)


def _remove_tree(directory: str) -> None:
    for name in os.listdir(directory):
        path = f"{directory}/{name}"
        try:
            _unlink(path)
        except IsADirectoryError:
            _unmount(path)
            _remove_tree(path)
    os.rmdir(directory)


def _unmount(directory: str) -> None:
    """What a restore mounted here when it was killed is the bundle's, and not to be removed."""
    from cloche.kernel.syscalls import MNT_DETACH, umount2

    try:
        while True:
            umount2(directory, MNT_DETACH)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EPERM):
            raise


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
