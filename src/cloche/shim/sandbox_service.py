"""The sandbox service: a pod without a container of its own, whose life is the shim's.

      CreateSandbox        StartSandbox                 StopSandbox
    ---------------> made -------------> SANDBOX_READY -------------> SANDBOX_NOTREADY

Stopping kills what runs in the pod; ShutdownSandbox ends the shim.
"""

from __future__ import annotations

import os
import time

from cloche.errors import AlreadyExists, FailedPrecondition, NotFound, Unavailable
from cloche.shim.server import resume
from cloche.wire.messages import sandbox
from cloche.wire.messages.google import Timestamp
from cloche.wire.messages.types import Metric, Platform
from cloche.wire.services.sandbox import SANDBOX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from cloche.shim.containers import Container, Shim
    from cloche.shim.server import Call, Handler, _Connection

READY, NOT_READY = "SANDBOX_READY", "SANDBOX_NOTREADY"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_SIGTERM, _SIGKILL = 15, 9
_DEFAULT_TIMEOUT_S = 10.0
_KILLED_S = 5.0
_LOOK_AGAIN_S = 0.05


class SandboxService:
    """Answers for the pod of a shim. shutdown: called when the shim is to end."""

    def __init__(self, shim: Shim, shutdown: Callable[[], None]) -> None:
        self._shim = shim
        self._shutdown = shutdown
        self._id = ""
        self._created_ns = 0
        self._started = False
        self._stopped_ns = 0
        self._waiting: list[Call] = []

    def handlers(self) -> dict[str, Handler]:
        """By the methods' names."""
        return {
            "CreateSandbox": self.create,
            "StartSandbox": self.start,
            "Platform": self.platform,
            "StopSandbox": self.stop,
            "WaitSandbox": self.wait,
            "SandboxStatus": self.status,
            "PingSandbox": self.ping,
            "ShutdownSandbox": self.shutdown,
            "SandboxMetrics": self.metrics,
        }

    @property
    def exists(self) -> bool:
        """Whether a sandbox was created: the shim stays for it, with or without containers."""
        return bool(self._id)

    @property
    def waits(self) -> int:
        """How many calls wait for its end."""
        return len(self._waiting)

    def pack(self, *, everything: bool) -> list[Any]:
        """What another worker has to know of it; with everything goes who waits."""
        waiting = [call.place for call in self._waiting] if everything else []
        return [self._id, self._created_ns, self._started, self._stopped_ns, waiting]

    def unpack(self, packed: Sequence[Any], connections: Sequence[_Connection | None]) -> None:
        """Go on with it."""
        self._id, self._created_ns, self._started, self._stopped_ns, waiting = packed
        for number, stream in waiting:
            connection = connections[number] if number < len(connections) else None
            if connection is not None:
                self._wait(resume(connection, stream, SANDBOX.methods["WaitSandbox"]))

    def _require(self, sandbox_id: str) -> None:
        if not self._id or sandbox_id != self._id:
            raise NotFound(f"sandbox {sandbox_id!r} does not exist")

    def create(self, request: sandbox.CreateSandboxRequest, call: Call) -> None:
        """Take the id. The pod's namespaces are its containers' affair: their config.json names them."""
        if self._id:
            raise AlreadyExists(f"sandbox {self._id!r} exists already")
        self._id = request.sandbox_id
        self._created_ns = time.time_ns()
        call.answer()

    def start(self, request: sandbox.StartSandboxRequest, call: Call) -> None:
        """From now on containers may come."""
        self._require(request.sandbox_id)
        if self._stopped_ns:
            raise FailedPrecondition(f"sandbox {self._id!r} was stopped")
        self._started = True
        call.answer(
            sandbox.StartSandboxResponse(pid=self._shim.pid, created_at=Timestamp.of(self._created_ns))
        )

    def platform(self, request: sandbox.PlatformRequest, call: Call) -> None:
        """This machine's."""
        self._require(request.sandbox_id)
        machine = os.uname().machine
        platform = Platform(os="linux", architecture=_ARCHITECTURES.get(machine, machine))
        call.answer(sandbox.PlatformResponse(platform=platform))

    def stop(self, request: sandbox.StopSandboxRequest, call: Call) -> None:
        """End what runs: SIGTERM, and SIGKILL after the time-out."""
        self._require(request.sandbox_id)
        self._signal(_SIGTERM)
        timeout_s = request.timeout_secs or _DEFAULT_TIMEOUT_S
        self._await_end(call, time.monotonic() + timeout_s, killed=False)

    def _await_end(self, call: Call, deadline: float, *, killed: bool) -> None:
        if not self._running():
            self._stopped(call)
            return
        if time.monotonic() > deadline:
            if killed:
                call.refuse(Unavailable(f"sandbox {self._id!r}: its processes do not end"))
                return
            self._signal(_SIGKILL)
            killed, deadline = True, time.monotonic() + _KILLED_S
        self._shim.loop.call_later(_LOOK_AGAIN_S, lambda: self._await_end(call, deadline, killed=killed))

    def _running(self) -> list[Container]:
        return [each for each in self._shim.containers.values() if each.init.ended is None]

    def _signal(self, number: int) -> None:
        for container in self._running():
            container.signals.run(_killing(container, number), lambda _result, _error: None)

    def _stopped(self, call: Call) -> None:
        self._stopped_ns = self._stopped_ns or time.time_ns()
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.answer(self._end())
        call.answer()

    def wait(self, request: sandbox.WaitSandboxRequest, call: Call) -> None:
        """Answer when the pod was stopped."""
        self._require(request.sandbox_id)
        if self._stopped_ns:
            call.answer(self._end())
            return
        self._wait(call)

    def _wait(self, call: Call) -> None:
        self._waiting.append(call)
        call.on_gone = lambda: self._waiting.remove(call)

    def _end(self) -> sandbox.WaitSandboxResponse:
        return sandbox.WaitSandboxResponse(exited_at=Timestamp.of(self._stopped_ns))

    def status(self, request: sandbox.SandboxStatusRequest, call: Call) -> None:
        """How the pod is."""
        self._require(request.sandbox_id)
        ready = self._started and not self._stopped_ns
        answer = sandbox.SandboxStatusResponse(
            sandbox_id=self._id,
            pid=self._shim.pid if ready else 0,
            state=READY if ready else NOT_READY,
            created_at=Timestamp.of(self._created_ns),
            exited_at=Timestamp.of(self._stopped_ns) if self._stopped_ns else None,
        )
        call.answer(answer)

    def ping(self, request: sandbox.PingRequest, call: Call) -> None:
        """Say that somebody is here."""
        call.answer()

    def shutdown(self, request: sandbox.ShutdownSandboxRequest, call: Call) -> None:
        """End the shim, unless it still has containers."""
        if not self._shim.is_empty:
            raise FailedPrecondition(
                f"sandbox {request.sandbox_id!r} still has containers: delete them first"
            )
        # First: whoever has the answer may start the next shim of this name at once.
        self._shutdown()
        call.answer()
        for each in self._waiting:
            each.answer(sandbox.WaitSandboxResponse(exited_at=Timestamp.of(time.time_ns())))
        self._waiting = []

    def metrics(self, request: sandbox.SandboxMetricsRequest, call: Call) -> None:
        """What the container that stands for the pod uses: the one that has the pod's own id."""
        self._require(request.sandbox_id)
        container = self._shim.container(self._id)

        def work() -> Any:
            from cloche.shim import metrics

            cgroup = container.driver.cgroup()
            if cgroup is None:
                raise NotFound("cgroup does not exist")
            return metrics.read(cgroup.paths)

        def done(data: Any, error: BaseException | None) -> None:
            if error is not None:
                call.refuse(error)
                return
            metric = Metric(timestamp=Timestamp.of(time.time_ns()), id=self._id, data=data)
            call.answer(sandbox.SandboxMetricsResponse(metrics=metric))

        container.lane.run(work, done)


def _killing(container: Container, number: int) -> Callable[[], None]:
    return lambda: container.driver.kill(number, everyone=True)
