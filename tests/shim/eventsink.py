"""A listener for shims' events, in containerd's place."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

from cloche.wire import ttrpc
from cloche.wire.messages import events
from cloche.wire.messages.types import Envelope
from cloche.wire.protobuf import Message
from tests.waiting import wait_until

_CLASSES = {kind.FULL_NAME: kind for kind in events.TOPICS}


class EventSink:
    """Takes every event that is sent to a socket."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.envelopes: list[Envelope] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen(8)
        self._over = False
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while not self._over:
            peer, _ = self._listener.accept()
            # A shim that ends may hang up before it has read our last answer.
            with peer, suppress(ConnectionResetError):
                self._take_all(peer)

    def _take_all(self, peer: socket.socket) -> None:
        decoder = ttrpc.Decoder()
        while data := peer.recv(65536):
            for frame in decoder.feed(data):
                request = ttrpc.Request.decode(frame.payload)
                envelope = events.ForwardRequest.decode(request.payload).envelope
                assert envelope is not None
                self.envelopes.append(envelope)
                peer.sendall(ttrpc.encode(frame.stream, ttrpc.RESPONSE, ttrpc.Response().encode()))

    @property
    def topics(self) -> list[str]:
        """What was told so far: the last word of each topic."""
        return [envelope.topic.removeprefix("/tasks/") for envelope in self.envelopes]

    def messages(self) -> list[Message]:
        """The events themselves."""
        packed = [envelope.event for envelope in self.envelopes if envelope.event is not None]
        return [_CLASSES[each.type_name].decode(each.value) for each in packed]

    def wait_for(self, *topics: str) -> None:
        """Wait until just these were told, in this order."""
        try:
            wait_until(lambda: self.topics == list(topics))
        except TimeoutError:
            assert self.topics == list(topics)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over = True
        with socket.socket(socket.AF_UNIX) as last:
            last.connect(self.path)
        self._thread.join()
        self._listener.close()
