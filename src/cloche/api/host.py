"""What every service works with: the stores, seen from the caller's namespace, and the journal."""

from __future__ import annotations

import logging
from _thread import allocate_lock

from cloche.engine.context import Context
from cloche.errors import ClocheError
from cloche.store import leases
from cloche.store.journal import Happened, Journal, happened
from cloche.store.leases import Resource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cloche.api.call import Call
    from cloche.store.metadata import WriteTransaction
    from cloche.wire.protobuf import Message

_log = logging.getLogger("cloche.events")


class Host:
    """One daemon's stores.

    root, state: as everywhere (engine.context). snapshotter: the default one's name.
    on_garbage: called with the digests that a removed name stood for; the collector follows it.
    background: has a function called soon, in another thread where there are any.
    """

    def __init__(self, root: str, state: str, *, snapshotter: str = "overlayfs") -> None:
        self._context = Context(root, state, "default", snapshotter)
        self._noted: list[Happened] = []
        self._guard = allocate_lock()
        self._writing = allocate_lock()
        self._contexts: dict[str, Context] = {}
        self.journal = Journal(state)
        self.published: list[Callable[[], None]] = []
        self.on_garbage: Callable[[tuple[str, ...]], None] = lambda digests: None
        self.background: Callable[[Callable[[], None]], None] = lambda function: function()

    def check(self) -> None:
        """Have the database looked at as a whole. Raises DataLoss where it is damaged."""
        self._context.metadata.check()

    @property
    def metadata_path(self) -> str:
        """Where meta.db is."""
        return self._context.metadata.path

    def all(self) -> Context:
        """The stores as such, for what is no namespace's."""
        return self._context

    def context(self, call: Call) -> Context:
        """The stores as the caller's namespace has them.

        Raises FailedPrecondition where the caller named none, InvalidArgument for what is no name.
        """
        return self.named(call.namespace)

    def named(self, name: str) -> Context:
        """The stores as a namespace has them. Raises InvalidArgument for what is no name."""
        found = self._contexts.get(name)
        if found is None:
            found = self._contexts[name] = self._context.beside(name)
        return found

    def lease(self, tx: WriteTransaction, call: Call, kind: str, *names: str) -> None:
        """Have the caller's lease, if it named one, keep what it just made."""
        if lease := call.header("containerd-lease"):
            for name in names:
                leases.add(tx, call.namespace, lease, Resource(kind, name))

    def publish(self, namespace: str, topic: str, event: Message) -> None:
        """Note what happened, for everyone who follows. To be called from any thread.

        Whoever asked for it is not to wait for the journal: events of the same moment are written together.
        """
        self.note(happened(namespace, topic, event))

    def note(self, event: Happened) -> None:
        """The same for an event that is put together already."""
        with self._guard:
            self._noted.append(event)
            if len(self._noted) > 1:
                return  # whoever noted the first sees to it
        self.background(self.write_journal)

    def write_journal(self) -> None:
        """Have all that was noted in the journal when this returns, and its followers told."""
        with self._writing:
            with self._guard:
                noted, self._noted = self._noted, []
            if not noted:
                return
            try:
                self.journal.record(noted)
            except ClocheError as error:
                _log.warning("%d events are lost: %s", len(noted), error)
        self.announce()

    def announce(self) -> None:
        """Tell the followers of this process that the journal has something new."""
        for call in self.published:
            call()

    def close(self) -> None:
        """Close the databases, with all events written."""
        self.write_journal()
        self._context.close()
        self.journal.close()
