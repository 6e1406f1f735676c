"""`ctr snapshots prepare`, `view` and `mounts`: how a snapshot is reached."""

from __future__ import annotations

from cloche.cli.ctr.command import CtrCommand, Invocation
from cloche.cli.ctr.snapshots import rooted, used
from cloche.cli.output import line, write_bytes
from cloche.errors import Unimplemented
from cloche.wire.messages import snapshots as messages
from cloche.wire.messages.mounts import MOUNTS as MOUNTS_SERVICE
from cloche.wire.messages.mounts import ActivateRequest
from cloche.wire.messages.snapshots import SNAPSHOTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloche.cli.ctr.daemon import Daemon
    from cloche.wire.messages.types import Mount


def activated(daemon: Daemon, name: str, mounts: Sequence[Mount], *, temporary: bool) -> Sequence[Mount]:
    """What is left to mount once the daemon has done its part; an older daemon has none."""
    request = ActivateRequest(name=name, mounts=mounts, temporary=temporary)
    try:
        found: Sequence[Mount] = daemon.ask(MOUNTS_SERVICE, "Activate", request).info.system
    except Unimplemented:
        return mounts
    return found


def _prepare(invocation: Invocation) -> None:
    key, parent = invocation.argument(0), invocation.argument(1)
    request = messages.PrepareSnapshotRequest(
        snapshotter=used(invocation), key=key, parent=parent, labels=rooted()
    )
    _tell(invocation, invocation.daemon.ask(SNAPSHOTS, "Prepare", request).mounts)


def _view(invocation: Invocation) -> None:
    key, parent = invocation.argument(0), invocation.argument(1)
    request = messages.ViewSnapshotRequest(snapshotter=used(invocation), key=key, parent=parent)
    _tell(invocation, invocation.daemon.ask(SNAPSHOTS, "View", request).mounts)


def _tell(invocation: Invocation, mounts: Sequence[Mount]) -> None:
    if invocation.text("target"):
        _print(invocation.text("target"), mounts)
    if invocation.on("mounts"):
        from cloche.spec.document import dumps_indented

        shown = [
            {"Type": each.type, "Source": each.source, "Target": each.target, "Options": list(each.options)}
            for each in mounts
        ]
        write_bytes(dumps_indented(shown))


def _mounts(invocation: Invocation) -> None:
    target, key = invocation.arguments
    request = messages.MountsRequest(snapshotter=used(invocation), key=key)
    mounts = invocation.daemon.ask(SNAPSHOTS, "Mounts", request).mounts
    _print(target, activated(invocation.daemon, f"ctr{key}", mounts, temporary=invocation.on("temp")))


def _print(target: str, mounts: Sequence[Mount]) -> None:
    """Lines of shell that make the mounts."""
    for each in mounts:
        place = f"{target.rstrip('/')}/{each.target.lstrip('/')}".rstrip("/") or "/"
        options = f" -o {','.join(each.options)}" if each.options else ""
        line(f"mount -t {each.type} {each.source} {place}{options}")


_FLAGS = (
    ("mounts", "", "bool", "Print the mounts as JSON"),
    ("target", "t", "string", "Print how to mount it there"),
)

PREPARE = CtrCommand("[OPTIONS] KEY [PARENT]", _prepare, groups=(("Options", _FLAGS),), minimum=1, maximum=2)
VIEW = CtrCommand("[OPTIONS] KEY [PARENT]", _view, groups=(("Options", _FLAGS),), minimum=1, maximum=2)
MOUNTS = CtrCommand(
    "[OPTIONS] TARGET KEY",
    _mounts,
    groups=(("Options", (("temp", "", "bool", "Have the daemon mount what it can by itself"),)),),
    minimum=2,
    maximum=2,
)
