"""`cloche crictl`: Kubernetes' own command line for CRI, against this daemon or any other."""

from __future__ import annotations

import os

from cloche.cli.arguments import Command, HelpWanted, Parsed, UsageError, check_count, parse
from cloche.cli.crictl.client import Client
from cloche.cli.crictl.command import CrictlCommand
from cloche.cli.crictl.commands import COMMANDS, resolve
from cloche.cli.crictl.settings import settings
from cloche.cli.output import warn, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloche.cli.arguments import Group
    from cloche.cli.session import Session

_GLOBAL: Group = (
    "Global Options",
    (
        ("config", "c", "string", "File with options (default /etc/crictl.yaml; $CRI_CONFIG_FILE)"),
        ("debug", "D", "bool", "Show the traceback of an error"),
        ("image-endpoint", "i", "string", "Socket of the images' daemon ($IMAGE_SERVICE_ENDPOINT)"),
        ("runtime-endpoint", "r", "string", "Socket of the daemon ($CONTAINER_RUNTIME_ENDPOINT)"),
        ("timeout", "t", "duration", "How long connecting may take (default 2s)"),
    ),
)


def _run(session: Session, parsed: Parsed) -> int:
    session.debug = session.debug or parsed.on("debug")
    try:
        return _dispatch(session, parsed, parsed.arguments)
    except UsageError as error:
        warn(str(error))
        return 1


def _dispatch(session: Session, outer: Parsed, words: Sequence[str]) -> int:
    if not words or words[0] in ("help", "h"):
        write(_program())
        return 0
    name = resolve(words[0])
    if not name:
        raise UsageError(f"unknown command: crictl {words[0]}; see 'cloche crictl help'")
    _, module, attribute, summary = COMMANDS[name]
    found: CrictlCommand = getattr(
        __import__(f"cloche.cli.crictl.{module}", fromlist=(attribute,)), attribute
    )
    try:
        parsed = parse(found.groups, words[1:], passes_on=found.passes_on, one_dash=True)
    except HelpWanted:
        write(_page(name, summary, found))
        return 0
    check_count(found, f"cloche crictl {name}", parsed.arguments)
    client = Client(settings(outer, os.environ, f"unix://{session.address}"))
    try:
        return found.obey(client, parsed) or 0
    finally:
        client.close()


def _program() -> str:
    from cloche.cli import pages

    rows = [(", ".join((name, *row[0])), row[3]) for name, row in COMMANDS.items()]
    return "\n".join(
        (
            "Usage:  cloche crictl [OPTIONS] COMMAND\n\nWork with pods and containers as a kubelet does.\n",
            "Commands:\n" + pages.listed(rows),
            *pages.options((_GLOBAL,)),
            "Run 'cloche crictl COMMAND --help' for more about a command.\n",
        )
    )


def _page(name: str, summary: str, described: CrictlCommand) -> str:
    from cloche.cli import pages

    head = f"Usage:  cloche crictl {name} {described.usage}".rstrip()
    options = pages.options((*described.groups, _GLOBAL))
    return "\n".join((f"{head}\n\n{described.description or summary}\n", *options))


CRICTL = Command(
    "[OPTIONS] COMMAND",
    _run,
    groups=(_GLOBAL,),
    maximum=None,
    passes_on=1,
    one_dash=True,
    description="Manage pods and containers in the words of Kubernetes' crictl, whose commands\n"
    "'cloche crictl help' lists",
)
