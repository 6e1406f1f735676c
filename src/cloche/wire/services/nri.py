"""NRI's two services: RUNTIME is ours, for plugins to call; PLUGIN is theirs, for us."""

from __future__ import annotations

from cloche.wire.messages.nri import plugin as messages
from cloche.wire.messages.nri.values import PACKAGE, Empty
from cloche.wire.service import Method, Service

RUNTIME = Service(
    f"{PACKAGE}.Runtime",
    Method("RegisterPlugin", messages.RegisterPluginRequest, Empty),
    Method("UpdateContainers", messages.UpdateContainersRequest, messages.UpdateContainersResponse),
)
PLUGIN = Service(
    f"{PACKAGE}.Plugin",
    Method("Configure", messages.ConfigureRequest, messages.ConfigureResponse),
    Method("Synchronize", messages.SynchronizeRequest, messages.SynchronizeResponse),
    Method("Shutdown", Empty, Empty),
    Method("RunPodSandbox", messages.PodRequest, Empty),
    Method("UpdatePodSandbox", messages.UpdatePodSandboxRequest, Empty),
    Method("PostUpdatePodSandbox", messages.PodRequest, Empty),
    Method("StopPodSandbox", messages.PodRequest, Empty),
    Method("RemovePodSandbox", messages.PodRequest, Empty),
    Method("CreateContainer", messages.ContainerRequest, messages.CreateContainerResponse),
    Method("PostCreateContainer", messages.ContainerRequest, Empty),
    Method("StartContainer", messages.ContainerRequest, Empty),
    Method("PostStartContainer", messages.ContainerRequest, Empty),
    Method("UpdateContainer", messages.UpdateContainerRequest, messages.UpdateContainerResponse),
    Method("PostUpdateContainer", messages.ContainerRequest, Empty),
    Method("StopContainer", messages.ContainerRequest, messages.StopContainerResponse),
    Method("RemoveContainer", messages.ContainerRequest, Empty),
    Method("StateChange", messages.StateChangeEvent, Empty),
    Method(
        "ValidateContainerAdjustment",
        messages.ValidateContainerAdjustmentRequest,
        messages.ValidateContainerAdjustmentResponse,
    ),
)
