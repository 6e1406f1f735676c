"""The conversation with criu: `criu swrk 3`, one request a process, over a socket of records.

    we     -- request (dump, restore, …) -->  criu
    we     <-- notification (0 or more) ---   criu     at points of its work, and it waits
    we     -- go on ----------------------->  criu
    we     <-- response -------------------   criu     and its process ends

criu works as our child, so what it restores with `rst_sibling` is our child as well.
"""

from __future__ import annotations

import fcntl
import os
from _socket import (
    AF_UNIX,
    CMSG_SPACE,
    MSG_CMSG_CLOEXEC,
    SCM_RIGHTS,
    SOCK_CLOEXEC,
    SOCK_SEQPACKET,
    SOL_SOCKET,
    socket,
    socketpair,
)

from cloche.errors import FailedPrecondition
from cloche.kernel import pidfd
from cloche.runtime.criu.messages import (
    FEATURE_CHECK,
    NOTIFY,
    PRE_DUMP,
    VERSION,
    Features,
    Notification,
    Request,
    Response,
)
from cloche.wire.protobuf import DecodeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Listener = Callable[[Notification, list[int]], None]
    """Told of a notification and the descriptors that came along, which are its to close."""

LEAST_VERSION = 31500
"""External pid namespaces and the notification `status-ready` came with 3.15."""

FIRST_EXTRA = 4
"""The number in criu of the first descriptor that it gets besides standard streams and socket."""

_PROGRAM = "criu"
_SOCKET = 3
_LONGEST = 1 << 16
_MOST_DESCRIPTORS = 16


class CriuFailed(Exception):
    """criu says that it could not; its reason may be in the message, and is in its log."""


class Criu:
    """The criu program of this machine. Raises FailedPrecondition where there is none, or too old a one."""

    def __init__(self) -> None:
        self.program = _found()
        self.version = self._asked_version()
        if self.version < LEAST_VERSION:
            raise FailedPrecondition(
                f"{self.program} is criu {self.name}: {_dotted(LEAST_VERSION)} or newer is needed"
            )

    @property
    def name(self) -> str:
        """The version for people."""
        return _dotted(self.version)

    def _asked_version(self) -> int:
        try:
            version = self.ask(Request(type=VERSION)).version
        except CriuFailed as error:
            raise FailedPrecondition(f"{self.program} does not tell its version: {error}") from None
        if version is None:
            raise FailedPrecondition(f"{self.program} does not tell its version: is it criu?")
        major, minor = version.major_number or 0, version.minor_number or 0
        return major * 10000 + minor * 100 + (version.sublevel or 0)

    def require(self, features: Features, flag: str) -> None:
        """Refuse what criu or the kernel cannot do. flag: what the user asked for it with."""
        try:
            found = self.ask(Request(type=FEATURE_CHECK, features=features)).features or Features()
        except CriuFailed as error:
            raise FailedPrecondition(f"{self.program} does not tell what it can do: {error}") from None
        for field in Features.FIELDS:
            if getattr(features, field.name) and getattr(found, field.name) is False:
                raise FailedPrecondition(
                    f"{flag}: criu {self.name} on this kernel lacks the feature {field.name}"
                )

    def ask(
        self,
        request: Request,
        *,
        stdio: tuple[int, int, int] | None = None,
        extra: Sequence[int] = (),
        prepare: Callable[[int], None] | None = None,
        listener: Listener | None = None,
    ) -> Response:
        """Carry out one request; returns criu's last word on it.

        stdio: criu's standard streams, /dev/null where not given; extra: descriptors that are
        FIRST_EXTRA and so on there. prepare: called with criu's pid before the request is sent, and
        may still change it. listener: told of notifications; what it raises makes criu give up.
        Raises CriuFailed.
        """
        ours, theirs = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)
        pid = 0
        status = 0
        response: Response | None = None
        try:
            pid = self._start(theirs.fileno(), stdio, extra)
            theirs.close()
            if prepare:
                prepare(pid)
            response = _converse(ours, request, listener)
        except (BrokenPipeError, ConnectionResetError):
            response = None
        except OSError as error:
            raise CriuFailed(f"{error.filename or self.program}: {error.strerror or error}") from error
        finally:
            # At the end of its socket criu undoes what it has not finished, and ends.
            theirs.close()
            ours.close()
            if pid:
                status = pidfd.reap(pid)
        # After a pre-dump it waits for the next request, and takes it amiss that there is none.
        if response is None or (status and request.type != PRE_DUMP):
            raise CriuFailed(_ending(status))
        return response

    def _start(self, control: int, stdio: tuple[int, int, int] | None, extra: Sequence[int]) -> int:
        nowhere = -1
        if stdio is None:
            nowhere = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        wanted = [*(stdio or (nowhere, nowhere, nowhere)), control, *extra]
        # A source in the range of the targets could be overwritten before its turn: all are moved out.
        moved = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, len(wanted)) for fd in wanted]
        try:
            actions = [(os.POSIX_SPAWN_DUP2, source, target) for target, source in enumerate(moved)]
            words = [self.program, "swrk", str(_SOCKET)]
            return pidfd.spawn(self.program, words, os.environ, file_actions=actions)
        finally:
            for descriptor in moved if stdio else (*moved, nowhere):
                os.close(descriptor)


def _found() -> str:
    """The program, looked for as runc does."""
    for directory in os.environ.get("PATH", os.defpath).split(":"):
        path = f"{directory}/{_PROGRAM}"
        if directory and os.access(path, os.X_OK):
            return path
    raise FailedPrecondition(
        "the program criu is not there, and does the work of checkpoint and restore: "
        "install it (package criu), or put it on the PATH"
    )


def _dotted(version: int) -> str:
    return ".".join(str(part) for part in (version // 10000, version // 100 % 100, version % 100))


def _ending(status: int) -> str:
    how = f"killed by signal {-status}" if status < 0 else f"with status {status}"
    return f"criu ended without an answer, {how}"


def _converse(channel: socket, request: Request, listener: Listener | None) -> Response | None:
    """criu's last word; None where it ended without one."""
    channel.send(request.encode())
    while True:
        data, descriptors = _receive(channel)
        if not data:
            _close(descriptors)
            return None
        try:
            response = Response.decode(data)
        except DecodeError as error:
            _close(descriptors)
            raise CriuFailed(f"criu sent what is no response: {error}") from None
        if not response.success:
            _close(descriptors)
            raise CriuFailed(response.cr_errmsg or "")
        if response.type != NOTIFY or response.notify is None:
            _close(descriptors)
            return response
        if listener is None:
            _close(descriptors)
        else:
            listener(response.notify, descriptors)
        channel.send(Request(type=NOTIFY, notify_success=True).encode())


def _receive(channel: socket) -> tuple[bytes, list[int]]:
    try:
        data, ancillary, _, _ = channel.recvmsg(_LONGEST, CMSG_SPACE(4 * _MOST_DESCRIPTORS), MSG_CMSG_CLOEXEC)
    except ConnectionResetError:
        data, ancillary = b"", []
    descriptors = [
        int.from_bytes(content[place : place + 4], "little")
        for level, kind, content in ancillary
        if (level, kind) == (SOL_SOCKET, SCM_RIGHTS)
        for place in range(0, len(content) - 3, 4)
    ]
    return data, descriptors


def _close(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
