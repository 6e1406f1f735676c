"""What one worker of a shim leaves to the next: containers, processes, who waits, and what is open.

    rest       everything, when nothing is half done; the next worker goes on as if it were this one
    keep       whenever a container or what must be kept of its streams changes: for a worker that follows
               one that died. Clients have lost their connections then, and ask again.

Drivers are made anew: what they know is in the bundle.
"""

from __future__ import annotations

from cloche.kernel.cgroups.oom import OomWatch
from cloche.shim import bundle as bundles
from cloche.shim.containers import Container
from cloche.shim.driver import Spawned, driver_for
from cloche.shim.embedded import keeper_of
from cloche.shim.exits import Exit
from cloche.shim.oom import OomNotices
from cloche.shim.processes import Process
from cloche.shim.server import resume
from cloche.shim.stdio import adopting
from cloche.shim.stdio.opening import Uris
from cloche.wire.services.task import TASK_V2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from cloche.shim.containers import Shim
    from cloche.shim.holder import Packing, Unpacking
    from cloche.shim.server import _Connection

_WAIT = TASK_V2.methods["Wait"]
# How long output waits for those to come back who were attached to a worker that was killed.
_RETURN_S = 0.3


def is_resting(shim: Shim) -> bool:
    """Whether nothing of any container is half done."""
    return not shim.creating and all(map(_container_rests, shim.containers.values()))


def _container_rests(container: Container) -> bool:
    keeper = container.keeper
    if container.deleting or container.is_ending or (keeper is not None and keeper.failure is not None):
        return False
    return all(map(_process_rests, (container.init, *container.execs.values())))


def _process_rests(process: Process) -> bool:
    if process.starting:
        return False
    if process.ended is not None:
        return process.drained
    return process.stdio is None or adopting.is_resting(process.stdio)


def waits(shim: Shim) -> int:
    """How many calls wait for the end of a process."""
    every = (
        each for container in shim.containers.values() for each in (container.init, *container.execs.values())
    )
    return sum(len(process.waiting) for process in every)


def pack(shim: Shim, packing: Packing) -> list[dict[str, Any]]:
    """Every container."""
    return [_pack_container(shim, container, packing) for container in shim.containers.values()]


def _pack_container(shim: Shim, container: Container, packing: Packing) -> dict[str, Any]:
    oom, keeper = container.oom, container.keeper
    return {
        "id": container.id,
        "bundle": container.bundle,
        "rested": packing.everything,
        "shares_pids": container.shares_pids,
        "oom": [*oom.watch.state, packing.put(oom.watch.fileno())] if oom else None,
        "lock": packing.put(keeper.lock) if keeper else None,
        "init": _pack_process(shim, container.init, packing),
        "execs": [_pack_process(shim, each, packing) for each in container.execs.values()],
    }


def _pack_process(shim: Shim, process: Process, packing: Packing) -> dict[str, Any]:
    ended, stdio = process.ended, process.stdio
    live = ended is None and process.pid
    return {
        "id": process.exec_id,
        "uris": process.uris.values(),
        "spec": None if process.pid else process.spec,
        "pid": process.pid,
        "pidfd": packing.put(shim.children.handle(process.pid)) if live else -1,
        "started": process.started,
        "frozen": process.frozen,
        "ended": ended.values() if ended else None,
        "size": process.size,
        "stdin_closed": process.stdin_closed,
        "stdio": adopting.pack(stdio, packing) if live and stdio is not None else None,
        "waits": [call.place for call in process.waiting] if packing.everything else [],
    }


def unpack(
    shim: Shim,
    packed: list[dict[str, Any]],
    unpacking: Unpacking,
    connections: Sequence[_Connection | None],
) -> None:
    """Go on with them. What has ended meanwhile is noticed by the loop."""
    for each in packed:
        _unpack_container(shim, each, unpacking, connections)


def _unpack_container(
    shim: Shim, packed: dict[str, Any], unpacking: Unpacking, connections: Sequence[_Connection | None]
) -> None:
    bundle, container_id = packed["bundle"], packed["id"]
    options = bundles.options_of(bundle)
    keeper = keeper_of(bundle, end=shim.end) if packed["lock"] is not None else None
    driver = driver_for(
        options,
        bundle=bundle,
        container_id=container_id,
        namespace=shim.namespace,
        rootfs=(),
        worded=keeper is None,
    )
    container = Container(shim, container_id, bundle, driver, _process(packed["init"]))
    container.shares_pids = packed["shares_pids"]
    if options:
        container.io_owner = options.io_uid, options.io_gid
    if packed["oom"]:
        paths, kills, place = packed["oom"]
        container.oom = OomNotices(OomWatch.adopt(paths, unpacking.take(place), kills))
        container.listen_oom()
    shim.containers[container_id] = container
    container.execs = {each["id"]: _process(each) for each in packed["execs"]}
    hold_s = 0 if packed["rested"] else _RETURN_S
    for process, facts in zip(
        (container.init, *container.execs.values()), (packed["init"], *packed["execs"]), strict=True
    ):
        _unpack_streams(container, process, facts, unpacking, hold_s)
        _unpack_waits(process, facts["waits"], connections)
    if keeper is not None:
        container.keeper = keeper
        keeper.resume(container, unpacking.take(packed["lock"]))


def _process(facts: dict[str, Any]) -> Process:
    process = Process(facts["id"], Uris(*facts["uris"]), facts["spec"])
    process.pid, process.started, process.frozen = facts["pid"], facts["started"], facts["frozen"]
    process.ended = Exit(*facts["ended"]) if facts["ended"] else None
    process.drained = process.ended is not None
    process.size = tuple(facts["size"]) if facts["size"] else None
    process.stdin_closed = facts["stdin_closed"]
    return process


def _unpack_streams(
    container: Container, process: Process, facts: dict[str, Any], unpacking: Unpacking, hold_s: float
) -> None:
    """And watch it."""
    if facts["stdio"] is not None:
        process.stdio = adopting.unpack(
            container.shim.loop,
            facts["stdio"],
            process.uris,
            unpacking,
            container_id=container.id,
            namespace=container.shim.namespace,
            hold_s=hold_s,
        )
        process.stdio.kept_changed = container.shim.changed
    pidfd = unpacking.take(facts["pidfd"])
    if pidfd >= 0:
        container.watch(process, Spawned(process.pid, pidfd))


def _unpack_waits(
    process: Process, places: Sequence[Sequence[int]], connections: Sequence[_Connection | None]
) -> None:
    for number, stream in places:
        connection = connections[number]
        if connection is not None:
            process.wait(resume(connection, stream, _WAIT))
