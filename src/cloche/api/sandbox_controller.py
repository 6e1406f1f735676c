"""Sandboxes that run, each in the care of a shim (containerd.services.sandbox.v1.Controller)."""

from __future__ import annotations

from cloche.errors import InvalidArgument
from cloche.wire.messages import sandbox as shim_messages
from cloche.wire.messages import sandboxes as messages
from cloche.wire.messages.metadata_events import SandboxCreate, SandboxExit, SandboxStart
from cloche.wire.services.sandbox import SANDBOX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cloche.api.call import Call
    from cloche.api.host import Host
    from cloche.engine.tasks.lifecycle import Tasks
    from cloche.wire.protobuf import Message


class SandboxController:
    """The service; containerd's own that works like this is called `shim`."""

    SERVICE = messages.CONTROLLER

    def __init__(self, host: Host, tasks: Tasks) -> None:
        self._host = host
        self._tasks = tasks

    async def _ask(self, call: Call, method: str, request: Message) -> Any:
        sandbox_id: str = request.sandbox_id  # type: ignore[attr-defined]  # all requests about sandboxes have one
        shim = await self._tasks.get(call.namespace, sandbox_id)
        return await shim.call(method, request, service=SANDBOX)

    async def create(
        self, call: Call, request: messages.ControllerCreateRequest
    ) -> messages.ControllerCreateResponse:
        """Start a sandbox's shim, and have it prepare the pod."""
        if request.sandbox is None:
            raise InvalidArgument("the request has no sandbox")
        sandbox, runtime = request.sandbox, request.sandbox.runtime
        await self._tasks.host(
            call.namespace,
            request.sandbox_id,
            runtime=runtime.name if runtime else "",
            spec=sandbox.spec.value if sandbox.spec else b"",
            options=(runtime.options if runtime else None) or request.options,
        )
        asked = shim_messages.CreateSandboxRequest(
            sandbox_id=request.sandbox_id,
            bundle_path=self._tasks.bundle_path(call.namespace, request.sandbox_id),
            rootfs=list(request.rootfs),
            options=request.options,
            netns_path=request.netns_path,
            annotations=request.annotations,
        )
        try:
            await self._ask(call, "CreateSandbox", asked)
        except BaseException:
            await self._tasks.dismiss(call.namespace, request.sandbox_id)
            raise
        event = SandboxCreate(sandbox_id=request.sandbox_id)
        self._host.publish(call.namespace, "/sandboxes/create", event)
        return messages.ControllerCreateResponse(sandbox_id=request.sandbox_id)

    async def start(
        self, call: Call, request: messages.ControllerStartRequest
    ) -> messages.ControllerStartResponse:
        """Start a pod."""
        asked = shim_messages.StartSandboxRequest(sandbox_id=request.sandbox_id)
        started = await self._ask(call, "StartSandbox", asked)
        shim = await self._tasks.get(call.namespace, request.sandbox_id)
        event = SandboxStart(sandbox_id=request.sandbox_id)
        self._host.publish(call.namespace, "/sandboxes/start", event)
        return messages.ControllerStartResponse(
            sandbox_id=request.sandbox_id,
            pid=started.pid,
            created_at=started.created_at,
            address=f"{shim.address.protocol}+{shim.address.address}",
            version=shim.address.version,
            spec=started.spec,
        )

    async def platform(
        self, call: Call, request: messages.ControllerPlatformRequest
    ) -> messages.ControllerPlatformResponse:
        """What a pod's containers run on."""
        asked = shim_messages.PlatformRequest(sandbox_id=request.sandbox_id)
        found = await self._ask(call, "Platform", asked)
        return messages.ControllerPlatformResponse(platform=found.platform)

    async def stop(
        self, call: Call, request: messages.ControllerStopRequest
    ) -> messages.ControllerStopResponse:
        """End a pod."""
        asked = shim_messages.StopSandboxRequest(
            sandbox_id=request.sandbox_id, timeout_secs=request.timeout_secs
        )
        await self._ask(call, "StopSandbox", asked)
        return messages.ControllerStopResponse()

    async def wait(
        self, call: Call, request: messages.ControllerWaitRequest
    ) -> messages.ControllerWaitResponse:
        """Answer when a pod has ended."""
        asked = shim_messages.WaitSandboxRequest(sandbox_id=request.sandbox_id)
        ended = await self._ask(call, "WaitSandbox", asked)
        event = SandboxExit(
            sandbox_id=request.sandbox_id, exit_status=ended.exit_status, exited_at=ended.exited_at
        )
        self._host.publish(call.namespace, "/sandboxes/exit", event)
        return messages.ControllerWaitResponse(exit_status=ended.exit_status, exited_at=ended.exited_at)

    async def status(
        self, call: Call, request: messages.ControllerStatusRequest
    ) -> messages.ControllerStatusResponse:
        """How a pod is."""
        asked = shim_messages.SandboxStatusRequest(sandbox_id=request.sandbox_id, verbose=request.verbose)
        found = await self._ask(call, "SandboxStatus", asked)
        shim = await self._tasks.get(call.namespace, request.sandbox_id)
        return messages.ControllerStatusResponse(
            sandbox_id=found.sandbox_id,
            pid=found.pid,
            state=found.state,
            info=found.info,
            created_at=found.created_at,
            exited_at=found.exited_at,
            extra=found.extra,
            address=f"{shim.address.protocol}+{shim.address.address}",
            version=shim.address.version,
        )

    async def shutdown(
        self, call: Call, request: messages.ControllerShutdownRequest
    ) -> messages.ControllerShutdownResponse:
        """End a pod's shim, and remove all that was the pod's."""
        asked = shim_messages.ShutdownSandboxRequest(sandbox_id=request.sandbox_id)
        await self._ask(call, "ShutdownSandbox", asked)
        await self._tasks.dismiss(call.namespace, request.sandbox_id)
        return messages.ControllerShutdownResponse()

    async def metrics(
        self, call: Call, request: messages.ControllerMetricsRequest
    ) -> messages.ControllerMetricsResponse:
        """What a pod uses."""
        asked = shim_messages.SandboxMetricsRequest(sandbox_id=request.sandbox_id)
        found = await self._ask(call, "SandboxMetrics", asked)
        return messages.ControllerMetricsResponse(metrics=found.metrics)
