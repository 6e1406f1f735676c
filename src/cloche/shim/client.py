"""A ttrpc client that waits: for `delete`, for tools, and for whoever starts a shim."""

from __future__ import annotations

import time
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_STREAM
from _socket import socket as _socket

from cloche.errors import DeadlineExceeded, Unavailable
from cloche.wire import ttrpc
from cloche.wire.protobuf import DecodeError
from cloche.wire.status import error_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Self

    from cloche.wire.protobuf import Message
    from cloche.wire.service import Service

_RECEIVE_BYTES = 1 << 16
_NS = 1_000_000_000


class Client:
    """A connection; one call at a time. A context manager that closes it."""

    def __init__(self, path: str, *, timeout_s: float = 5.0) -> None:
        """path: the socket's. timeout_s: for the connection. Raises Unavailable."""
        self._socket = _socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
        self._socket.settimeout(timeout_s)
        self._decoder = ttrpc.Decoder()
        self._received: dict[int, ttrpc.Response] = {}
        self._stream = -1
        try:
            self._socket.connect(path)
        except OSError as error:
            self._socket.close()
            raise Unavailable(f"{path}: {error.strerror or error}: nobody serves there") from None

    def call(self, service: Service, method: str, request: Message, *, timeout_s: float = 0) -> Any:
        """Call and wait for the answer, a message of the method's response.

        timeout_s: 0 for none. Raises what the other side refused with, DeadlineExceeded, and
        Unavailable where the connection is lost.
        """
        return self.finish(
            service, method, self.begin(service, method, request, timeout_s=timeout_s), timeout_s
        )

    def begin(self, service: Service, method: str, request: Message, *, timeout_s: float = 0) -> int:
        """Send a call; returns its stream, for `finish`."""
        self._stream += 2
        words = ttrpc.Request(
            service=service.full_name,
            method=method,
            payload=request.encode(),
            timeout_nano=int(timeout_s * _NS),
        )
        data = ttrpc.encode(self._stream, ttrpc.REQUEST, words.encode(), flags=ttrpc.REMOTE_CLOSED)
        self._socket.settimeout(timeout_s or None)
        try:
            self._socket.sendall(data)
        except TimeoutError:
            raise DeadlineExceeded(f"{method}: the other side does not read") from None
        except OSError:
            raise Unavailable(f"{method}: the connection is lost") from None
        return self._stream

    def finish(self, service: Service, method: str, stream: int, timeout_s: float = 0) -> Any:
        """Wait for the answer to a call that was begun."""
        deadline = time.monotonic() + timeout_s if timeout_s else None
        while stream not in self._received:
            self._receive(method, deadline)
        response = self._received.pop(stream)
        if response.status is not None and response.status.code:
            raise error_of(response.status)
        return service.methods[method].response.decode(response.payload)

    def _receive(self, method: str, deadline: float | None) -> None:
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            raise DeadlineExceeded(f"{method}: no answer in time")
        self._socket.settimeout(left)
        try:
            data = self._socket.recv(_RECEIVE_BYTES)
            if not data:
                raise Unavailable(f"{method}: the other side has closed the connection")
            for frame in self._decoder.feed(data):
                if frame.kind == ttrpc.RESPONSE:
                    self._received[frame.stream] = ttrpc.Response.decode(frame.payload)
        except TimeoutError:
            raise DeadlineExceeded(f"{method}: no answer in time") from None
        except (OSError, ttrpc.ProtocolError, DecodeError):
            raise Unavailable(f"{method}: the connection is lost") from None

    def close(self) -> None:
        """Close the connection; calls under way get no answer."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
