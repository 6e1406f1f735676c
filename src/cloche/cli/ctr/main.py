"""`cloche ctr`: containerd's own command line, against this daemon or any that speaks its API."""

from __future__ import annotations

from cloche.cli.arguments import Command, HelpWanted, Parsed, UsageError, check_count, parse
from cloche.cli.ctr.command import CtrCommand, Invocation
from cloche.cli.ctr.tree import TREE, command_of, group_of
from cloche.cli.output import warn, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.cli.arguments import Group
    from cloche.cli.session import Session

_GLOBAL: Group = (
    "Global Options",
    (
        ("address", "a", "string", "Socket of the daemon ($CONTAINERD_ADDRESS)"),
        ("connect-timeout", "", "duration", "How long connecting may take"),
        ("debug", "", "bool", "Show the traceback of an error"),
        ("namespace", "n", "string", "Namespace to work in ($CONTAINERD_NAMESPACE)"),
        ("timeout", "", "duration", "How long all of it may take"),
    ),
)


def _run(session: Session, parsed: Parsed) -> int:
    session.debug = session.debug or parsed.on("debug")
    try:
        return _dispatch(session, parsed)
    except UsageError as error:
        warn(str(error))
        return 1


def _dispatch(session: Session, outer: Parsed) -> int:
    words = outer.arguments
    name = group_of(words[0]) if words else ""
    if not words or words[0] in ("help", "h"):
        from cloche.cli.ctr import pages

        write(pages.program(_GLOBAL))
        return 0
    if not name:
        raise UsageError(f"unknown command: ctr {words[0]}; see 'cloche ctr --help'")
    members = TREE[name][3]
    group: Group = (f"Options of ctr {name}", TREE[name][2])
    if "" in members:
        return _command(session, [outer], name, "", words[1:], group)
    try:
        inner = parse((group, _GLOBAL), words[1:], passes_on=1, one_dash=True)
    except HelpWanted:
        inner = Parsed({}, [])
    if not inner.arguments or inner.arguments[0] in ("help", "h"):
        from cloche.cli.ctr import pages

        write(pages.group(name))
        return 0
    word = command_of(name, inner.arguments[0])
    if word is None:
        raise UsageError(f"unknown command: ctr {name} {inner.arguments[0]}; see 'cloche ctr {name} --help'")
    return _command(session, [outer, inner], name, word, inner.arguments[1:], group)


def _command(
    session: Session, flags: list[Parsed], group: str, word: str, words: list[str], shared: Group
) -> int:
    _, module, attribute, summary = TREE[group][3][word]
    found: CtrCommand = getattr(__import__(f"cloche.cli.ctr.{module}", fromlist=(attribute,)), attribute)
    path = f"ctr {group} {word}".rstrip()
    try:
        parsed = parse((*found.groups, shared, _GLOBAL), words, passes_on=found.passes_on, one_dash=True)
    except HelpWanted:
        from cloche.cli.ctr import pages

        write(pages.command(path, summary, found, (shared, _GLOBAL)))
        return 0
    check_count(found, f"cloche {path}", parsed.arguments)
    return found.obey(Invocation(session, [parsed, *reversed(flags)])) or 0


CTR = Command(
    "[OPTIONS] COMMAND",
    _run,
    groups=(_GLOBAL,),
    maximum=None,
    passes_on=1,
    one_dash=True,
    description="Manage the daemon in the words of containerd's ctr\n\n'cloche ctr help' lists its commands",
)
