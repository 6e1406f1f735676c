"""Users and groups of a container, looked up in its own /etc/passwd and /etc/group.

The files belong to the image, so they are reached through the root's descriptor (a link in them
cannot lead to the host's), are read up to a limit, and lines that make no sense are passed over.
"""

from __future__ import annotations

import errno
import stat

from cloche import os
from cloche.errors import InvalidArgument, NotFound
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

LIMIT_BYTES = 16 << 20
LAST_ID = (1 << 31) - 1
"""The highest number that may be given for a user or a group, as in Docker."""


class User(Record):
    """One line of /etc/passwd."""

    name: str
    uid: int
    gid: int
    home: str
    shell: str


class Group(Record):
    """One line of /etc/group."""

    name: str
    gid: int
    members: tuple[str, ...]


class Identity(Record):
    """Who a process is to be: numbers, further groups, and the home directory for HOME."""

    uid: int
    gid: int
    additional_gids: tuple[int, ...]
    home: str
    name: str


def parse_passwd(text: bytes) -> Iterator[User]:
    """The users of a passwd file; a line without valid numbers is passed over."""
    for fields in _lines(text, 7):
        uid, gid = _number(fields[2]), _number(fields[3])
        if fields[0] and uid is not None and gid is not None:
            yield User(fields[0], uid, gid, fields[5], fields[6])


def parse_group(text: bytes) -> Iterator[Group]:
    """The groups of a group file; a line without a valid number is passed over."""
    for fields in _lines(text, 4):
        gid = _number(fields[2])
        if fields[0] and gid is not None:
            yield Group(fields[0], gid, tuple(name for name in fields[3].split(",") if name))


def _lines(text: bytes, count: int) -> Iterator[list[str]]:
    for line in text.split(b"\n"):
        line = line.strip()
        if line and not line.startswith(b"#"):
            fields = [os.fsdecode(field) for field in line.split(b":")]
            yield fields + [""] * (count - len(fields))


def _number(text: str) -> int | None:
    """A user or group number, or None for text that is none within the allowed range."""
    if text.isascii() and text.isdecimal() and len(text) <= 10 and int(text) <= LAST_ID:
        return int(text)
    return None


def read(root: int, path: str) -> bytes:
    """A file of the container as it stands there; empty when there is none.

    Raises InvalidArgument when it is no ordinary file or larger than LIMIT_BYTES.
    """
    try:
        descriptor = _open(root, path)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return b""
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise InvalidArgument(f"the container's {path}: is not an ordinary file") from None
        raise
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise InvalidArgument(f"the container's {path}: is not an ordinary file")
        parts, size = [], 0
        while part := os.read(descriptor, 1 << 16):
            parts.append(part)
            size += len(part)
            if size > LIMIT_BYTES:
                raise InvalidArgument(f"the container's {path}: is larger than {LIMIT_BYTES} bytes")
    finally:
        os.close(descriptor)
    return b"".join(parts)


def _open(root: int, path: str) -> int:
    """Nonblocking, so that a fifo put in its place cannot hold us up."""
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY
    directory, _, name = path[1:].rpartition("/")
    try:
        # As in nearly every image: no link on the way, so that what resolves them need not be loaded.
        parent = os.open(directory, os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=root)
        try:
            return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        finally:
            os.close(parent)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENOTDIR):
            raise
    from cloche.kernel.paths import open_in_root

    return open_in_root(root, path, flags)


def lookup(root: int, user: str, additional_groups: tuple[str, ...] = ()) -> Identity:
    """Who `user` means in the container whose root directory this descriptor is.

    user: `name`, `uid`, `name:group`, `uid:gid` and so on, or empty for root. A number needs no
        line in /etc/passwd, a name does. Without a group the user's own is taken (0 for unknown
        numbers), with all groups that list the user as a member.
    additional_groups: names or numbers to add.
    Raises NotFound for a name that the container does not have, InvalidArgument for a number
    out of range.
    """
    user_word, _, group_word = user.partition(":")
    found = _find_user(root, user_word or "0", user)
    groups = list(parse_group(read(root, "/etc/group")))
    if group_word:
        gid = _find_group(groups, group_word, user)
        members: list[int] = []
    else:
        gid = found.gid
        members = [group.gid for group in groups if found.name and found.name in group.members]
    further = [_find_group(groups, word, user) for word in additional_groups]
    return Identity(found.uid, gid, tuple(dict.fromkeys((*members, *further))), found.home or "/", found.name)


def _find_user(root: int, word: str, spec: str) -> User:
    number = _number(word)
    for user in parse_passwd(read(root, "/etc/passwd")):
        # The first line that fits by name or number counts, as everywhere else.
        if user.name == word or user.uid == number:
            return user
    if number is not None:
        return User("", number, 0, "/", "")
    if word.lstrip("-").isdigit() and word.isascii():
        raise InvalidArgument(f"user {spec!r}: numbers are from 0 to {LAST_ID}")
    raise NotFound(f"user {spec!r}: the container's /etc/passwd has no user {word!r}")


def _find_group(groups: list[Group], word: str, spec: str) -> int:
    number = _number(word)
    for group in groups:
        if group.name == word:
            return group.gid
    if number is not None:
        return number
    if word.lstrip("-").isdigit() and word.isascii():
        raise InvalidArgument(f"user {spec!r}: numbers are from 0 to {LAST_ID}")
    raise NotFound(f"user {spec!r}: the container's /etc/group has no group {word!r}")


def home(root: int, uid: int) -> str:
    """The home directory of a user by number, as HOME is set to it: `/` when nobody knows it."""
    for user in parse_passwd(read(root, "/etc/passwd")):
        if user.uid == uid:
            return user.home or "/"
    return "/"
