"""Images from and to files: load, import, save, from-host."""

from __future__ import annotations

import os
import sys

from cloche.cli.arguments import Command, WrongCountError
from cloche.cli.output import line, one_line, warn
from cloche.errors import FailedPrecondition, InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

    from cloche.cli.arguments import Parsed
    from cloche.cli.session import Session
    from cloche.engine.images import Image


def _load(session: Session, parsed: Parsed) -> int:
    path = parsed.text("input")
    return _read(session, path or "-", quiet=parsed.on("quiet"), name="")


def _import(session: Session, parsed: Parsed) -> int:
    path = parsed.text("input")
    if not path and not parsed.arguments:
        raise WrongCountError("'cloche import' requires at least 1 argument")
    names = parsed.arguments if path else parsed.arguments[1:]
    path = path or parsed.arguments[0]
    if path.startswith(("http://", "https://")):
        raise InvalidArgument(f"{path}: is not fetched here; pipe it in: curl URL | cloche import -")
    images, is_root = session.engine.images.import_archive(
        _source(path),
        name=names[0] if names else "",
        changes=parsed.all("change"),
        message=parsed.text("message") or "",
        platform=parsed.text("platform") or "",
    )
    for image in images:
        line(image.id if is_root else _loaded(image))
    return 0


def _read(session: Session, path: str, *, quiet: bool, name: str) -> int:
    for image in session.engine.images.load(_source(path), name=name):
        if not quiet:
            line(_loaded(image))
    return 0


def _source(path: str) -> str | BinaryIO:
    if path != "-":
        return path
    if os.isatty(0):
        raise FailedPrecondition("an archive is expected: give its path with -i, or pipe it in")
    return sys.stdin.buffer


def _loaded(image: Image) -> str:
    return f"Loaded image: {image.name}" if image.reference else f"Loaded image ID: {image.id}"


def _save(session: Session, parsed: Parsed) -> int:
    path, platform = parsed.text("output"), parsed.text("platform") or ""
    if not path:
        if os.isatty(1):
            raise FailedPrecondition("an archive is not for a terminal: use -o FILE, or a pipe")
        session.engine.images.save(parsed.arguments, sys.stdout.buffer, platform=platform)
        sys.stdout.buffer.flush()
        return 0
    from cloche.cli.output_file import OutputFile

    with OutputFile(path) as file:
        session.engine.images.save(parsed.arguments, file, platform=platform)
    return 0


def _from_host(session: Session, parsed: Parsed) -> int:
    name, *programs = parsed.arguments
    image = session.engine.images.from_host(name, programs, warn=lambda said: warn(one_line(said)))
    line(f"{image.name} {image.digest}")
    return 0


_PLATFORM = ("platform", "", "string", "Platform of the image: os/architecture[/variant]")
_INPUT = ("input", "i", "string", "Read this file, not standard input")

LOAD = Command("[OPTIONS]", _load, groups=(("Options", (_INPUT, ("quiet", "q", "bool", "Print nothing"))),))
IMPORT = Command(
    "[OPTIONS] FILE|DIRECTORY|- [NAME[:TAG]]",
    _import,
    groups=(
        (
            "Options",
            (
                ("change", "c", "list", "Dockerfile instruction for the new image, as 'CMD [\"sh\"]'"),
                _INPUT,
                ("message", "m", "string", "Comment in the new image's history"),
                _PLATFORM,
            ),
        ),
    ),
    maximum=2,
    description=(
        "Make an image of a root file system in a tar archive, and give it a name.\n"
        "An OCI or docker archive or an OCI layout is loaded; NAME is then for an image\n"
        "that has none there."
    ),
)
SAVE = Command(
    "[OPTIONS] IMAGE [IMAGE...]",
    _save,
    groups=(
        ("Options", (("output", "o", "string", "Write to this file, not to standard output"), _PLATFORM)),
    ),
    minimum=1,
    maximum=None,
)
FROM_HOST = Command(
    "NAME PROGRAM...",
    _from_host,
    minimum=2,
    maximum=None,
    description=(
        "Make an image of this machine's own programs, with the libraries they load.\n"
        "Programs are found in PATH or given by path; files and folders may be named too."
    ),
)
