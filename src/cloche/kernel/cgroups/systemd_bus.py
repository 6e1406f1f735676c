"""A connection to systemd's manager: calls with their answers, and the end of jobs.

As root over the manager's own socket where it can be reached, which works without a bus and while one
restarts; otherwise over the system's bus, or the user's.
"""

from __future__ import annotations

import errno
import os
import time
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_STREAM, socket
from _socket import timeout as Timeout  # noqa: N812 - a class

from cloche.errors import ClocheError, DeadlineExceeded, FailedPrecondition, Unavailable
from cloche.wire.dbus import ANSWER, CALL, ERROR, GREETING, SIGNAL, Message, Reader
from cloche.wire.dbus_values import ProtocolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

TIMEOUT_S = 30.0
_BOOTED = "/run/systemd/system"
_PRIVATE = "/run/systemd/private"
_SYSTEM_BUS = "/run/dbus/system_bus_socket"

_DAEMON = "org.freedesktop.DBus"
_SYSTEMD = "org.freedesktop.systemd1"
_MANAGER = f"{_SYSTEMD}.Manager"
_MANAGER_PATH = "/org/freedesktop/systemd1"
_JOB_ENDS = f"type='signal',sender='{_SYSTEMD}',interface='{_MANAGER}',member='JobRemoved'"


class Refused(FailedPrecondition):
    """What systemd answered instead of doing it. name: of the D-Bus error, without its prefix."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(f"systemd: {text or name}")
        self.name = name.rpartition(".")[2]


def is_running() -> bool:
    """Whether this machine was booted with systemd (sd_booted(3))."""
    try:
        os.listdir(_BOOTED)
    except OSError:
        return False
    return not os.path.islink(_BOOTED)


def is_ours() -> bool:
    """Whether we are root to the system's manager: of the host, or of the user namespace that it runs in."""
    try:
        return os.geteuid() == 0 and os.stat(_PRIVATE).st_uid == 0
    except OSError:
        return False


def addresses(*, user: bool) -> list[str]:
    """Where the manager can be asked, best first; a socket without a file begins with NUL.

    user: the user's manager, by his environment, instead of the system's.
    """
    if not user:
        return [_PRIVATE, *_unix_paths(os.environ.get("DBUS_SYSTEM_BUS_ADDRESS", "")), _SYSTEM_BUS]
    found = []
    directory = os.environ.get("XDG_RUNTIME_DIR", "")
    if directory:
        found.append(f"{directory}/systemd/private")
    found += _unix_paths(os.environ.get("DBUS_SESSION_BUS_ADDRESS", ""))
    if directory:
        found.append(f"{directory}/bus")
    return found


def _unix_paths(text: str) -> list[str]:
    """The Unix sockets of a D-Bus address: `unix:path=…,guid=…;unix:abstract=…`, with %-escapes."""
    paths = []
    for address in text.split(";"):
        transport, _, rest = address.partition(":")
        for pair in rest.split(",") if transport == "unix" else ():
            key, _, value = pair.partition("=")
            if key in ("path", "abstract"):
                paths.append(("\0" if key == "abstract" else "") + _unescaped(value))
    return paths


def _unescaped(value: str) -> str:
    first, *rest = value.split("%")
    try:
        return first + "".join(chr(int(part[:2], 16)) + part[2:] for part in rest)
    except ValueError:
        return value


