"""`ps`: containers in docker's columns."""

from __future__ import annotations

import time

from cloche.cli import human, table
from cloche.cli.arguments import Command
from cloche.cli.output import write
from cloche.shim import timestamps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cloche.cli.arguments import Parsed
    from cloche.cli.session import Session
    from cloche.engine.container import Container

_HEADERS = {
    "Command": "COMMAND",
    "CreatedAt": "CREATED AT",
    "ID": "CONTAINER ID",
    "Image": "IMAGE",
    "Label": "LABEL",
    "Labels": "LABELS",
    "LocalVolumes": "LOCAL VOLUMES",
    "Mounts": "MOUNTS",
    "Names": "NAMES",
    "Networks": "NETWORKS",
    "Ports": "PORTS",
    "RunningFor": "CREATED",
    "State": "STATE",
    "Status": "STATUS",
}
_DEFAULT = ("ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names")
_SHORT_ID = 12
_SHORT_COMMAND = 20
_SECOND_NS = 1_000_000_000


def _row(container: Container, now_ns: int, *, whole: bool) -> dict[str, Any]:
    """What the columns and templates show of a container; `whole`: nothing shortened."""
    labels, status = container.labels, container.status()
    created_ns = timestamps.parse(container.created_at)
    command = " ".join(container.command)
    volumes = container.kept.volumes
    mounts = [mount.source for mount in container.options.mounts if mount.source]
    return {
        "Command": human.quoted(command if whole else human.shortened(command, _SHORT_COMMAND)),
        "CreatedAt": human.local_time(created_ns / _SECOND_NS),
        "ID": container.id if whole else container.id[:_SHORT_ID],
        "Image": container.image,
        "Label": lambda name: labels.get(name, ""),
        "Labels": ",".join(f"{key}={value}" for key, value in sorted(labels.items())),
        "LocalVolumes": str(len(volumes)),
        "Mounts": ",".join(mounts),
        "Names": container.name,
        "Networks": _networks(container),
        "Ports": _ports(container) if status.running else "",
        "RunningFor": human.ago((now_ns - created_ns) / _SECOND_NS),
        "State": status.state,
        "Status": status.text(now_ns),
    }


def _networks(container: Container) -> str:
    from cloche.engine import networking

    options = container.options
    names = [each.network for each in networking.endpoints(options)] or [options.network]
    return ",".join({"default": "bridge", "private": "none"}.get(name, name) for name in names)


def _ports(container: Container) -> str:
    from cloche.engine import ports

    return ports.text(container)


def _selected(session: Session, parsed: Parsed) -> list[Container]:
    from cloche.cli.filters import Filters

    filters = Filters(parsed.all("filter"))
    last = parsed.number("last")
    if parsed.on("latest"):
        last = 1
    limited = last is not None and last > 0
    everything = parsed.on("all") or limited or filters.about_the_ended
    found = [one for one in session.engine.containers.list(all=everything) if filters.accept(one)]
    return found[:last] if limited else found


def _ps(session: Session, parsed: Parsed) -> int:
    containers, whole = _selected(session, parsed), parsed.on("no-trunc")
    form = parsed.text("format")
    if parsed.on("quiet") and not form:
        write("".join(f"{one.id if whole else one.id[:_SHORT_ID]}\n" for one in containers))
        return 0
    now_ns = time.time_ns()
    rows = [_row(container, now_ns, whole=whole) for container in containers]
    table.show(rows, _HEADERS, _DEFAULT, form=form)
    return 0


PS = Command(
    "[OPTIONS]",
    _ps,
    groups=(
        (
            "Options",
            (
                ("all", "a", "bool", "Show also those that do not run"),
                (
                    "filter",
                    "f",
                    "filter",
                    "Only with this ancestor, exited, id, label, name or status=…",
                ),
                ("format", "", "string", '"table", "table TEMPLATE", "json" or a Go template'),
                ("last", "n", "int", "The last so many that were made, whatever their state"),
                ("latest", "l", "bool", "The last one that was made, whatever its state"),
                ("no-trunc", "", "bool", "Shorten nothing"),
                ("quiet", "q", "bool", "Print only IDs"),
            ),
        ),
    ),
)
