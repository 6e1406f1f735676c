"""The journal of events: what happened, in one order, whichever process did it.

Events mean nothing after a reboot, so they lie in the state directory and no write waits for the
disk. Who follows the journal asks for what came after the last number it saw, and looks again when
the database's log changes (`log_path`), since other processes write to it as well.
"""

from __future__ import annotations

from cloche.spec.record import Record
from cloche.store import clock
from cloche.store.metadata import Metadata
from cloche.store.schema import RUN_MIGRATIONS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from cloche.wire.protobuf import Message

KEPT_EVENTS = 10_000
KEPT_NS = 24 * clock.HOUR
_PRUNE_EVERY = 500


class Event(Record):
    """One event. number: its place in the order; at: ns since 1970; value: a message, encoded."""

    number: int
    at: int
    namespace: str
    topic: str
    type: str
    value: bytes


Happened = tuple[int, str, str, str, bytes]
"""An event on its way into the journal: what an Event has, but for its number."""


def happened(namespace: str, topic: str, message: Message) -> Happened:
    """An event of this moment."""
    return clock.now(), namespace, topic, message.FULL_NAME, message.encode()


class Journal:
    """The events of one state directory; safe from any thread."""

    def __init__(self, state: str) -> None:
        """state: the directory, made on first use."""
        self._database = Metadata(f"{state}/run.db", migrations=RUN_MIGRATIONS)

    @property
    def log_path(self) -> str:
        """A file that changes with every event."""
        return self._database.path + "-wal"

    def publish(self, namespace: str, topic: str, message: Message) -> None:
        """Note that something happens now."""
        self.record([happened(namespace, topic, message)])

    def record(self, events: Iterable[Happened]) -> None:
        """Note events, in their order."""
        with self._database.write(durable=False) as tx:
            for event in events:
                number = tx.insert(
                    "INSERT INTO events (at, namespace, topic, type, value) VALUES (?, ?, ?, ?, ?)", event
                )
                if number % _PRUNE_EVERY == 0:
                    oldest = (number - KEPT_EVENTS, clock.now() - KEPT_NS)
                    tx.change("DELETE FROM events WHERE id <= ? OR at < ?", oldest)

    def last(self) -> int:
        """The number of the newest event; 0 before the first."""
        with self._database.read() as tx:
            row = tx.first("SELECT seq FROM sqlite_sequence WHERE name = 'events'")
        return 0 if row is None else int(row[0])

    def after(self, number: int, *, limit: int = 1000) -> tuple[Event, ...]:
        """The events that came after one, oldest first; those that were pruned meanwhile are gone."""
        with self._database.read() as tx:
            sql = "SELECT id, at, namespace, topic, type, value FROM events WHERE id > ? ORDER BY id LIMIT ?"
            return tuple(Event(*row) for row in tx.execute(sql, (number, limit)))

    def since(self, at: int) -> int:
        """The number after which the events since a moment (ns since 1970) come."""
        with self._database.read() as tx:
            row = tx.first("SELECT min(id) FROM events WHERE at >= ?", (at,))
        return self.last() if row is None or row[0] is None else int(row[0]) - 1

    def close(self) -> None:
        """Close this process's connections."""
        self._database.close()
