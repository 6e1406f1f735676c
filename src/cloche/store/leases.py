"""Leases: what must not be collected although nothing refers to it yet.

A lease ends when it is deleted, when its time is over, or at once when its owner is dead: an
owner is a process that holds the lock of a liveness file (`Owner`), which ends however the
process ends. What dies with a run lease, such as the container of an attached run, names it.

    LEASES/<owner>     empty; locked for as long as its process lives
"""

from __future__ import annotations

import os

from cloche.errors import AlreadyExists, InvalidArgument, NotFound, Unimplemented
from cloche.spec import digest as digests
from cloche.spec.record import Record
from cloche.store import clock, locks, namespaces
from cloche.store import labels as label_column
from cloche.store.identifiers import validate_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from cloche.store.metadata import Row, Transaction, WriteTransaction

EXPIRE_LABEL = "containerd.io/gc.expire"
FLAT_LABEL = "containerd.io/gc.flat"


class Lease(Record):
    """A lease. expires_at: ns since 1970, or None; owner: the name of a liveness file, or empty."""

    id: str
    namespace: str
    labels: Mapping[str, str] = {}
    created_at: int = 0
    expires_at: int | None = None
    owner: str = ""


class Resource(Record):
    """Something a lease keeps.

    kind: "content" (resource is a digest), "snapshots/<snapshotter>" (a key), "ingests" (a ref)
    or "images" (a name), as containerd has them.
    """

    kind: str
    resource: str


class Owner:
    """This process, as leases know it: a liveness file, locked until `close` or the end of the process.

    directory: where the liveness files of this root are; made when missing.
    """

    def __init__(self, directory: str) -> None:
        self._directory = directory
        lock = None
        while lock is None:
            self.name = f"{os.getpid()}-{os.urandom(6).hex()}"
            try:
                lock = locks.claim(f"{directory}/{self.name}")
            except FileNotFoundError:
                os.makedirs(directory, mode=0o700, exist_ok=True)
        self._lock = lock

    def close(self) -> None:
        """Give up being the owner: leases that name it end."""
        if self._lock >= 0:
            try:
                os.unlink(f"{self._directory}/{self.name}")
            except FileNotFoundError:
                pass
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


_COLUMNS = "id, namespace, labels, created_at, expires_at, owner"


def create(tx: WriteTransaction, lease: Lease) -> Lease:
    """Add a lease; the label containerd.io/gc.expire (RFC 3339) sets its end too.

    Raises AlreadyExists, InvalidArgument.
    """
    validate_name(lease.id, "lease id")
    expires_at = lease.expires_at
    if EXPIRE_LABEL in lease.labels:
        expires_at = clock.parse_rfc3339(lease.labels[EXPIRE_LABEL])
    namespaces.ensure(tx, lease.namespace)
    if get(tx, lease.namespace, lease.id) is not None:
        raise AlreadyExists(f"lease {lease.id!r}: already exists")
    lease = lease.replace(created_at=clock.now(), expires_at=expires_at)
    tx.change(
        f"INSERT INTO leases ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)",
        (
            lease.id,
            lease.namespace,
            label_column.encode(lease.labels),
            lease.created_at,
            expires_at,
            lease.owner,
        ),
    )
    return lease


def get(tx: Transaction, namespace: str, lease_id: str) -> Lease | None:
    """The lease with that id, or None."""
    row = tx.first(f"SELECT {_COLUMNS} FROM leases WHERE namespace = ? AND id = ?", (namespace, lease_id))
    return None if row is None else _lease(row)


def list(tx: Transaction, namespace: str | None = None) -> tuple[Lease, ...]:  # noqa: A001 - leases.list
    """The leases of a namespace, or of all."""
    sql = f"SELECT {_COLUMNS} FROM leases WHERE ?1 IS NULL OR namespace = ?1 ORDER BY namespace, id"
    return tuple(map(_lease, tx.execute(sql, (namespace,))))


