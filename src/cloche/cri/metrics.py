"""Measurements of containers by cAdvisor's names: one table of what each is and where it comes from."""

from __future__ import annotations

import os

from cloche.spec.record import Record
from cloche.wire.messages.cri.metrics import COUNTER, GAUGE, Metric, MetricDescriptor
from cloche.wire.messages.cri.values import UInt64Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from cloche.cri.image_space import Usage
    from cloche.cri.inventory import Container
    from cloche.cri.measuring import Sample
    from cloche.cri.pod_interfaces import Interface
    from cloche.kernel.cgroups.metrics import Cpu, Memory
    from cloche.wire.messages.cri.resources import LinuxContainerResources

    Values = Iterable[tuple[tuple[str, ...], int]]

BASE = ("pod", "namespace", "container", "id", "image")
_NS = 1_000_000_000
_NO_LIMIT = 1 << 62


class Seen(Record):
    """What is known of one container (or of a pod's holder, without a container).

    interfaces: of the pod's network. layer: what it has written; device: where to.
    """

    sample: Sample
    container: Container | None = None
    interfaces: tuple[Interface, ...] = ()
    layer: Usage | None = None
    device: str = ""


class Row(Record):
    """A measurement. keys: of its labels beside the usual ones. read: what they and it are."""

    name: str
    help: str
    kind: int
    read: Callable[[Seen], Values]
    keys: tuple[str, ...] = ()

    def descriptor(self) -> MetricDescriptor:
        """As clients get it."""
        return MetricDescriptor(name=self.name, help=self.help, label_keys=[*BASE, *self.keys])

    def metrics(self, seen: Seen, labels: tuple[str, ...]) -> Iterator[Metric]:
        """What it is for one container. labels: its usual ones."""
        for further, value in self.read(seen):
            yield Metric(
                name=self.name,
                timestamp=seen.sample.at,
                metric_type=self.kind,
                label_values=[*labels, *further],
                value=UInt64Value(value=max(0, value)),
            )


def _cpu(read: Callable[[Cpu], int]) -> Callable[[Seen], Values]:
    def values(seen: Seen) -> Values:
        found = seen.sample.metrics.cpu
        return [] if found is None else [((), read(found))]

    return values


def _memory(read: Callable[[Memory], int]) -> Callable[[Seen], Values]:
    def values(seen: Seen) -> Values:
        found = seen.sample.metrics.memory
        return [] if found is None else [((), read(found))]

    return values


def _stat(*names: str) -> Callable[[Seen], Values]:
    """A line of memory.stat, by v1's name or v2's."""
    return _memory(lambda memory: next((memory.stats[name] for name in names if name in memory.stats), 0))


def _failures(seen: Seen) -> Values:
    found = seen.sample.metrics.memory
    if found is None:
        return
    for kind, own, whole in (
        ("pgfault", "pgfault", "total_pgfault"),
        ("pgmajfault", "pgmajfault", "total_pgmajfault"),
    ):
        yield (kind, "container"), found.stats.get(own, 0)
        yield (kind, "hierarchy"), found.stats.get(whole, found.stats.get(own, 0))


def _interface(name: str) -> Callable[[Seen], Values]:
    return lambda seen: [((each.name,), getattr(each, name)) for each in seen.interfaces]


def _block(kind: str, op: str) -> Callable[[Seen], Values]:
    def values(seen: Seen) -> Values:
        for each in seen.sample.metrics.block_io:
            if each.kind == kind and each.op == op:
                yield (_device(each.major, each.minor),), each.value

    return values


def _block_usage(seen: Seen) -> Values:
    for each in seen.sample.metrics.block_io:
        if each.kind == "bytes":
            yield (_device(each.major, each.minor), str(each.major), str(each.minor), each.op), each.value


def _device(major: int, minor: int) -> str:
    try:
        return "/dev/" + os.path.basename(os.readlink(f"/sys/dev/block/{major}:{minor}"))
    except OSError:
        return f"{major}:{minor}"


def _layer(name: str) -> Callable[[Seen], Values]:
    return lambda seen: [((seen.device,), getattr(seen.layer, name))] if seen.layer is not None else []


def _threads(seen: Seen) -> Values:
    found = seen.sample.metrics.pids
    return [] if found is None else [((), found.usage)]


def _threads_limit(seen: Seen) -> Values:
    found = seen.sample.metrics.pids
    return [] if found is None else [((), found.limit if found.limit < _NO_LIMIT else 0)]


def _limit(name: str) -> Callable[[Seen], Values]:
    def values(seen: Seen) -> Values:
        kept = seen.container.kept.resources if seen.container is not None else None
        asked: LinuxContainerResources | None = kept
        return [((), getattr(asked, name))] if asked is not None else []

    return values


