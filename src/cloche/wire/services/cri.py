"""`runtime.v1.RuntimeService` and `.ImageService`: CRI, which the kubelet and crictl speak."""

from __future__ import annotations

from cloche.wire.messages.cri import (
    checkpoint,
    containers,
    events,
    images,
    metrics,
    pods,
    stats,
    status,
    streaming,
    version,
)
from cloche.wire.service import Method, Service

RUNTIME = Service(
    "runtime.v1.RuntimeService",
    Method("Version", version.VersionRequest, version.VersionResponse),
    Method("RunPodSandbox", pods.RunPodSandboxRequest, pods.RunPodSandboxResponse),
    Method("StopPodSandbox", pods.StopPodSandboxRequest, pods.StopPodSandboxResponse),
    Method("RemovePodSandbox", pods.RemovePodSandboxRequest, pods.RemovePodSandboxResponse),
    Method("PodSandboxStatus", pods.PodSandboxStatusRequest, pods.PodSandboxStatusResponse),
    Method("ListPodSandbox", pods.ListPodSandboxRequest, pods.ListPodSandboxResponse),
    Method(
        "StreamPodSandboxes",
        pods.StreamPodSandboxesRequest,
        pods.StreamPodSandboxesResponse,
        server_streaming=True,
    ),
    Method("CreateContainer", containers.CreateContainerRequest, containers.CreateContainerResponse),
    Method("StartContainer", containers.StartContainerRequest, containers.StartContainerResponse),
    Method("StopContainer", containers.StopContainerRequest, containers.StopContainerResponse),
    Method("RemoveContainer", containers.RemoveContainerRequest, containers.RemoveContainerResponse),
    Method("ListContainers", containers.ListContainersRequest, containers.ListContainersResponse),
    Method(
        "StreamContainers",
        containers.StreamContainersRequest,
        containers.StreamContainersResponse,
        server_streaming=True,
    ),
    Method("ContainerStatus", status.ContainerStatusRequest, status.ContainerStatusResponse),
    Method(
        "UpdateContainerResources",
        containers.UpdateContainerResourcesRequest,
        containers.UpdateContainerResourcesResponse,
    ),
    Method("ReopenContainerLog", containers.ReopenContainerLogRequest, containers.ReopenContainerLogResponse),
    Method("ExecSync", streaming.ExecSyncRequest, streaming.ExecSyncResponse),
    Method("Exec", streaming.ExecRequest, streaming.ExecResponse),
    Method("Attach", streaming.AttachRequest, streaming.AttachResponse),
    Method("PortForward", streaming.PortForwardRequest, streaming.PortForwardResponse),
    Method("ContainerStats", stats.ContainerStatsRequest, stats.ContainerStatsResponse),
    Method("ListContainerStats", stats.ListContainerStatsRequest, stats.ListContainerStatsResponse),
    Method(
        "StreamContainerStats",
        stats.StreamContainerStatsRequest,
        stats.StreamContainerStatsResponse,
        server_streaming=True,
    ),
    Method("PodSandboxStats", stats.PodSandboxStatsRequest, stats.PodSandboxStatsResponse),
    Method("ListPodSandboxStats", stats.ListPodSandboxStatsRequest, stats.ListPodSandboxStatsResponse),
    Method(
        "StreamPodSandboxStats",
        stats.StreamPodSandboxStatsRequest,
        stats.StreamPodSandboxStatsResponse,
        server_streaming=True,
    ),
    Method("UpdateRuntimeConfig", version.UpdateRuntimeConfigRequest, version.UpdateRuntimeConfigResponse),
    Method("Status", version.StatusRequest, version.StatusResponse),
    Method(
        "CheckpointContainer", checkpoint.CheckpointContainerRequest, checkpoint.CheckpointContainerResponse
    ),
    Method("CheckpointPod", checkpoint.CheckpointPodRequest, checkpoint.CheckpointPodResponse),
    Method("RestorePod", checkpoint.RestorePodRequest, checkpoint.RestorePodResponse),
    Method(
        "GetContainerEvents",
        events.GetEventsRequest,
        events.ContainerEventResponse,
        server_streaming=True,
        lasting=True,
    ),
    Method(
        "ListMetricDescriptors", metrics.ListMetricDescriptorsRequest, metrics.ListMetricDescriptorsResponse
    ),
    Method(
        "ListPodSandboxMetrics", metrics.ListPodSandboxMetricsRequest, metrics.ListPodSandboxMetricsResponse
    ),
    Method(
        "StreamPodSandboxMetrics",
        metrics.StreamPodSandboxMetricsRequest,
        metrics.StreamPodSandboxMetricsResponse,
        server_streaming=True,
    ),
    Method("RuntimeConfig", version.RuntimeConfigRequest, version.RuntimeConfigResponse),
    Method(
        "UpdatePodSandboxResources",
        pods.UpdatePodSandboxResourcesRequest,
        pods.UpdatePodSandboxResourcesResponse,
    ),
)

IMAGES = Service(
    "runtime.v1.ImageService",
    Method("ListImages", images.ListImagesRequest, images.ListImagesResponse),
    Method("StreamImages", images.StreamImagesRequest, images.StreamImagesResponse, server_streaming=True),
    Method("ImageStatus", images.ImageStatusRequest, images.ImageStatusResponse),
    Method("PullImage", images.PullImageRequest, images.PullImageResponse),
    Method("RemoveImage", images.RemoveImageRequest, images.RemoveImageResponse),
    Method("ImageFsInfo", images.ImageFsInfoRequest, images.ImageFsInfoResponse),
)
