"""A daemon that speaks containerd's API, as a command asks it: one call after the other."""

from __future__ import annotations

from time import monotonic

from cloche.daemon.blocking_client import BlockingChannel
from cloche.errors import NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Self

    from cloche.daemon.blocking_client import BlockingCall
    from cloche.wire.protobuf import Message
    from cloche.wire.service import Service

_CONNECT_S = 10.0


class Daemon:
    """A connection, and the namespace to work in.

    timeout_s: how long all calls together may take; None for as long as they take.
    lease: what is made while it is set is kept for it.
    """

    def __init__(
        self,
        address: str,
        namespace: str,
        *,
        timeout_s: float | None = None,
        connect_timeout_s: float = _CONNECT_S,
    ) -> None:
        """address: path of a unix socket, with or without `unix://`. Raises Unavailable."""
        self.address = address
        self.namespace = namespace
        self.lease = ""
        self._deadline = None if timeout_s is None else monotonic() + timeout_s
        self._connect_timeout_s = connect_timeout_s
        self._channel = BlockingChannel(
            address.removeprefix("unix://"), timeout_s=connect_timeout_s or _CONNECT_S
        )

    def another(self) -> Self:
        """A connection of its own to the same daemon, for another thread."""
        made = type(self)(
            self.address,
            self.namespace,
            timeout_s=self._left_s(),
            connect_timeout_s=self._connect_timeout_s,
        )
        made.lease = self.lease
        return made

    def ask(self, service: Service, name: str, request: Message) -> Any:
        """Make a call with one answer. Raises the error that the daemon answers."""
        return self._channel.unary(
            service, name, request, metadata=self._metadata(), timeout_s=self._left_s()
        )

    def find(self, service: Service, name: str, request: Message) -> Any | None:
        """The same, for what may not be there: None then."""
        try:
            return self.ask(service, name, request)
        except NotFound:
            return None

    def open(self, service: Service, name: str) -> BlockingCall:
        """Begin a call of any kind; leaving its `with` cancels what is left of it."""
        return self._channel.call(service, name, metadata=self._metadata(), timeout_s=self._left_s())

    def stream(self, service: Service, name: str, request: Message) -> Iterator[Any]:
        """The answers of a call that has many."""
        with self.open(service, name) as call:
            call.send(request, end=True)
            yield from call

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def _left_s(self) -> float | None:
        return None if self._deadline is None else max(self._deadline - monotonic(), 0.001)

    def _metadata(self) -> dict[str, tuple[str, ...]]:
        metadata: dict[str, tuple[str, ...]] = {"containerd-namespace": (self.namespace,)}
        if self.lease:
            metadata["containerd-lease"] = (self.lease,)
        return metadata