def delete(tx: WriteTransaction, namespace: str, lease_id: str) -> None:
    """End a lease. Raises NotFound."""
    if not tx.change("DELETE FROM leases WHERE namespace = ? AND id = ?", (namespace, lease_id)):
        raise NotFound(f"lease {lease_id!r}: there is none")
    tx.change("DELETE FROM lease_resources WHERE namespace = ? AND lease = ?", (namespace, lease_id))


def add(tx: WriteTransaction, namespace: str, lease_id: str, resource: Resource) -> None:
    """Have a lease keep something, which need not exist yet.

    Raises NotFound, InvalidArgument, or Unimplemented for an unknown kind.
    """
    _validate(resource)
    if get(tx, namespace, lease_id) is None:
        raise NotFound(f"lease {lease_id!r}: there is none")
    tx.change(
        "INSERT OR IGNORE INTO lease_resources VALUES (?, ?, ?, ?)",
        (namespace, lease_id, resource.kind, resource.resource),
    )


def drop(tx: WriteTransaction, namespace: str, lease_id: str, resource: Resource) -> None:
    """Have a lease keep something no longer. Raises as `add`; what it did not keep is no error."""
    _validate(resource)
    if get(tx, namespace, lease_id) is None:
        raise NotFound(f"lease {lease_id!r}: there is none")
    tx.change(
        "DELETE FROM lease_resources WHERE namespace = ? AND lease = ? AND kind = ? AND resource = ?",
        (namespace, lease_id, resource.kind, resource.resource),
    )


def resources(tx: Transaction, namespace: str, lease_id: str) -> tuple[Resource, ...]:
    """What a lease keeps. Raises NotFound."""
    if get(tx, namespace, lease_id) is None:
        raise NotFound(f"lease {lease_id!r}: there is none")
    sql = "SELECT kind, resource FROM lease_resources WHERE namespace = ? AND lease = ? ORDER BY 1, 2"
    return tuple(Resource(*row) for row in tx.execute(sql, (namespace, lease_id)))


def over(tx: Transaction, directory: str) -> tuple[Lease, ...]:
    """The leases, in all namespaces, whose time is over or whose owner is dead.

    directory: where the liveness files are. The caller ends what dies with them, then deletes them.
    """
    now = clock.now()
    alive: dict[str, bool] = {}
    found = []
    for lease in list(tx):
        expired = lease.expires_at is not None and lease.expires_at <= now
        if lease.owner and lease.owner not in alive:
            alive[lease.owner] = locks.is_locked(f"{directory}/{lease.owner}")
        if expired or (lease.owner and not alive[lease.owner]):
            found.append(lease)
    return tuple(found)


def sweep_owners(directory: str, named: frozenset[str]) -> None:
    """Remove the liveness files of dead owners that no lease names any more."""
    for name in os.listdir(directory) if os.path.isdir(directory) else ():
        path = f"{directory}/{name}"
        if name in named or locks.is_locked(path):
            continue
        lock = locks.claim(path)
        if lock is not None:
            os.unlink(path)
            os.close(lock)


def _validate(resource: Resource) -> None:
    kind, slash, snapshotter = resource.kind.partition("/")
    if kind not in ("content", "snapshots", "ingests", "images"):
        raise Unimplemented(f"lease resource: unknown kind {resource.kind!r}")
    if bool(slash) != (kind == "snapshots") or (slash and (not snapshotter or "/" in snapshotter)):
        raise InvalidArgument(f"lease resource: kind {resource.kind!r}: snapshots/NAME, content or ingests")
    if kind == "content":
        digests.validate(resource.resource)
    else:
        validate_name(resource.resource, "lease resource")


def _lease(row: Row) -> Lease:
    lease_id, namespace, labels, created_at, expires_at, owner = row
    return Lease(lease_id, namespace, label_column.decode(labels), created_at, expires_at, owner)
