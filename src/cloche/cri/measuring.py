"""What pods and containers use, read from their cgroups by this process itself: no shim is asked.

A rate is what was used since the sample before, which is kept for each container.
"""

from __future__ import annotations

from cloche.cri import pod_spec, pressure
from cloche.errors import ClocheError
from cloche.kernel.cgroups.layout import directories_of, layout
from cloche.kernel.cgroups.metrics import NO_LIMIT, Metrics, processes, read_briefly, read_metrics
from cloche.spec.record import Record
from cloche.store import clock
from cloche.wire.messages.cri import stats as messages
from cloche.wire.messages.cri.values import UInt64Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from cloche.cri.handlers import Handlers
    from cloche.cri.inventory import Container, Pod
    from cloche.wire.protobuf import Encoded

_LEAST_SPAN_NS = 100_000_000
_NS = 1_000_000_000


class Sample(Record):
    """What a cgroup used at a moment (ns since 1970). rate: nanoseconds of processors a second; -1: unknown.

    pressure: how long tasks had to wait, by what for: a PsiStats each.
    """

    at: int
    metrics: Metrics
    rate: int = -1
    pressure: Mapping[str, Encoded] = {}


class Measuring:
    """Takes samples. Methods block, but not for long."""

    def __init__(self, handlers: Handlers) -> None:
        self._handlers = handlers
        self._last: dict[str, Sample] = {}

    def paths(self, pod: Pod, name: str, pid: int) -> dict[str, str]:
        """The cgroup of a container or of the pod's holder: directories by controller."""
        if self._handlers.get(pod.kept.handler).systemd_cgroup:
            # Where systemd puts a slice only it knows; its processes tell.
            try:
                return directories_of(pid) if pid else {}
            except OSError:
                return {}
        return layout().directories(pod_spec.cgroups_path(pod, name, systemd=False))

    def container(self, pod: Pod, container: Container, *, whole: bool = False) -> Sample | None:
        """What a container uses; None where it has no cgroup (any more). whole: with all there is to know."""
        return self._sample(container.id, self.paths(pod, container.id, container.kept.pid), whole=whole)

    def pod(self, pod: Pod) -> Sample | None:
        """What a pod uses as a whole, where it has a cgroup of its own."""
        around = self._around(pod)
        return self._sample(pod.id, around) if around is not None else None

    def _around(self, pod: Pod) -> dict[str, str] | None:
        parent = pod.linux.cgroup_parent
        if not parent or self._handlers.get(pod.kept.handler).systemd_cgroup:
            return None
        return layout().directories(f"/{parent.strip('/')}")

    def holder(self, pod: Pod, *, whole: bool = False) -> Sample | None:
        """What the process that holds a pod uses."""
        return self._sample(f"{pod.id}-holder", self.paths(pod, pod.id, pod.kept.pid), whole=whole)

    def processes(self, pod: Pod) -> int:
        """How many there are in a pod: its holder, and those of what runs in it."""
        if (whole := self._around(pod)) is not None:
            return processes(whole)
        held = {each.id: each.kept.pid for each in list(pod.containers.values())} | {pod.id: pod.kept.pid}
        return sum(processes(self.paths(pod, name, pid)) for name, pid in held.items())

    def forget(self, name: str) -> None:
        """It is gone, and its samples with it."""
        self._last.pop(name, None)

    def _sample(self, name: str, paths: Mapping[str, str], *, whole: bool = False) -> Sample | None:
        try:
            metrics = read_metrics(paths) if whole else read_briefly(paths)
        except (ClocheError, OSError):
            return None  # it goes just now
        if metrics.cpu is None and metrics.memory is None:
            return None
        sample = Sample(clock.now(), metrics, pressure=pressure.of(paths))
        before = self._last.get(name)
        if before is None:
            self._last[name] = sample
            return sample
        span = sample.at - before.at
        if span < _LEAST_SPAN_NS:
            return sample.replace(rate=before.rate)
        if metrics.cpu is not None and before.metrics.cpu is not None:
            used = max(0, metrics.cpu.total_ns - before.metrics.cpu.total_ns)
            sample = sample.replace(rate=used * _NS // span)
        self._last[name] = sample
        return sample


def number(value: int) -> UInt64Value:
    """A number that is there, even where it is 0."""
    return UInt64Value(value=value)


def cpu(sample: Sample) -> messages.CpuUsage | None:
    """Processor time, as clients get it."""
    if sample.metrics.cpu is None:
        return None
    return messages.CpuUsage(
        timestamp=sample.at,
        usage_core_nano_seconds=number(sample.metrics.cpu.total_ns),
        usage_nano_cores=number(sample.rate) if sample.rate >= 0 else None,
        psi=sample.pressure.get("cpu"),
    )


def memory(sample: Sample) -> messages.MemoryUsage | None:
    """Memory, as clients get it."""
    found = sample.metrics.memory
    if found is None:
        return None
    working_set = max(0, found.memory.usage - found.inactive_file)
    limit = found.memory.limit
    stats = found.stats
    return messages.MemoryUsage(
        timestamp=sample.at,
        working_set_bytes=number(working_set),
        # Without a limit there is no telling; v1 writes "none" as a very large number.
        available_bytes=number(max(0, limit - working_set)) if 0 < limit < 1 << 62 else None,
        usage_bytes=number(found.memory.usage),
        rss_bytes=number(stats.get("total_rss", stats.get("anon", 0))),
        page_faults=number(stats.get("total_pgfault", stats.get("pgfault", 0))),
        major_page_faults=number(stats.get("total_pgmajfault", stats.get("pgmajfault", 0))),
        psi=sample.pressure.get("memory"),
    )


def swap(sample: Sample) -> messages.SwapUsage | None:
    """Swap, as clients get it: without memory, which v1 counts with it."""
    found = sample.metrics.memory
    if found is None:
        return None
    used = max(0, found.swap.usage - found.memory.usage)
    limited = 0 < found.swap.limit < 1 << 62 and found.swap.limit != NO_LIMIT
    room = max(0, found.swap.limit - found.memory.limit - used) if limited else 0
    return messages.SwapUsage(
        timestamp=sample.at, swap_available_bytes=number(room), swap_usage_bytes=number(used)
    )


def io(sample: Sample) -> messages.IoUsage:
    """Pressure of input and output, as clients get it."""
    return messages.IoUsage(timestamp=sample.at, psi=sample.pressure.get("io"))