def _start(seen: Seen) -> Values:
    return [((), seen.container.kept.started_at // _NS)] if seen.container is not None else []


_CPU = "container_cpu_"
_MEMORY = "container_memory_"
_FS = "container_fs_"
_NET = "container_network_"
_SPEC = "container_spec_"
_DEVICE, _LINK = ("device",), ("interface",)

TABLE: tuple[Row, ...] = (
    Row(f"{_CPU}usage_seconds_total", "Processor time.", COUNTER, _cpu(lambda cpu: cpu.total_ns // _NS)),
    Row(
        f"{_CPU}user_seconds_total", "Processor time in user mode.", COUNTER, _cpu(lambda c: c.user_ns // _NS)
    ),
    Row(
        f"{_CPU}system_seconds_total",
        "Processor time in the kernel.",
        COUNTER,
        _cpu(lambda c: c.system_ns // _NS),
    ),
    Row(
        f"{_CPU}cfs_periods_total",
        "Periods of the quota that have passed.",
        COUNTER,
        _cpu(lambda c: c.periods),
    ),
    Row(
        f"{_CPU}cfs_throttled_periods_total",
        "Periods in which the quota was used up.",
        COUNTER,
        _cpu(lambda cpu: cpu.throttled_periods),
    ),
    Row(
        f"{_CPU}cfs_throttled_seconds_total",
        "Time for which the quota was used up.",
        COUNTER,
        _cpu(lambda cpu: cpu.throttled_ns // _NS),
    ),
    Row(f"{_MEMORY}cache", "Bytes of cached files.", GAUGE, _memory(lambda memory: memory.cache)),
    Row(f"{_MEMORY}rss", "Bytes of anonymous memory.", GAUGE, _stat("total_rss", "anon")),
    Row(
        f"{_MEMORY}kernel_usage", "Bytes of the kernel's.", GAUGE, _memory(lambda memory: memory.kernel.usage)
    ),
    Row(f"{_MEMORY}mapped_file", "Bytes of mapped files.", GAUGE, _stat("total_mapped_file", "file_mapped")),
    Row(
        f"{_MEMORY}swap",
        "Bytes in swap.",
        GAUGE,
        _memory(lambda memory: memory.swap.usage - memory.memory.usage),
    ),
    Row(f"{_MEMORY}failcnt", "How often the limit was met.", COUNTER, _memory(lambda m: m.memory.failures)),
    Row(f"{_MEMORY}usage_bytes", "Bytes, of whatever kind.", GAUGE, _memory(lambda m: m.memory.usage)),
    Row(f"{_MEMORY}max_usage_bytes", "The most bytes there were.", GAUGE, _memory(lambda m: m.memory.peak)),
    Row(
        f"{_MEMORY}working_set_bytes",
        "Bytes that cannot be dropped at once.",
        GAUGE,
        _memory(lambda memory: memory.memory.usage - memory.inactive_file),
    ),
    Row(
        f"{_MEMORY}total_active_file_bytes",
        "Bytes of files in use.",
        GAUGE,
        _stat("total_active_file", "active_file"),
    ),
    Row(
        f"{_MEMORY}total_inactive_file_bytes",
        "Bytes of files that can be dropped.",
        GAUGE,
        _memory(lambda memory: memory.inactive_file),
    ),
    Row(f"{_MEMORY}failures_total", "Page faults.", COUNTER, _failures, ("failure_type", "scope")),
    Row(
        "container_oom_events_total",
        "Processes killed for want of memory.",
        COUNTER,
        _memory(lambda m: m.oom_kills),
    ),
    Row(f"{_FS}usage_bytes", "Bytes written to the container's own layer.", GAUGE, _layer("size"), _DEVICE),
    Row(f"{_FS}inodes_total", "Files of the container's own layer.", GAUGE, _layer("inodes"), _DEVICE),
    Row(f"{_FS}reads_bytes_total", "Bytes read.", COUNTER, _block("bytes", "Read"), _DEVICE),
    Row(f"{_FS}reads_total", "Reads.", COUNTER, _block("operations", "Read"), _DEVICE),
    Row(f"{_FS}writes_bytes_total", "Bytes written.", COUNTER, _block("bytes", "Write"), _DEVICE),
    Row(f"{_FS}writes_total", "Writes.", COUNTER, _block("operations", "Write"), _DEVICE),
    Row(
        "container_blkio_device_usage_total",
        "Bytes of a block device, by operation.",
        COUNTER,
        _block_usage,
        ("device", "major", "minor", "operation"),
    ),
    Row(f"{_NET}receive_bytes_total", "Bytes received.", COUNTER, _interface("rx_bytes"), _LINK),
    Row(f"{_NET}receive_packets_total", "Packets received.", COUNTER, _interface("rx_packets"), _LINK),
    Row(f"{_NET}receive_packets_dropped_total", "Of them dropped.", COUNTER, _interface("rx_dropped"), _LINK),
    Row(f"{_NET}receive_errors_total", "Errors while receiving.", COUNTER, _interface("rx_errors"), _LINK),
    Row(f"{_NET}transmit_bytes_total", "Bytes sent.", COUNTER, _interface("tx_bytes"), _LINK),
    Row(f"{_NET}transmit_packets_total", "Packets sent.", COUNTER, _interface("tx_packets"), _LINK),
    Row(
        f"{_NET}transmit_packets_dropped_total", "Of them dropped.", COUNTER, _interface("tx_dropped"), _LINK
    ),
    Row(f"{_NET}transmit_errors_total", "Errors while sending.", COUNTER, _interface("tx_errors"), _LINK),
    Row("container_threads", "Threads.", GAUGE, _threads),
    Row("container_threads_max", "The most threads there may be; 0 for any number.", GAUGE, _threads_limit),
    Row("container_last_seen", "When this was measured.", GAUGE, lambda seen: [((), seen.sample.at // _NS)]),
    Row("container_start_time_seconds", "When it started.", GAUGE, _start),
    Row(f"{_SPEC}cpu_period", "The period of its quota (µs).", GAUGE, _limit("cpu_period")),
    Row(f"{_SPEC}cpu_shares", "Its weight.", GAUGE, _limit("cpu_shares")),
    Row(f"{_SPEC}memory_limit_bytes", "Its limit of memory.", GAUGE, _limit("memory_limit_in_bytes")),
    Row(
        f"{_SPEC}memory_swap_limit_bytes",
        "Its limit of memory and swap.",
        GAUGE,
        _limit("memory_swap_limit_in_bytes"),
    ),
)
"""cAdvisor's names, which dashboards know."""


def metrics(seen: Seen, labels: tuple[str, ...]) -> list[Metric]:
    """All that is known of one container. labels: its values of BASE."""
    return [metric for row in TABLE for metric in row.metrics(seen, labels)]
