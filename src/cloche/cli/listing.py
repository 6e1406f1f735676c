"""`ps`: containers in docker's columns."""

from __future__ import annotations

import time

from cloche.cli import human, table
from cloche.cli.arguments import Command
from cloche.cli.output import write
from cloche.shim import timestamps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from cloche.cli.arguments import Parsed
    from cloche.cli.session import Session

HEADERS = {
    "ID": "CONTAINER ID",
    "Image": "IMAGE",
    "Command": "COMMAND",
    "CreatedAt": "CREATED AT",
    "RunningFor": "CREATED",
    "Status": "STATUS",
    "State": "STATE",
    "Ports": "PORTS",
    "Names": "NAMES",
    "Size": "SIZE",
    "Labels": "LABELS",
    "Mounts": "MOUNTS",
    "Networks": "NETWORKS",
    "LocalVolumes": "LOCAL VOLUMES",
    "Label": "LABEL",
    "Platform": "PLATFORM",
}
_DEFAULT = ("ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names")
_SHORT_ID = 12
_SHORT_COMMAND = 20
_NANO = 1e9


def status(state: Mapping[str, Any], now: float) -> str:
    """How a container is, in docker's words: "Up 2 minutes", "Exited (0) 3 seconds ago"."""
    kind = state["Status"]
    if kind in ("running", "paused"):
        up = f"Up {human.duration(now - timestamps.parse(state['StartedAt']) / _NANO)}"
        return f"{up} (Paused)" if kind == "paused" else up
    if kind == "exited":
        return (
            f"Exited ({state['ExitCode']}) {human.ago(now - timestamps.parse(state['FinishedAt']) / _NANO)}"
        )
    return str(kind).capitalize()


def row(document: Mapping[str, Any], now: float, *, whole: bool = False) -> dict[str, Any]:
    """What the list's columns and templates show of a container, from its inspect document.

    whole: do not shorten ids and commands.
    """
    created = timestamps.parse(document["Created"]) / _NANO
    labels = document["Config"].get("Labels") or {}
    command = " ".join([document["Path"], *document["Args"]])
    return {
        "ID": document["Id"] if whole else document["Id"][:_SHORT_ID],
        "Image": document["Config"]["Image"],
        "Command": human.quoted(command if whole else human.shortened(command, _SHORT_COMMAND)),
        "CreatedAt": human.local_time(created),
        "RunningFor": human.ago(now - created),
        "Status": status(document["State"], now),
        "State": document["State"]["Status"],
        "Ports": "",
        "Names": document["Name"].removeprefix("/"),
        "Size": "0B",
        "Labels": ",".join(f"{key}={value}" for key, value in sorted(labels.items())),
        "Mounts": ",".join(mount["Source"] for mount in document.get("Mounts") or ()),
        "Networks": document["HostConfig"].get("NetworkMode", ""),
        "LocalVolumes": "0",
        "Label": lambda name: labels.get(name, ""),
        "Platform": None,
    }
