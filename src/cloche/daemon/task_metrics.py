"""What the containers of all namespaces use, under the names that containerd gives it.

The fields of a shim's answer are named as the kernel's files, and so are containerd's metrics, each with
its unit behind it: what is not here is as the field is called.
"""

from __future__ import annotations

import asyncio
import logging

from cloche.errors import ClocheError
from cloche.store import containers, namespaces
from cloche.wire.messages import metrics_v1 as v1
from cloche.wire.messages import metrics_v2 as v2
from cloche.wire.messages import task as shim_messages
from cloche.wire.prometheus import Family, Sample
from cloche.wire.protobuf_values import MESSAGE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from cloche.engine.context import Context
    from cloche.engine.tasks.lifecycle import Tasks
    from cloche.engine.tasks.shim import Shim
    from cloche.wire.protobuf import Message

    Value = tuple[str, float, dict[str, str]]

_log = logging.getLogger("cloche.daemon")

STATS_TIMEOUT_S = 2.0
_UNLIKE_THE_FIELD = {
    "pg_pg_in": "pgpgin",
    "pg_pg_out": "pgpgout",
    "pg_fault": "pgfault",
    "pg_maj_fault": "pgmajfault",
    "total_pg_pg_in": "total_pgpgin",
    "total_pg_pg_out": "total_pgpgout",
    "total_pg_fault": "total_pgfault",
    "total_pg_maj_fault": "total_pgmajfault",
    "hierarchical_swap_limit": "hierarchical_memsw_limit",
}
_BLOCK_IO = {
    "io_service_bytes_recursive": "bytes",
    "io_serviced_recursive": "total",
    "io_queued_recursive": "total",
    "io_service_time_recursive": "total",
    "io_merged_recursive": "total",
    "io_time_recursive": "total",
    "sectors_recursive": "total",
}
_NOT_EXPORTED = {"max_usage", "swap_max_usage", "nr_bursts", "burst_usec"}
"""What containerd knows of, too, and exports nothing of."""


class TaskMetrics:
    """Asks the shims. context: of any namespace, for the names of all."""

    def __init__(self, tasks: Tasks, context: Context) -> None:
        self._tasks = tasks
        self._context = context

    async def families(self) -> list[Family]:
        """What the tasks that answer use now."""
        with self._context.metadata.read() as tx:
            names = namespaces.list(tx)
        shims = [(name, shim) for name in names for shim in await self._tasks.list(name)]
        answers = await asyncio.gather(*(self._ask(shim) for _, shim in shims))
        with self._context.metadata.read() as tx:
            rows = [containers.get(tx, name, shim.id) for name, shim in shims]
        samples: dict[str, list[Sample]] = {}
        for (namespace, shim), row, values in zip(shims, rows, answers, strict=True):
            whose = {"container_id": shim.id, "namespace": namespace}
            whose["runtime"] = row.runtime if row is not None else ""
            for name, value, labels in values:
                samples.setdefault(f"container_{name}", []).append(Sample(value, whose | labels))
        return [Family(name, "gauge", _help(name), tuple(found)) for name, found in sorted(samples.items())]

    async def _ask(self, shim: Shim) -> list[Value]:
        try:
            answer = await shim.call(
                "Stats", shim_messages.StatsRequest(id=shim.id), timeout_s=STATS_TIMEOUT_S
            )
            packed = answer.stats
            if packed is not None and packed.type_name == v1.Metrics.FULL_NAME:
                return list(_legacy(v1.Metrics.decode(packed.value)))
            if packed is not None and packed.type_name == v2.Metrics.FULL_NAME:
                return list(_unified(v2.Metrics.decode(packed.value)))
        except (ClocheError, ValueError) as error:
            _log.debug("%s: no metrics: %s", shim.id, error)  # it ends just now, or has no cgroup
        return []


def _help(name: str) -> str:
    return f"As the container's cgroup says: {name.removeprefix('container_').replace('_', ' ')}."


