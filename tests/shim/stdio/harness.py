"""A loop in a thread of its own, and processes on streams that it moves."""

from __future__ import annotations

import _thread
import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cloche.shim.loop import Loop
from cloche.shim.stdio.opening import Stdio, Uris, open_stdio
from tests.waiting import wait_until


class Shim:
    """What a shim is to its streams: a loop that runs, and methods called in its thread."""

    def __init__(self) -> None:
        self._threads_before = _thread._count()
        self.loop = Loop()
        self.nowhere = os.open("/dev/null", os.O_WRONLY)
        self._thread = threading.Thread(target=self.loop.run)
        self._thread.start()
        self.opened: list[Stdio] = []
        self._processes: list[subprocess.Popen[bytes]] = []

    def call(self, function: Callable[[], Any]) -> Any:
        """Call in the loop's thread and wait for the result."""
        done = threading.Event()
        results: list[Any] = []

        def called() -> None:
            try:
                results.append(function())
            except BaseException as error:
                results.append(error)
            done.set()

        self.loop.call_soon(called)
        assert done.wait(30), "the loop does not answer"
        if isinstance(results[0], BaseException):
            raise results[0]
        return results[0]

    def open(self, uris: Uris, **options: Any) -> Stdio:
        """Open streams; they are closed at the end."""
        stdio = open_stdio(self.loop, uris, container_id="c1", namespace="n1", **options)
        self.opened.append(stdio)
        return stdio

    def spawn(self, stdio: Stdio, *command: str, **options: Any) -> subprocess.Popen[bytes]:
        """Start a process on them."""
        stdin, stdout, stderr = stdio.child
        process = subprocess.Popen(command, stdin=stdin, stdout=stdout, stderr=stderr, **options)
        self._processes.append(process)
        self.call(stdio.close_child)
        return process

    def on_terminal(self, stdio: Stdio, *command: str) -> subprocess.Popen[bytes]:
        """Start a process on a terminal of its own, whose master the streams get."""
        master, slave = os.openpty()
        process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
        self._processes.append(process)
        os.close(slave)
        self.call(stdio.close_child)
        self.call(lambda: stdio.attach_console(master))
        return process

    def finish(self, stdio: Stdio) -> threading.Event:
        """Say that the process has ended; the event comes when the streams are done."""
        done = threading.Event()
        self.call(lambda: stdio.finish(done.set))
        return done

    def close(self) -> None:
        """End all of it."""
        for process in self._processes:
            process.kill()
            process.wait()
        for stdio in self.opened:
            self.call(stdio.close)
        # Logging programs are reaped a moment later.
        wait_until(lambda: not self.loop._watched, what="the loop to have nothing to wait for")
        # Lanes end when they are idle; until then they may still speak to the loop.
        wait_until(lambda: _thread._count() <= self._threads_before + 1, what="lanes to end")
        self.loop.call_soon(self.loop.stop)
        self._thread.join()
        self.loop.close()
        os.close(self.nowhere)


def fifo(directory: Path, name: str) -> str:
    """A client's fifo."""
    path = str(directory / name)
    os.mkfifo(path, 0o700)
    return path


class Reader:
    """A client that reads a fifo to its end, in a thread. Opens it at once, as containerd's clients do."""

    def __init__(self, path: str) -> None:
        self.data = b""
        self.opened = threading.Event()
        self._thread = threading.Thread(target=self._read, args=(path,), daemon=True)
        self._thread.start()

    def _read(self, path: str) -> None:
        with open(path, "rb", buffering=0) as file:
            self.opened.set()
            while chunk := file.read(1 << 16):
                self.data += chunk

    def all(self, timeout_s: float = 30) -> bytes:
        """What it read, once it found the end of file."""
        self._thread.join(timeout_s)
        assert not self._thread.is_alive(), f"no end of file after {len(self.data)} bytes"
        return self.data
