"""The part of RuntimeService that runs programs, and connects people with what runs."""

from __future__ import annotations

from cloche.cri import attaching, forwarding
from cloche.cri.streaming.runtime import AttachRequest, ExecRequest, ForwardRequest
from cloche.errors import FailedPrecondition, InvalidArgument
from cloche.wire.messages.cri import streaming as messages
from cloche.wire.messages.cri.containers import RUNNING
from cloche.wire.services.cri import RUNTIME

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket

    from cloche.cri.execution import Execution
    from cloche.cri.inventory import Container, Inventory
    from cloche.cri.streaming.runtime import Process
    from cloche.cri.streaming.server import StreamingServer
    from cloche.cri.tasks import Tasks


class Streams:
    """What the streaming server asks for (streaming.runtime.StreamingRuntime)."""

    def __init__(self, inventory: Inventory, tasks: Tasks, execution: Execution) -> None:
        self._inventory = inventory
        self._tasks = tasks
        self._execution = execution

    async def exec(self, request: ExecRequest) -> Process:
        """Start a program."""
        return await self._execution.start(
            self._inventory.container(request.container),
            request.command,
            stdin=request.stdin,
            stdout=request.stdout,
            stderr=request.stderr,
            terminal=request.terminal,
        )

    async def attach(self, request: AttachRequest) -> Process:
        """Join a container's streams."""
        return await attaching.attach(self._tasks, self._inventory.container(request.container), request)

    async def connect(self, sandbox: str, port: int) -> socket.socket:
        """Connect to a pod's port."""
        return await forwarding.connect(self._inventory.pod(sandbox), port)


class StreamService:
    """The service."""

    SERVICE = RUNTIME

    def __init__(self, inventory: Inventory, execution: Execution, server: StreamingServer) -> None:
        self._inventory = inventory
        self._execution = execution
        self._server = server

    def _running(self, container_id: str) -> Container:
        container = self._inventory.container(container_id)
        if container.state != RUNNING:
            raise FailedPrecondition(f"container {container.id}: is not running")
        return container

    async def exec_sync(self, _call: object, request: messages.ExecSyncRequest) -> messages.ExecSyncResponse:
        """Run a program to its end."""
        container = self._running(request.container_id)
        if not request.cmd:
            raise InvalidArgument("cmd: no command is given")
        stdout, stderr, code = await self._execution.run(container, request.cmd, request.timeout or None)
        return messages.ExecSyncResponse(stdout=stdout, stderr=stderr, exit_code=code)

    def exec(self, _call: object, request: messages.ExecRequest) -> messages.ExecResponse:
        """Where a program can be run by somebody who is connected with it."""
        container = self._running(request.container_id)
        wanted = ExecRequest(
            container.id,
            request.stdin,
            request.stdout,
            request.stderr,
            request.tty,
            tuple(request.cmd),
        )
        return messages.ExecResponse(url=self._server.url(wanted))

    def attach(self, _call: object, request: messages.AttachRequest) -> messages.AttachResponse:
        """Where a container's streams are."""
        container = self._running(request.container_id)
        wanted = AttachRequest(
            container.id, request.stdin, request.stdout, request.stderr, request.tty or container.config.tty
        )
        return messages.AttachResponse(url=self._server.url(wanted))

    def port_forward(
        self, _call: object, request: messages.PortForwardRequest
    ) -> messages.PortForwardResponse:
        """Where a pod's ports are."""
        pod = self._inventory.pod(request.pod_sandbox_id)
        if not pod.is_ready:
            raise FailedPrecondition(f"sandbox {pod.id}: is not running")
        wanted = ForwardRequest(pod.id, tuple(request.port))
        return messages.PortForwardResponse(url=self._server.url(wanted))
