"""`inspect`: the documents of containers and images, whole or by template."""

from __future__ import annotations

from cloche.cli.arguments import Command
from cloche.cli.output import line, warn, write
from cloche.errors import ClocheError, InvalidArgument, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from cloche.cli.arguments import Parsed
    from cloche.cli.session import Session

    Look = Callable[[Session, str], dict[str, Any]]


def _container(session: Session, name: str) -> dict[str, Any]:
    return session.engine.containers.get(name).inspect()


def _network(session: Session, name: str) -> dict[str, Any]:
    return session.engine.networks.inspect(name)


def _image(session: Session, name: str) -> dict[str, Any]:
    return session.engine.images.get(name).inspect()


def _either(session: Session, name: str) -> dict[str, Any]:
    try:
        return _container(session, name)
    except NotFound:
        pass
    try:
        return _image(session, name)
    except (NotFound, InvalidArgument):
        pass
    try:
        return _network(session, name)
    except NotFound:
        raise NotFound(f"no such object: {name}") from None


_KINDS: dict[str, Look] = {"": _either, "container": _container, "image": _image, "network": _network}


def _inspect(session: Session, parsed: Parsed) -> int:
    kind = parsed.text("type") or ""
    if kind not in _KINDS:
        raise InvalidArgument(
            f'{kind!r} is not a type that can be inspected: "container", "image" and "network" are'
        )
    return show(session, parsed, _KINDS[kind])


def show(session: Session, parsed: Parsed, look: Look) -> int:
    """Print the document of everything named; what is missing is told at the end, with code 1."""
    documents, problems = [], []
    for name in parsed.arguments:
        try:
            documents.append(look(session, name))
        except ClocheError as error:
            problems.append(str(error))
    form = parsed.text("format")
    if form:
        from cloche.cli.table import templated_document

        for document in documents:
            line(templated_document(document, form))
    else:
        write(_json(documents))
    for problem in problems:
        warn(problem)
    return 1 if problems else 0


def _json(documents: list[dict[str, Any]]) -> str:
    import json

    return json.dumps(documents, indent=4, ensure_ascii=False) + "\n"


_FORMAT = ("format", "f", "string", 'Print "json", or fill in a Go template')

INSPECT = Command(
    "[OPTIONS] NAME|ID [NAME|ID...]",
    _inspect,
    groups=(
        ("Options", (_FORMAT, ("type", "", "string", 'Look only at "container", "image" or "network"'))),
    ),
    minimum=1,
    maximum=None,
)
CONTAINER_INSPECT = Command(
    "[OPTIONS] CONTAINER [CONTAINER...]",
    lambda session, parsed: show(session, parsed, _container),
    groups=(("Options", (_FORMAT,)),),
    minimum=1,
    maximum=None,
)
IMAGE_INSPECT = Command(
    "[OPTIONS] IMAGE [IMAGE...]",
    lambda session, parsed: show(session, parsed, _image),
    groups=(("Options", (_FORMAT,)),),
    minimum=1,
    maximum=None,
)
