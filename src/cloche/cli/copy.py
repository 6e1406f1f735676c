"""`cp`, `diff` and `export`: the files of a container."""

from __future__ import annotations

import os
import stat
import sys

from cloche.cli.arguments import Command
from cloche.cli.output import line, one_line, write_bytes
from cloche.errors import FailedPrecondition, InvalidArgument, NotFound
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cloche.cli.arguments import Parsed
    from cloche.cli.session import Session
    from cloche.engine.container import Container

_MOST_LINKS = 40


class Place(Record):
    """One side of a copy. container: empty for this machine. path: "-" is a tar stream here."""

    container: str
    path: str


def place(text: str) -> Place:
    """`CONTAINER:PATH`, or a path of this machine: one that begins with / or ., or has no colon."""
    name, colon, path = text.partition(":")
    if not colon or not name or text[0] in "/." or "/" in name:
        return Place("", text)
    return Place(name, path or "/")


class Landing(Record):
    """Where a copied thing comes to lie: under `name` in `directory`; "" merges its contents there."""

    directory: str
    name: str


def landing(source: str, target: str, *, is_directory: bool, kind_of: Callable[[str], str]) -> Landing:
    """Docker's rules for what `cp SOURCE TARGET` makes.

    is_directory: whether the source is one. kind_of: "directory", "file" or "" of a path on the
    target's side. Raises FailedPrecondition and NotFound for what cannot be.
    """
    base = os.path.basename(source.rstrip("/")) if not source.endswith("/.") else ""
    kind = kind_of(target)
    if kind == "directory":
        only_contents = is_directory and base in ("", ".")
        return Landing(target, "" if only_contents else base)
    if kind == "file" and is_directory:
        raise FailedPrecondition(f"cannot copy a directory to {target}: it is a file")
    if target.endswith("/"):
        raise NotFound(f"{target}: no such directory to copy to")
    parent = os.path.dirname(target) or "."
    if kind_of(parent) != "directory":
        raise NotFound(f"{parent}: no such directory to copy to")
    return Landing(parent, os.path.basename(target))


def _cp(session: Session, parsed: Parsed) -> int:
    source, target = (place(text) for text in parsed.arguments)
    if bool(source.container) == bool(target.container):
        raise InvalidArgument(
            "copying between containers is not supported"
            if source.container
            else "must specify at least one container source: CONTAINER:PATH"
        )
    container = session.engine.containers.get(source.container or target.container)
    if source.container:
        _out(container, source.path, target.path, parsed)
    else:
        _in(container, source.path, target.path, parsed)
    return 0


def _out(container: Container, source: str, target: str, parsed: Parsed) -> None:
    if parsed.on("follow-link"):
        source = _followed(container, source)
    found = container.stat_path(source)
    parts = container.copy_out(source)
    if target == "-":
        if os.isatty(1):
            raise FailedPrecondition("an archive is not for a terminal: copy to a file, or use a pipe")
        for data in parts:
            write_bytes(data)
        return
    from cloche.cli.local_files import unpack

    where = landing(source, target, is_directory=stat.S_ISDIR(found["mode"]), kind_of=_local_kind)
    unpack(parts, where.directory, where.name, owners=parsed.on("archive"))


def _in(container: Container, source: str, target: str, parsed: Parsed) -> None:
    target = _followed(container, target)
    if source == "-":
        container.copy_in(target, sys.stdin.buffer)
        return
    if parsed.on("follow-link"):
        source = os.path.realpath(source) + ("/." if source.endswith("/.") else "")
    try:
        is_directory = stat.S_ISDIR(os.lstat(source).st_mode)
    except OSError as error:
        raise NotFound(f"{source}: {(error.strerror or str(error)).lower()}") from None
    where = landing(source, target, is_directory=is_directory, kind_of=lambda path: _kind(container, path))
    _send(container, source, where, owners=parsed.on("archive"))


def _send(container: Container, source: str, where: Landing, *, owners: bool) -> None:
    """Pack on one thread and unpack on this one, with a pipe between."""
    import threading

    from cloche.cli.local_files import pack

    reading, writing = os.pipe()
    problems: list[OSError] = []

    def produce() -> None:
        try:
            with open(writing, "wb") as pipe:
                pack(source, where.name, pipe.write, owners=owners)
        except BrokenPipeError:
            pass
        except OSError as error:
            problems.append(error)

    producer = threading.Thread(target=produce)
    producer.start()
    try:
        with open(reading, "rb") as archive:
            container.copy_in(where.directory, archive)
    finally:
        producer.join()
        if problems:
            raise problems[0]


def _followed(container: Container, path: str) -> str:
    """Where a path of a container leads when it is a link; its own root is the root of absolute ones."""
    for _ in range(_MOST_LINKS):
        try:
            link = container.stat_path(path)["linkTarget"]
        except NotFound:
            return path
        if not link:
            return path
        path = os.path.join(os.path.dirname(path.rstrip("/")), link)
    raise FailedPrecondition(f"{path}: too many links")


def _kind(container: Container, path: str) -> str:
    try:
        mode = container.stat_path(_followed(container, path))["mode"]
    except NotFound:
        return ""
    return "directory" if stat.S_ISDIR(mode) else "file"


def _local_kind(path: str) -> str:
    if os.path.isdir(path):
        return "directory"
    return "file" if os.path.lexists(path) else ""


def _diff(session: Session, parsed: Parsed) -> int:
    for kind, path in session.engine.containers.get(parsed.arguments[0]).diff():
        line(f"{kind} {one_line(path)}")
    return 0


def _export(session: Session, parsed: Parsed) -> int:
    container, path = session.engine.containers.get(parsed.arguments[0]), parsed.text("output")
    if not path:
        if os.isatty(1):
            raise FailedPrecondition("an archive is not for a terminal: use -o FILE, or a pipe")
        for data in container.export():
            write_bytes(data)
        return 0
    from cloche.cli.output_file import OutputFile

    with OutputFile(path) as file:
        for data in container.export():
            file.write(data)
    return 0


CP = Command(
    "[OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-\n[OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH",
    _cp,
    groups=(
        (
            "Options",
            (
                ("archive", "a", "bool", "Keep user and group ids"),
                ("follow-link", "L", "bool", "Copy what a link at SRC_PATH leads to"),
                ("quiet", "q", "bool", "Show no progress, which is never shown"),
            ),
        ),
    ),
    minimum=2,
    maximum=2,
    description=(
        "Copy files between a container and the host.\n\n"
        'With "-" a tar archive is read from standard input and unpacked into a\n'
        "directory of the container, or written to standard output."
    ),
)
DIFF = Command("CONTAINER", _diff, minimum=1, maximum=1)
EXPORT = Command(
    "[OPTIONS] CONTAINER",
    _export,
    groups=(("Options", (("output", "o", "string", "Write to this file, not to standard output"),)),),
    minimum=1,
    maximum=1,
)
