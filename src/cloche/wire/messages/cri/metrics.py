"""Measurements by name, as cAdvisor has them."""

from __future__ import annotations

from cloche.wire.messages.cri.values import UInt64Value
from cloche.wire.protobuf import Message, enumeration, int64, message, repeated, string
from cloche.wire.protobuf_values import STRING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_PACKAGE = "runtime.v1"

COUNTER, GAUGE = 0, 1
"""Metric.metric_type."""


class ListMetricDescriptorsRequest(Message, package=_PACKAGE):
    """Ask which measurements there are."""


class MetricDescriptor(Message, package=_PACKAGE):
    """A measurement, and the names of its labels."""

    name: str = string(1)
    help: str = string(2)
    label_keys: Sequence[str] = repeated(3, STRING)


class ListMetricDescriptorsResponse(Message, package=_PACKAGE):
    """Which there are."""

    descriptors: Sequence[MetricDescriptor] = repeated(1, MetricDescriptor)


class ListPodSandboxMetricsRequest(Message, package=_PACKAGE):
    """Ask for the measurements of all pods."""


class Metric(Message, package=_PACKAGE):
    """One measurement. label_values: in the order of its descriptor's keys."""

    name: str = string(1)
    timestamp: int = int64(2)
    metric_type: int = enumeration(3)
    label_values: Sequence[str] = repeated(4, STRING)
    value: UInt64Value | None = message(5, UInt64Value)


class ContainerMetrics(Message, package=_PACKAGE):
    """Measurements of one container."""

    container_id: str = string(1)
    metrics: Sequence[Metric] = repeated(2, Metric)


class PodSandboxMetrics(Message, package=_PACKAGE):
    """Measurements of one pod and its containers."""

    pod_sandbox_id: str = string(1)
    metrics: Sequence[Metric] = repeated(2, Metric)
    container_metrics: Sequence[ContainerMetrics] = repeated(3, ContainerMetrics)


class ListPodSandboxMetricsResponse(Message, package=_PACKAGE):
    """The measurements."""

    pod_metrics: Sequence[PodSandboxMetrics] = repeated(1, PodSandboxMetrics)


class StreamPodSandboxMetricsRequest(Message, package=_PACKAGE):
    """Ask for them, in several answers."""


class StreamPodSandboxMetricsResponse(Message, package=_PACKAGE):
    """Some of them."""

    pod_sandbox_metrics: Sequence[PodSandboxMetrics] = repeated(1, PodSandboxMetrics)
