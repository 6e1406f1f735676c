"""Mounts that the daemon makes for its clients, by name: what they need before their own mounts can work.

    activate(name, [loop …, format/overlay {{ mount 0 }} …])
        │ each mount up to the last that only the daemon can make
        ▼
    STATE/mounts/NAMESPACE/HASH/activation.json    what was asked for and made
                               /0  /1  …           where it is mounted; a link to the device for `loop`

A type may have words before it, such as `format/mkdir/overlay`: what is done to the mount first. A mount
that has such words is given back without them, and so is everything behind it: the client makes these.
Nothing here outlives a reboot, and neither would the mounts.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time

from cloche.errors import AlreadyExists, InvalidArgument, NotFound, Unimplemented
from cloche.spec.document import dumps, load_file
from cloche.spec.mount import Mount
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

_FILE = "activation.json"
_LOOP = "loop"
_WORDS = ("format", "mkdir")
_MAKE = "X-containerd.mkdir."
_MODE_MASK = 0o777
_FILLED = re.compile(r"\{\{\s*(source|target|mount|overlay)\s+(\d+)(?:\s+(\d+))?\s*\}\}")


class Active(Record):
    """A mount that was made. place: where it is; made_at: ns since 1970. target: see types.Mount."""

    mount: Mount
    place: str
    made_at: int


class Activation(Record):
    """What is under one name. system: mounts that are left to the client. lease: what it ends with."""

    name: str
    namespace: str
    active: tuple[Active, ...] = ()
    system: tuple[Mount, ...] = ()
    labels: Mapping[str, str] = {}
    lease: str = ""


class Activations:
    """All that is active below a daemon's state directory."""

    def __init__(self, state: str) -> None:
        self._root = f"{state}/mounts"

    def activate(self, wanted: Activation, mounts: Sequence[Mount], *, temporary: bool = False) -> Activation:
        """Make what the client cannot. temporary: make everything, and give back a bind of the last one.

        Raises Unimplemented where there is nothing to do, AlreadyExists, InvalidArgument, OSError.
        """
        count = len(mounts) if temporary else _handled(mounts)
        if count < 0:
            raise Unimplemented(f"mounts {wanted.name!r}: the client can make them all by itself")
        directory = self._directory(wanted.namespace, wanted.name)
        os.makedirs(os.path.dirname(directory), 0o700, exist_ok=True)
        try:
            os.mkdir(directory, 0o700)
        except FileExistsError:
            if os.path.exists(f"{directory}/{_FILE}"):
                raise AlreadyExists(f"mount {wanted.name!r}: already exists") from None
            _undo(directory)  # what a daemon that was killed had begun
            os.mkdir(directory, 0o700)
        try:
            made: list[Active] = []
            for number, mount in enumerate(mounts[:count]):
                made.append(_make(_prepared(mount, made, directory), f"{directory}/{number}"))
            system = [_prepared(each, made, directory) for each in mounts[count : count + 1]]
            system += mounts[count + 1 :]
            if temporary and made:
                system.append(Mount("bind", made[-1].place, ("rbind",)))
            found = wanted.replace(active=tuple(made), system=tuple(system))
            _note(directory, found)
        except BaseException:
            _undo(directory)
            raise
        return found

    def deactivate(self, namespace: str, name: str) -> None:
        """Unmount what is active under a name. Raises NotFound, OSError."""
        directory = self._directory(namespace, name)
        if not os.path.exists(f"{directory}/{_FILE}"):
            raise _missing(name)
        _undo(directory)

    def get(self, namespace: str, name: str) -> Activation:
        """What is active under a name. Raises NotFound."""
        found = _read(self._directory(namespace, name))
        if found is None:
            raise _missing(name)
        return found

    def label(self, namespace: str, name: str, labels: Mapping[str, str]) -> Activation:
        """Give it these labels instead of those it has. Raises NotFound."""
        found = self.get(namespace, name).replace(labels=dict(labels))
        _note(self._directory(namespace, name), found)
        return found

    def list(self, namespace: str = "") -> Iterator[Activation]:
        """What is active, in one namespace or in all."""
        for each in [namespace] if namespace else _names(self._root):
            for directory in _names(f"{self._root}/{each}"):
                found = _read(f"{self._root}/{each}/{directory}")
                if found is not None:
                    yield found

    def _directory(self, namespace: str, name: str) -> str:
        if not name:
            raise InvalidArgument("mounts: a name is needed")
        return f"{self._root}/{namespace}/{hashlib.sha256(name.encode()).hexdigest()[:32]}"


def _missing(name: str) -> NotFound:
    return NotFound(f"mount {name!r}: not found")


def _handled(mounts: Sequence[Mount]) -> int:
    """How many mounts, from the first on, only the daemon can make; -1 where it has nothing to do at all."""
    count = -1
    for number, mount in enumerate(mounts):
        *words, kind = mount.type.split("/")
        if kind == _LOOP:
            count = number + 1
        elif any(word in _WORDS for word in words):
            count = number
    return count


