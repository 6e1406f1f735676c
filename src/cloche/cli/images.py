"""Commands on images that are here: images, history, tag, rmi, prune."""

from __future__ import annotations

import time

from cloche.cli import human, table
from cloche.cli.arguments import Command
from cloche.cli.lifecycle import confirmed, in_turn
from cloche.cli.output import write
from cloche.shim import timestamps
from cloche.spec import reference as references

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cloche.cli.arguments import Parsed
    from cloche.cli.session import Session
    from cloche.engine.images import Image

_HEADERS = {
    "CreatedAt": "CREATED AT",
    "CreatedSince": "CREATED",
    "Digest": "DIGEST",
    "ID": "IMAGE ID",
    "Repository": "REPOSITORY",
    "Size": "SIZE",
    "Tag": "TAG",
}
_DEFAULT = ("Repository", "Tag", "ID", "CreatedSince", "Size")
_WITH_DIGESTS = ("Repository", "Tag", "Digest", "ID", "CreatedSince", "Size")
_NONE = "<none>"
_SHORT_ID = 12
_SHORT_COMMAND = 45
_SECOND_NS = 1_000_000_000


def _row(image: Image, *, whole: bool) -> dict[str, Any]:
    repository, tag = _NONE, _NONE
    if image.reference:
        name = references.parse(image.reference)
        repository, tag = name.replace(tag="", digest="").familiar(), name.tag or _NONE
    return {
        "CreatedAt": _moment(image.created),
        "CreatedSince": _age(image.created),
        "Digest": image.digest,
        "ID": image.id if whole else _short(image.id),
        "Repository": repository,
        "Size": human.size(image.size_bytes, digits=3),
        "Tag": tag,
    }


def _short(digest: str) -> str:
    return digest.partition(":")[2][:_SHORT_ID]


def _age(created: str) -> str:
    """How long ago an image says that it was made; images may say anything."""
    try:
        return human.ago(time.time() - timestamps.parse(created) / _SECOND_NS)
    except ValueError:
        return "N/A"


def _moment(created: str) -> str:
    try:
        return human.local_time(timestamps.parse(created) / _SECOND_NS)
    except (ValueError, OverflowError, OSError):
        return "N/A"


def _list(session: Session, parsed: Parsed) -> int:
    images = [image for image in session.engine.images.list() if _wanted(image, parsed.arguments)]
    form, whole = parsed.text("format"), parsed.on("no-trunc")
    if parsed.on("quiet") and not form:
        ids = dict.fromkeys(image.id if whole else _short(image.id) for image in images)
        write("".join(f"{identifier}\n" for identifier in ids))
        return 0
    default = _WITH_DIGESTS if parsed.on("digests") else _DEFAULT
    table.show([_row(image, whole=whole) for image in images], _HEADERS, default, form=form)
    return 0


def _wanted(image: Image, patterns: list[str]) -> bool:
    """Whether an image is meant by REPOSITORY[:TAG], in which * and ? stand for anything."""
    if not patterns:
        return True
    if not image.reference:
        return False
    from fnmatch import fnmatchcase

    name = references.parse(image.reference)
    repository = name.replace(tag="", digest="").familiar()
    full = f"{repository}:{name.tag}"
    return any(fnmatchcase(text, patterns[0]) for text in (repository, full, str(name), name.name))


def _history(session: Session, parsed: Parsed) -> int:
    image = session.engine.images.get(parsed.arguments[0])
    whole = parsed.on("no-trunc")
    steps = list(reversed(image.config.history)) or [{}]
    rows = [_step(step, image if number == 0 else None, whole=whole) for number, step in enumerate(steps)]
    if parsed.on("quiet"):
        write("".join(f"{row['ID']}\n" for row in rows))
        return 0
    table.show(
        rows,
        {
            "Comment": "COMMENT",
            "CreatedAt": "CREATED AT",
            "CreatedBy": "CREATED BY",
            "CreatedSince": "CREATED",
            "ID": "IMAGE",
            "Size": "SIZE",
        },
        ("ID", "CreatedSince", "CreatedBy", "Size", "Comment"),
        form=parsed.text("format"),
    )
    return 0


def _step(step: dict[str, Any], image: Image | None, *, whole: bool) -> dict[str, Any]:
    created, command = str(step.get("created") or ""), str(step.get("created_by") or "")
    if image is not None:
        created = created or image.created
    return {
        "Comment": str(step.get("comment") or ""),
        "CreatedAt": created,
        "CreatedBy": command if whole else human.shortened(command, _SHORT_COMMAND),
        "CreatedSince": _age(created),
        # Only the whole image has an id; what it was built by in between was never stored here.
        "ID": "<missing>" if image is None else image.id if whole else _short(image.id),
        "Size": "0B" if image is None else human.size(image.size_bytes, digits=3),
    }


def _tag(session: Session, parsed: Parsed) -> int:
    session.engine.images.tag(*parsed.arguments)
    return 0


def _remove(session: Session, parsed: Parsed) -> int:
    force = parsed.on("force")
    return in_turn(parsed.arguments, lambda name: session.engine.images.remove(name, force=force))


def _prune(session: Session, parsed: Parsed) -> int:
    if not confirmed(parsed, "all images without a name"):
        return 0
    from cloche.cli.reclaimed import Reclaimed

    with Reclaimed(session.engine):
        removed = session.engine.images.prune()
        if removed:
            write("Deleted Images:\n" + "".join(f"{said}\n" for said in removed) + "\n")
    return 0


_FORMAT = ("format", "", "string", '"table", "table TEMPLATE", "json" or a Go template')
_WHOLE = ("no-trunc", "", "bool", "Shorten nothing")

IMAGES = Command(
    "[OPTIONS] [REPOSITORY[:TAG]]",
    _list,
    groups=(
        (
            "Options",
            (
                ("all", "a", "bool", "Show all images, which is done anyway"),
                ("digests", "", "bool", "Show digests"),
                _FORMAT,
                _WHOLE,
                ("quiet", "q", "bool", "Print only IDs"),
            ),
        ),
    ),
    maximum=1,
)
HISTORY = Command(
    "[OPTIONS] IMAGE",
    _history,
    groups=(("Options", (_FORMAT, _WHOLE, ("quiet", "q", "bool", "Print only IDs"))),),
    minimum=1,
    maximum=1,
)
TAG = Command("SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]", _tag, minimum=2, maximum=2)
RMI = Command(
    "[OPTIONS] IMAGE [IMAGE...]",
    _remove,
    groups=(
        (
            "Options",
            (("force", "f", "bool", "Also where it has several names or a use"),),
        ),
    ),
    minimum=1,
    maximum=None,
)
PRUNE = Command(
    "[OPTIONS]", _prune, groups=(("Options", (("force", "f", "bool", "Do not ask whether it is meant"),)),)
)
