"""Help for ctr's tree, from the tables that it is parsed with."""

from __future__ import annotations

from cloche.cli import pages
from cloche.cli.ctr.tree import TREE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloche.cli.arguments import Group
    from cloche.cli.ctr.command import CtrCommand


def program(flags: Group) -> str:
    """The page of `cloche ctr help`."""
    rows = [(", ".join((name, *branch[0])), branch[1]) for name, branch in TREE.items()]
    return "\n".join(
        (
            "Usage:  cloche ctr [OPTIONS] COMMAND\n",
            "Commands:\n" + pages.listed(sorted(rows)),
            *pages.options((flags,)),
            "Run 'cloche ctr COMMAND --help' for more about a command.\n",
        )
    )


def group(name: str) -> str:
    """The page of a group, such as `cloche ctr images`."""
    others, summary, flags, members = TREE[name]
    rows = [(", ".join((word, *entry[0])), entry[3]) for word, entry in members.items()]
    parts = [f"Usage:  cloche ctr {name} [OPTIONS] COMMAND\n\n{summary}\n"]
    if others:
        parts.append("Aliases:\n  " + ", ".join((name, *others)) + "\n")
    parts += ["Commands:\n" + pages.listed(sorted(rows)), *pages.options((("Options", flags),))]
    return "\n".join(parts)


def command(path: str, summary: str, described: CtrCommand, shared: Sequence[Group]) -> str:
    """The page of one command. path: how the user wrote it. shared: flags of the groups above it."""
    head = f"Usage:  cloche {path} {described.usage}".rstrip()
    return "\n".join(
        (f"{head}\n\n{described.description or summary}\n", *pages.options((*described.groups, *shared)))
    )
