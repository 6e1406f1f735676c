"""What the launcher must know of a created container to `state`, `start` and `delete` it without Python.

native/summary.h reads it: fields that end with NUL, in a file `summary` in the container's folder. Where
it is missing, or anything is not as usual, Python answers, and says the same.
"""

from __future__ import annotations

from cloche import os
from cloche.runtime.face.formats import json_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.runtime.container import Container
    from cloche.runtime.state import State
    from cloche.spec.config import Config

_FORMAT = "cloche summary 2"
_NAME = "summary"
_PID = "@pid"
_STATUS = "@status"


def described(
    container: Container, config: Config, *, pid: object, status: str, owner: str
) -> dict[str, object]:
    """The document that `state` prints: annotations are sorted, as Go sorts the members of a map."""
    document = container.described(config, pid=pid, status=status)
    if "annotations" in document:
        document["annotations"] = dict(sorted(document["annotations"].items()))
    return document | {"owner": owner}


def _groups(stored: State) -> str:
    """The cgroups, a line each, in the order of removal; empty where more than that is to be done.

    Those by which `Cgroup.kill` finds processes go first: where one is busy, Python finds all it needs.
    """
    paths = stored.cgroup_paths
    first = ("", "freezer", "pids", "memory", "devices", *paths)
    directories = dict.fromkeys(paths[name] for name in first if name in paths)
    if stored.unit or any("\n" in directory for directory in directories):
        return ""
    return "\n".join(directories)


def write(container: Container, config: Config) -> None:
    """Leave it in the folder, whole or not at all; one that cannot be written is no error."""
    stored = container.stored
    paths = stored.cgroup_paths
    freezer = ""
    if "freezer" in paths:
        freezer = f"{paths['freezer']}/freezer.self_freezing"
    elif "" in paths:
        freezer = f"{paths['']}/cgroup.freeze"
    hooks = config.get("hooks", {})
    starts = "" if hooks.get("poststart") else "starts"
    groups = "" if hooks.get("poststop") else _groups(stored)
    text = json_text(described(container, config, pid=_PID, status=_STATUS, owner=""), "  ")
    before, _, rest = text.partition(f'"{_PID}"')
    between, _, after = rest.partition(_STATUS)
    fields = (_FORMAT, str(stored.pid), str(stored.start_time), stored.boot_id, freezer, starts, groups)
    data = "\0".join((*fields, before, between, after, "")).encode("utf-8", "surrogateescape")
    place = f"{container.folder.path}/{_NAME}"
    try:
        descriptor = os.open(f"{place}.new", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            written = os.write(descriptor, data)
        finally:
            os.close(descriptor)
        if written == len(data):
            os.rename(f"{place}.new", place)
    except OSError:
        pass
