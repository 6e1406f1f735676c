"""`ctr shim`: a shim itself, without the daemon between."""

from __future__ import annotations

from cloche.cli.arguments import UsageError
from cloche.cli.ctr import values
from cloche.cli.ctr.command import CtrCommand, Invocation
from cloche.cli.output import line, write_bytes
from cloche.errors import NotFound
from cloche.shim.client import Client
from cloche.spec.document import dumps, dumps_indented, load_file
from cloche.wire.messages import task as messages
from cloche.wire.messages.google import Any
from cloche.wire.services.task import TASK_V2, TASK_V3

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.wire.service import Service

_CONTAINERD = "/run/containerd"


def _connected(invocation: Invocation) -> Client:
    """The shim that the flags of the group name. Raises NotFound, Unavailable."""
    address = invocation.text("shim-address")
    if not address:
        name = invocation.text("id")
        if not name:
            raise UsageError("which shim: say --id or --shim-address, behind `ctr shim`")
        address = _address(invocation, name)
    return Client(address.removeprefix("unix://"))


def _address(invocation: Invocation, name: str) -> str:
    """The socket of a container's shim, from the bundle that a daemon of this machine keeps."""
    from cloche.engine.tasks.bundle import Bundle

    for state in (invocation.session.state, _CONTAINERD):
        try:
            return Bundle("", state, invocation.namespace, name).address().path
        except OSError:
            continue
    raise NotFound(f"shim of container {name}: there is no bundle of it in {invocation.session.state}")


def _version(invocation: Invocation) -> Service:
    number = invocation.number("api-version") or 3
    if number not in (2, 3):
        raise UsageError(f"--api-version {number}: 2 and 3 are known")
    return TASK_V2 if number == 2 else TASK_V3


def _id(invocation: Invocation) -> str:
    return invocation.argument(0) or invocation.text("id")


def _start(invocation: Invocation) -> None:
    with _connected(invocation) as shim:
        shim.call(_version(invocation), "Start", messages.StartRequest(id=_id(invocation)))


def _delete(invocation: Invocation) -> None:
    with _connected(invocation) as shim:
        answer = shim.call(_version(invocation), "Delete", messages.DeleteRequest(id=_id(invocation)))
    line(f"container deleted and returned exit status {answer.exit_status}")


def _state(invocation: Invocation) -> None:
    request = messages.StateRequest(id=invocation.text("task-id") or _id(invocation))
    with _connected(invocation) as shim:
        answer = shim.call(_version(invocation), "State", request)
    write_bytes(dumps_indented(values.document(answer)))


def _shutdown(invocation: Invocation) -> None:
    with _connected(invocation) as shim:
        shim.call(_version(invocation), "Shutdown", messages.ShutdownRequest(id=_id(invocation)))


def _exec(invocation: Invocation) -> int:
    from cloche.cli.ctr.stdio import Streams

    name, *words = invocation.arguments
    container = invocation.text("id")
    if invocation.text("spec"):
        process = load_file(invocation.text("spec"))
    else:
        process = {
            "args": words,
            "cwd": invocation.text("cwd") or "/",
            "env": invocation.all("env"),
            "terminal": invocation.on("tty"),
            "user": {"uid": 0, "gid": 0},
        }
    joined = Streams()
    if invocation.on("attach"):
        joined = Streams.make(f"{invocation.session.state}/fifo", name, terminal=invocation.on("tty"))
        joined.connect(lambda: None)
    request = messages.ExecProcessRequest(
        id=container,
        exec_id=name,
        stdin=joined.stdin,
        stdout=joined.stdout,
        stderr=joined.stderr,
        terminal=invocation.on("tty"),
        spec=Any(type_url="types.containerd.io/opencontainers/runtime-spec/1/Process", value=dumps(process)),
    )
    service = _version(invocation)
    try:
        with _connected(invocation) as shim:
            shim.call(service, "Exec", request)
            pid = shim.call(service, "Start", messages.StartRequest(id=container, exec_id=name)).pid
            if not invocation.on("attach"):
                line(f"exec running with pid {pid}")
                return 0
            answer = shim.call(service, "Wait", messages.WaitRequest(id=container, exec_id=name))
            joined.wait()
            shim.call(service, "Delete", messages.DeleteRequest(id=container, exec_id=name))
    finally:
        joined.remove()
    code: int = answer.exit_status
    return code


_API = ("api-version", "", "int", "Version of the task service, 2 or 3 (default 3)")

START = CtrCommand("[ID]", _start, groups=(("Options", (_API,)),), maximum=1)
DELETE = CtrCommand("[ID]", _delete, groups=(("Options", (_API,)),), maximum=1)
SHUTDOWN = CtrCommand("[ID]", _shutdown, groups=(("Options", (_API,)),), maximum=1)
STATE = CtrCommand(
    "[ID]",
    _state,
    groups=(("Options", (_API, ("task-id", "t", "string", "Of a pod's shim, this container"))),),
    maximum=1,
)
EXEC = CtrCommand(
    "[OPTIONS] EXEC-ID COMMAND [ARG...]",
    _exec,
    groups=(
        (
            "Options",
            (
                _API,
                ("attach", "a", "bool", "Join these streams to it"),
                ("cwd", "", "string", "Working directory"),
                ("env", "e", "list", "Environment variable, as NAME=VALUE"),
                ("spec", "", "string", "File with config.json's `process`"),
                ("tty", "t", "bool", "With a terminal"),
            ),
        ),
    ),
    minimum=1,
    maximum=None,
    passes_on=1,
)
