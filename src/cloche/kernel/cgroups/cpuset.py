"""What a v1 cpuset needs before anybody can join it."""

from __future__ import annotations

from cloche import os
from cloche.kernel.cgroups.files import read, write


def seed(directory: str, *, fresh: bool = False) -> None:
    """Give a new v1 cpuset its parent's CPUs and memory nodes: with none, nobody can join it.

    fresh: it was made just now, so it need not be asked.
    """
    parent = os.path.dirname(directory)
    for file in ("cpuset.cpus", "cpuset.mems"):
        value = read(f"{parent}/{file}")
        if not value:
            seed(parent)
            value = read(f"{parent}/{file}")
        if fresh or not read(f"{directory}/{file}"):
            write(f"{directory}/{file}", value)
