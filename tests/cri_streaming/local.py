"""A streaming server whose containers are this machine: its programs, terminals and ports."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import signal
import socket
import struct
import subprocess
import termios
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from cloche.cri.streaming.runtime import AttachRequest, ExecRequest, ForwardRequest
from cloche.cri.streaming.server import Settings, StreamingServer
from cloche.errors import NotFound, Unavailable
from tests.waiting import wait_until

_R = TypeVar("_R")

CONTAINER = "c1"
POD = "p1"


class LocalProcess:
    """A program of this machine."""

    def __init__(self, request: AttachRequest, command: tuple[str, ...]) -> None:
        self.stdin: int | None = None
        self.stdout: int | None = None
        self.stderr: int | None = None
        self._terminal = -1
        if request.terminal:
            master, slave = pty.openpty()
            self._program = subprocess.Popen(
                command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
            )
            os.close(slave)
            self._terminal = master
            self.stdin = os.dup(master) if request.stdin else None
            self.stdout = os.dup(master) if request.stdout else None
            return
        pipe, null = subprocess.PIPE, subprocess.DEVNULL
        self._program = subprocess.Popen(
            command,
            stdin=pipe if request.stdin else null,
            stdout=pipe if request.stdout else null,
            stderr=pipe if request.stderr else null,
            start_new_session=True,
        )
        for name in ("stdin", "stdout", "stderr"):
            file = getattr(self._program, name)
            if file is not None:
                setattr(self, name, os.dup(file.fileno()))
                file.close()

    async def close_stdin(self) -> None:
        """Nobody else has it."""

    async def resize(self, width: int, height: int) -> None:
        if self._terminal >= 0:
            fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    async def wait(self) -> int:
        code = await asyncio.to_thread(self._program.wait)
        return code if code >= 0 else 128 - code

    async def close(self) -> None:
        if self._terminal >= 0:
            os.close(self._terminal)
        if self._program.returncode is None:
            os.killpg(self._program.pid, signal.SIGKILL)
            await asyncio.to_thread(self._program.wait)
        LocalRuntime.closed.append(self._program.returncode)


class LocalRuntime:
    """closed: how the programs of sessions that are over have ended."""

    closed: list[int] = []

    async def exec(self, request: ExecRequest) -> LocalProcess:
        self._check(request)
        try:
            return LocalProcess(request, request.command)
        except FileNotFoundError:
            raise NotFound(f"exec: {request.command[0]!r}: executable file not found in $PATH") from None

    async def attach(self, request: AttachRequest) -> LocalProcess:
        self._check(request)
        return LocalProcess(request, ("sh", "-c", 'while read line; do echo "echo: $line"; done; exit 3'))

    async def connect(self, sandbox: str, port: int) -> socket.socket:
        if sandbox != POD:
            raise NotFound(f"pod {sandbox!r}: not found")
        connection = socket.socket()
        connection.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
        except OSError as error:
            connection.close()
            raise Unavailable(f"port {port}: {error.strerror}") from None
        return connection

    def _check(self, request: AttachRequest) -> None:
        if request.container != CONTAINER:
            raise NotFound(f"container {request.container!r}: not found")


class LocalServer:
    """A server with its loop in a thread."""

    def __init__(self, settings: Settings | None = None) -> None:
        LocalRuntime.closed.clear()
        self.loop = asyncio.new_event_loop()
        self.server = StreamingServer(LocalRuntime(), settings)
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()
        try:
            self.run(self.server.start())
        except BaseException:
            self.close()
            raise

    def run(self, work: Coroutine[Any, Any, _R]) -> _R:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    def call(self, function: Callable[[], _R]) -> _R:
        """Call a function in the loop."""

        async def work() -> _R:
            return function()

        return self.run(work())

    def url(self, request: ExecRequest | AttachRequest | ForwardRequest) -> str:
        return self.call(lambda: self.server.url(request))

    def exec(self, *command: str, stdin: bool = False, terminal: bool = False) -> str:
        return self.url(ExecRequest(CONTAINER, stdin, True, not terminal, terminal, command))

    def close(self) -> None:
        self.run(self.server.stop())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    def wait_for_sessions(self) -> None:
        """Wait until every connection is over, and what ran for it."""
        wait_until(lambda: not self.server.connections, what="the last connection to end")
