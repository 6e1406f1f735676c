"""What a process and all that it starts use: the processors' time, also of what has ended; memory."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Account:
    """A cgroup that a daemon is in, whose containers have others."""

    def __init__(self, directory: Path, daemon: int) -> None:
        self._directory = directory
        self._daemon = daemon

    def used_s(self) -> float:
        """What has been used so far, without the daemon's own part."""
        legacy = self._directory / "cpuacct.usage"
        if legacy.exists():
            used_s = int(legacy.read_text()) / 1e9
        else:
            fields = dict(line.split() for line in (self._directory / "cpu.stat").read_text().splitlines())
            used_s = int(fields["usage_usec"]) / 1e6
        return used_s - own_s(self._daemon)

    def others(self) -> list[int]:
        """The processes that it has started, and theirs."""
        pids = (self._directory / "cgroup.procs").read_text().split()
        return [int(pid) for pid in pids if int(pid) != self._daemon]


def own_s(pid: int) -> float:
    """The seconds that a process itself has taken."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def account(daemon: int) -> Iterator[Account]:
    """Count what a daemon starts from now on; it is moved back afterwards."""
    legacy = Path("/sys/fs/cgroup/cpuacct")
    base = legacy if legacy.exists() else Path("/sys/fs/cgroup")
    directory = base / f"cloche-bench-{uuid.uuid4().hex[:8]}"
    directory.mkdir()
    try:
        (directory / "cgroup.procs").write_text(str(daemon))
        yield Account(directory, daemon)
    finally:
        for pid in (directory / "cgroup.procs").read_text().split():
            try:
                (base / "cgroup.procs").write_text(pid)
            except ProcessLookupError:
                continue
        directory.rmdir()
