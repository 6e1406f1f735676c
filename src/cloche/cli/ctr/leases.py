"""`ctr leases`: what must not be collected."""

from __future__ import annotations

import time

from cloche.cli.ctr import values
from cloche.cli.ctr.command import CtrCommand, Invocation
from cloche.cli.ctr.tabs import aligned
from cloche.cli.output import line, write
from cloche.shim.timestamps import rfc3339
from cloche.wire.messages import leases as messages
from cloche.wire.messages.leases import LEASES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

    from cloche.cli.ctr.daemon import Daemon

EXPIRES = "containerd.io/gc.expire"
_DAY_S = 24 * 3600.0


def make(daemon: Daemon, name: str, labels: dict[str, str], expires_s: float) -> str:
    """Make a lease that ends by itself after a while (0: never); its id."""
    if expires_s:
        labels = {**labels, EXPIRES: rfc3339(time.time_ns() + int(expires_s * 1e9))}
    made = daemon.ask(LEASES, "Create", messages.CreateRequest(id=name, labels=labels))
    identifier: str = made.lease.id
    return identifier


class Leased:
    """What is made in a `with` block of this is not collected before its end."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon

    def __enter__(self) -> None:
        name = f"{time.time_ns()}-{id(self):x}"
        self._daemon.lease = make(self._daemon, name, {}, _DAY_S)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        lease, self._daemon.lease = self._daemon.lease, ""
        self._daemon.find(LEASES, "Delete", messages.DeleteRequest(id=lease))


def _create(invocation: Invocation) -> None:
    labels = {key: value for key, _, value in (word.partition("=") for word in invocation.arguments)}
    expires_s = invocation.seconds("expires", _DAY_S)
    line(make(invocation.daemon, invocation.text("id") or _name(), labels, expires_s))


def _name() -> str:
    import os

    return f"{time.time_ns() % 10**9}-{os.urandom(3).hex()}"


def _delete(invocation: Invocation) -> None:
    names = invocation.arguments
    for name in names:
        sync = invocation.on("sync") and name == names[-1]
        invocation.daemon.ask(LEASES, "Delete", messages.DeleteRequest(id=name, sync=sync))
        line(name)


def _list(invocation: Invocation) -> None:
    found = invocation.daemon.ask(LEASES, "List", messages.ListRequest(filters=invocation.arguments)).leases
    if invocation.on("quiet"):
        write("".join(f"{each.id}\n" for each in found))
        return
    rows = [f"{each.id}\t{_local(each)}\t{values.shown(each.labels, empty='-')}\t" for each in found]
    write(aligned(["ID\tCREATED AT\tLABELS\t", *rows]))


def _local(lease: messages.Lease) -> str:
    """When it was made, in this machine's time to the second: RFC 3339."""
    there = time.localtime(lease.created_at.seconds if lease.created_at else 0)
    zone = time.strftime("%z", there)
    shown = "Z" if zone in ("+0000", "") else f"{zone[:3]}:{zone[3:]}"
    return time.strftime("%Y-%m-%dT%H:%M:%S", there) + shown


CREATE = CtrCommand(
    "[OPTIONS] [KEY=VALUE...]",
    _create,
    groups=(
        (
            "Options",
            (
                ("expires", "x", "duration", "When it ends by itself; 0 for never (default 24h)"),
                ("id", "", "string", "Its name (default one that nobody has)"),
            ),
        ),
    ),
    maximum=None,
)
DELETE = CtrCommand(
    "[OPTIONS] LEASE [LEASE...]",
    _delete,
    groups=(("Options", (("sync", "", "bool", "Wait until what only they kept is collected"),)),),
    minimum=1,
    maximum=None,
)
LIST = CtrCommand(
    "[OPTIONS] [FILTER...]",
    _list,
    groups=(("Options", (("quiet", "q", "bool", "Only the names"),)),),
    maximum=None,
)