def _prepared(mount: Mount, made: Sequence[Active], directory: str) -> Mount:
    """A mount with what the words before its type say done to it. Raises InvalidArgument, Unimplemented."""
    *words, kind = mount.type.split("/")
    source, options = mount.source, mount.options
    for word in words:
        if word == "format":
            source = _filled(source, made)
            options = tuple(_filled(each, made) for each in options)
        elif word == "mkdir":
            for each in options:
                if each.startswith(_MAKE):
                    _make_directory(each.removeprefix(_MAKE), os.path.dirname(directory))
            options = tuple(each for each in options if not each.startswith(_MAKE))
        else:
            raise Unimplemented(f"mount of type {mount.type!r}: {word!r} is not known here")
    return Mount(kind, source, options)


def _filled(text: str, made: Sequence[Active]) -> str:
    """Text with {{ source N }}, {{ mount N }} and {{ overlay FROM TO }} filled in."""

    def value(match: re.Match[str]) -> str:
        word, first, last = match[1], int(match[2]), match[3]
        numbers = [first]
        if word == "overlay":
            end = int(last or first)
            numbers = list(range(first, end + 1)) if first <= end else list(range(first, end - 1, -1))
        if max(numbers) >= len(made):
            raise InvalidArgument(f"{match[0]}: only {len(made)} mounts are before this one")
        if word == "source":
            return made[first].mount.source
        return "" if word == "target" else ":".join(made[number].place for number in numbers)

    filled = _FILLED.sub(value, text)
    if "{{" in filled:
        raise InvalidArgument(f"{text[:200]!r}: source, target, mount and overlay are known in braces")
    return filled


def _make_directory(text: str, root: str) -> None:
    """path=DIRECTORY[:MODE[:UID:GID]], below the daemon's own directory for mounts."""
    words = text.removeprefix("path=").split(":")
    if not text.startswith("path=") or len(words) not in (1, 2, 4):
        raise InvalidArgument(f"mount option {_MAKE}{text}: must be path=DIRECTORY[:MODE[:UID:GID]]")
    path = os.path.normpath(words[0])
    if not path.startswith(f"{root}/"):
        raise Unimplemented(f"mount option {_MAKE}{text}: directories are made below {root} alone")
    try:
        mode = int(words[1], 8) if len(words) > 1 else 0o700
        owner = (int(words[2]), int(words[3])) if len(words) > 2 else (-1, -1)
    except ValueError:
        raise InvalidArgument(f"mount option {_MAKE}{text}: mode and owner must be numbers") from None
    os.makedirs(path, mode & _MODE_MASK, exist_ok=True)
    os.chmod(path, mode & _MODE_MASK)
    os.chown(path, *owner)


def _make(mount: Mount, place: str) -> Active:
    """Mount something at a place of ours."""
    if mount.type == _LOOP:
        from cloche.kernel import loop

        os.symlink(loop.attach(mount.source, read_only="ro" in mount.options), place)
    else:
        from cloche.kernel.mounts import assemble
        from cloche.kernel.syscalls import AT_FDCWD, move_mount

        os.mkdir(place, 0o700)
        descriptor = assemble([mount])
        try:
            move_mount(descriptor, AT_FDCWD, place)
        finally:
            os.close(descriptor)
    return Active(mount, place, time.time_ns())


def _undo(directory: str) -> None:
    """Unmount all below a directory of ours, the last first, and remove it. Can be repeated."""
    from cloche.kernel import loop
    from cloche.kernel.syscalls import MNT_DETACH, umount2

    for name in sorted((each for each in _names(directory) if each.isdigit()), key=int, reverse=True):
        place = f"{directory}/{name}"
        if os.path.islink(place):
            loop.detach(os.readlink(place))
            os.unlink(place)
        else:
            try:
                umount2(place, MNT_DETACH)
            except OSError:
                pass  # nothing was mounted there yet
            os.rmdir(place)
    shutil.rmtree(directory, ignore_errors=True)


def _names(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except FileNotFoundError:
        return []


def _note(directory: str, found: Activation) -> None:
    document = {
        "name": found.name,
        "namespace": found.namespace,
        "active": [
            {"mount": _document(each.mount), "place": each.place, "at": each.made_at} for each in found.active
        ],
        "system": [_document(each) for each in found.system],
        "labels": dict(found.labels),
        "lease": found.lease,
    }
    with open(f"{directory}/{_FILE}.new", "wb") as file:
        file.write(dumps(document))
    os.rename(f"{directory}/{_FILE}.new", f"{directory}/{_FILE}")


def _read(directory: str) -> Activation | None:
    try:
        document = load_file(f"{directory}/{_FILE}")
    except FileNotFoundError:
        return None
    active = (Active(_mount(each["mount"]), each["place"], each["at"]) for each in document["active"])
    return Activation(
        document["name"],
        document["namespace"],
        tuple(active),
        tuple(_mount(each) for each in document["system"]),
        document["labels"],
        document["lease"],
    )


def _document(mount: Mount) -> list[Any]:
    return [mount.type, mount.source, list(mount.options)]


def _mount(document: list[Any]) -> Mount:
    kind, source, options = document
    return Mount(kind, source, tuple(options))
