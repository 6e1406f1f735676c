"""A gRPC call from the client's side, without a socket: what it sends first, and what comes back."""

from __future__ import annotations

from cloche.errors import ClocheError
from cloche.wire import grpc, status
from cloche.wire.http2_events import Data, Headers, Reset
from cloche.wire.http2_frames import CANCEL, ENHANCE_YOUR_CALM, INADEQUATE_SECURITY, REFUSED_STREAM
from cloche.wire.http2_headers import encode
from cloche.wire.status import error_of, status_of
from cloche.wire.ttrpc import Status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cloche.wire.http2_headers import Head

    Metadata = Mapping[str, Sequence[str]]

_OF_HTTP = {
    400: status.INTERNAL,
    401: status.UNAUTHENTICATED,
    403: status.PERMISSION_DENIED,
    404: status.UNIMPLEMENTED,
    **dict.fromkeys((429, 502, 503, 504), status.UNAVAILABLE),
}
_OF_HTTP2 = {
    REFUSED_STREAM: status.UNAVAILABLE,
    CANCEL: status.CANCELLED,
    ENHANCE_YOUR_CALM: status.RESOURCE_EXHAUSTED,
    INADEQUATE_SECURITY: status.PERMISSION_DENIED,
}


def request_block(path: str, metadata: Metadata | None, timeout_s: float | None) -> bytes:
    """The head of a call. path: /SERVICE/METHOD."""
    fields = [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", path.encode()),
        (b":authority", b"localhost"),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
        (b"user-agent", b"grpc-python-cloche"),
    ]
    if timeout_s is not None:
        fields.append((b"grpc-timeout", grpc.write_timeout(timeout_s)))
    return encode(fields + grpc.fields_of(metadata or {}))


class Answer:
    """Collects what a server says to one call.

    messages: whole ones that nobody has taken yet. metadata, trailers: as the server set them.
    status: how it ended; None while it has not.
    """

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.metadata: dict[str, list[str]] = {}
        self.trailers: dict[str, list[str]] = {}
        self.status: Status | None = None
        self._reader: grpc.MessageReader | None = None

    def error(self) -> ClocheError | None:
        """The error that the call ended with; None where it went well or has not ended."""
        if self.status is None or self.status.code == status.OK:
            return None
        return error_of(self.status)

    def take(self, event: Headers | Data | Reset) -> None:
        """What came on the call's stream."""
        if self.status is not None:
            return
        if isinstance(event, Data):
            self._on_data(event)
        elif isinstance(event, Reset):
            code = _OF_HTTP2.get(event.code, status.INTERNAL)
            self.status = Status(code=code, message=f"the stream was reset: {event.reason}")
        elif event.head.pseudo:
            self._on_head(event.head, end=event.end)
        else:
            self._on_trailers(event.head)

    def lose(self, reason: str) -> None:
        """The connection is gone."""
        if self.status is None:
            self.status = Status(code=status.UNAVAILABLE, message=reason)

    def _on_data(self, event: Data) -> None:
        if self._reader is None:
            self.status = Status(code=status.INTERNAL, message="the server sent data before headers")
            return
        try:
            self.messages += self._reader.feed(event.data)
        except ClocheError as error:
            self.status = status_of(error)
        if event.end and self.status is None:
            self.status = Status(code=status.INTERNAL, message="the server ended the call without a status")

    def _on_head(self, head: Head, *, end: bool) -> None:
        code = int(head.pseudo[b":status"])
        fields = dict(head.fields)
        if code != 200 or not fields.get(b"content-type", b"").startswith(b"application/grpc"):
            known = _OF_HTTP.get(code, status.UNKNOWN)
            self.status = Status(code=known, message=f"the server does not speak gRPC: HTTP status {code}")
        elif end:
            self._on_trailers(head)
        else:
            self.metadata = grpc.metadata_of(head)
            self._reader = grpc.MessageReader(fields.get(b"grpc-encoding", b"").decode("ascii", "replace"))

    def _on_trailers(self, head: Head) -> None:
        self.trailers = grpc.metadata_of(head)
        said = grpc.status_from(head)
        if said is None:
            said = Status(code=status.INTERNAL, message="the server ended the call without a status")
        elif said.code == status.OK and self._reader is not None and self._reader.held:
            said = Status(code=status.INTERNAL, message="the server ended the call inside a message")
        self.status = said
