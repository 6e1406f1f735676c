"""`crictl exec`, `attach` and `port-forward`: this terminal, these pipes or these ports, and a pod."""

from __future__ import annotations

import os

from cloche.cli.arguments import UsageError
from cloche.cli.attach import require_terminal
from cloche.cli.crictl import filters
from cloche.cli.crictl.command import CrictlCommand
from cloche.cli.output import line, warn, write_bytes
from cloche.errors import ClocheError
from cloche.wire.messages.cri import streaming

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.cli.arguments import Parsed, Row
    from cloche.cli.crictl.client import Client
    from cloche.cli.crictl.upgraded import Credentials

_NARROWING = ("image", "label", "last", "latest", "name", "pod", "state")


def _exec(client: Client, flags: Parsed) -> int:
    narrowed = any(name in flags.given() for name in _NARROWING)
    words = flags.arguments
    if narrowed:
        ids, command = [each.id for each in filters.some_containers(client, flags)], words
        if not ids:
            raise UsageError("there is no container that the flags mean")
    else:
        ids, command = words[:1], words[1:]
        if not command:
            raise UsageError("a container and a command are needed")
    code = 0
    for identity in ids:
        if narrowed and not flags.on("quiet"):
            line(f"{identity}:")
        try:
            code = _exec_in(client, identity, command, flags) or code
        except ClocheError as error:
            if len(ids) == 1:
                raise
            warn(f"{identity}: {error}")
            code = 1
    return 0 if flags.on("ignore-errors") else code


def _exec_in(client: Client, identity: str, command: list[str], flags: Parsed) -> int:
    if flags.on("sync"):
        timeout = flags.number("timeout") or 0
        request = streaming.ExecSyncRequest(container_id=identity, cmd=command, timeout=timeout)
        answer = client.runtime("ExecSync", request)
        write_bytes(answer.stdout, 1)
        write_bytes(answer.stderr, 2)
        return int(answer.exit_code)
    terminal = flags.on("tty")
    if terminal:
        _require_input(flags, "interactive")
    url = client.runtime(
        "Exec",
        streaming.ExecRequest(
            container_id=identity,
            cmd=command,
            tty=terminal,
            stdin=flags.on("interactive"),
            stdout=True,
            stderr=not terminal,
        ),
    ).url
    return _joined(url, flags, stdin=flags.on("interactive"), terminal=terminal)


def _attach(client: Client, flags: Parsed) -> int:
    terminal = flags.on("tty")
    if terminal:
        _require_input(flags, "stdin")
    request = streaming.AttachRequest(
        container_id=flags.arguments[0],
        stdin=flags.on("stdin"),
        tty=terminal,
        stdout=True,
        stderr=not terminal,
    )
    url = client.runtime("Attach", request).url
    return _joined(url, flags, stdin=request.stdin, terminal=terminal)


def _require_input(flags: Parsed, name: str) -> None:
    if not flags.on(name):
        raise UsageError(f"--tty is nothing without --{name}")
    require_terminal()


def _joined(url: str, flags: Parsed, *, stdin: bool, terminal: bool) -> int:
    from cloche.cli.crictl.remote_command import joined

    return joined(url, _credentials(flags), stdin=stdin, terminal=terminal)


def _port_forward(client: Client, flags: Parsed) -> None:
    from cloche.cli.crictl.port_forward import Forwarding, ports_of

    pod, *words = flags.arguments
    ports = [ports_of(word) for word in words]
    url = client.runtime("PortForward", streaming.PortForwardRequest(pod_sandbox_id=pod)).url
    Forwarding(url, _credentials(flags), ports).run()


def _credentials(flags: Parsed) -> Credentials:
    from cloche.cli.crictl.upgraded import Credentials

    transport = flags.text("transport") or "spdy"
    if transport != "spdy":
        raise UsageError(f"--transport: {transport!r}: this client speaks spdy alone")
    certificate, key = flags.text("tls-cert") or "", flags.text("tls-key") or ""
    if bool(certificate) != bool(key):
        raise UsageError("--tls-cert and --tls-key go together")
    for path in (certificate, key, flags.text("tls-ca") or ""):
        if path and not os.path.exists(path):
            raise UsageError(f"{path}: there is no such file")
    name = flags.text("tls-sni") or flags.text("tls-server-name") or "localhost"
    return Credentials(flags.text("tls-ca") or "", certificate, key, name)


_CONNECTION: tuple[Row, ...] = (
    ("transport", "r", "string", "What is spoken: spdy"),
    ("tls-ca", "", "string", "Certificates of authorities to believe"),
    ("tls-cert", "", "string", "Certificate to show"),
    ("tls-key", "", "string", "Its key"),
    ("tls-server-name", "", "string", ""),
    ("tls-sni", "", "string", "Name that the server's certificate has to have (default localhost)"),
)
_TTY: Row = ("tty", "t", "bool", "With a terminal")
# -s is --sync here.
_FILTERS: tuple[Row, ...] = tuple(
    (name, "" if name == "state" else short, kind, help_)
    for name, short, kind, help_ in filters.CONTAINERS
    if name in _NARROWING
)
EXEC = CrictlCommand(
    "[OPTIONS] [CONTAINER-ID] COMMAND [ARG...]",
    _exec,
    groups=(
        (
            "Options",
            (
                ("ignore-errors", "e", "bool", "Exit with 0 whatever happens"),
                ("interactive", "i", "bool", "With this standard input"),
                ("parallel", "x", "bool", ""),
                ("quiet", "q", "bool", "Without the containers' ids"),
                ("sync", "s", "bool", "Wait for the end, and print the output then"),
                ("timeout", "", "int", "Seconds that it may take (with --sync)"),
                _TTY,
            ),
        ),
        (
            "Filters",
            tuple((row[0], "" if row[0] == "state" else row[1], *row[2:]) for row in filters.CONTAINERS),
        ),
        ("Connection", _CONNECTION),
    ),
    minimum=1,
    maximum=None,
    passes_on=1,
    description="Run a command in a running container, or in all that the filters mean",
)
ATTACH = CrictlCommand(
    "[OPTIONS] CONTAINER-ID",
    _attach,
    groups=(
        ("Options", (("stdin", "i", "bool", "With this standard input"), _TTY)),
        ("Connection", _CONNECTION),
    ),
    minimum=1,
    maximum=1,
)
PORT_FORWARD = CrictlCommand(
    "[OPTIONS] POD-ID [LOCAL_PORT:]REMOTE_PORT...",
    _port_forward,
    groups=(("Connection", _CONNECTION),),
    minimum=2,
    maximum=None,
)
