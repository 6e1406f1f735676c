"""Containers: what was asked for. What runs of it is the runtime's to know."""

from __future__ import annotations

from cloche.errors import AlreadyExists, FailedPrecondition, NotFound
from cloche.spec.record import Record
from cloche.store import clock, namespaces
from cloche.store import labels as label_column
from cloche.store.identifiers import validate_identifier, validate_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from cloche.store.metadata import Row, Transaction, WriteTransaction


SPEC_TYPE = "types.containerd.io/opencontainers/runtime-spec/1/Spec"
"""How a config.json is called where it travels as a message."""


class Container(Record):
    """A container as it is kept.

    spec: its config.json; options: the engine's own settings, JSON; runtime and extensions: for
    the services that keep more of it. sandbox: the id of its pod, or empty. lease: the run lease
    that it dies with (store.leases), or empty. Times in ns since 1970, set by the store.
    """

    id: str
    namespace: str
    name: str = ""
    image: str = ""
    snapshotter: str = ""
    snapshot_key: str = ""
    labels: Mapping[str, str] = {}
    spec: bytes = b""
    created_at: int = 0
    options: bytes = b""
    runtime: str = ""
    sandbox: str = ""
    extensions: bytes = b""
    lease: str = ""
    updated_at: int = 0


_COLUMNS = ", ".join(Container._fields)


def create(tx: WriteTransaction, container: Container) -> Container:
    """Add a container; returns it with its times.

    Raises AlreadyExists when its id or its name is taken, InvalidArgument for what cannot be one.
    """
    validate_identifier(container.id, "container id")
    if container.name:
        validate_name(container.name, "container name")
    namespaces.ensure(tx, container.namespace)
    _refuse_taken(tx, container)
    now = clock.now()
    container = container.replace(created_at=now, updated_at=now)
    tx.change(f"INSERT INTO containers ({_COLUMNS}) VALUES ({_PLACES})", _values(container))
    return container


put = create


def get(tx: Transaction, namespace: str, container_id: str) -> Container | None:
    """The container with that whole id, or None."""
    sql = f"SELECT {_COLUMNS} FROM containers WHERE namespace = ? AND id = ?"
    row = tx.first(sql, (namespace, container_id))
    return None if row is None else _container(row)


def find(tx: Transaction, namespace: str, text: str) -> Container:
    """The container meant by an id, a name, or the beginning of an id that only one has.

    Raises NotFound, FailedPrecondition when several begin so.
    """
    for condition in ("id = ?", "name = ? AND name != ''"):
        sql = f"SELECT {_COLUMNS} FROM containers WHERE namespace = ? AND {condition}"
        row = tx.first(sql, (namespace, text))
        if row is not None:
            return _container(row)
    sql = f"SELECT {_COLUMNS} FROM containers WHERE namespace = ? AND id >= ? AND id < ? LIMIT 2"
    rows = tx.execute(sql, (namespace, text, text + "\U0010ffff")) if text else []
    if not rows:
        raise NotFound(f"container {text!r}: there is none")
    if len(rows) > 1:
        raise FailedPrecondition(f"container {text!r}: several ids begin so: give more of it")
    return _container(rows[0])


def list(tx: Transaction, namespace: str) -> tuple[Container, ...]:  # noqa: A001 - reads as containers.list
    """All containers of a namespace, oldest first."""
    sql = f"SELECT {_COLUMNS} FROM containers WHERE namespace = ? ORDER BY created_at, id"
    return tuple(map(_container, tx.execute(sql, (namespace,))))


def update(tx: WriteTransaction, container: Container) -> Container:
    """Replace everything but id, namespace and creation time. Raises NotFound, AlreadyExists."""
    if container.name:
        validate_name(container.name, "container name")
        _refuse_taken(tx, container, but_id=container.id)
    container = container.replace(updated_at=clock.now())
    changing = [name for name in Container._fields if name not in ("id", "namespace", "created_at")]
    values = dict(zip(Container._fields, _values(container), strict=True))
    sets = ", ".join(f"{name} = ?" for name in changing)
    done = tx.change(
        f"UPDATE containers SET {sets} WHERE namespace = ? AND id = ?",
        (*(values[name] for name in changing), container.namespace, container.id),
    )
    if not done:
        raise NotFound(f"container {container.id!r}: there is none")
    return container


def delete(tx: WriteTransaction, namespace: str, container_id: str) -> None:
    """Forget a container. Raises NotFound."""
    if not tx.change("DELETE FROM containers WHERE namespace = ? AND id = ?", (namespace, container_id)):
        raise NotFound(f"container {container_id!r}: there is none")


def owned(tx: Transaction, namespace: str, lease: str) -> tuple[Container, ...]:
    """The containers that die with a run lease."""
    sql = f"SELECT {_COLUMNS} FROM containers WHERE namespace = ? AND lease = ? AND lease != ''"
    return tuple(map(_container, tx.execute(sql, (namespace, lease))))


def _refuse_taken(tx: Transaction, container: Container, *, but_id: str | None = None) -> None:
    sql = "SELECT 1 FROM containers WHERE namespace = ? AND id = ?"
    if but_id is None and tx.first(sql, (container.namespace, container.id)):
        raise AlreadyExists(f"container {container.id!r}: the id is in use")
    if not container.name:
        return
    sql = "SELECT id FROM containers WHERE namespace = ? AND name = ? AND name != ''"
    holder = tx.first(sql, (container.namespace, container.name))
    if holder is not None and holder[0] != but_id:
        raise AlreadyExists(
            f"container name {container.name!r}: in use by container {holder[0]}: remove or rename that one"
        )


_PLACES = ", ".join("?" * len(Container._fields))
_LABELS = Container._fields.index("labels")


def _values(container: Container) -> tuple[str | int | bytes, ...]:
    values = [*container.values()]
    values[_LABELS] = label_column.encode(container.labels)
    return tuple(values)


def _container(row: Row) -> Container:
    values = [*row]
    values[_LABELS] = label_column.decode(row[_LABELS])
    return Container(*values)
