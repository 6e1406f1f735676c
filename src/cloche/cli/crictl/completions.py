"""Scripts that complete crictl's command line in a shell."""

from __future__ import annotations

from cloche.cli.arguments import UsageError
from cloche.cli.crictl.commands import COMMANDS

_BASH = """_cloche_crictl() {{
    local word="${{COMP_WORDS[COMP_CWORD]}}"
    [ "$COMP_CWORD" -eq 1 ] && COMPREPLY=($(compgen -W "{words}" -- "$word"))
}}
complete -o default -F _cloche_crictl crictl
"""
_ZSH = """#compdef crictl
_crictl() {{
    (( CURRENT == 2 )) && compadd {words}
}}
compdef _crictl crictl
"""
_FISH = "complete -c crictl -n __fish_use_subcommand -f -a {name} -d {summary}\n"


def script(shell: str) -> str:
    """The script for a shell, for whoever calls `cloche crictl` by the name crictl."""
    words = " ".join(sorted(COMMANDS))
    if shell == "bash":
        return _BASH.format(words=words)
    if shell == "zsh":
        return _ZSH.format(words=words)
    if shell == "fish":
        rows = sorted((name, row[3]) for name, row in COMMANDS.items())
        return "".join(_FISH.format(name=name, summary=f"'{summary}'") for name, summary in rows)
    raise UsageError(f"no completion for {shell!r}: there are bash, zsh and fish")
