"""A new metadata database in the place of a damaged one.

1  rows that can still be read            store for store, as they were
2  images                                 from manifests among the blobs that no name leads to
3  containers                             from the bundles of their shims
4  snapshots without a row                their directories go to damaged-TIME, undeleted: they may
                                          have a container's files, and a running one still uses them

The new one is made beside the old one and takes its place by one rename.
"""

from __future__ import annotations

import os
from fcntl import LOCK_EX, flock

from cloche.engine.check import salvage
from cloche.engine.check.finding import Finding
from cloche.engine.check.names import nameless
from cloche.engine.check.rows import reachable
from cloche.errors import ClocheError
from cloche.store import blob_labels, clock, containers, images
from cloche.store.metadata import Metadata
from cloche.store.references import Documents
from cloche.store.snapshots.open import NAMES
from cloche.store.snapshots.rows import VIEW
from cloche.store.sqlite import connect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from cloche.engine.context import Context
    from cloche.store.metadata import Row, WriteTransaction


class Rebuild:
    """One rebuilding of a root's database, while nobody has it open."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._path = context.metadata.path
        self._aside = f"{self._path}.damaged-{clock.now() // clock.SECOND}"
        self._lost = f"{context.root}/damaged-{clock.now() // clock.SECOND}"

    def run(self) -> list[Finding]:
        """Do it; returns what was kept, found again and lost. Raises OSError, ResourceExhausted."""
        lock = os.open(self._path + "-lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            flock(lock, LOCK_EX)  # nobody else opens it meanwhile
            told = self._make()
            self._swap()
        finally:
            os.close(lock)
        return told

    def _make(self) -> list[Finding]:
        path = f"{self._path}.new"
        _remove_files(path)
        metadata = Metadata(path)
        try:
            with metadata.write() as tx:
                kept = self._salvage(tx, path)
                told = [_told("database", self._path, f"kept {kept}; it was moved to {self._aside}")]
                told += self._images(tx)
                self._notes(tx)
                told += self._containers(tx)
                told += self._directories(tx)
            metadata.checkpoint()
        finally:
            metadata.close()
        return told

    def _salvage(self, tx: WriteTransaction, path: str) -> str:
        model = connect(path)
        try:
            found = salvage.rows(self._path, model)
        finally:
            model.close()
        found["snapshots"] = self._with_directories(found["snapshots"])
        for table, rows in found.items():
            for row in rows:
                tx.change(f"INSERT OR IGNORE INTO {table} VALUES ({', '.join('?' * len(row))})", row)
        shown = ("images", "containers", "snapshots", "leases")
        return ", ".join(f"{len(found[table])} {table}" for table in shown)

    def _with_directories(self, rows: list[Row]) -> list[Row]:
        """Snapshots that are whole with all below them: a parent's number is lower than its child's."""
        kept: dict[int, Row] = {}
        for row in sorted(rows):
            number, name, _, _, parent, kind = row[:6]
            directory = f"{self._context.root}/snapshots/{name}/snapshots/{number}"
            here = name not in NAMES or os.path.isdir(directory) or (kind == VIEW and parent is not None)
            if here and (parent is None or parent in kept):
                kept[number] = row
        return list(kept.values())

    def _images(self, tx: WriteTransaction) -> Iterator[Finding]:
        context = self._context
        named = {row[0] for row in tx.execute("SELECT digest FROM images")}
        for image in nameless(context.content, Documents(context.content), named):
            if images.get(tx, context.namespace, image.name) is None:
                images.put(tx, context.namespace, image)
                yield _told("image", image.name, f"found again among the blobs ({image.target.digest})")

    def _notes(self, tx: WriteTransaction) -> None:
        """Clients of the API see the blobs that their namespace has a note of: those of its images."""
        documents = Documents(self._context.content)
        for namespace, digest in tx.execute("SELECT namespace, digest FROM images"):
            for each in reachable(documents, digest):
                blob_labels.update(tx, namespace, each, {})

    def _containers(self, tx: WriteTransaction) -> Iterator[Finding]:
        from cloche.engine.tasks.bundle import bundles

        for bundle in bundles(self._context.root, self._context.state):
            if containers.get(tx, bundle.namespace, bundle.id) is not None:
                continue
            try:
                spec = bundle.read("config.json")
                containers.create(tx, containers.Container(bundle.id, bundle.namespace, spec=spec))
            except (ClocheError, OSError):
                continue
            problem = f"found again by its bundle {bundle.path}; its name, image and settings are lost"
            yield _told("container", f"{bundle.id} of {bundle.namespace}", problem)

    def _directories(self, tx: WriteTransaction) -> Iterator[Finding]:
        highest = 0
        snapshots = f"{self._context.root}/snapshots"
        for name in sorted(os.listdir(snapshots)) if os.path.isdir(snapshots) else ():
            base = f"{self._context.root}/snapshots/{name}/snapshots"
            entries = os.listdir(base) if os.path.isdir(base) else []
            known = {
                str(row[0]) for row in tx.execute("SELECT id FROM snapshots WHERE snapshotter = ?", (name,))
            }
            highest = max(highest, *(int(entry) for entry in entries if entry.isdecimal()), 0)
            if name not in NAMES:
                continue  # of another package's: what is in there it knows
            for entry in sorted(set(entries) - known):
                target = f"{self._lost}/{name}/{entry}"
                os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
                os.rename(f"{base}/{entry}", target)
                problem = "what it belonged to is lost; remove it when you miss nothing"
                yield _told("snapshot", target, problem)
        # A number names a directory for good, so none is given out twice.
        if not tx.change("UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = 'snapshots'", (highest,)):
            tx.change("INSERT INTO sqlite_sequence (name, seq) VALUES ('snapshots', ?)", (highest,))

    def _swap(self) -> None:
        for suffix in ("-wal", "-shm"):
            try:
                os.rename(self._path + suffix, self._aside + suffix)
            except FileNotFoundError:
                pass
        os.link(self._path, self._aside)
        os.rename(f"{self._path}.new", self._path)
        _remove_files(f"{self._path}.new")


def _remove_files(path: str) -> None:
    for suffix in ("", "-wal", "-shm", "-lock"):
        try:
            os.unlink(path + suffix)
        except FileNotFoundError:
            pass


def _told(kind: str, subject: str, problem: str) -> Finding:
    return Finding(kind, subject, problem, "", repaired=True)
