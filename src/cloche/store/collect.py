"""The collector: what nothing refers to goes, and nothing else.

Mark: from images, containers, leases and gc.root labels along every reference (store.references).
Sweep: what was not reached and is older than the grace: rows in one write transaction, in which
no other process changes anything; a blob's file by a rename into the trash inside it, under the
content lock, so that none is taken from an ingest that has just put it; a snapshot's directory
after it. A crash on the way leaves rows without anything lost, or files that the next
collection finds again.

Leases that are over go first, in a transaction of their own: were they undone by a crash together
with the sweep, blobs that they keep would be in the trash.
"""

from __future__ import annotations

from cloche.errors import NotFound, Unavailable
from cloche.spec.record import Record
from cloche.store import clock, containers, faults, leases
from cloche.store.references import Documents, Graph
from cloche.store.snapshots.open import of_root, snapshotter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from cloche.store.content import ContentStore, Info
    from cloche.store.leases import Lease
    from cloche.store.metadata import Metadata, Transaction, WriteTransaction
    from cloche.store.references import Node

GRACE_NS = 24 * clock.HOUR


class Collected(Record):
    """What a collection removed. snapshots: (namespace, snapshotter, key); content: digests."""

    leases: tuple[str, ...]
    snapshots: tuple[tuple[str, str, str], ...]
    content: tuple[str, ...]
    ingests: tuple[str, ...]
    freed_bytes: int
    """Of content; what snapshots took is not counted."""


class Store:
    """The parts of one durable root that are collected together."""

    def __init__(self, root: str, metadata: Metadata, content: ContentStore) -> None:
        self.root = root
        self.metadata = metadata
        self.content = content.seen_by(None)
        self.leases = leases_directory(root)


def leases_directory(root: str) -> str:
    """Where the liveness files of the owners of leases are."""
    return f"{root}/leases"


def orphans(tx: Transaction, root: str) -> tuple[containers.Container, ...]:
    """Containers whose run lease is over: their process died before it could remove them.

    What of them still runs or is mounted is not known here: the engine ends that, removes the
    container, and the next collection ends the lease.
    """
    found: list[containers.Container] = []
    for lease in leases.over(tx, leases_directory(root)):
        found += containers.owned(tx, lease.namespace, lease.id)
    return tuple(found)


def released_now(*digests: str) -> dict[str, int]:
    """What `collect` is told of digests whose last name has just gone."""
    return dict.fromkeys(digests, clock.now())


def collect(
    store: Store, *, released: Mapping[str, int] | None = None, grace_ns: int = GRACE_NS
) -> Collected:
    """Remove all that nothing refers to, and finish what crashes left half removed.

    released: digests of image targets that a user has removed, and when (ns since 1970); what only
    they referred to goes without the grace, unless it was put or wanted since: somebody may be
    bringing the image again. grace_ns: what was put or wanted more recently stays.
    """
    over = _end_leases(store)
    documents = Documents(store.content)
    blobs = tuple(store.content.walk())
    for blob in blobs:
        documents.children(blob.digest)  # read now what must not be read inside the transaction
    with store.metadata.write() as tx:
        graph = Graph(tx, documents)
        sweep = _Sweep(store, tx, graph, clock.now() - grace_ns, released or {})
        snapshots = sweep.snapshots()
        content = sweep.content(blobs)
        sweep.rows(blobs, content)
        held = _leased_ingests(tx)
    for each in of_root(store.root):
        each.purge()
    store.content.purge()
    return Collected(
        leases=over,
        snapshots=snapshots,
        content=tuple(blob.digest for blob in content),
        ingests=tuple(store.content.forget_ingests(clock.now() - grace_ns, held)),
        freed_bytes=sum(blob.size for blob in content),
    )


