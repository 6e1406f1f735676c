"""`ctr tasks metrics`: what a task uses at this moment."""

from __future__ import annotations

from cloche.cli.arguments import UsageError
from cloche.cli.ctr import containers, values
from cloche.cli.ctr.command import CtrCommand, Invocation
from cloche.cli.ctr.tabs import aligned
from cloche.cli.output import write, write_bytes
from cloche.errors import NotFound, Unimplemented
from cloche.wire.messages import metrics_v1, metrics_v2
from cloche.wire.messages.tasks import TASKS, MetricsRequest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.wire.messages.types import Metric

# The rows of the table: (its name, where the value is).
_V1 = (
    ("memory.usage_in_bytes", "memory.usage.usage"),
    ("memory.limit_in_bytes", "memory.usage.limit"),
    ("memory.stat.cache", "memory.total_cache"),
    ("cpuacct.usage", "cpu.usage.total"),
    ("cpuacct.usage_percpu", "cpu.usage.per_cpu"),
    ("pids.current", "pids.current"),
    ("pids.limit", "pids.limit"),
)
_V2 = (
    ("pids.current", "pids.current"),
    ("pids.limit", "pids.limit"),
    ("cpu.usage_usec", "cpu.usage_usec"),
    ("cpu.user_usec", "cpu.user_usec"),
    ("cpu.system_usec", "cpu.system_usec"),
    ("cpu.nr_periods", "cpu.nr_periods"),
    ("cpu.nr_throttled", "cpu.nr_throttled"),
    ("cpu.throttled_usec", "cpu.throttled_usec"),
    ("memory.usage", "memory.usage"),
    ("memory.usage_limit", "memory.usage_limit"),
    ("memory.swap_usage", "memory.swap_usage"),
    ("memory.swap_limit", "memory.swap_limit"),
)
_KINDS = {
    kind.FULL_NAME: (kind, rows) for kind, rows in ((metrics_v1.Metrics, _V1), (metrics_v2.Metrics, _V2))
}


def _metrics(invocation: Invocation) -> None:
    form = invocation.text("format") or "table"
    if form not in ("table", "json"):
        raise UsageError(f"--format {form}: table and json are known")
    name = containers.get(invocation.daemon, invocation.argument(0)).id
    found = invocation.daemon.ask(TASKS, "Metrics", MetricsRequest(filters=[f"id=={name}"])).metrics
    if not found:
        raise NotFound(f"task {name}: not found")
    metric: Metric = found[0]
    kind = metric.data.type_name if metric.data else ""
    if metric.data is None or kind not in _KINDS:
        raise Unimplemented(f"metrics of type {kind!r} are not known here")
    message, rows = _KINDS[kind]
    data = message.decode(metric.data.value)
    if form == "json":
        from cloche.spec.document import dumps_indented

        write_bytes(dumps_indented(values.document(data), "  "))
        return
    lines = ["ID\tTIMESTAMP\t", f"{metric.id}\t{values.go_time(metric.timestamp)}\t", "", "METRIC\tVALUE\t"]
    for label, path in rows:
        value = _at(data, path)
        if value is not None:
            lines.append(f"{label}\t{value}\t")
    write(aligned(lines, padding=4))


def _at(data: object, path: str) -> str | None:
    """The value at a path, as Go prints it; None where a part of the path is missing."""
    for name in path.split("."):
        data = getattr(data, name)
        if data is None:
            return None
    return f"[{' '.join(str(each) for each in data)}]" if isinstance(data, list | tuple) else str(data)


METRICS = CtrCommand(
    "[OPTIONS] CONTAINER",
    _metrics,
    groups=(("Options", (("format", "", "string", "How to print them: table or json"),)),),
    minimum=1,
    maximum=1,
)
