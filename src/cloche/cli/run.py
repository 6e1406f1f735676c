"""`run` and `create`: a container from an image.

The path of `cloche run --rm IMAGE COMMAND` is the one that must be fastest: nothing is imported
here that such a run does not use.
"""

from __future__ import annotations

import os

from cloche.cli import container_flags
from cloche.cli.arguments import Command
from cloche.cli.output import line, warn, write
from cloche.errors import AlreadyExists, InvalidArgument, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.cli.arguments import Parsed
    from cloche.cli.session import Session
    from cloche.engine.container import Container
    from cloche.engine.engine import Engine
    from cloche.engine.images import Image
    from cloche.engine.options import Options

_FAILURE = 125
_PULLS = ("always", "missing", "never")
_ATTACHING = (
    "Attaching",
    (
        ("detach", "d", "bool", "Leave it running in the background and print its ID"),
        ("detach-keys", "", "string", 'Keys that leave it running (default "ctrl-p,ctrl-q")'),
        ("sig-proxy", "", "bool", "Pass signals on to it (default true)"),
    ),
)


def _run(session: Session, parsed: Parsed) -> int:
    wanted = _Wanted(session, parsed)
    if parsed.on("detach"):
        container = wanted.container()
        _started(container, parsed)
        line(container.id)
        return 0
    if parsed.on("tty") and parsed.on("interactive"):
        return _interactive(wanted, parsed)
    if not parsed.on("sig-proxy", default=True):
        return wanted.engine.containers.run(wanted.image, wanted.options, on_create=wanted.write_id)
    from cloche.cli.proxy import SignalProxy

    with SignalProxy() as proxy:
        return wanted.engine.containers.run(
            wanted.image,
            wanted.options,
            on_create=wanted.write_id,
            on_start=lambda process: proxy.connect(process.kill),
        )


def _interactive(wanted: _Wanted, parsed: Parsed) -> int:
    """With a person at a terminal, who may leave it running: so its parent is not this process."""
    from cloche.cli import attach

    attach.require_terminal()
    container = wanted.container()
    _started(container, parsed, hold=True)
    return attach.join(container, parsed)


def _started(container: Container, parsed: Parsed, *, hold: bool = False) -> None:
    from cloche.engine.terminal import size_of

    try:
        container.start(hold=hold, console_size=size_of((0, 1, 2)) if hold else None)
    except BaseException:
        if parsed.on("rm"):
            container.remove(force=True, volumes=True)
        raise


def _create(session: Session, parsed: Parsed) -> int:
    line(_Wanted(session, parsed).container().id)
    return 0


class _Wanted:
    """What a command line asks for: an engine, an image that is here, and options."""

    def __init__(self, session: Session, parsed: Parsed) -> None:
        name, *args = parsed.arguments
        self.options: Options = container_flags.options(parsed, args)
        if (self.options.ports or self.options.publish_all) and self.options.network in ("host", "none"):
            warn(f"ports are not published: the network is {self.options.network}")
        self._cidfile = parsed.text("cidfile")
        if self._cidfile and os.path.exists(self._cidfile):
            raise AlreadyExists(f"{self._cidfile}: the ID file is there already; remove it first")
        self.engine: Engine = session.open(parsed.text("snapshotter"))
        self.image: Image = _image(self.engine, parsed, name)

    def container(self) -> Container:
        """A new container."""
        made = self.engine.containers.create(self.image, self.options)
        self.write_id(made)
        return made

    def write_id(self, container: Container) -> None:
        """Leave the container's ID where --cidfile says."""
        if not self._cidfile:
            return
        descriptor = os.open(self._cidfile, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            os.write(descriptor, container.id.encode())
        finally:
            os.close(descriptor)


def _image(engine: Engine, parsed: Parsed, name: str) -> Image:
    """The image, pulled where --pull asks for it."""
    pull, platform = parsed.text("pull") or "missing", parsed.text("platform") or ""
    if pull not in _PULLS:
        raise InvalidArgument(f'invalid pull option {pull!r}: must be "always", "missing" or "never"')
    if pull != "always":
        try:
            return engine.images.get(name, platform=platform)
        except NotFound:
            if pull == "never" or engine.images.exists(name):
                raise
    from cloche.cli import registry

    if pull == "missing":
        write(f"Unable to find image '{registry.familiar(name)}' locally\n", 2)
    return registry.fetch(engine, name, platform=platform, quiet=parsed.on("quiet"), descriptor=2)


RUN = Command(
    "[OPTIONS] IMAGE [COMMAND] [ARG...]",
    _run,
    groups=(_ATTACHING, *container_flags.GROUPS),
    minimum=1,
    maximum=None,
    passes_on=1,
    failure=_FAILURE,
    invokes=True,
)
CREATE = Command(
    "[OPTIONS] IMAGE [COMMAND] [ARG...]",
    _create,
    groups=container_flags.GROUPS,
    minimum=1,
    maximum=None,
    passes_on=1,
)
