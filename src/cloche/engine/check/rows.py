"""Rows that point to what is not there: of images, resolutions, containers and leases."""

from __future__ import annotations

import os

from cloche.engine import status
from cloche.engine.check import layers
from cloche.engine.check.finding import Fault
from cloche.errors import ClocheError
from cloche.spec import document
from cloche.spec import platform as platforms
from cloche.spec.image import INDEX_TYPES
from cloche.store import collect, containers, leases
from cloche.store.snapshots.open import NAMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cloche.engine.context import Context
    from cloche.store.content import ContentStore
    from cloche.store.metadata import Transaction
    from cloche.store.references import Documents


def needs(context: Context, documents: Documents) -> dict[str, list[str]]:
    """The names of the images that lead to each digest."""
    found: dict[str, list[str]] = {}
    with context.metadata.read() as tx:
        images = tx.execute("SELECT name, digest FROM images ORDER BY namespace, name")
    for name, digest in images:
        for each in reachable(documents, digest):
            found.setdefault(each, []).append(name)
    return found


def reachable(documents: Documents, digest: str) -> set[str]:
    """A digest and all that it leads to."""
    seen: set[str] = set()
    waiting = [digest]
    while waiting:
        each = waiting.pop()
        if each not in seen:
            seen.add(each)
            waiting += documents.children(each)
    return seen


def images(context: Context, documents: Documents, damaged: set[str]) -> Iterator[Fault]:
    """Images that are not whole. damaged: the blobs that were named already."""
    with context.metadata.read() as tx:
        rows = tx.execute("SELECT namespace, name, digest FROM images ORDER BY namespace, name")
        resolutions = tx.execute("SELECT digest, platform, manifest_digest, config_digest FROM resolutions")
    host = str(platforms.of_machine(os.uname().machine))
    for namespace, name, digest in rows:
        needed = {digest}
        for target, platform, manifest, config in resolutions:
            if target == digest and platform == host:
                needed |= {manifest, config}
        missing = sorted(each for each in needed - damaged if not _here(context.content, each))
        subject = f"{name} of {namespace}"
        if missing:
            problem = f"its manifest or config is missing ({missing[0]})"
            mend = _unnaming(context, namespace, name, digest)
            yield Fault("image", subject, problem, "forget the name; pull it again", mend)
            continue
        absent = _absent_layers(context, documents, needed) - damaged
        if absent:
            problem = f"{len(absent)} of its blobs are missing ({min(absent)})"
            yield Fault("image", subject, problem, "pull it again: until then it cannot be saved or pushed")


def _here(content: ContentStore, digest: str) -> bool:
    try:
        content.size(digest)
    except ClocheError:
        return False
    return True


def _absent_layers(context: Context, documents: Documents, needed: set[str]) -> set[str]:
    """What manifests name and is not here; the manifests of an index are of other platforms."""
    absent: set[str] = set()
    for digest in needed:
        children = documents.children(digest)
        if children and not _is_index(context.content, digest):
            absent |= {child for child in children if not _here(context.content, child)}
    return absent


def _is_index(content: ContentStore, digest: str) -> bool:
    try:
        parsed = document.loads(content.read(digest), digest)
    except ClocheError:
        return True
    return parsed.get("mediaType") in INDEX_TYPES or "manifests" in parsed


def _unnaming(context: Context, namespace: str, name: str, digest: str) -> Callable[[], bool]:
    def unname() -> bool:
        sql = "DELETE FROM images WHERE namespace = ? AND name = ? AND digest = ?"
        with context.metadata.write() as tx:
            return bool(tx.change(sql, (namespace, name, digest)))

    return unname


def resolutions(context: Context) -> Iterator[Fault]:
    """Notes on targets that no image has and no blob is here for."""
    with context.metadata.read() as tx:
        sql = "SELECT DISTINCT digest FROM resolutions WHERE digest NOT IN (SELECT digest FROM images)"
        left = [row[0] for row in tx.execute(sql)]
    for digest in left:
        if not _here(context.content, digest):
            problem = "what it was found to be is noted, but it is not here"
            yield Fault("resolution", digest, problem, "forget the note", _unresolving(context, digest))


