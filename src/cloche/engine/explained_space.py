"""Whose every byte below ROOT and STATE is.

What belongs to somebody is measured first, piece by piece; then what holds the pieces; then all.
A file counts where it was met first, so the sum is what `du -x` says of the whole.
"""

from __future__ import annotations

import os

from cloche.spec.record import Record
from cloche.store.references import Documents
from cloche.store.snapshots.disk_usage import add_usage
from cloche.store.snapshots.open import NAMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from cloche.engine.context import Context
    from cloche.store.metadata import Transaction

    Part = tuple[str, str, str]
    """Owner, what of it, and the path that has it."""


class Share(Record):
    """What an owner has. what: of which kind, such as "layers" or "volume"; place: ROOT or STATE's path."""

    owner: str
    what: str
    place: str
    size_bytes: int


def explain(context: Context) -> list[Share]:
    """Every share, those of ROOT first; their sum is all that is on disk there."""
    seen: set[tuple[int, int]] = set()
    with context.metadata.read() as tx:
        parts = [*_blobs(context, tx), *_snapshots(context, tx), *_containers(context, tx)]
    shares = _measured([*parts, *_rest(context.root)], context.root, seen)
    return shares + _measured([*_state(context.state)], context.state, seen)


def _measured(parts: list[Part], place: str, seen: set[tuple[int, int]]) -> list[Share]:
    sums: dict[tuple[str, str], int] = {}
    for owner, what, path in parts:
        size = add_usage(path, seen)
        if size:
            sums[owner, what] = sums.get((owner, what), 0) + size
    return [Share(owner, what, place, size) for (owner, what), size in sums.items()]


def _title(kind: str, name: str, namespace: str) -> str:
    return f"{kind} {name}" + ("" if namespace == "default" else f" of {namespace}")


def _shared(owners: list[str], nobody: str) -> str:
    if len(owners) > 1:
        return "shared by " + ", ".join(owners)
    return owners[0] if owners else nobody


def _blobs(context: Context, tx: Transaction) -> Iterator[Part]:
    from cloche.engine.check.rows import reachable

    documents = Documents(context.content)
    owners: dict[str, list[str]] = {}
    for namespace, name, digest in tx.execute("SELECT namespace, name, digest FROM images ORDER BY 1, 2"):
        for each in reachable(documents, digest):
            owners.setdefault(each, []).append(_title("image", name, namespace))
    for blob in context.content.walk():
        owner = _shared(owners.get(blob.digest, []), "no image")
        yield owner, "compressed blobs", context.content.path(blob.digest)


def _snapshots(context: Context, tx: Transaction) -> Iterator[Part]:
    images = (
        "SELECT resolutions.chain_id, images.namespace, images.name FROM resolutions"
        " JOIN images ON images.digest = resolutions.digest ORDER BY 2, 3"
    )
    tops: dict[tuple[str, str], list[str]] = {}
    for chain, namespace, name in tx.execute(images):
        tops.setdefault((namespace, chain), []).append(_title("image", name, namespace))
    rows = tx.execute("SELECT id, snapshotter, namespace, key, parent FROM snapshots ORDER BY id DESC")
    owners: dict[int, list[str]] = {}
    for number, _, namespace, key, parent in rows:  # children come before their parents
        own = owners.setdefault(number, [])
        own += (each for each in tops.get((namespace, key), ()) if each not in own)
        if parent is not None:
            below = owners.setdefault(parent, [])
            below += (each for each in own if each not in below)
    writable = _writable(tx)
    for number, name, namespace, key, _ in rows:
        path = f"{context.root}/snapshots/{name}/snapshots/{number}"
        container = writable.get((name, namespace, key))
        if container:
            yield container, "writable layer", path
        else:
            yield _shared(owners[number], "no image"), "unpacked layers", path


def _writable(tx: Transaction) -> dict[tuple[str, str, str], str]:
    sql = "SELECT snapshotter, namespace, snapshot_key, name, id FROM containers"
    return {
        (snapshotter, namespace, key): _title("container", name or container_id, namespace)
        for snapshotter, namespace, key, name, container_id in tx.execute(sql)
    }


def _containers(context: Context, tx: Transaction) -> Iterator[Part]:
    for namespace, name, container_id in tx.execute(
        "SELECT namespace, name, id FROM containers ORDER BY 1, 2"
    ):
        owner = _title("container", name or container_id, namespace)
        directory = f"{context.root}/containers/{namespace}/{container_id}"
        for entry in _names(directory):
            if entry.startswith("log.json"):
                yield owner, "logs", f"{directory}/{entry}"
        yield owner, "files", directory


def _rest(root: str) -> Iterator[Part]:
    """All else in the root, ending with the root itself."""
    for name in _names(f"{root}/volumes"):
        yield f"volume {name}", "volume", f"{root}/volumes/{name}"
    for name in _names(f"{root}/networks"):
        yield f"network {name.removesuffix('.json')}", "definition", f"{root}/networks/{name}"
    yield "cloche", "ingests", f"{root}/content/ingest"
    for store in ("", "/content", *(f"/snapshots/{name}" for name in NAMES)):
        yield "cloche", "trash", f"{root}{store}/trash"
    names = _names(root)
    for name in names:
        if ".damaged-" in name or name.startswith("damaged-"):
            yield "cloche", "moved aside by fsck", f"{root}/{name}"
        elif name.startswith("meta.db"):
            yield "cloche", "database", f"{root}/{name}"
    for directory in ("leases", "ephemeral"):
        yield "cloche", "of commands that run", f"{root}/{directory}"
    yield "cloche", "of tasks", f"{root}/io.containerd.runtime.v2.task"
    for name in NAMES:
        for entry in _names(f"{root}/snapshots/{name}/snapshots"):
            yield "nobody", "unaccounted", f"{root}/snapshots/{name}/snapshots/{entry}"
    for directory in ("content/blobs", "content/lock", "snapshots", "volumes", "containers", "networks"):
        yield "cloche", "folders", f"{root}/{directory}"
    for name in _names(f"{root}/content"):
        yield "nobody", "unaccounted", f"{root}/content/{name}"
    yield "cloche", "folders", f"{root}/content"
    for name in names:
        yield "nobody", "unaccounted", f"{root}/{name}"
    yield "cloche", "folders", root


def _state(state: str) -> Iterator[Part]:
    for name in _names(state):
        if name.startswith("run.db"):
            yield "cloche", "events", f"{state}/{name}"
    yield "cloche", "filters of system calls", f"{state}/runc/@filters"
    yield "cloche", "of what runs", state


def _names(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return []
