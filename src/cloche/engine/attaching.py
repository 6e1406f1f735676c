"""Joining a container that another process is the parent of, through its parent's socket."""

from __future__ import annotations

import os
import select

from cloche.engine import lifecycle
from cloche.engine.detaching import DetachKeys
from cloche.engine.terminal import LocalTerminal
from cloche.errors import FailedPrecondition, Unavailable
from cloche.shim import frames
from cloche.shim.attachment import connect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable

    from cloche.engine.context import Context
    from cloche.engine.terminal import Attached
    from cloche.store.containers import Container

_CHUNK = 1 << 16
_STREAMS = {frames.STDOUT: "stdout", frames.STDERR: "stderr"}


def attach(
    context: Context,
    row: Container,
    *,
    stdio: tuple[int, int, int],
    stdin: bool,
    detach_keys: bytes,
    on_start: Callable[[Attached], None] | None,
) -> int | None:
    """See `Container.attach`."""
    from cloche.engine.kept import Kept

    options = Kept.of(row).options
    takes_input = stdin and options.stdin_open
    connection = _Connection(context, row, frames.WANTS_OUTPUT | (frames.WANTS_INPUT if takes_input else 0))
    try:
        steered = _Steered(connection, context, row)
        local = (stdio[0] if takes_input else -1, stdio[1], stdio[2])
        with LocalTerminal(local, steered, tty=options.tty) as terminal:
            if on_start is not None:
                on_start(steered)
            return _Session(connection, terminal, detach_keys if takes_input else b"").run()
    finally:
        connection.close()


class _Connection:
    """The socket of a container's parent; of the next one, where this one is killed and has one.

    Raises FailedPrecondition where there is none.
    """

    def __init__(self, context: Context, row: Container, wants: int) -> None:
        self._directory = context.run_directory(row.id)
        self._wants = wants
        try:
            self._socket = self._connected()
        except Unavailable:
            raise FailedPrecondition(
                f"cannot attach to container {row.name or row.id}: it is not running"
            ) from None

    def _connected(self) -> socket:
        found = connect(self._directory)
        found.sendall(frames.encode(frames.HELLO, bytes((self._wants,))))
        return found

    def fileno(self) -> int:
        """For poll."""
        return self._socket.fileno()

    def receive(self) -> bytes:
        """What comes; empty where this parent has gone, and the next one is connected. Raises Unavailable."""
        try:
            data = self._socket.recv(_CHUNK)
        except ConnectionResetError:
            data = b""
        if not data:
            self._socket.close()
            try:
                self._socket = self._connected()
            except (Unavailable, OSError):
                raise Unavailable("the container's parent went away: its exit code is not known") from None
        return data

    def send(self, data: bytes) -> None:
        """Say something; what a parent that is gone has not heard is lost."""
        try:
            self._socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            # It is noticed where we receive.
            return

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


class _Steered:
    """A container of another process's, signalled through the runtime, resized through its parent."""

    def __init__(self, connection: _Connection, context: Context, row: Container) -> None:
        self._connection = connection
        self._context = context
        self._row = row

    def kill(self, signal: int) -> None:
        """Send a signal; one that has ended does not mind."""
        try:
            lifecycle.kill(self._context, self._row, signal)
        except FailedPrecondition:
            pass

    def resize(self, rows: int, columns: int) -> None:
        """Set the size of its console."""
        self._connection.send(frames.resize(rows, columns))


class _Session:
    """Bytes between this process's streams and the socket, until one side has enough."""

    def __init__(self, connection: _Connection, terminal: LocalTerminal, detach_keys: bytes) -> None:
        self._connection = connection
        self._terminal = terminal
        self._detach_keys = DetachKeys(detach_keys)
        self._decoder = frames.Decoder()
        self._code: int | None = None

    def run(self) -> int | None:
        """The exit code; None after the detach keys. Raises Unavailable where the parent was killed."""
        while self._code is None:
            poll = select.poll()
            poll.register(self._connection.fileno(), select.POLLIN)
            if self._terminal.read_descriptor >= 0:
                poll.register(self._terminal.read_descriptor, select.POLLIN)
            for descriptor, _ in poll.poll():
                if descriptor == self._connection.fileno():
                    self._receive()
                elif self._send():
                    return None
        return self._code

    def _receive(self) -> None:
        data = self._connection.receive()
        if not data:
            self._decoder = frames.Decoder()
        for kind, payload in self._decoder.feed(data):
            if kind in _STREAMS:
                self._terminal.deliver(_STREAMS[kind], payload)
            elif kind == frames.EXIT:
                self._code = int.from_bytes(payload, "big")

    def _send(self) -> bool:
        """Hand on what was typed; true when the detach keys were."""
        try:
            data = os.read(self._terminal.read_descriptor, _CHUNK)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._terminal.read_descriptor = -1
            self._connection.send(frames.encode(frames.EOF))
            return False
        data, detached = self._detach_keys.take(data)
        if data:
            self._connection.send(frames.encode(frames.STDIN, data))
        return detached
