"""Sandbox controllers that are programs of their own: `[proxy_plugins.NAME]` with type "sandbox".

A call that names one goes to it as it is, with its namespace; what happened is told here as for our own.
"""

from __future__ import annotations

from cloche.daemon.proxied import Proxied, metadata_of
from cloche.wire.messages.metadata_events import SandboxCreate, SandboxExit, SandboxStart
from cloche.wire.messages.sandboxes import CONTROLLER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cloche.api.call import Call


class ProxiedSandboxes(Proxied):
    """The service."""

    SERVICE = CONTROLLER
    FIELD = "sandboxer"

    async def _pass_on(self, call: Call, method: str, request: Any) -> Any:
        namespace = self._host.context(call).namespace
        channel = await self._channel(request.sandboxer)
        answer = await channel.unary(CONTROLLER, method, request, metadata=metadata_of(namespace))
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
