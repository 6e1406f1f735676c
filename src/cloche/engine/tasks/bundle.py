"""A task's bundle: the directory that a shim works in, as containerd lays it out.

STATE/io.containerd.runtime.v2.task/NAMESPACE/ID/
    config.json  options.json  rootfs/  work -> ROOT/io.containerd.runtime.v2.task/NAMESPACE/ID
    shim-binary-path  bootstrap.json  log    and what the shim itself leaves there
"""

from __future__ import annotations

import os
import shutil

from cloche.errors import AlreadyExists
from cloche.spec.document import dumps, loads
from cloche.spec.record import Record
from cloche.store.identifiers import validate_identifier

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

DIRECTORY = "io.containerd.runtime.v2.task"
_ASIDE = ".removed"  # hidden from those who list the directory


class Address(Record):
    """Where a shim answers. version: of its task service; address: unix://PATH."""

    version: int
    address: str
    protocol: str = "ttrpc"

    @property
    def path(self) -> str:
        """The socket's path."""
        return self.address.removeprefix("unix://")


class Bundle:
    """One task's directory. root, state: the daemon's."""

    def __init__(self, root: str, state: str, namespace: str, task_id: str) -> None:
        self.namespace = namespace
        self.id = task_id
        self.path = f"{state}/{DIRECTORY}/{namespace}/{task_id}"
        self._aside = f"{state}/{DIRECTORY}/{_ASIDE}"
        self._work = f"{root}/{DIRECTORY}/{namespace}/{task_id}"

    def make(self, spec: bytes, binary: str) -> None:
        """Make it. spec: config.json; binary: the shim's path. Raises AlreadyExists, InvalidArgument."""
        validate_identifier(self.id, "task id")
        os.makedirs(os.path.dirname(self.path), 0o711, exist_ok=True)
        try:
            os.mkdir(self.path, 0o700)
        except FileExistsError:
            raise AlreadyExists(f"task {self.id!r}: already exists") from None
        try:
            self._fill(spec, binary)
        except BaseException:
            self.remove()
            raise

    def _fill(self, spec: bytes, binary: str) -> None:
        owner = _root_owner(spec)
        if owner:
            # A container's root that is somebody else must get at its rootfs.
            os.chown(self.path, -1, owner)
            os.chmod(self.path, 0o710)  # noqa: S103 - that group alone
        os.mkdir(f"{self.path}/rootfs", 0o711)
        shutil.rmtree(self._work, ignore_errors=True)
        os.makedirs(os.path.dirname(self._work), 0o711, exist_ok=True)
        os.mkdir(self._work, 0o711)
        os.symlink(self._work, f"{self.path}/work")
        self.write("config.json", spec)
        self.write("shim-binary-path", binary.encode())

    def write(self, name: str, data: bytes) -> None:
        """Put a file into it, whole."""
        descriptor = os.open(
            f"{self.path}/{name}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644
        )
        try:
            while data:
                data = data[os.write(descriptor, data) :]
        finally:
            os.close(descriptor)
        os.rename(f"{self.path}/{name}.new", f"{self.path}/{name}")

    def read(self, name: str) -> bytes:
        """A file of it. Raises OSError."""
        with open(f"{self.path}/{name}", "rb") as file:
            return file.read()

    def keep_address(self, address: Address) -> None:
        """Note where its shim answers."""
        fields = {"version": address.version, "address": address.address, "protocol": address.protocol}
        self.write("bootstrap.json", dumps(fields))

    def join(self, sandbox: str, address: Address) -> None:
        """Note that a sandbox's shim, which answers there, has this task too."""
        self.write("sandbox", sandbox.encode())
        self.keep_address(address)

    @property
    def in_sandbox(self) -> bool:
        """Whether its shim is a sandbox's, and stays when the task goes."""
        return os.path.exists(f"{self.path}/sandbox")

    def address(self) -> Address:
        """Where its shim answers. Raises OSError, InvalidArgument."""
        try:
            return parse_address(self.read("bootstrap.json"))
        except FileNotFoundError:
            return parse_address(self.read("address"))

    def remove(self) -> None:
        """Remove it; what is mounted below is unmounted first. Can be repeated."""
        discard(self.hide())

    def hide(self) -> str:
        """Take it away from its place, so that another task can have the id; what `discard` deletes.

        Deleting costs some ms on a file system with a journal, which nobody should wait for.
        """
        shutil.rmtree(self._work, ignore_errors=True)
        if not os.path.exists(self.path):
            return ""
        _unmount_below(self.path)
        os.makedirs(self._aside, 0o700, exist_ok=True)
        hidden = f"{self._aside}/{self.id}-{os.urandom(6).hex()}"
        try:
            os.rename(self.path, hidden)
        except FileNotFoundError:
            return ""
        return hidden


def discard(hidden: str) -> None:
    """Delete what `Bundle.hide` put aside; nothing for an empty path."""
    if hidden:
        shutil.rmtree(hidden, ignore_errors=True)


def discard_all(state: str) -> None:
    """Delete what a daemon that was killed had put aside."""
    shutil.rmtree(f"{state}/{DIRECTORY}/{_ASIDE}", ignore_errors=True)


def parse_address(told: bytes) -> Address:
    """What a shim's `start` printed: an address, or JSON. Raises InvalidArgument."""
    text = told.strip()
    if not text.startswith(b"{"):
        return Address(2, text.decode(errors="replace"))
    document = loads(text, "the shim's answer")
    return Address(
        int(document.get("version") or 2),
        str(document.get("address", "")),
        str(document.get("protocol") or "ttrpc"),
    )


def bundles(root: str, state: str, namespace: str = "") -> Iterator[Bundle]:
    """Every bundle that is there, or those of one namespace, whatever became of their tasks."""
    base = f"{state}/{DIRECTORY}"
    for each in [namespace] if namespace else _visible(base):
        for task_id in _visible(f"{base}/{each}"):
            yield Bundle(root, state, each, task_id)


def _visible(directory: str) -> list[str]:
    try:
        return sorted(name for name in os.listdir(directory) if not name.startswith("."))
    except FileNotFoundError:
        return []


def _root_owner(spec: bytes) -> int:
    """The host's group that is the container's root; 0 without a user namespace."""
    try:
        linux = loads(spec, "config.json").get("linux") or {}
    except Exception:
        return 0  # it is the runtime that refuses it, with the reason
    for mapping in linux.get("gidMappings") or ():
        if mapping.get("containerID") == 0:
            return int(mapping.get("hostID", 0))
    return 0


def _unmount_below(path: str) -> None:
    from cloche.kernel.mountinfo import mounts
    from cloche.kernel.syscalls import MNT_DETACH, umount2

    for mount in reversed(mounts(containing=os.fsencode(path))):
        if mount.point.startswith(path + "/"):
            umount2(mount.point, MNT_DETACH)
