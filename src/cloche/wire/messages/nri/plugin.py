"""What a runtime and a plugin of NRI ask each other."""

from __future__ import annotations

from cloche.wire.messages.nri import adjustments
from cloche.wire.messages.nri.containers import Container, PodSandbox
from cloche.wire.messages.nri.resources import LinuxResources
from cloche.wire.messages.nri.values import PACKAGE
from cloche.wire.protobuf import Message, boolean, enumeration, int32, int64, message, repeated, string

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

EVENTS = {
    name: number
    for number, name in enumerate(
        (
            *("RunPodSandbox", "StopPodSandbox", "RemovePodSandbox"),
            *("CreateContainer", "PostCreateContainer", "StartContainer", "PostStartContainer"),
            *("UpdateContainer", "PostUpdateContainer", "StopContainer", "RemoveContainer"),
            *("UpdatePodSandbox", "PostUpdatePodSandbox", "ValidateContainerAdjustment"),
        ),
        start=1,
    )
}
"""What a plugin can ask to be told of, by the name of the call: the number of StateChange's event. In the
mask of ConfigureResponse the bit below that number stands for it."""
ALL_EVENTS = (1 << len(EVENTS)) - 1


class RegisterPluginRequest(Message, package=PACKAGE):
    """Who a plugin is. plugin_idx: two digits, its place among the plugins."""

    plugin_name: str = string(1)
    plugin_idx: str = string(2)
    nri_version: str = string(3)


class UpdateContainersRequest(Message, package=PACKAGE):
    """What a plugin wants of containers that are there."""

    update: Sequence[adjustments.ContainerUpdate] = repeated(1, adjustments.ContainerUpdate)
    evict: Sequence[adjustments.ContainerEviction] = repeated(2, adjustments.ContainerEviction)


class UpdateContainersResponse(Message, package=PACKAGE):
    """What could not be done of it."""

    failed: Sequence[adjustments.ContainerUpdate] = repeated(1, adjustments.ContainerUpdate)


class ConfigureRequest(Message, package=PACKAGE):
    """A plugin's configuration. Timeouts in milliseconds."""

    config: str = string(1)
    runtime_name: str = string(2)
    runtime_version: str = string(3)
    registration_timeout: int = int64(4)
    request_timeout: int = int64(5)
    nri_version: str = string(6)


class ConfigureResponse(Message, package=PACKAGE):
    """What a plugin wants to be told of: a mask, 0 for everything."""

    events: int = int32(2)


class SynchronizeRequest(Message, package=PACKAGE):
    """What there is. more: whether another request with more of it follows."""

    pods: Sequence[PodSandbox] = repeated(1, PodSandbox)
    containers: Sequence[Container] = repeated(2, Container)
    more: bool = boolean(3)


class SynchronizeResponse(Message, package=PACKAGE):
    """more: whether the plugin waits for what follows."""

    update: Sequence[adjustments.ContainerUpdate] = repeated(1, adjustments.ContainerUpdate)
    more: bool = boolean(2)


class PodRequest(Message, package=PACKAGE):
    """What happens to a pod: Run-, Stop-, Remove- and PostUpdatePodSandbox have this one form."""

    pod: PodSandbox | None = message(1, PodSandbox)


class UpdatePodSandboxRequest(Message, package=PACKAGE):
    """A pod's new limits."""

    pod: PodSandbox | None = message(1, PodSandbox)
    overhead_linux_resources: LinuxResources | None = message(2, LinuxResources)
    linux_resources: LinuxResources | None = message(3, LinuxResources)


class ContainerRequest(Message, package=PACKAGE):
    """What happens to a container: all calls but UpdateContainer have this one form."""

    pod: PodSandbox | None = message(1, PodSandbox)
    container: Container | None = message(2, Container)


class CreateContainerResponse(Message, package=PACKAGE):
    """What a plugin wants changed."""

    adjust: adjustments.ContainerAdjustment | None = message(1, adjustments.ContainerAdjustment)
    update: Sequence[adjustments.ContainerUpdate] = repeated(2, adjustments.ContainerUpdate)
    evict: Sequence[adjustments.ContainerEviction] = repeated(3, adjustments.ContainerEviction)


class UpdateContainerRequest(Message, package=PACKAGE):
    """A container's new limits."""

    pod: PodSandbox | None = message(1, PodSandbox)
    container: Container | None = message(2, Container)
    linux_resources: LinuxResources | None = message(3, LinuxResources)


class UpdateContainerResponse(Message, package=PACKAGE):
    """What a plugin wants of them, and of other containers."""

    update: Sequence[adjustments.ContainerUpdate] = repeated(1, adjustments.ContainerUpdate)
    evict: Sequence[adjustments.ContainerEviction] = repeated(2, adjustments.ContainerEviction)


class StopContainerResponse(Message, package=PACKAGE):
    """What a plugin wants of other containers."""

    update: Sequence[adjustments.ContainerUpdate] = repeated(1, adjustments.ContainerUpdate)


class StateChangeEvent(Message, package=PACKAGE):
    """What happens to a pod or a container, for plugins that have no call of its own for it."""

    event: int = enumeration(1)
    pod: PodSandbox | None = message(2, PodSandbox)
    container: Container | None = message(3, Container)


class PluginInstance(Message, package=PACKAGE):
    """A plugin."""

    name: str = string(1)
    index: str = string(2)


class ValidateContainerAdjustmentRequest(Message, package=PACKAGE):
    """All changes together. container: as it was; owners: who set what; plugins: who was asked."""

    pod: PodSandbox | None = message(1, PodSandbox)
    container: Container | None = message(2, Container)
    adjust: adjustments.ContainerAdjustment | None = message(3, adjustments.ContainerAdjustment)
    update: Sequence[adjustments.ContainerUpdate] = repeated(4, adjustments.ContainerUpdate)
    owners: adjustments.OwningPlugins | None = message(5, adjustments.OwningPlugins)
    plugins: Sequence[PluginInstance] = repeated(6, PluginInstance)


class ValidateContainerAdjustmentResponse(Message, package=PACKAGE):
    """Whether a container must not be made so."""

    reject: bool = boolean(1)
    reason: str = string(2)
