"""`state`, `list` and `ps`: what there is."""

from __future__ import annotations

import sys

from cloche import os
from cloche.errors import ClocheError, FailedPrecondition, InvalidArgument
from cloche.runtime.face.arguments import Flag
from cloche.runtime.face.formats import json_text, table
from cloche.runtime.face.invocation import Command, Invocation
from cloche.runtime.face.summary import described

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cloche.runtime.container import Container

_HEADER = ("ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER")


def _describe(container: Container, owner: str) -> dict[str, Any]:
    status = container.status()
    pid = 0 if status == "stopped" else container.pid
    return described(container, container.config, pid=pid, status=status, owner=owner)


def state(invocation: Invocation) -> int:
    """Print a container's state as JSON."""
    sys.stdout.write(json_text(_describe(invocation.container(), ""), "  "))
    return 0


def _owner(path: str) -> str:
    import pwd

    uid = os.stat(path).st_uid
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"


def _all(invocation: Invocation) -> list[dict[str, Any]]:
    from cloche.runtime.container import Container
    from cloche.runtime.state import names

    found = []
    for name in names(invocation.root):
        path = os.path.join(invocation.root, name)
        if not os.path.isdir(path):
            continue
        try:
            found.append(_describe(Container.load(invocation.root, name), _owner(path)))
        except (ClocheError, OSError) as error:
            sys.stderr.write(f"load container {name}: {error}\n")
    return found


def show_all(invocation: Invocation) -> int:
    """Print all containers of this root."""
    options = invocation.options
    if options.text("format", "table") not in ("table", "json"):
        raise InvalidArgument("invalid format option: --format must be table or json")
    found = _all(invocation)
    if options.switch("quiet"):
        sys.stdout.write("".join(f"{each['id']}\n" for each in found))
    elif options.text("format", "table") == "json":
        sys.stdout.write(json_text(found or None) + "\n")
    else:
        columns = ("id", "pid", "status", "bundle", "created", "owner")
        rows = [tuple(str(each[column]) for column in columns) for each in found]
        sys.stdout.write(table([_HEADER, *rows]))
    return 0


def _run_ps(words: list[str]) -> str:
    reading, writing = os.pipe()
    with open(reading, encoding="utf-8", errors="surrogateescape") as output:
        try:
            actions = [(os.POSIX_SPAWN_DUP2, writing, 1), (os.POSIX_SPAWN_DUP2, writing, 2)]
            pid = os.posix_spawnp("ps", ["ps", *words], os.environ, file_actions=actions)
        except FileNotFoundError:
            raise FailedPrecondition("ps is not installed; --format json needs no ps") from None
        finally:
            os.close(writing)
        text = output.read()
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status:
        raise InvalidArgument(f"ps {' '.join(words)}: exit status {status}: {text.strip()}")
    return text


def processes(invocation: Invocation) -> int:
    """Print the processes of a container, as ps(1) shows them or as JSON."""
    shape = invocation.options.text("format", "table")
    if shape not in ("table", "json"):
        raise InvalidArgument("invalid format option: --format must be table or json")
    pids = invocation.container().processes()
    if shape == "json":
        sys.stdout.write(json_text(pids) + "\n")
        return 0
    header, *lines = _run_ps(invocation.options.words[1:] or ["-ef"]).splitlines()
    titles = header.split()
    if "PID" not in titles:
        raise InvalidArgument("couldn't find PID field in ps output: ask ps for it")
    column, wanted = titles.index("PID"), set(map(str, pids))
    chosen = [line for line in lines if line and line.split()[column] in wanted]
    sys.stdout.write("".join(f"{line}\n" for line in (header, *chosen)))
    return 0


_FORMAT = Flag("format", "text", "table or json (default: table)", "f")
COMMANDS = {
    "state": Command("print the state of a container", "<container-id>", state),
    "list": Command(
        "list the containers under --root",
        "",
        show_all,
        (_FORMAT, Flag("quiet", "switch", "print ids alone", "q")),
        least=0,
        most=0,
    ),
    "ps": Command(
        "list the processes of a container",
        "<container-id> [ps options]",
        processes,
        (_FORMAT,),
        most=-1,
        interspersed=False,
        description="The pids are the host's. Other words go to ps(1), -ef if there are none.",
    ),
}
