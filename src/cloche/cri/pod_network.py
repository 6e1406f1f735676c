"""The networks of pods: CNI's, told what the kubelet wants of them."""

from __future__ import annotations

import asyncio
import logging

from cloche.errors import ClocheError, Unimplemented
from cloche.network.cni import Cni

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cloche.cri.host import Host
    from cloche.cri.inventory import Pod

_log = logging.getLogger("cloche.cri")

_RETRY_S = 60
_PROTOCOLS = ("tcp", "udp", "sctp")
_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_BURST = 2**31 - 1


class PodNetwork:
    """Connects pods."""

    def __init__(self, host: Host) -> None:
        self._host = host
        settings = host.settings
        self._cni = self._of(settings.network_config, settings.network_limit)
        self._of_handlers = {
            name: self._of(handler.network_config, handler.network_limit)
            for name, handler in settings.handlers.items()
            if handler.network_config
        }

    def _of(self, directory: str, limit: int) -> Cni:
        """The networks of a folder. All have the same records, so that any of them can undo what is there."""
        settings = self._host.settings
        return Cni(
            directory,
            settings.network_plugins,
            f"{settings.root}/cri/networks",
            max_conf_num=limit,
            timeout_s=settings.plugin_timeout_s,
        )

    async def connect(self, pod: Pod) -> list[str]:
        """Bring a pod into its networks; returns its addresses in the first of them, the one to use first.

        Where that fails the pod is in none of them, or on record for `keep_trying`.
        """
        ports = [
            {
                "hostPort": each.host_port,
                "containerPort": each.container_port,
                "protocol": _PROTOCOLS[each.protocol] if each.protocol < len(_PROTOCOLS) else "tcp",
                "hostIP": each.host_ip,
            }
            for each in pod.config.port_mappings
            if each.host_port > 0
        ]
        result = await self._host.run(self._add, pod, ports, lane=("network", pod.id))
        first, *_ = result.attachments
        addresses = [each.address.partition("/")[0] for each in first.ips]
        return self._preferred(addresses)

    def _add(self, pod: Pod, ports: list[dict[str, Any]]) -> Any:
        metadata = pod.metadata
        args = {
            "IgnoreUnknown": "1",
            "K8S_POD_NAMESPACE": metadata.namespace,
            "K8S_POD_NAME": metadata.name,
            "K8S_POD_INFRA_CONTAINER_ID": pod.id,
            "K8S_POD_UID": metadata.uid,
        }
        return self._of_handlers.get(pod.kept.handler, self._cni).add(
            pod.kept.netns, pod.id, port_mappings=ports, capability_args=_capabilities(pod), args=args
        )

    def _preferred(self, addresses: list[str]) -> list[str]:
        """IPv4 first, unless the configuration says otherwise."""
        wanted = self._host.settings.preferred_family
        if wanted == "cni":
            return addresses
        return sorted(addresses, key=lambda address: (":" in address) != (wanted == "ipv6"))

    async def disconnect(self, pod_id: str) -> None:
        """Take a pod out of its networks. What fails stays on record, to be tried again."""
        await self._host.run(self._cni.delete, pod_id, lane=("network", pod_id))

    async def keep_trying(self) -> None:
        """Now and then undo what could not be undone, so that no address stays taken: for ever."""
        told: dict[str, str] = {}
        while True:
            failed: dict[str, str] = await self._host.run(self._cni.retry, lane="networks")
            for pod_id, why in failed.items():
                if told.get(pod_id) != why:
                    _log.warning("pod %s: its networks cannot be undone yet: %s", pod_id, why)
            told = failed
            await asyncio.sleep(_RETRY_S)

    async def trouble(self) -> str:
        """Why pods cannot be connected; "" where they can."""
        try:
            await self._host.run(self._cni.status)
        except (ClocheError, OSError) as error:
            return str(error)
        return ""

    def configuration(self) -> dict[str, Any]:
        """What there is, for who looks closely."""
        settings = self._host.settings
        try:
            names = [network.name for network in self._cni.networks()]
        except (ClocheError, OSError):
            names = []
        return {
            "confDir": settings.network_config,
            "binDirs": list(settings.network_plugins),
            "networks": names,
        }

    async def configure(self, pod_cidr: str) -> None:
        """The node's pods may have these addresses. Raises Unimplemented where a template would need it."""
        if self._host.settings.network_template:
            raise Unimplemented(f"the network's template cannot be filled in with {pod_cidr}")


def _capabilities(pod: Pod) -> dict[str, Any]:
    """What plugins may be told beside ports: bandwidth, DNS, the cgroup."""
    found: dict[str, Any] = {"cgroupPath": pod.linux.cgroup_parent}
    bandwidth: dict[str, int] = {}
    for name in ("ingress", "egress"):
        rate = _rate(pod.config.annotations.get(f"kubernetes.io/{name}-bandwidth", ""))
        if rate:
            bandwidth |= {f"{name}Rate": rate, f"{name}Burst": _BURST}
    if bandwidth:
        found["bandwidth"] = bandwidth
    dns = pod.config.dns_config
    if dns is not None:
        found["dns"] = {
            "servers": list(dns.servers),
            "searches": list(dns.searches),
            "options": list(dns.options),
        }
    return found


def _rate(text: str) -> int:
    """Bits a second, as Kubernetes writes quantities; 0 for none."""
    digits = text.rstrip("kMGT")
    factor = _UNITS.get(text[len(digits) :], 0)
    return int(digits) * factor if digits.isascii() and digits.isdecimal() else 0
