"""What the daemon itself uses, under the names that Prometheus' client libraries share."""

from __future__ import annotations

import os
import resource

from cloche import __version__
from cloche.wire.prometheus import Family, Sample

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_TICKS = os.sysconf("SC_CLK_TCK")


def families() -> Iterator[Family]:
    """As /proc says now."""
    with open("/proc/self/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    user, system, started = (int(fields[number]) for number in (11, 12, 19))
    with open("/proc/self/statm", encoding="ascii") as file:
        virtual, resident = (int(pages) * resource.getpagesize() for pages in file.read().split()[:2])
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield _one("process_cpu_seconds_total", "Processor time.", (user + system) / _TICKS, "counter")
    yield _one("process_resident_memory_bytes", "Memory in use.", resident)
    yield _one("process_virtual_memory_bytes", "Address space in use.", virtual)
    yield _one("process_open_fds", "Descriptors that are open.", len(os.listdir("/proc/self/fd")))
    yield _one("process_max_fds", "Descriptors that may be open.", limit)
    yield _one("process_start_time_seconds", "Since the epoch.", _boot_s() + started / _TICKS)
    build = Sample(1, {"version": __version__, "revision": ""})
    yield Family("containerd_build_info_total", "counter", "What this daemon is.", (build,))


def _one(name: str, what: str, value: float, kind: str = "gauge") -> Family:
    return Family(name, kind, what, (Sample(value),))


def _boot_s() -> int:
    with open("/proc/stat", encoding="ascii") as file:
        for line in file:
            if line.startswith("btime "):
                return int(line.split()[1])
    return 0
