"""A plugin of NRI in Python, on a thread: it notes what it is told and answers what the test says."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from cloche.errors import ClocheError
from cloche.wire import nri_mux, ttrpc
from cloche.wire.messages.nri import plugin as messages
from cloche.wire.messages.nri.values import Empty
from cloche.wire.protobuf import Message
from cloche.wire.services.nri import PLUGIN, RUNTIME
from cloche.wire.status import error_of, status_of
from tests.waiting import wait_until

_VALIDATION = 1 << messages.EVENTS["ValidateContainerAdjustment"] - 1

Answer = Callable[[Any], Message | None]


class Plugin:
    """A connection to a runtime. A context manager that hangs up.

    events: what it asks to be told of; 0 for all but validation, which it asks for where it has an answer.
    answers: functions that take the request, by the call's name; one that returns None does not answer.
    """

    def __init__(
        self,
        connection: socket.socket | str,
        index: str = "10",
        name: str = "test",
        *,
        events: int = 0,
        **answers: Answer,
    ) -> None:
        if isinstance(connection, str):
            path, connection = connection, socket.socket(socket.AF_UNIX)
            connection.connect(path)
        if "ValidateContainerAdjustment" not in answers:
            events = events or messages.ALL_EVENTS & ~_VALIDATION
        self.told: list[tuple[str, Any]] = []
        self.gone = threading.Event()
        self.answers: dict[str, Answer] = {
            "Configure": lambda _: messages.ConfigureResponse(events=events),
            "Synchronize": lambda request: messages.SynchronizeResponse(more=request.more),
            **answers,
        }
        self._socket = connection
        self._next = 1
        self._responses: dict[int, ttrpc.Response] = {}
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        request = messages.RegisterPluginRequest(plugin_name=name, plugin_idx=index)
        try:
            self.call("RegisterPlugin", request)
        except BaseException:
            self.close()
            raise

    def synchronized(self) -> Self:
        """Wait until it has been told of all that there is, and is one of those that are asked."""
        wait_until(lambda: "Synchronize" in self.heard or self.gone.is_set())
        return self

    @property
    def heard(self) -> list[str]:
        """The names of the calls so far."""
        return [name for name, _ in self.told]

    @property
    def happened(self) -> list[str]:
        """Those of them that are about pods and containers."""
        return [name for name in self.heard if name not in ("Configure", "Synchronize", "Shutdown")]

    def call(self, name: str, request: Message) -> Any:
        """Call the runtime; raises the error that it answers."""
        number, self._next = self._next, self._next + 2
        words = ttrpc.Request(service=RUNTIME.full_name, method=name, payload=request.encode())
        self._send(nri_mux.RUNTIME, ttrpc.encode(number, ttrpc.REQUEST, words.encode()))
        wait_until(lambda: number in self._responses or self.gone.is_set())
        if number not in self._responses:
            raise ConnectionError("the runtime has hung up")
        response = self._responses[number]
        if response.status is not None and response.status.code:
            raise error_of(response.status)
        return RUNTIME.methods[name].response.decode(response.payload)

    def send_raw(self, data: bytes) -> None:
        """Send something that is no frame."""
        self._socket.sendall(data)

    def close(self) -> None:
        """Hang up."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self._socket.close()

    def __enter__(self) -> Self:
        return self.synchronized()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _send(self, connection: int, frame: bytes) -> None:
        self._socket.sendall(nri_mux.encode(connection, frame))

    def _read(self) -> None:
        mux = nri_mux.Decoder()
        inside = {nri_mux.PLUGIN: ttrpc.Decoder(), nri_mux.RUNTIME: ttrpc.Decoder()}
        while data := self._receive():
            for connection, payload in mux.feed(data):
                for frame in inside[connection].feed(payload):
                    if connection == nri_mux.RUNTIME:
                        self._responses[frame.stream] = ttrpc.Response.decode(frame.payload)
                    else:
                        self._answer(frame)
        self.gone.set()

    def _receive(self) -> bytes:
        try:
            return self._socket.recv(1 << 16)
        except OSError:
            return b""

    def _answer(self, frame: ttrpc.Frame) -> None:
        asked = ttrpc.Request.decode(frame.payload)
        method = PLUGIN.methods[asked.method]
        request = method.request.decode(asked.payload)
        self.told.append((method.name, request))
        answer = self.answers.get(method.name, lambda _: method.response())
        try:
            found = answer(request)
            response = ttrpc.Response(payload=found.encode()) if found is not None else None
        except ClocheError as error:
            response = ttrpc.Response(status=status_of(error))
        if response is not None:
            self._send(nri_mux.PLUGIN, ttrpc.encode(frame.stream, ttrpc.RESPONSE, response.encode()))


def nothing(_: Any) -> Message:
    """An answer that says nothing."""
    return Empty()
