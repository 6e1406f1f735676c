"""What a running container uses: one reading of its counters."""

from __future__ import annotations

import os
import time

from cloche.engine import lifecycle
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.engine.context import Context
    from cloche.kernel.cgroups.metrics import Metrics
    from cloche.store.containers import Container


class Statistics(Record):
    """Counters at one moment; a rate is the difference of two over that of their `time_ns`.

    time_ns: of the monotonic clock. cpu_ns: processor time used since the start. online_cpus: how
    many processors there are. memory_bytes: without caches that can be dropped at once;
    memory_limit_bytes: the machine's memory where there is no limit. Block and network bytes are
    since the start; network leaves out the loopback.
    """

    time_ns: int
    cpu_ns: int
    online_cpus: int
    memory_bytes: int
    memory_limit_bytes: int
    pids: int
    block_read_bytes: int
    block_written_bytes: int
    network_received_bytes: int
    network_sent_bytes: int


def of(context: Context, row: Container) -> Statistics:
    """See `Container.stats`."""
    container = lifecycle.runtime_of(context, row)
    metrics = container.cgroup.metrics()
    used, limit = _memory(metrics)
    received, sent = _network(container.pid)
    return Statistics(
        time_ns=time.monotonic_ns(),
        cpu_ns=metrics.cpu.total_ns if metrics.cpu else 0,
        online_cpus=os.cpu_count() or 1,
        memory_bytes=used,
        memory_limit_bytes=limit,
        pids=metrics.pids.usage if metrics.pids is not None else 0,
        block_read_bytes=_block(metrics, "read"),
        block_written_bytes=_block(metrics, "write"),
        network_received_bytes=received,
        network_sent_bytes=sent,
    )


def _memory(metrics: Metrics) -> tuple[int, int]:
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if metrics.memory is None:
        return 0, machine
    used = max(0, metrics.memory.memory.usage - metrics.memory.inactive_file)
    return used, min(metrics.memory.memory.limit, machine)


def _block(metrics: Metrics, op: str) -> int:
    return sum(each.value for each in metrics.block_io if each.kind == "bytes" and each.op.lower() == op)


def _network(pid: int) -> tuple[int, int]:
    """Bytes in and out of the container's interfaces; nothing where it has ended."""
    received = sent = 0
    try:
        with open(f"/proc/{pid}/net/dev", encoding="ascii") as file:
            lines = file.readlines()[2:]
    except OSError:
        return 0, 0
    for line in lines:
        name, _, rest = line.partition(":")
        fields = rest.split()
        if name.strip() != "lo":
            received, sent = received + int(fields[0]), sent + int(fields[8])
    return received, sent
