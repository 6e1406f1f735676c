"""What a container has from outside, which criu can neither write down nor make: mounts, namespaces.

To dump, each is given a name; to restore, the name is given something to stand for. The names are
those that runc uses, so that each can restore what the other has checkpointed.
"""

from __future__ import annotations

import os

from cloche.errors import FailedPrecondition
from cloche.kernel.paths import open_in_root
from cloche.runtime.configured_mounts import configured_mounts
from cloche.runtime.criu.messages import ExternalMount, JoinNamespace
from cloche.runtime.plan_devices import DEFAULT_DEVICES
from cloche.runtime.plan_namespaces import PROC_NAMES, is_new, wanted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from cloche.runtime.facts import Facts
    from cloche.spec.config import Config

NULL = "/dev/null"
_KEPT = {"network": "extRootNetNS", "pid": "extRootPidNS"}
"""Namespaces that stay as they are while a container is away, and criu's key for each."""


def sources(config: Config, facts: Facts) -> Iterator[tuple[str, str]]:
    """Where each mount from outside is in the container, and what of the host it shows."""
    for mount in configured_mounts(config):
        if mount.is_bind:
            yield mount.target, os.path.normpath(os.path.join(facts.bundle, mount.entry.get("source", "")))
        elif mount.shows_the_hosts(config, facts):
            yield mount.target, facts.cgroups.tree
        elif mount.type == "cgroup" and not is_new(config, "cgroup"):
            for hierarchy in facts.cgroups.hierarchies:
                yield f"{mount.target}/{hierarchy.name}", hierarchy.path
    # Bound where there is a user namespace; a name too many does no harm.
    for device in (*DEFAULT_DEVICES, *config.get("linux", {}).get("devices", ())):
        yield device["path"], device["path"]


def named(config: Config, facts: Facts, root: int) -> list[ExternalMount]:
    """A name for each mount from outside. root: the running container's `/`."""
    names = {}
    for place, _ in sources(config, facts):
        found = actual(root, place)
        names[found] = found
    for path in config.get("linux", {}).get("maskedPaths", ()):
        if _is_masked_file(root, path):
            names[actual(root, path)] = NULL
    return [ExternalMount(key=place, val=name) for place, name in names.items()]


def provided(config: Config, facts: Facts, root: int) -> list[ExternalMount]:
    """A source for each name. root: the new root filesystem, with places for all of them."""
    found = {}
    for place, source in sources(config, facts):
        # What was a link only inside a mount of the container's is known by its own words.
        found[place] = found[actual(root, place)] = source
    if config.get("linux", {}).get("maskedPaths"):
        found[NULL] = NULL
    return [ExternalMount(key=name, val=source) for name, source in found.items()]


def actual(root: int, path: str) -> str:
    """Where a path leads to inside of a root, links followed; the path itself where nothing is there."""
    try:
        descriptor = open_in_root(root, path)
    except OSError:
        return path
    try:
        above = os.readlink(f"/proc/self/fd/{root}").rstrip("/")
        return os.readlink(f"/proc/self/fd/{descriptor}").removeprefix(above) or "/"
    finally:
        os.close(descriptor)


def _is_masked_file(root: int, path: str) -> bool:
    """Not so for what is missing, and a directory is covered by a file system of its own."""
    try:
        descriptor = open_in_root(root, path)
    except OSError:
        return False
    try:
        return os.fstat(descriptor).st_rdev == os.makedev(1, 3)
    finally:
        os.close(descriptor)


def named_namespaces(config: Config, pid: int) -> list[str]:
    """The joined namespaces that are not to be dumped, in criu's words. pid: the container's process."""
    names = []
    for kind, key in _KEPT.items():
        if wanted(config).get(kind):
            inode = os.stat(f"/proc/{pid}/ns/{PROC_NAMES[kind]}").st_ino
            names.append(f"{PROC_NAMES[kind]}[{inode}]:{key}")
    return names


def kept_namespaces(config: Config) -> list[tuple[str, str]]:
    """criu's key of each namespace that must be there for a restore, and its path."""
    return [(key, path) for kind, key in _KEPT.items() if (path := wanted(config).get(kind))]


def joined_namespaces(config: Config) -> list[JoinNamespace]:
    """Those that criu itself joins by their paths. Raises FailedPrecondition for one that it cannot."""
    joined = []
    for kind, path in wanted(config).items():
        if not path or kind in _KEPT:
            continue
        if kind == "cgroup":
            raise FailedPrecondition(
                "config.json: linux.namespaces: criu cannot restore into a cgroup namespace given by "
                "its path: leave the path out, or the namespace"
            )
        joined.append(JoinNamespace(ns=PROC_NAMES[kind], ns_file=path))
    return joined
