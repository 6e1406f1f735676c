"""`crictl images`, and which images are meant by a name and by filters."""

from __future__ import annotations

import re

from cloche.cli.arguments import UsageError
from cloche.cli.crictl import showing
from cloche.cli.crictl.command import OUTPUT, CrictlCommand
from cloche.cli.crictl.json_form import document
from cloche.cli.output import write
from cloche.wire.messages.cri import images

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloche.cli.arguments import Parsed, Row
    from cloche.cli.crictl.client import Client

FILTER: Row = (
    "filter",
    "f",
    "filter",
    "Those for which holds: dangling=true|false, reference=EXPRESSION, before=IMAGE, since=IMAGE",
)
_NONE = "<none>"


def some_images(client: Client, name: str, flags: Parsed) -> list[images.Image]:
    """The images of a name ("" for all) for which every --filter holds, in order."""
    request = images.ListImagesRequest(filter=images.ImageFilter(image=images.ImageSpec(image=name)))
    found = sorted(client.images("ListImages", request).images, key=_order)
    for word in flags.all("filter"):
        found = _filtered(found, word)
    return found


def _order(image: images.Image) -> tuple[str, str]:
    return next(iter((*image.repo_tags, *image.repo_digests)), ""), image.id


def _filtered(found: list[images.Image], word: str) -> list[images.Image]:
    name, _, value = word.partition("=")
    if name == "dangling":
        return [each for each in found if value == ("false" if each.repo_tags else "true")]
    if name == "reference":
        try:
            expression = re.compile(value)
        except re.error as error:
            raise UsageError(f"--filter: {value!r} is no regular expression: {error}") from None
        return [each for each in found if expression.search(_digest(each)[0])]
    if name == "since":
        return _until(found, value)
    if name == "before":
        return _until(found[::-1], value)[::-1]
    raise UsageError(f"--filter: {word!r}: there are dangling=, reference=, before= and since=")


def _until(found: Sequence[images.Image], value: str) -> list[images.Image]:
    for at, image in enumerate(found):
        if value in image.repo_tags or image.id.startswith(value):
            return list(found[:at])
        if any(digest.startswith(value) for digest in image.repo_digests[:1]):
            return list(found[:at])
    return list(found)


def _digest(image: images.Image) -> tuple[str, str]:
    if not image.repo_digests:
        return _NONE, _NONE
    name, _, digest = image.repo_digests[0].partition("@")
    return name, digest


def _names(image: images.Image) -> list[tuple[str, str]]:
    if not image.repo_tags:
        return [(_digest(image)[0], _NONE)]
    pairs = (tag.rpartition(":")[::2] for tag in image.repo_tags)
    return [(_digest(image)[0] if name == _NONE else name, tag) for name, tag in pairs]


def _images(client: Client, flags: Parsed) -> None:
    form = showing.known_format(flags.text("output") or "table", "json", "yaml", "table")
    found = some_images(client, flags.arguments[0] if flags.arguments else "", flags)
    if form != "table":
        showing.message_text(document(images.ListImagesResponse(images=found)), form)
    elif flags.on("quiet"):
        write("".join(f"{each.id}\n" for each in found))
    elif flags.on("verbose"):
        write("".join(_verbose(each) for each in found))
    else:
        digests, pinned = flags.on("digests"), flags.on("pinned")
        headers = ["IMAGE", "TAG", *["DIGEST"] * digests, "IMAGE ID", "SIZE", *["PINNED"] * pinned]
        showing.table([headers, *(row for each in found for row in _rows(each, flags))])


def _rows(image: images.Image, flags: Parsed) -> list[list[str]]:
    identity, digest = image.id, _digest(image)[1]
    if not flags.on("no-trunc"):
        identity, digest = showing.short(identity), showing.short(digest)
    return [
        [
            *(name, tag, *[digest] * flags.on("digests"), identity, showing.size(image.size)),
            *["true" if image.pinned else "false"] * flags.on("pinned"),
        ]
        for name, tag in _names(image)
    ]


def _verbose(image: images.Image) -> str:
    lines = [f"ID: {image.id}", *(f"RepoTags: {tag}" for tag in image.repo_tags)]
    lines += [f"RepoDigests: {digest}" for digest in image.repo_digests]
    if image.size:
        lines.append(f"Size: {image.size}")
    if image.uid is not None:
        lines.append(f"Uid: value:{image.uid.value}" if image.uid.value else "Uid: ")
    if image.username:
        lines.append(f"Username: {image.username}")
    if image.pinned:
        lines.append("Pinned: true")
    return "\n".join(lines) + "\n\n"


IMAGES = CrictlCommand(
    "[OPTIONS] [REPOSITORY[:TAG]]",
    _images,
    groups=(
        (
            "Options",
            (
                ("digests", "", "bool", "With digests"),
                FILTER,
                ("no-trunc", "", "bool", "Ids at full length"),
                OUTPUT,
                ("pinned", "", "bool", "Whether an image is kept when room is made"),
                ("quiet", "q", "bool", "Only ids"),
                ("verbose", "v", "bool", "All that a list knows"),
            ),
        ),
    ),
    maximum=1,
)
