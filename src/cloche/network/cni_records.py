"""What is on record of containers' CNI networks, so that nothing that a plugin made is forgotten.

    STATE/ID/intent.json     all that a DEL needs; on disk before the first plugin is called
            /result-N.json   what network N's plugins answered to ADD, written when they have
            /deleting        DEL was begun: the container is gone, or its ADD failed

The folder goes when every DEL has succeeded. One that has neither all results nor an owner at work
is what a crash left; `Cni.pending` tells both kinds. The folder's own lock is held meanwhile.
"""

from __future__ import annotations

import fcntl
import os

from cloche.errors import ClocheError, DataLoss, NotFound
from cloche.network import files
from cloche.network.cni_config import Network, check_name, parse
from cloche.spec import document
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_INTENT, _DELETING = "intent.json", "deleting"


class Intent(Record):
    """What was asked of the plugins.

    namespace: device and inode of the network namespace, by which a path that is somebody else's by
    now is told. networks: with the name of the interface inside.
    """

    container_id: str
    netns: str
    namespace: tuple[int, int]
    networks: tuple[tuple[Network, str], ...]
    capability_args: Mapping[str, Any]
    args: Mapping[str, str]

    def netns_now(self) -> str:
        """The path for DEL: empty where the namespace is gone, which plugins must be content with."""
        return self.netns if namespace_at(self.netns) == self.namespace else ""


def namespace_at(path: str) -> tuple[int, int] | None:
    """Device and inode of a network namespace's file; None where there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


class Entry:
    """The folder of one container, locked: a context manager."""

    def __init__(self, state_dir: str, container_id: str, *, make: bool = False) -> None:
        """make: it if need be. Raises NotFound where there is none, InvalidArgument for the id."""
        check_name(container_id, "container id")
        self.id = container_id
        self.path = f"{state_dir}/{container_id}"
        self._make = make
        self._lock = -1

    def __enter__(self) -> Entry:
        if self._lock < 0:
            self.take()
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._lock)
        self._lock = -1

    def take(self, *, wait: bool = True) -> bool:
        """Take the lock; False where it is another's and `wait` is not."""
        while True:
            if self._make:
                os.makedirs(os.path.dirname(self.path), 0o700, exist_ok=True)
                try:
                    os.mkdir(self.path, 0o700)
                except FileExistsError:
                    pass  # another's, who may be about to remove it: makedirs would not have that
            try:
                lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except (FileNotFoundError, NotADirectoryError) as error:
                if self._make and isinstance(error, FileNotFoundError):
                    continue  # removed again before it was opened
                raise NotFound(f"container {self.id}: no network of it is on record") from None
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
                if self._is_at(lock):
                    self._lock = lock
                    return True
            except BlockingIOError:
                os.close(lock)
                return False
            os.close(lock)

    def _is_at(self, lock: int) -> bool:
        try:
            return os.path.samestat(os.fstat(lock), os.stat(self.path))
        except FileNotFoundError:
            return False

    def read(self) -> Intent | None:
        """None where no plugin was called yet. Raises DataLoss for a damaged file."""
        path = f"{self.path}/{_INTENT}"
        try:
            return _intent(self.id, document.load_file(path))
        except FileNotFoundError:
            return None
        except (ClocheError, KeyError, TypeError, ValueError) as error:
            raise DataLoss(
                f"{path}: damaged ({error}): release what plugins hold for it, then remove the folder"
            ) from None

    def write(self, intent: Intent) -> None:
        """On disk for good when it returns."""
        networks = [
            {"config": network.document, "path": network.path, "interface": interface}
            for network, interface in intent.networks
        ]
        value = {
            "netns": intent.netns,
            "namespace": intent.namespace,
            "networks": networks,
            "capabilityArgs": intent.capability_args,
            "args": intent.args,
        }
        files.write(f"{self.path}/{_INTENT}", document.dumps(value), durable=True)
        files.sync(os.path.dirname(self.path))

    def result(self, number: int) -> dict[str, Any] | None:
        """What network `number` answered; None where it has not, or the file did not survive a crash."""
        try:
            found = document.load_file(f"{self.path}/result-{number}.json")
        except (FileNotFoundError, ClocheError):
            return None
        return found if isinstance(found, dict) else None

    def write_result(self, number: int, value: Mapping[str, Any]) -> None:
        """Not waited for: a DEL without it is the plugins' to cope with."""
        files.write(f"{self.path}/result-{number}.json", document.dumps(value), durable=False)

    def complete(self, intent: Intent) -> bool:
        """Whether every network was added, and none is on its way out."""
        results = (self.result(number) for number in range(len(intent.networks)))
        return not self.deleting() and all(each is not None for each in results)

    def deleting(self) -> bool:
        """Whether a DEL was begun."""
        return os.path.exists(f"{self.path}/{_DELETING}")

    def mark_deleting(self) -> None:
        """From now on it is to go."""
        os.close(os.open(f"{self.path}/{_DELETING}", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))

    def clear(self) -> None:
        """Forget what was made. The intent goes last, or a crash between would leave no way to delete."""
        for name in sorted(os.listdir(self.path), key=lambda name: name == _INTENT):
            os.unlink(f"{self.path}/{name}")

    def remove(self) -> None:
        """Forget the container."""
        self.clear()
        os.rmdir(self.path)


def _intent(container_id: str, found: dict[str, Any]) -> Intent:
    device, inode = found["namespace"]
    return Intent(
        container_id,
        found["netns"],
        (device, inode),
        tuple((parse(each["config"], each["path"]), each["interface"]) for each in found["networks"]),
        found["capabilityArgs"],
        found["args"],
    )