def _pids(pids: v1.PidsStat | v2.PidsStat | None) -> Iterator[Value]:
    if pids is not None:
        yield "pids_limit", pids.limit, {}
        yield "pids_current", pids.current, {}


def _numbers(message: Message) -> Iterator[tuple[str, int]]:
    for field in message.FIELDS:
        if field.kind is not MESSAGE and field.name not in _NOT_EXPORTED:
            yield field.name, getattr(message, field.name)


def _legacy(metrics: v1.Metrics) -> Iterator[Value]:
    yield from _pids(metrics.pids)
    for usage in metrics.hugetlb:
        page = {"page": usage.pagesize}
        yield "hugetlb_usage_bytes", usage.usage, page
        yield "hugetlb_failcnt_total", usage.failcnt, page
        yield "hugetlb_max_bytes", usage.max, page
    yield from _legacy_cpu(metrics.cpu)
    yield from _legacy_memory(metrics.memory)
    if metrics.memory_oom_control is not None:
        yield "memory_oom_total", metrics.memory_oom_control.oom_kill, {}
    for name, unit in _BLOCK_IO.items():
        for entry in getattr(metrics.blkio, name, ()):
            labels = {"op": entry.op, "device": entry.device}
            labels |= {"major": str(entry.major), "minor": str(entry.minor)}
            yield f"blkio_{name}_{unit}", entry.value, labels


def _legacy_cpu(cpu: v1.CPUStat | None) -> Iterator[Value]:
    if cpu is None or cpu.usage is None:
        return
    yield "cpu_total_nanoseconds", cpu.usage.total, {}
    yield "cpu_kernel_nanoseconds", cpu.usage.kernel, {}
    yield "cpu_user_nanoseconds", cpu.usage.user, {}
    for number, used_ns in enumerate(cpu.usage.per_cpu):
        yield "per_cpu_nanoseconds", used_ns, {"cpu": str(number)}
    if cpu.throttling is not None:
        yield "cpu_throttle_periods_total", cpu.throttling.periods, {}
        yield "cpu_throttled_periods_total", cpu.throttling.throttled_periods, {}
        yield "cpu_throttled_time_nanoseconds", cpu.throttling.throttled_time, {}


def _legacy_memory(memory: v1.MemoryStat | None) -> Iterator[Value]:
    if memory is None:
        return
    for name, value in _numbers(memory):
        yield f"memory_{_UNLIKE_THE_FIELD.get(name, name)}_bytes", value, {}
    for name, entry in (
        ("usage", memory.usage),
        ("swap", memory.swap),
        ("kernel", memory.kernel),
        ("kerneltcp", memory.kernel_tcp),
    ):
        if entry is not None:
            yield f"memory_{name}_failcnt_total", entry.failcnt, {}
            yield f"memory_{name}_limit_bytes", entry.limit, {}
            yield f"memory_{name}_max_bytes", entry.max, {}
            yield f"memory_{name}_usage_bytes", entry.usage, {}


def _unified(metrics: v2.Metrics) -> Iterator[Value]:
    yield from _pids(metrics.pids)
    if metrics.cpu is not None:
        for name, value in _numbers(metrics.cpu):
            yield f"cpu_{name}_{'microseconds' if name.endswith('_usec') else 'total'}", value, {}
    if metrics.memory is not None:
        for name, value in _numbers(metrics.memory):
            yield f"memory_{name}_bytes", value, {}
    if metrics.memory_events is not None:
        yield "memory_oom_total", metrics.memory_events.oom, {}
    for entry in metrics.io.usage if metrics.io is not None else ():
        labels = {"major": str(entry.major), "minor": str(entry.minor)}
        yield "io_rbytes_bytes", entry.rbytes, labels
        yield "io_wbytes_bytes", entry.wbytes, labels
        yield "io_rios_total", entry.rios, labels
        yield "io_wios_total", entry.wios, labels
