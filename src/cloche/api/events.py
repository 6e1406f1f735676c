"""Events: what happens, told to whoever listens (containerd.services.events.v1)."""

from __future__ import annotations

import asyncio

from cloche.errors import InvalidArgument
from cloche.spec import filters
from cloche.store import clock
from cloche.wire.messages import event_service as messages
from cloche.wire.messages.google import Any, Empty, Timestamp
from cloche.wire.messages.types import Envelope
from cloche.wire.services.forwarding import FORWARDING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from cloche.api.call import Call
    from cloche.api.host import Host
    from cloche.store.journal import Event


class Events:
    """The service. Its followers see what this process publishes and what others do, in one order."""

    SERVICE = messages.EVENTS

    def __init__(self, host: Host) -> None:
        self._host = host
        self._news = asyncio.Condition()
        self._loop = asyncio.get_running_loop()
        host.published.append(self._announced)

    def _announced(self) -> None:
        self._loop.call_soon_threadsafe(self.wake)

    def wake(self) -> None:
        """The journal has something new. In the event loop only."""
        self._waking = asyncio.ensure_future(self._notify())

    async def _notify(self) -> None:
        async with self._news:
            self._news.notify_all()

    def publish(self, call: Call, request: messages.PublishRequest) -> Empty:
        """A client's own event, in its namespace."""
        self._record(call.namespace, request.topic, request.event, at=0)
        return Empty()

    def forward(self, call: Call, request: messages.ForwardRequest) -> Empty:
        """A shim's event, as it happened there."""
        envelope = request.envelope or Envelope()
        at = envelope.timestamp.ns() if envelope.timestamp else 0
        self._record(envelope.namespace, envelope.topic, envelope.event, at=at)
        return Empty()

    def _record(self, namespace: str, topic: str, event: Any | None, *, at: int) -> None:
        if not topic.startswith("/"):
            raise InvalidArgument(f"event topic {topic!r}: must start with '/'")
        event = event or Any()
        self._host.note((at or clock.now(), namespace, topic, event.type_url, event.value))
        # A shim has no other record of it once it is told that we have it.
        self._host.write_journal()

    async def subscribe(self, call: Call, request: messages.SubscribeRequest) -> AsyncIterator[Envelope]:
        """All events from now on that the filters choose, of every namespace."""
        chosen = filters.parse(request.filters)
        journal = self._host.journal
        last = journal.last()
        while True:
            for event in journal.after(last):
                last = event.number
                if not chosen or chosen.matches(_fields(event)):
                    yield _to_message(event)
            async with self._news:
                if journal.last() == last:
                    await self._news.wait()


class Forwarding:
    """The same for shims, which come over ttrpc (containerd.services.events.ttrpc.v1)."""

    SERVICE = FORWARDING

    def __init__(self, events: Events) -> None:
        self._events = events

    def forward(self, call: Call, request: messages.ForwardRequest) -> Empty:
        """A shim's event."""
        return self._events.forward(call, request)


def _to_message(event: Event) -> Envelope:
    return Envelope(
        timestamp=Timestamp.of(event.at),
        namespace=event.namespace,
        topic=event.topic,
        event=Any(type_url=event.type, value=event.value),
    )


def _fields(event: Event) -> filters.Fields:
    plain = {"namespace": event.namespace, "topic": event.topic}

    def field(path: tuple[str, ...]) -> str | None:
        return plain.get(path[0]) or None if len(path) == 1 else None

    return field
