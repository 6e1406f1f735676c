"""The runtime as a whole: version, health, handlers, and what the kubelet has to agree with."""

from __future__ import annotations

from cloche import __version__
from cloche.spec.document import dumps
from cloche.spec.record import Record
from cloche.wire.messages.cri import version as messages
from cloche.wire.services.cri import RUNTIME

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cloche.cri.handlers import Handlers
    from cloche.cri.host import Host
    from cloche.cri.pod_network import PodNetwork
    from cloche.cri.pulling import Puller

_KUBELET_API = "0.1.0"
_CRI_API = "v1"


class InformationService:
    """The part of RuntimeService that is about no pod."""

    SERVICE = RUNTIME

    def __init__(self, host: Host, handlers: Handlers, network: PodNetwork, puller: Puller) -> None:
        self._host = host
        self._handlers = handlers
        self._network = network
        self._puller = puller

    def version(self, _call: object, _request: messages.VersionRequest) -> messages.VersionResponse:
        """Who answers."""
        return messages.VersionResponse(
            version=_KUBELET_API,
            runtime_name="cloche",
            runtime_version=__version__,
            runtime_api_version=_CRI_API,
        )

    async def status(self, _call: object, request: messages.StatusRequest) -> messages.StatusResponse:
        """What must be so for pods to run, and what can be had."""
        trouble = await self._network.trouble()
        conditions = [
            messages.RuntimeCondition(type="RuntimeReady", status=True),
            messages.RuntimeCondition(
                type="NetworkReady",
                status=not trouble,
                reason="NetworkPluginNotReady" if trouble else "",
                message=f"Network plugin returns error: {trouble}" if trouble else "",
            ),
        ]
        return messages.StatusResponse(
            status=messages.RuntimeStatus(conditions=conditions),
            runtime_handlers=await self._handlers.messages(),
            features=messages.RuntimeFeatures(supplemental_groups_policy=True, mount_options=True),
            info=self._info() if request.verbose else {},
        )

    def _info(self) -> dict[str, str]:
        return {
            "config": dumps(_plain(self._host.settings)).decode(),
            "cniconfig": dumps(self._network.configuration()).decode(),
            "pulls": dumps(self._puller.under_way()).decode(),
        }

    async def update_runtime_config(
        self, _call: object, request: messages.UpdateRuntimeConfigRequest
    ) -> messages.UpdateRuntimeConfigResponse:
        """Give the network the addresses that this node's pods may have."""
        network = request.runtime_config.network_config if request.runtime_config else None
        if network is not None and network.pod_cidr:
            await self._network.configure(network.pod_cidr)
        return messages.UpdateRuntimeConfigResponse()

    def runtime_config(
        self, _call: object, _request: messages.RuntimeConfigRequest
    ) -> messages.RuntimeConfigResponse:
        """Who makes cgroups, which the kubelet has to do in the same way."""
        systemd = self._handlers.default.systemd_cgroup
        driver = messages.SYSTEMD if systemd else messages.CGROUPFS
        return messages.RuntimeConfigResponse(linux=messages.LinuxRuntimeConfiguration(cgroup_driver=driver))


def _plain(value: Any) -> Any:
    """Settings as a document."""
    if isinstance(value, Record):
        return {name: _plain(each) for name, each in zip(value._fields, value.values(), strict=True)}
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return value
