"""Images from and to registries: pull, push."""

from __future__ import annotations

import os

from cloche.cli.arguments import Command
from cloche.cli.output import line, write
from cloche.errors import InvalidArgument, NotFound
from cloche.spec import reference as references

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cloche.cli.arguments import Parsed
    from cloche.cli.pull_progress import Bars, Lines
    from cloche.cli.session import Session
    from cloche.engine.engine import Engine
    from cloche.engine.images import Image


def familiar(name: str) -> str:
    """The reference as people write it, with the tag that it gets. Raises InvalidArgument."""
    return references.parse(name).familiar()


def fetch(
    engine: Engine, name: str, *, platform: str = "", quiet: bool = False, descriptor: int = 1, **access: Any
) -> Image:
    """Pull an image and tell about it on a descriptor, in docker's lines or with bars.

    access: how the registry is spoken to, as `Images.pull` takes it.
    """
    reference = references.parse(name)
    before = engine.images.get(name).digest if engine.images.exists(name) else ""
    if quiet:
        return engine.images.pull(name, platform=platform, **access)
    write(f"{reference.tag or reference.digest}: Pulling from {reference.path}\n", descriptor)
    progress = _progress(descriptor)
    try:
        image = engine.images.pull(name, platform=platform, progress=progress, **access)
        progress.finish()
    finally:
        progress.close()
    news = "Image is up to date" if image.digest == before else "Downloaded newer image"
    write(f"Digest: {image.digest}\nStatus: {news} for {reference.familiar()}\n", descriptor)
    return image


def _progress(descriptor: int, *, push: bool = False) -> Bars | Lines:
    from cloche.cli import pull_progress

    words = pull_progress.PUSHING if push else pull_progress.PULLING
    if os.isatty(descriptor):
        return pull_progress.Bars(descriptor, words)
    return pull_progress.Lines(descriptor, words)


def access(parsed: Parsed) -> dict[str, Any]:
    """How the registry is spoken to, as the engine takes it. Raises InvalidArgument."""
    found: dict[str, Any] = {"skip_verify": parsed.on("skip-verify")}
    if (directory := parsed.text("hosts-dir")) is not None:
        if not os.path.isdir(directory):
            raise InvalidArgument(f"--hosts-dir {directory}: there is no such directory")
        found["hosts_dir"] = directory
    if "plain-http" in parsed.given():
        found["plain_http"] = parsed.on("plain-http")
    if (authority := parsed.text("tlscacert")) is not None:
        if not os.path.isfile(authority):
            raise InvalidArgument(f"--tlscacert {authority}: there is no such file")
        found["ca"] = (authority,)
    if found.get("plain_http") and (found["skip_verify"] or authority is not None):
        raise InvalidArgument("--plain-http: cannot go with --skip-verify or --tlscacert, which are of TLS")
    if (user := parsed.text("user")) is not None:
        from cloche.image.credentials import Credentials

        found["auth"] = Credentials.from_user(user)
    return found


def _tell_default_tag(name: str) -> None:
    reference = references.parse(name)
    if name.endswith(reference.path) and not reference.digest:
        line(f"Using default tag: {reference.tag}")


def _pull(session: Session, parsed: Parsed) -> int:
    name, quiet, given = parsed.arguments[0], parsed.on("quiet"), access(parsed)
    reference = references.parse(name)
    if not quiet:
        _tell_default_tag(name)
    fetch(session.engine, name, platform=parsed.text("platform") or "", quiet=quiet, **given)
    line(str(reference))
    return 0


def _push(session: Session, parsed: Parsed) -> int:
    name, quiet, given = parsed.arguments[0], parsed.on("quiet"), access(parsed)
    reference = references.parse(name)
    if reference.digest:
        raise InvalidArgument("cannot push a digest reference: give the image a tag")
    repository = reference.familiar().rpartition(":")[0]
    if not quiet:
        if not parsed.on("all-tags"):
            _tell_default_tag(name)
        line(f"The push refers to repository [{reference.name}]")
    for tag in _tags(session, parsed, reference):
        _push_one(session, f"{repository}:{tag}", tag, parsed, given)
    if quiet:
        line(reference.name if parsed.on("all-tags") else str(reference))
    return 0


def _tags(session: Session, parsed: Parsed, reference: references.Reference) -> list[str]:
    """The tags that are pushed. Raises NotFound in docker's words."""
    if not parsed.on("all-tags"):
        if not session.engine.images.exists(str(reference)):
            raise NotFound(f"an image does not exist locally with the tag: {reference.familiar()}")
        return [reference.tag]
    found = [references.parse(row.name) for row in session.engine.images.rows() if "@" not in row.name]
    tags = [each.tag for each in found if each.name == reference.name]
    if not tags:
        raise NotFound(f"an image does not exist locally with the tag: {reference.name}")
    return sorted(tags)


def _push_one(session: Session, name: str, tag: str, parsed: Parsed, access: dict[str, Any]) -> None:
    platform = parsed.text("platform") or ""
    if parsed.on("quiet"):
        session.engine.images.push(name, platform=platform, **access)
        return
    progress = _progress(1, push=True)
    try:
        sent = session.engine.images.push(name, platform=platform, progress=progress, **access)
    finally:
        progress.close()
    line(f"{tag}: digest: {sent.digest} size: {sent.size}")


_PLATFORM = ("platform", "", "string", "Platform of the image: os/architecture[/variant]")
_QUIET = ("quiet", "q", "bool", "Print only the image's full name")
ACCESS = (
    "Registry",
    (
        ("plain-http", "", "bool", "Speak HTTP without TLS (tried without asking on this machine only)"),
        ("hosts-dir", "", "string", "Read hosts.toml and certificates of registries below this directory"),
        ("skip-verify", "k", "bool", "Accept any TLS certificate"),
        ("tlscacert", "", "string", "Trust the certificates of this PEM file too"),
        ("user", "u", "string", "User and password (USER:PASSWORD; default: what docker login has stored)"),
    ),
)

PULL = Command(
    "[OPTIONS] NAME[:TAG|@DIGEST]",
    _pull,
    groups=(("Options", (_PLATFORM, _QUIET)), ACCESS),
    minimum=1,
    maximum=1,
)
PUSH = Command(
    "[OPTIONS] NAME[:TAG]",
    _push,
    groups=(
        ("Options", (("all-tags", "a", "bool", "Push every tag of the repository"), _PLATFORM, _QUIET)),
        ACCESS,
    ),
    minimum=1,
    maximum=1,
)