def _unresolving(context: Context, digest: str) -> Callable[[], bool]:
    def forget() -> bool:
        sql = "DELETE FROM resolutions WHERE digest = ?1 AND digest NOT IN (SELECT digest FROM images)"
        with context.metadata.write() as tx:
            return bool(tx.change(sql, (digest,)))

    return forget


def containers_without_root(context: Context) -> Iterator[Fault]:
    """Containers whose snapshot is missing: they can be removed, and nothing else."""
    with context.metadata.read() as tx:
        namespaces = [row[0] for row in tx.execute("SELECT DISTINCT namespace FROM containers ORDER BY 1")]
        rows = [row for namespace in namespaces for row in containers.list(tx, namespace)]
        broken = [row for row in rows if row.snapshot_key and _rootless(context, tx, row)]
    for row in broken:
        subject = f"{row.name or row.id} of {row.namespace}"
        command = f"remove it with `cloche --namespace {row.namespace} rm --force {row.id}`"
        if status.of(_beside(context, row.namespace), row.id).running:
            yield Fault("container", subject, "its snapshot is missing, and it runs", command)
        else:
            problem = "its snapshot is missing: it cannot start any more"
            yield Fault("container", subject, problem, "remove it", _removal(context, row))


def _rootless(context: Context, tx: Transaction, row: containers.Container) -> bool:
    if row.snapshotter not in NAMES:
        return False
    found = tx.first(
        "SELECT id FROM snapshots WHERE snapshotter = ? AND namespace = ? AND key = ?",
        (row.snapshotter, row.namespace, row.snapshot_key),
    )
    return found is None or layers.gone(context, tx, row.snapshotter, found[0])


def _removal(context: Context, row: containers.Container) -> Callable[[], bool]:
    def remove() -> bool:
        from cloche.engine import removal

        try:
            removal.remove(_beside(context, row.namespace), row)
        except ClocheError:  # it has been started or removed meanwhile, or has a task of the daemon's
            return False
        return True

    return remove


def _beside(context: Context, namespace: str) -> Context:
    return context if namespace == context.namespace else context.beside(namespace)


def ended_leases(context: Context) -> Iterator[Fault]:
    """Leases whose owner is dead or whose time is over, and resources of leases that are gone."""
    with context.metadata.read() as tx:
        over = leases.over(tx, context.leases)
        sql = (
            "SELECT DISTINCT namespace, lease FROM lease_resources"
            " WHERE (namespace, lease) NOT IN (SELECT namespace, id FROM leases)"
        )
        stray = tx.execute(sql)
    for lease in over:
        problem = "its owner is dead" if lease.owner else "its time is over"
        remedy = "end it, with what dies with it"
        yield Fault("lease", f"{lease.id} of {lease.namespace}", problem, remedy, _ending(context))
    for namespace, name in stray:
        problem = "is gone, but what it kept is still noted"
        mend = _unkeeping(context, namespace, name)
        yield Fault("lease", f"{name} of {namespace}", problem, "forget the notes", mend)


def _ending(context: Context) -> Callable[[], bool]:
    def end() -> bool:
        from cloche.engine import collection

        collection.collect(context)
        collect.collect(collect.Store(context.root, context.metadata, context.content))
        return True

    return end


def _unkeeping(context: Context, namespace: str, name: str) -> Callable[[], bool]:
    def forget() -> bool:
        sql = (
            "DELETE FROM lease_resources WHERE namespace = ?1 AND lease = ?2"
            " AND NOT EXISTS (SELECT 1 FROM leases WHERE namespace = ?1 AND id = ?2)"
        )
        with context.metadata.write() as tx:
            return bool(tx.change(sql, (namespace, name)))

    return forget
