"""Parts that other Python packages bring along: entry points, looked up when a name is none of our own.

| group | what an entry point of it is | asked for by |
|---|---|---|
| cloche.snapshotters | store.snapshots.open.Make: a class with LocalSnapshotter's interface | its name |
| cloche.differs | image.differs.Differ: an object, or a class without arguments | diff-service's `default` |
| cloche.runtimes | engine.tasks.runtimes.Runtime: an object, or a class without arguments | its name |

To look takes some 40 ms, so nobody does on the way of a command that names none of them. One that cannot be
imported is an error for those who ask for it, and nobody else's.
"""

from __future__ import annotations

from cloche.errors import NotFound, Unavailable
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from importlib.metadata import EntryPoint
    from typing import Any

SNAPSHOTTERS, DIFFERS, RUNTIMES = GROUPS = ("cloche.snapshotters", "cloche.differs", "cloche.runtimes")


class Part(Record):
    """package: who brings it, with its version. loaded: the object; None where error says why."""

    group: str
    name: str
    package: str
    loaded: Any
    error: str = ""

    @property
    def capabilities(self) -> tuple[str, ...]:
        """What it says that it can do."""
        found = getattr(self.loaded, "capabilities", ())
        return tuple(map(str, found)) if isinstance(found, list | tuple) else ()

    @property
    def exports(self) -> dict[str, str]:
        """What it tells of itself, and who brings it."""
        found = getattr(self.loaded, "exports", {})
        told = {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}
        return {**told, "package": self.package}


_known: dict[str, dict[str, EntryPoint]] = {}
_parts: dict[tuple[str, str], Part] = {}


def names(group: str) -> tuple[str, ...]:
    """What there is of a group; looked up once in a process."""
    return tuple(_of(group))


def part(group: str, name: str) -> Part | None:
    """One of them, imported; None where there is none of that name."""
    if name not in _of(group):
        return None
    if (group, name) not in _parts:
        _parts[group, name] = _imported(group, _of(group)[name])
    return _parts[group, name]


def made(group: str, name: str, methods: Iterable[str], *arguments: object, **named: object) -> Any:
    """What a class or function of an entry point makes of some arguments; without any an object is itself.

    methods: what it has to have. Raises NotFound where there is no entry point of that name, Unavailable
    where it cannot be imported, made, or used.
    """
    found = part(group, name)
    what = f"{group.removeprefix('cloche.').removesuffix('s')} {name!r}"
    if found is None:
        raise NotFound(f"{what}: no installed package has an entry point of this name in {group}")
    what += f" of {found.package}"
    if found.error:
        raise Unavailable(f"{what}: {found.error}")
    thing = found.loaded
    if arguments or isinstance(thing, type):
        try:
            thing = thing(*arguments, **named)
        except Exception as error:  # whatever others' code does
            raise Unavailable(f"{what}: cannot be made: {_one_line(error)}") from error
    for method in methods:
        if not callable(getattr(thing, method, None)):
            raise Unavailable(f"{what}: {type(thing).__name__} has no method {method!r}")
    return thing


def _of(group: str) -> dict[str, EntryPoint]:
    if group not in _known:
        from importlib.metadata import entry_points

        found: dict[str, EntryPoint] = {}
        for each in entry_points(group=group):
            found.setdefault(each.name, each)
        _known[group] = found
    return _known[group]


def _imported(group: str, entry: EntryPoint) -> Part:
    package = f"{entry.dist.name} {entry.dist.version}" if entry.dist else "a package without a name"
    try:
        loaded = entry.load()
    except (Exception, SystemExit) as error:  # whatever others' modules do when they are imported
        reason = f"{entry.value} cannot be imported: {_one_line(error)}"
        return Part(group, entry.name, package, None, reason)
    return Part(group, entry.name, package, loaded)


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:500]
