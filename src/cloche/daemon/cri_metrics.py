"""What containerd measures of CRI by names of its own, where a count of calls says it as well."""

from __future__ import annotations

from cloche.wire.prometheus import Family, Sample
from cloche.wire.services.cri import IMAGES, RUNTIME
from cloche.wire.status import OK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from cloche.daemon.call_metrics import CallMetrics

_TIMED = {
    "ListPodSandbox": "sandbox_list",
    "StreamPodSandboxes": "stream_sandbox_list",
    "ListContainers": "container_list",
    "StreamContainers": "stream_container_list",
}


def families(calls: CallMetrics) -> Iterator[Family]:
    """As they are now; none of what nobody has called."""
    for method, name in _TIMED.items():
        listed = calls.of(RUNTIME.full_name, method)
        if listed is not None:
            took = tuple(listed.took.samples({}))
            yield Family(f"containerd_cri_{name}_seconds", "histogram", f"How long {method} took.", took)
    pulls = calls.of(IMAGES.full_name, "PullImage")
    if pulls is None:
        return
    ended, well = pulls.handled.total(), pulls.handled[OK]
    by_end = (Sample(well, {"status": "success"}), Sample(ended - well, {"status": "failure"}))
    name = "containerd_cri_sandboxed"
    yield Family(f"{name}_image_pulls_total", "counter", "Images pulled.", by_end)
    under_way = (Sample(pulls.started - ended),)
    yield Family(f"{name}_in_progress_image_pulls_total", "gauge", "Images being pulled.", under_way)