class Bus:
    """One connection; closed at the end of its `with` block."""

    def __init__(self, connection: socket, *, direct: bool) -> None:
        self._connection = connection
        self._direct = direct
        self._reader = Reader()
        self._serial = 0
        self._results: dict[str, str] = {}
        self._answers: dict[int, Message] = {}

    @classmethod
    def connect(cls, *, user: bool = False) -> Bus:
        """Reach systemd's manager. user: the user's instead of the system's.

        Raises FailedPrecondition where there is none, naming what was tried.
        """
        tried = []
        for address in addresses(user=user):
            connection = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
            connection.settimeout(TIMEOUT_S)
            try:
                connection.connect(address)
                bus = cls(connection, direct=address.endswith("/private"))
                bus._begin()
            except (OSError, ProtocolError, ClocheError) as error:
                connection.close()
                reason = error.strerror if isinstance(error, OSError) else error
                tried.append(f"{address.replace(chr(0), '@')}: {reason}")
                continue
            return bus
        why = "; ".join(tried) or "neither XDG_RUNTIME_DIR nor DBUS_SESSION_BUS_ADDRESS is set"
        hint = ": log in with a session of its own, or leave --systemd-cgroup out" if user else ""
        raise FailedPrecondition(f"cannot reach systemd's {'user ' if user else ''}manager ({why}){hint}")

    def __enter__(self) -> Bus:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def _begin(self) -> None:
        self._connection.sendall(GREETING)
        deadline = time.monotonic() + TIMEOUT_S
        while not self._reader.greeted:
            self._receive(deadline)
        if self._direct:
            return  # whoever is connected directly is told of all jobs
        self._call_daemon("Hello")
        self._call_daemon("AddMatch", "s", _JOB_ENDS)
        self.call("Subscribe")

    def _call_daemon(self, member: str, signature: str = "", *values: Any) -> None:
        self._ask(_DAEMON, "/org/freedesktop/DBus", _DAEMON, member, signature, values)

    def call(self, member: str, signature: str = "", *values: Any) -> tuple[Any, ...]:
        """Call a method of the manager; what it answers. Raises Refused."""
        return self._ask(_SYSTEMD, _MANAGER_PATH, _MANAGER, member, signature, values)

    def property(self, name: str) -> Any:
        """A property of the manager. Raises Refused."""
        interface = "org.freedesktop.DBus.Properties"
        names = (_MANAGER, name)
        (variant,) = self._ask(_SYSTEMD, _MANAGER_PATH, interface, "Get", "ss", names)
        return variant.value

    def unit_property(self, unit: str, kind: str, name: str) -> Any:
        """A property of a loaded unit. kind: the interface that has it, `Unit` or `Scope`. Raises Refused."""
        (path,) = self.call("GetUnit", "s", unit)
        names = (f"{_SYSTEMD}.{kind}", name)
        (variant,) = self._ask(_SYSTEMD, path, "org.freedesktop.DBus.Properties", "Get", "ss", names)
        return variant.value

    def job_result(self, path: str) -> str:
        """Wait for the end of a job: `done`, or how it failed. Raises DeadlineExceeded after 30 seconds."""
        deadline = time.monotonic() + TIMEOUT_S
        while path not in self._results:
            self._receive(deadline)
        return self._results.pop(path)

    def _ask(
        self,
        destination: str,
        path: str,
        interface: str,
        member: str,
        signature: str,
        values: tuple[Any, ...],
    ) -> tuple[Any, ...]:
        self._serial += 1
        serial = self._serial
        call = Message(
            kind=CALL,
            serial=serial,
            destination=destination,
            path=path,
            interface=interface,
            member=member,
            signature=signature,
            body=values,
        )
        deadline = time.monotonic() + TIMEOUT_S
        self._connection.sendall(call.encode())
        while serial not in self._answers:
            self._receive(deadline)
        answer = self._answers.pop(serial)
        if answer.kind == ERROR:
            text = answer.body[0] if answer.body and isinstance(answer.body[0], str) else ""
            raise Refused(answer.error, " ".join(text.split()))
        return answer.body

    def _receive(self, deadline: float) -> None:
        """Read once, and sort what came."""
        try:
            self._connection.settimeout(max(deadline - time.monotonic(), 0.001))
            data = self._connection.recv(65536)
        except Timeout:
            raise DeadlineExceeded(f"systemd has not answered within {TIMEOUT_S:.0f} s") from None
        if not data:
            raise Unavailable("systemd has closed the connection: try again") from OSError(errno.EPIPE)
        for message in self._reader.feed(data):
            if message.kind in (ANSWER, ERROR):
                self._answers[message.answers] = message
            elif message.kind == SIGNAL and message.member == "JobRemoved" and message.signature == "uoss":
                _, path, _, result = message.body
                self._results[path] = result
