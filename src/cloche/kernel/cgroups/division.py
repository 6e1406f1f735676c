"""A container that arranges cgroups of its own in its cgroup2 directory, as systemd inside does."""

from __future__ import annotations

import os

from cloche.kernel.cgroups.files import read
from cloche.kernel.cgroups.layout import UNIFIED, parse_membership


def delegate(directory: str, uid: int, gid: int = -1) -> None:
    """Let a user of the host arrange processes in a cgroup2 directory, but not its limits.

    Only the directory and the files that the kernel names for this change hands (cgroups(7), "Cgroup
    delegation"). gid: the group they get (it may do nothing with them); -1 leaves it.
    """
    try:
        names = read("/sys/kernel/cgroup/delegate").split()
    except FileNotFoundError:
        names = ["cgroup.procs", "cgroup.subtree_control", "cgroup.threads"]
    os.chown(directory, uid, gid)
    for name in names:
        try:
            os.chown(f"{directory}/{name}", uid, gid)
        except FileNotFoundError:
            continue  # of a controller that this cgroup does not have


def beside(own: str, tree: str, pid: int) -> str:
    """Where one more process of a container can be born that divided its cgroup `own`.

    tree: where cgroup2 is mounted. pid: a process of the container's. A cgroup that hands controllers to
    its children takes no processes (EBUSY), so it is the one that this process is in.
    """
    with open(f"/proc/{pid}/cgroup", "rb", buffering=0) as file:
        directory = tree + parse_membership(file.readall()).get((UNIFIED,), "/")
    while directory.startswith(f"{own}/"):
        # A threaded cgroup takes threads of processes that are above it, and no process (EOPNOTSUPP).
        if read(f"{directory}/cgroup.type") != "threaded":
            return directory
        directory = os.path.dirname(directory)
    return own
