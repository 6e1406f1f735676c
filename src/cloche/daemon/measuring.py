"""All that the daemon measures, put together for who asks."""

from __future__ import annotations

from cloche.daemon import cri_metrics, process_metrics
from cloche.daemon.call_metrics import CallMetrics
from cloche.daemon.task_metrics import TaskMetrics
from cloche.spec.record import Record
from cloche.wire import prometheus
from cloche.wire.prometheus import Family, Sample

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.daemon.collecting import Collector
    from cloche.engine.context import Context
    from cloche.engine.tasks.lifecycle import Tasks


class MetricsSettings(Record):
    """address: HOST:PORT. histogram: whether to say how long calls took. tasks: whether of containers."""

    address: str
    histogram: bool = False
    tasks: bool = True


class Measuring:
    """calls: to be an observer of the connections. context: of any namespace."""

    def __init__(
        self, settings: MetricsSettings, tasks: Tasks, context: Context, collector: Collector
    ) -> None:
        self._collector = collector
        self.calls = CallMetrics(histogram=settings.histogram)
        self._tasks = TaskMetrics(tasks, context) if settings.tasks else None

    async def text(self) -> bytes:
        """Everything as it is now, as Prometheus reads it."""
        of_tasks = await self._tasks.families() if self._tasks is not None else []
        own = (*process_metrics.families(), *self._of_collections(), *cri_metrics.families(self.calls))
        own += tuple(self.calls.families())
        return prometheus.encode((*own, *of_tasks))

    def _of_collections(self) -> tuple[Family, Family]:
        took, failures = self._collector.took, self._collector.failures
        ended = (Sample(took.count - failures, {"status": "success"}), Sample(failures, {"status": "fail"}))
        return (
            Family("containerd_gc_collections_total", "counter", "Collections of garbage.", ended),
            Family("containerd_gc_gc_seconds", "histogram", "How long they took.", tuple(took.samples({}))),
        )
