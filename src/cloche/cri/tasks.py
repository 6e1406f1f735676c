"""Tasks as CRI needs them: processes made, started, signalled, waited for and cleared away."""

from __future__ import annotations

import asyncio

from cloche.cri.settings import NAMESPACE
from cloche.errors import ClocheError, NotFound, Unavailable
from cloche.wire.messages import task as messages
from cloche.wire.messages import types

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from cloche.cri.handlers import Handlers
    from cloche.cri.host import Host
    from cloche.cri.settings import Handler
    from cloche.engine.tasks.shim import Shim
    from cloche.spec.mount import Mount

_SIGKILL = 9
_UNKILLED_S = 2.0
UNKNOWN_EXIT = 255


class Ended:
    """How a process ended. at: ns since 1970."""

    __slots__ = ("at", "code")

    def __init__(self, code: int, at: int) -> None:
        self.code = code
        self.at = at


class Tasks:
    """See the module. All of it is in Kubernetes' namespace."""

    def __init__(self, host: Host, handlers: Handlers) -> None:
        self._host = host
        self._handlers = handlers
        self._manager = host.tasks

    async def shim(self, task_id: str) -> Shim:
        """Who looks after a task. Raises NotFound."""
        return await self._manager.get(NAMESPACE, task_id)

    def bundle(self, task_id: str) -> str:
        """A task's directory."""
        return self._manager.bundle_path(NAMESPACE, task_id)

    async def create(
        self,
        task_id: str,
        handler: Handler,
        spec: bytes,
        rootfs: Sequence[Mount],
        *,
        stdin: str = "",
        stdout: str = "",
        stderr: str = "",
        terminal: bool = False,
        pod: str = "",
        checkpoint: str = "",
    ) -> int:
        """Make a task up to where it would start; its pid. pod: whose shim is to have it."""
        request = messages.CreateTaskRequest(
            id=task_id,
            rootfs=[types.Mount(type=m.type, source=m.source, options=list(m.options)) for m in rootfs],
            stdin=stdin,
            stdout=stdout,
            stderr="" if terminal else stderr,
            terminal=terminal,
            checkpoint=checkpoint,
        )
        return await self._manager.create(
            NAMESPACE,
            request,
            runtime=handler.runtime,
            spec=spec,
            options=self._handlers.options(handler),
            sandbox=pod,
        )

    async def call(self, task_id: str, method: str, request: Any) -> Any:
        """Call the task service of a task's shim."""
        return await (await self.shim(task_id)).call(method, request)

    async def start(self, task_id: str, exec_id: str = "") -> int:
        """Start a task, or one of its further processes; its pid."""
        request = messages.StartRequest(id=task_id, exec_id=exec_id)
        pid: int = (await self.call(task_id, "Start", request)).pid
        return pid

    async def kill(self, task_id: str, signal: int, *, everyone: bool = False, exec_id: str = "") -> None:
        """Send a signal; what has ended already does not matter."""
        request = messages.KillRequest(id=task_id, exec_id=exec_id, signal=signal, all=everyone)
        try:
            await self._manager.ask(NAMESPACE, task_id, "Kill", request)
        except (NotFound, Unavailable):
            return

    async def wait(self, task_id: str, exec_id: str = "") -> Ended | None:
        """How a process ended, when it has; None where nobody knows any more."""
        try:
            answer = await self._manager.wait(NAMESPACE, task_id, exec_id)
        except (NotFound, Unavailable):
            return None
        return Ended(answer.exit_status, answer.exited_at.ns() if answer.exited_at else 0)

    async def delete(self, task_id: str) -> None:
        """Forget a task that has ended. One that is gone does not matter."""
        try:
            await self._manager.delete(NAMESPACE, task_id)
        except (NotFound, Unavailable):
            return

    async def destroy(self, task_id: str) -> None:
        """Kill a task, whatever it does, and forget it."""
        patience_s = None
        try:
            await self.kill(task_id, _SIGKILL, everyone=True)
        except ClocheError:
            # Some runtimes signal nothing that was not started, and delete it as it is.
            patience_s = _UNKILLED_S
        try:
            async with asyncio.timeout(patience_s):
                await self.wait(task_id)
        except TimeoutError:
            pass
        await self.delete(task_id)
