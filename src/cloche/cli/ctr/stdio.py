"""A process's standard streams: named pipes between the shim and this process."""

from __future__ import annotations

import os

from cloche.cli.output import write_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

_CHUNK = 64 << 10


class Streams:
    """Where a process's streams are: paths or URIs, empty for none.

    folder: the directory made for them, empty where it was not.
    """

    def __init__(self, stdin: str = "", stdout: str = "", stderr: str = "", folder: str = "") -> None:
        self.stdin = stdin
        self.stdout = stdout
        self.stderr = stderr
        self.folder = folder
        self._copying: list[threading.Thread] = []

    @classmethod
    def make(cls, parent: str, name: str, *, terminal: bool) -> Streams:
        """Pipes in a new directory. name: of the process, which theirs begin with."""
        import tempfile

        os.makedirs(parent, mode=0o711, exist_ok=True)
        folder = tempfile.mkdtemp(prefix="", dir=parent)
        kinds = ("stdin", "stdout") if terminal else ("stdin", "stdout", "stderr")
        paths = [f"{folder}/{name}-{kind}" for kind in kinds]
        for path in paths:
            os.mkfifo(path, 0o700)
        stdin, stdout, stderr = (*paths, "")[:3]
        return cls(stdin, stdout, stderr, folder)

    def connect(self, on_end_of_input: Callable[[], None]) -> None:
        """Copy between the pipes and this process's own streams, until they end.

        on_end_of_input: called in a thread when ours has ended.
        """
        from threading import Thread

        for path, descriptor in ((self.stdout, 1), (self.stderr, 2)):
            if path:
                copying = Thread(target=_deliver, args=(path, descriptor), daemon=True)
                copying.start()
                self._copying.append(copying)
        if self.stdin:
            Thread(target=_feed, args=(self.stdin, on_end_of_input), daemon=True).start()

    def wait(self) -> None:
        """Wait until all output has come."""
        for each in self._copying:
            each.join()

    def remove(self) -> None:
        """Remove the directory that was made."""
        if self.folder:
            import shutil

            shutil.rmtree(self.folder, ignore_errors=True)


def _deliver(path: str, descriptor: int) -> None:
    """Opening waits for the shim, which opens its end when the process is made."""
    source = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        while data := os.read(source, _CHUNK):
            write_bytes(data, descriptor)
    except OSError:
        pass  # nobody reads ours any more
    finally:
        os.close(source)


def _feed(path: str, on_end: Callable[[], None]) -> None:
    sink = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        while data := os.read(0, _CHUNK):
            write_bytes(data, sink)
    except OSError:
        pass  # the process has gone, or our own input never was one
    finally:
        os.close(sink)
    on_end()
