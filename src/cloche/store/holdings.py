"""Which blobs a namespace has where it may not use every namespace's: containerd's "isolated" sharing policy.

The bytes lie on the disk once, whoever brought them. A namespace has a blob when it noted something on it
(store.blob_labels), which it does when all its bytes have come; and those of namespaces labelled shareable.
"""

from __future__ import annotations

from cloche.store import blob_labels, labels

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.store.metadata import Metadata

SHAREABLE = "containerd.io/namespace.shareable"
"""A namespace's label that says, with the value "true", that all others may use its blobs."""


class Holdings:
    """What one namespace has."""

    def __init__(self, metadata: Metadata, namespace: str) -> None:
        self._metadata = metadata
        self.namespace = namespace

    def has(self, digest: str) -> bool:
        """Whether the namespace may use a blob, if it is on the disk."""
        reader = self._metadata.reader()
        if blob_labels.has(reader, self.namespace, digest):
            return True
        sql = (
            "SELECT namespaces.labels FROM namespaces JOIN blob_labels ON name = namespace"
            " WHERE digest = ? AND namespaces.labels <> ''"
        )
        return any(
            labels.decode(noted).get(SHAREABLE) == "true" for (noted,) in reader.execute(sql, (digest,))
        )

    def add(self, digest: str) -> None:
        """All bytes of a blob came from this namespace: it has it from now on."""
        with self._metadata.write() as tx:
            blob_labels.update(tx, self.namespace, digest, {})
