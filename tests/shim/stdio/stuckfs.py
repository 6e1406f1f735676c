"""A FUSE filesystem with one file, `log`, whose writes are answered only when the test wants it.

Served by a process of its own (python -m tests.shim.stdio.stuckfs PLACE CONTROL): a process that waits
for itself could not even be killed. Killing the server ends all waiting.
"""

from __future__ import annotations

import os
import stat
import struct
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from cloche.kernel.syscalls import mount
from tests.waiting import wait_until

LOOKUP, FORGET, GETATTR, SETATTR, OPEN, WRITE, RELEASE, FLUSH = 1, 2, 3, 4, 14, 16, 18, 25
INIT, CREATE, INTERRUPT, BATCH_FORGET = 26, 35, 36, 42
_ROOT, _FILE = 1, 2
_ENOSYS = 38
_HEADER = struct.Struct("<IIQQIIIHH")
_REPOSITORY = Path(__file__).parents[3]


class StuckFilesystem:
    """A context manager: mounted at a new directory, with a folder beside it through which it is told."""

    def __init__(self, directory: Path) -> None:
        self.place = directory / "fuse"
        self._control = directory / "control"
        self.place.mkdir()
        self._control.mkdir()
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.shim.stdio.stuckfs", str(self.place), str(self._control)],
            cwd=_REPOSITORY,
            env=os.environ | {"PYTHONPATH": f"{_REPOSITORY / 'src'}:{_REPOSITORY}"},
        )
        wait_until(lambda: os.path.ismount(self.place) or self._server.poll() is not None)

    def hang(self) -> None:
        """Answer no writes."""
        (self._control / "hang").touch()

    def hanging(self) -> bool:
        """Whether a write waits."""
        return (self._control / "hanging").exists()

    def answer(self) -> None:
        """Answer again."""
        (self._control / "hang").unlink(missing_ok=True)

    @property
    def data(self) -> bytes:
        """What was written to the file."""
        path = self._control / "data"
        return path.read_bytes() if path.exists() else b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.kill()
        self._server.wait()
        subprocess.run(["umount", "--lazy", self.place], check=True)


class Server:
    """Answers the kernel."""

    def __init__(self, place: str, control: Path) -> None:
        self._control = control
        self._size = 0
        self._parent = os.getppid()
        self._device = os.open("/dev/fuse", os.O_RDWR)
        mount("stuck", place, "fuse", 0, f"fd={self._device},rootmode=40000,user_id=0,group_id=0")

    def serve(self) -> None:
        """Until it is unmounted."""
        while True:
            request = os.read(self._device, 1 << 18)
            _, opcode, unique, node, *_ = _HEADER.unpack_from(request)
            answer = self._answer(opcode, node, request[_HEADER.size :])
            if answer is not None:
                self._reply(unique, answer)

    def _reply(self, unique: int, answer: bytes | int) -> None:
        error, data = (-answer, b"") if isinstance(answer, int) else (0, answer)
        try:
            os.write(self._device, struct.pack("<IiQ", 16 + len(data), error, unique) + data)
        except FileNotFoundError:
            # Who asked was killed meanwhile.
            pass

    def _answer(self, opcode: int, node: int, body: bytes) -> bytes | int | None:
        """What to reply: bytes, an errno, or nothing."""
        opened = struct.pack("<QII", 1, 0, 0)
        if opcode in (FORGET, BATCH_FORGET, INTERRUPT):
            return None
        if opcode == INIT:
            return struct.pack("<IIIIHHIIHHI28x", 7, 31, 0, 0, 16, 12, 1 << 17, 1, 32, 0, 0)
        if opcode in (LOOKUP, CREATE):
            entry = struct.pack("<QQQQII", _FILE, 1, 0, 0, 0, 0) + self._attributes(_FILE)
            return entry + (opened if opcode == CREATE else b"")
        if opcode in (GETATTR, SETATTR):
            return struct.pack("<QII", 0, 0, 0) + self._attributes(node)
        if opcode == OPEN:
            return opened
        if opcode == WRITE:
            return self._write(body)
        return b"" if opcode in (FLUSH, RELEASE) else _ENOSYS

    def _write(self, body: bytes) -> bytes:
        _, offset, size = struct.unpack_from("<QQI", body)
        while (self._control / "hang").exists():
            if os.getppid() != self._parent:
                # The tests were killed: what waits for us is to end as well.
                os._exit(1)
            (self._control / "hanging").touch()
            time.sleep(0.01)
        with open(self._control / "data", "ab") as file:
            file.truncate(offset)
            file.write(body[40 : 40 + size])
        self._size = offset + size
        return struct.pack("<II", size, 0)

    def _attributes(self, node: int) -> bytes:
        mode = stat.S_IFDIR | 0o755 if node == _ROOT else stat.S_IFREG | 0o644
        size = 0 if node == _ROOT else self._size
        return struct.pack("<6Q10I", node, size, 0, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


if __name__ == "__main__":
    Server(sys.argv[1], Path(sys.argv[2])).serve()
