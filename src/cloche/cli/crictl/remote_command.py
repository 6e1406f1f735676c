"""The client of a session: standard streams and a terminal's size, over the channels of remotecommand v4."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from functools import partial

from cloche.cli import detach
from cloche.cli.crictl.upgraded import Credentials, Upgraded
from cloche.cli.output import write_bytes
from cloche.engine.detaching import DetachKeys
from cloche.errors import FailedPrecondition, Unavailable
from cloche.kernel.tty import RawMode, Resizes, window_size
from cloche.spec.document import dumps, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_PROTOCOL = "v4.channel.k8s.io"
_SIZE = 1 << 16


def joined(url: str, credentials: Credentials, *, stdin: bool, terminal: bool) -> int:
    """Join this process's standard streams to what runs there; its exit code once it has ended.

    0 also where the keys that leave it were pressed. Raises Unavailable, and what the server says.
    """
    with Upgraded(url, _PROTOCOL, credentials) as connection:
        return _Session(connection, stdin=stdin, terminal=terminal).run()


class _Session:
    def __init__(self, connection: Upgraded, *, stdin: bool, terminal: bool) -> None:
        self._connection = connection
        self._said = bytearray()
        self._detached = False
        self._typed = DetachKeys(detach.parse(detach.DEFAULT)) if terminal else None
        # In the order in which Kubernetes' client opens them.
        self._error = self._open("error", self._said.extend)
        self._stdin = self._open("stdin", _ignored) if stdin else 0
        self._output = [self._open("stdout", lambda data: write_bytes(data, 1))]
        if not terminal:
            self._output.append(self._open("stderr", lambda data: write_bytes(data, 2)))
        self._resize = self._open("resize", _ignored) if terminal else 0

    def _open(self, kind: str, on_data: Callable[[bytes], None]) -> int:
        return self._connection.open({"streamtype": kind}, on_data)

    def run(self) -> int:
        connection = self._connection
        with ExitStack() as stack:
            watched: dict[int, Callable[[], None]] = {}
            if self._resize:
                stack.enter_context(RawMode(0))
                resizes = stack.enter_context(Resizes())
                watched[resizes.descriptor] = partial(self._resized, resizes)
                self._tell_size()
            if self._stdin:
                watched[0] = self._read_input
            while not (connection.lost or self._detached or self._over()):
                reading = bool(self._stdin) and not connection.crowded
                connection.step({fd: act for fd, act in watched.items() if fd or reading})
        return 0 if self._detached else self._code()

    def _over(self) -> bool:
        return {self._error, *self._output} <= self._connection.ended

    def _read_input(self) -> None:
        data = os.read(0, _SIZE)
        if data and self._typed is not None:
            data, self._detached = self._typed.take(data)
            if not data:
                return
        self._connection.send(self._stdin, data, end=not data)
        if not data:
            self._stdin = 0

    def _resized(self, resizes: Resizes) -> None:
        resizes.take()
        self._tell_size()

    def _tell_size(self) -> None:
        rows, columns = window_size(sys.stdout.fileno() if os.isatty(1) else 0)
        if rows and columns:
            self._connection.send(self._resize, dumps({"Width": columns, "Height": rows}) + b"\n")

    def _code(self) -> int:
        if not self._said:
            if self._error in self._connection.ended:
                return 0
            raise Unavailable("the connection to the container was lost")
        status = loads(bytes(self._said), "the end of the session")
        if status.get("status") == "Success":
            return 0
        for cause in (status.get("details") or {}).get("causes") or ():
            if cause.get("reason") == "ExitCode":
                return int(cause.get("message") or 1)
        raise FailedPrecondition(str(status.get("message") or "the session failed"))


def _ignored(data: bytes) -> None:
    """Nothing comes there."""
