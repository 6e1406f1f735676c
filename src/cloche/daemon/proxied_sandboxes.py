"""Sandbox controllers that are programs of their own: `[proxy_plugins.NAME]` with type "sandbox".

A call that names one goes to it as it is, with its namespace; what happened is told here as for our own.
"""

from __future__ import annotations

from cloche.daemon.client import Channel
from cloche.wire.messages.metadata_events import SandboxCreate, SandboxExit, SandboxStart
from cloche.wire.messages.sandboxes import CONTROLLER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from cloche.api.call import Call
    from cloche.api.host import Host
    from cloche.api.sandbox_controller import SandboxController


class ProxiedSandboxes:
    """The service: calls that name a controller of somebody else's go there.

    local: who answers the others. addresses: the others' sockets, by name.
    """

    SERVICE = CONTROLLER

    def __init__(self, host: Host, local: SandboxController, addresses: Mapping[str, str]) -> None:
        self._host = host
        self._local = local
        self._addresses = addresses
        self._channels: dict[str, Channel] = {}

    def __getattr__(self, handler: str) -> Callable[[Call, Any], Any]:
        """The handler of a method, as the local service names it."""
        ours = getattr(self._local, handler)

        def handle(call: Call, request: Any) -> Any:
            if request.sandboxer in self._addresses:
                return self._forward(call, handler.capitalize(), request)
            return ours(call, request)

        return handle

    async def _forward(self, call: Call, method: str, request: Any) -> Any:
        namespace = self._host.context(call).namespace
        found = self._channels.get(request.sandboxer)
        if found is None or not found.alive:
            address = self._addresses[request.sandboxer]
            found = self._channels[request.sandboxer] = await Channel.connect(address)
        metadata = {"containerd-namespace": (namespace,)}
        answer = await found.unary(CONTROLLER, method, request, metadata=metadata)
        if method == "Create":
            self._host.publish(namespace, "/sandboxes/create", SandboxCreate(sandbox_id=request.sandbox_id))
        elif method == "Start":
            self._host.publish(namespace, "/sandboxes/start", SandboxStart(sandbox_id=request.sandbox_id))
        elif method == "Wait":
            event = SandboxExit(
                sandbox_id=request.sandbox_id, exit_status=answer.exit_status, exited_at=answer.exited_at
            )
            self._host.publish(namespace, "/sandboxes/exit", event)
        return answer
