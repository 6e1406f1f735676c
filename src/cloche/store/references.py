"""What refers to what: the graph that the collector walks.

images ──▶ content ──▶ content          a manifest's config and layers, an index's manifests
   └─ resolutions ──▶ snapshots          the unpacked layers of an image
containers ──▶ snapshots ──▶ parents
leases ──▶ anything they name
any label containerd.io/gc.ref.* ──▶ what it names; containerd.io/gc.bref.*: the other way round
"""

from __future__ import annotations

from cloche.errors import ClocheError, DataLoss, InvalidArgument, NotFound
from cloche.spec import digest as digests
from cloche.spec import document
from cloche.store import labels as label_column
from cloche.store.leases import FLAT_LABEL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

    from cloche.store.content import ContentStore
    from cloche.store.metadata import Transaction

    Node = tuple[str, ...]
    """("content", digest) or ("snapshot", namespace, snapshotter, key) or ("image", namespace, name)
    or ("container", namespace, id)."""

ROOT_LABEL = "containerd.io/gc.root"
_FORWARD = "containerd.io/gc.ref."
_BACKWARD = "containerd.io/gc.bref."
_DOCUMENT_LIMIT_BYTES = 4 << 20
_KINDS = ("content", "snapshot", "image", "container")


class Documents:
    """The digests that manifests and indexes name, by digest; a blob never changes, so each is read once."""

    def __init__(self, content: ContentStore) -> None:
        self._content = content
        self._children: dict[str, tuple[str, ...]] = {}

    def children(self, digest: str) -> tuple[str, ...]:
        """What the blob refers to; nothing when it is no manifest or index, or not here."""
        found = self._children.get(digest)
        if found is None:
            found = self._children[digest] = tuple(self._read(digest))
        return found

    def _read(self, digest: str) -> Iterator[str]:
        # Of content elsewhere that does not answer nothing is known: whoever collects must not go on.
        try:
            data = self._content.document(digest, _DOCUMENT_LIMIT_BYTES)
            parsed = document.loads(data, digest) if data is not None else None
        except (NotFound, InvalidArgument, DataLoss):
            return
        yield from _digests_in(parsed)


def _digests_in(parsed: Any) -> Iterator[str]:
    if not isinstance(parsed, dict):
        return
    descriptors: list[Any] = [parsed.get("config")]
    for key in ("manifests", "layers", "blobs"):
        more = parsed.get(key)
        descriptors += more if isinstance(more, list) else []
    for descriptor in descriptors:
        digest = descriptor.get("digest") if isinstance(descriptor, dict) else None
        if isinstance(digest, str):
            try:
                yield digests.validate(digest)
            except ClocheError:
                continue


class Graph:
    """All references at the moment of a transaction."""

    def __init__(self, tx: Transaction, documents: Documents) -> None:
        self._documents = documents
        self._edges: dict[Node, list[Node]] = {}
        self.roots: list[Node] = []
        self.kept_alone: set[Node] = set()
        """Kept by leases that do not want what these refer to."""
        self._snapshotters = [row[0] for row in tx.execute("SELECT DISTINCT snapshotter FROM snapshots")]
        self._images(tx)
        self._containers(tx)
        self._snapshots(tx)
        self._content_labels(tx)
        self._leases(tx)

    def reachable(self, starts: Iterable[Node]) -> set[Node]:
        """These nodes and all they refer to, however far."""
        seen: set[Node] = set()
        left = list(starts)
        while left:
            node = left.pop()
            if node in seen:
                continue
            seen.add(node)
            left += self._edges.get(node, ())
            if node[0] == "content":
                left += (("content", child) for child in self._documents.children(node[1]))
        return seen

    def _add(self, node: Node, *targets: Node) -> None:
        self._edges.setdefault(node, []).extend(targets)

    def _images(self, tx: Transaction) -> None:
        chains: dict[str, list[str]] = {}
        for digest, chain_id in tx.execute("SELECT digest, chain_id FROM resolutions"):
            chains.setdefault(digest, []).append(chain_id)
        for namespace, name, digest, labels in tx.execute(
            "SELECT namespace, name, digest, labels FROM images"
        ):
            image = ("image", namespace, name)
            self.roots.append(image)
            self._add(image, ("content", digest))
            for chain_id in chains.get(digest, ()):
                self._add(image, *(("snapshot", namespace, each, chain_id) for each in self._snapshotters))
            self._labels(image, namespace, labels)

    def _containers(self, tx: Transaction) -> None:
        sql = "SELECT namespace, id, snapshotter, snapshot_key, labels FROM containers"
        for namespace, container_id, snapshotter, key, labels in tx.execute(sql):
            container = ("container", namespace, container_id)
            self.roots.append(container)
            self._add(container, ("snapshot", namespace, snapshotter, key))
            self._labels(container, namespace, labels)

    def _snapshots(self, tx: Transaction) -> None:
        sql = (
            "SELECT own.namespace, own.snapshotter, own.key, parent.key, own.labels FROM snapshots AS own"
            " LEFT JOIN snapshots AS parent ON own.parent = parent.id"
        )
        for namespace, snapshotter, key, parent, labels in tx.execute(sql):
            snapshot = ("snapshot", namespace, snapshotter, key)
            if parent is not None:
                self._add(snapshot, ("snapshot", namespace, snapshotter, parent))
            self._labels(snapshot, namespace, labels)

    def _content_labels(self, tx: Transaction) -> None:
        for namespace, digest, labels in tx.execute("SELECT namespace, digest, labels FROM blob_labels"):
            self._labels(("content", digest), namespace, labels)

    def _leases(self, tx: Transaction) -> None:
        flat = {
            (namespace, lease)
            for namespace, lease, labels in tx.execute("SELECT namespace, id, labels FROM leases")
            if FLAT_LABEL in label_column.decode(labels)
        }
        for namespace, lease, kind, resource in tx.execute("SELECT * FROM lease_resources"):
            node = _leased(namespace, kind, resource)
            if node is None:
                continue
            if (namespace, lease) in flat and node[0] == "content":
                self.kept_alone.add(node)
            else:
                self.roots.append(node)

    def _labels(self, node: Node, namespace: str, text: str) -> None:
        if not text:
            return
        labels = label_column.decode(text)
        if ROOT_LABEL in labels:
            self.roots.append(node)
        for other in _named(labels, _FORWARD, namespace):
            self._add(node, other)
        for other in _named(labels, _BACKWARD, namespace):
            self._add(other, node)


def _named(labels: Mapping[str, str], prefix: str, namespace: str) -> Iterator[Node]:
    """The nodes that reference labels name: PREFIX content[.X], image[.X], snapshot.<snapshotter>[/X]."""
    for label, value in labels.items():
        if not label.startswith(prefix):
            continue
        kind, _, rest = label[len(prefix) :].replace("/", ".", 1).partition(".")
        if kind == "content":
            yield ("content", value)
        elif kind == "snapshot":
            yield ("snapshot", namespace, rest.partition(".")[0], value)
        elif kind in _KINDS:
            yield (kind, namespace, value)


def _leased(namespace: str, kind: str, resource: str) -> Node | None:
    kind, _, snapshotter = kind.partition("/")
    if kind == "content":
        return ("content", resource)
    if kind == "snapshots":
        return ("snapshot", namespace, snapshotter, resource)
    if kind == "images":
        return ("image", namespace, resource)
    return None
