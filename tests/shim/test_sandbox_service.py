"""The sandbox service: a pod's life, with the containers that share its shim."""

from __future__ import annotations

from typing import Any

import pytest

from cloche.errors import AlreadyExists, FailedPrecondition, NotFound
from cloche.wire.messages import sandbox
from cloche.wire.services.sandbox import SANDBOX
from tests.bundles import Bundle
from tests.shim.served import Served
from tests.shim.starting import parent


def ask(shim: Served, method: str, request: Any) -> Any:
    return shim.client.call(SANDBOX, method, request, timeout_s=20)


def status(shim: Served) -> str:
    found: str = ask(shim, "SandboxStatus", sandbox.SandboxStatusRequest(sandbox_id="pod")).state
    return found


@pytest.fixture
def pod(shim: Served) -> Served:
    """A shim with a pod that was started."""
    ask(shim, "CreateSandbox", sandbox.CreateSandboxRequest(sandbox_id="pod", netns_path="/run/netns/x"))
    assert status(shim) == "SANDBOX_NOTREADY"
    started = ask(shim, "StartSandbox", sandbox.StartSandboxRequest(sandbox_id="pod"))
    assert started.pid == shim.process.pid
    return shim


def test_a_pod_is_created_once_and_ready_when_it_was_started(pod: Served) -> None:
    assert status(pod) == "SANDBOX_READY"
    with pytest.raises(AlreadyExists, match="'pod'"):
        ask(pod, "CreateSandbox", sandbox.CreateSandboxRequest(sandbox_id="pod"))
    ask(pod, "PingSandbox", sandbox.PingRequest(sandbox_id="pod"))
    platform = ask(pod, "Platform", sandbox.PlatformRequest(sandbox_id="pod")).platform
    assert (platform.os, platform.architecture in ("amd64", "arm64")) == ("linux", True)


@pytest.mark.parametrize(
    "method", ["StartSandbox", "StopSandbox", "WaitSandbox", "SandboxStatus", "Platform"]
)
def test_a_pod_that_is_not_there_is_not_found(shim: Served, method: str) -> None:
    request = SANDBOX.methods[method].request(sandbox_id="none")
    with pytest.raises(NotFound, match="'none' does not exist"):
        ask(shim, method, request)


def test_stopping_ends_what_runs_and_whoever_waits_is_told(pod: Served, sleeper: Bundle) -> None:
    pod.run(sleeper)
    with pod.connect() as other:
        waiting = other.begin(SANDBOX, "WaitSandbox", sandbox.WaitSandboxRequest(sandbox_id="pod"))
        # sleep is PID 1 and has no handler: SIGTERM does not reach it.
        ask(pod, "StopSandbox", sandbox.StopSandboxRequest(sandbox_id="pod", timeout_secs=1))
        ended = other.finish(SANDBOX, "WaitSandbox", waiting, 10)
    assert ended.exited_at.seconds
    assert status(pod) == "SANDBOX_NOTREADY"
    assert pod.wait() == 137
    with pytest.raises(FailedPrecondition, match="was stopped"):
        ask(pod, "StartSandbox", sandbox.StartSandboxRequest(sandbox_id="pod"))


def test_a_pods_metrics_are_those_of_the_container_of_its_name(pod: Served, sleeper: Bundle) -> None:
    with pytest.raises(NotFound):
        ask(pod, "SandboxMetrics", sandbox.SandboxMetricsRequest(sandbox_id="pod"))
    pod.run(sleeper, "pod")
    metrics = ask(pod, "SandboxMetrics", sandbox.SandboxMetricsRequest(sandbox_id="pod")).metrics
    assert (metrics.id, metrics.data.type_url.startswith("io.containerd.cgroups.")) == ("pod", True)


def test_a_pods_shim_ends_when_its_containers_are_gone(pod: Served, sleeper: Bundle) -> None:
    pod.run(sleeper)
    with pytest.raises(FailedPrecondition, match="still has containers"):
        ask(pod, "ShutdownSandbox", sandbox.ShutdownSandboxRequest(sandbox_id="pod"))
    pod.kill()
    pod.wait()
    pod.delete()
    ask(pod, "ShutdownSandbox", sandbox.ShutdownSandboxRequest(sandbox_id="pod"))
    assert pod.process.wait(10) == 0


def test_containers_of_a_pod_share_the_shim(pod: Served, sleeper: Bundle) -> None:
    first = pod.run(sleeper, "first")
    sleeper.linux["cgroupsPath"] += "-second"
    sleeper.linux["namespaces"] = [
        {"type": "network", "path": f"/proc/{first}/ns/net"} if each["type"] == "network" else each
        for each in sleeper.linux["namespaces"]
    ]
    sleeper.save()
    second = pod.run(sleeper, "second")
    assert first != second
    assert {parent(first), parent(second)} == {pod.process.pid}