def _end_leases(store: Store) -> tuple[str, ...]:
    with store.metadata.write() as tx:
        over = [lease for lease in leases.over(tx, store.leases) if not _has_containers(tx, lease)]
        for lease in over:
            leases.delete(tx, lease.namespace, lease.id)
        named = frozenset(lease.owner for lease in leases.list(tx))
        for each in of_root(store.root):
            each.cleanup(tx)
    leases.sweep_owners(store.leases, named)
    faults.point("collect.leases")
    return tuple(lease.id for lease in over)


def _has_containers(tx: Transaction, lease: Lease) -> bool:
    return bool(containers.owned(tx, lease.namespace, lease.id))


def _leased_ingests(tx: Transaction) -> frozenset[str]:
    return frozenset(
        row[0] for row in tx.execute("SELECT resource FROM lease_resources WHERE kind = 'ingests'")
    )


class _Sweep:
    def __init__(
        self, store: Store, tx: WriteTransaction, graph: Graph, before: int, released: Mapping[str, int]
    ) -> None:
        self._store = store
        self._tx = tx
        self._before = before
        self._released_at = self._only_of(graph, released)
        self._snapshots = tx.execute(
            "SELECT namespace, snapshotter, key, updated_at FROM snapshots ORDER BY id DESC"
        )
        young = [
            ("snapshot", *row[:3])
            for row in self._snapshots
            if not self._may_go(("snapshot", *row[:3]), row[3])
        ]
        self._marked = graph.reachable((*graph.roots, *young)) | graph.kept_alone

    def _only_of(self, graph: Graph, released: Mapping[str, int]) -> dict[Node, int]:
        sql = (
            "SELECT namespace, snapshotter, key FROM snapshots"
            " JOIN resolutions ON key = chain_id WHERE digest = ?"
        )
        found: dict[Node, int] = {}
        for digest, at in released.items():
            snapshots: list[Node] = [("snapshot", *row) for row in self._tx.execute(sql, (digest,))]
            for node in graph.reachable((("content", digest), *snapshots)):
                found[node] = max(at, found.get(node, 0))
        return found

    def _may_go(self, node: Node, used_at: int) -> bool:
        return used_at < max(self._before, self._released_at.get(node, 0))

    def snapshots(self) -> tuple[tuple[str, str, str], ...]:
        """Remove the rows of unmarked snapshots, children first, and have their directories follow."""
        gone = []
        for namespace, name, key, _ in self._snapshots:
            if ("snapshot", namespace, name, key) in self._marked:
                continue
            try:
                snapshotter(name, self._store.root, namespace).remove(self._tx, key)
            except (NotFound, Unavailable):  # of a snapshotter that is not installed, or does not work
                continue
            gone.append((namespace, name, key))
        return tuple(gone)

    def content(self, blobs: tuple[Info, ...]) -> tuple[Info, ...]:
        """Take the unmarked blobs away."""
        store = self._store.content
        unmarked = [blob for blob in blobs if ("content", blob.digest) not in self._marked]
        old = [blob for blob in unmarked if self._is_old(blob)]
        if not old:
            return ()
        with store.locked(exclusive=True):
            gone = [blob for blob in old if store.take_away(self._tx, blob.digest, self._is_old)]
        faults.point("collect.content")
        return tuple(gone)

    def _is_old(self, blob: Info) -> bool:
        return self._may_go(("content", blob.digest), blob.used_at)

    def rows(self, blobs: tuple[Info, ...], gone: tuple[Info, ...]) -> None:
        """Remove what was noted on blobs that are gone. blobs: all that were there."""
        here = {blob.digest for blob in blobs} - {blob.digest for blob in gone}
        for blob in gone:
            self._tx.change("DELETE FROM blob_labels WHERE digest = ?", (blob.digest,))
        for (digest,) in self._tx.execute("SELECT DISTINCT digest FROM resolutions"):
            if ("content", digest) not in self._marked and digest not in here:
                self._tx.change("DELETE FROM resolutions WHERE digest = ?", (digest,))
