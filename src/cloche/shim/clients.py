"""Who may be attached to a container: the terminal or pipes of this process, or a socket's peer."""

from __future__ import annotations

import fcntl
import os
import select
from _struct import pack

from cloche.shim import frames

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from typing import Protocol

    class Streams(Protocol):
        """What a client does something to. console: a pty's master, or -1."""

        console: int

        def feed(self, data: bytes) -> None:
            """Input for the container."""

        def feed_end(self) -> None:
            """There is no more of it."""

        def let_go(self) -> None:
            """Somebody takes the output that was held back."""


_CHUNK = 1 << 16
_BUFFER_LIMIT = 1 << 20
_TIOCSWINSZ = 0x5414


def set_window_size(console: int, rows: int, columns: int) -> None:
    """Tell the programs on a pty how large it is, in characters."""
    fcntl.ioctl(console, _TIOCSWINSZ, pack("HHHH", rows, columns, 0, 0))


class LocalClient:
    """This process's own stdin, stdout and stderr. Writes wait, so it is never `blocked`."""

    write_descriptor = -1
    ends_run = False

    def __init__(self, stdin: int, stdout: int, stderr: int) -> None:
        """stdin: -1 where the container is to get none. Descriptors are borrowed."""
        self.read_descriptor = stdin
        self._outputs = {"stdout": stdout, "stderr": stderr}

    def deliver(self, stream: str, data: bytes) -> None:
        """Write all of it; a reader that went away loses the rest."""
        descriptor = self._outputs[stream]
        while data and descriptor >= 0:
            try:
                data = data[os.write(descriptor, data) :]
            except BlockingIOError:
                poll = select.poll()
                poll.register(descriptor, select.POLLOUT)
                poll.poll()
            except OSError:
                self._outputs[stream] = descriptor = -1

    def refuses(self, stream: str) -> bool:
        """Whether its reader went away."""
        return self._outputs[stream] < 0

    def blocked(self) -> bool:
        """Never."""
        return False

    def pending(self) -> bool:
        """Never."""
        return False

    def readable(self, streams: Streams) -> None:
        """Hand on what was typed or piped in."""
        try:
            data = os.read(self.read_descriptor, _CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            streams.feed(data)
        else:
            self.read_descriptor = -1
            streams.feed_end()

    def writable(self) -> None:
        """Not used."""

    def gone(self) -> bool:
        """Stays to the end."""
        return False

    def finish(self) -> None:
        """Owns nothing."""


class SocketClient:
    """The peer of an accepted connection, speaking `cloche.shim.frames`. Owns the socket."""

    ends_run = False

    def __init__(self, connection: socket, *, input_ends: bool) -> None:
        """input_ends: whether its end of input is the container's."""
        connection.setblocking(False)
        self._connection = connection
        self._decoder = frames.Decoder()
        self._out = bytearray()
        self._wants = 0
        self._lost = False
        self._input_ends = input_ends
        self.read_descriptor = self.write_descriptor = connection.fileno()

    def deliver(self, stream: str, data: bytes) -> None:
        """Queue a frame."""
        if self._wants & frames.WANTS_OUTPUT:
            self._queue(frames.encode(frames.STDOUT if stream == "stdout" else frames.STDERR, data))
        elif self._wants & frames.WANTS_NEWS and not self._out:
            self._queue(frames.encode(frames.STDOUT))

    def refuses(self, stream: str) -> bool:
        """Never: others may attach later."""
        return False

    def tell_exit(self, code: int) -> None:
        """Queue the exit code, as the last frame."""
        self._queue(frames.encode(frames.EXIT, code.to_bytes(4, "big")))

    def exited(self, code: int) -> None:
        """Tell it the exit code, as the last frame, and wait until it is sent."""
        self.tell_exit(code)
        self._connection.settimeout(1.0)
        try:
            if self._out:
                self._connection.sendall(self._out)
        except OSError:
            self._lost = True

    def _queue(self, data: bytes) -> None:
        self._out += data
        self.writable()

    def behind(self) -> int:
        """How many bytes it has not taken yet."""
        return len(self._out)

    def blocked(self) -> bool:
        """Whether it is a mebibyte behind."""
        return not self._lost and len(self._out) > _BUFFER_LIMIT

    def pending(self) -> bool:
        """Whether frames are queued for it."""
        return bool(self._out)

    def readable(self, streams: Streams) -> None:
        """Do what its frames say; nonsense ends the connection."""
        try:
            data = self._connection.recv(_CHUNK)
            received = self._decoder.feed(data)
        except BlockingIOError:
            return
        except (OSError, ValueError):
            data, received = b"", []
        if not data:
            self._lost = True
        for kind, payload in received:
            self._obey(kind, payload, streams)

    def _obey(self, kind: int, payload: bytes, streams: Streams) -> None:
        if kind == frames.HELLO and len(payload) == 1:
            self._wants = payload[0]
            if self._wants & frames.WANTS_OUTPUT:
                streams.let_go()
        elif kind == frames.STDIN and self._wants & frames.WANTS_INPUT:
            streams.feed(payload)
        elif kind == frames.EOF and self._wants & frames.WANTS_INPUT:
            if self._input_ends:
                streams.feed_end()
        elif kind == frames.RESIZE and len(payload) == 4 and streams.console >= 0:
            size = int.from_bytes(payload[:2], "big"), int.from_bytes(payload[2:], "big")
            set_window_size(streams.console, *size)

    def writable(self) -> None:
        """Send what is queued, as far as it goes."""
        try:
            while self._out:
                del self._out[: self._connection.send(self._out)]
        except BlockingIOError:
            return
        except OSError:
            self._lost = True
            self._out.clear()

    def gone(self) -> bool:
        """Whether the peer has closed its end."""
        return self._lost

    def finish(self) -> None:
        """Close the connection."""
        self._connection.close()
