"""Pods and containers as tests want them: made, and removed whatever happens."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cloche.wire.messages.cri import containers, images, pods, streaming
from cloche.wire.messages.cri.containers import ContainerConfig, ContainerMetadata
from cloche.wire.messages.cri.pod_config import (
    LinuxPodSandboxConfig,
    LinuxSandboxSecurityContext,
    PodSandboxConfig,
    PodSandboxMetadata,
)
from cloche.wire.messages.cri.status import ContainerStatus, ContainerStatusRequest
from cloche.wire.messages.cri.values import NODE, NamespaceOption
from tests.cri.kubelet import Kubelet
from tests.waiting import wait_until


def pod_config(logs: Path, *, options: NamespaceOption | None = None, **more: Any) -> PodSandboxConfig:
    """A pod of its own name, in the host's network unless it is said otherwise."""
    uid = uuid.uuid4().hex
    options = options or NamespaceOption(network=NODE)
    security = LinuxSandboxSecurityContext(namespace_options=options)
    return PodSandboxConfig(
        metadata=PodSandboxMetadata(name=f"pod-{uid[:8]}", uid=uid, namespace="tests"),
        log_directory=str(logs),
        linux=more.pop("linux", None) or LinuxPodSandboxConfig(security_context=security),
        **more,
    )


def container_config(image: str, *command: str, **more: Any) -> ContainerConfig:
    """A container that runs a shell's commands as root, by default."""
    name = more.pop("name", f"c-{uuid.uuid4().hex[:8]}")
    linux = more.pop("linux", None) or containers.LinuxContainerConfig(
        security_context=containers.LinuxContainerSecurityContext(run_as_username="root")
    )
    return ContainerConfig(
        metadata=ContainerMetadata(name=name),
        image=images.ImageSpec(image=image),
        command=list(command) if len(command) != 1 else ["sh", "-c", command[0]],
        log_path=more.pop("log_path", f"{name}.log"),
        linux=linux,
        **more,
    )


class Pod:
    """A pod that runs."""

    def __init__(self, kubelet: Kubelet, config: PodSandboxConfig, handler: str = "") -> None:
        self.kubelet = kubelet
        self.config = config
        request = pods.RunPodSandboxRequest(config=config, runtime_handler=handler)
        self.id: str = kubelet("RunPodSandbox", request).pod_sandbox_id

    def status(self, *, verbose: bool = False) -> Any:
        """How it is."""
        request = pods.PodSandboxStatusRequest(pod_sandbox_id=self.id, verbose=verbose)
        return self.kubelet("PodSandboxStatus", request)

    def stop(self) -> None:
        """Stop it."""
        self.kubelet("StopPodSandbox", pods.StopPodSandboxRequest(pod_sandbox_id=self.id))

    def remove(self) -> None:
        """Remove it."""
        self.kubelet("RemovePodSandbox", pods.RemovePodSandboxRequest(pod_sandbox_id=self.id))

    def create(self, config: ContainerConfig) -> Container:
        """Make a container in it."""
        request = containers.CreateContainerRequest(
            pod_sandbox_id=self.id, config=config, sandbox_config=self.config
        )
        return Container(self, self.kubelet("CreateContainer", request).container_id, config)

    def run(self, config: ContainerConfig) -> Container:
        """Make and start a container in it."""
        container = self.create(config)
        container.start()
        return container


class Container:
    """A container of a pod."""

    def __init__(self, pod: Pod, container_id: str, config: ContainerConfig) -> None:
        self.pod = pod
        self.id = container_id
        self.config = config

    def start(self) -> None:
        """Start it."""
        self.pod.kubelet("StartContainer", containers.StartContainerRequest(container_id=self.id))

    def stop(self, timeout_s: int = 0) -> None:
        """Stop it."""
        request = containers.StopContainerRequest(container_id=self.id, timeout=timeout_s)
        self.pod.kubelet("StopContainer", request)

    def remove(self) -> None:
        """Remove it."""
        self.pod.kubelet("RemoveContainer", containers.RemoveContainerRequest(container_id=self.id))

    def status(self) -> ContainerStatus:
        """How it is."""
        request = ContainerStatusRequest(container_id=self.id)
        found: ContainerStatus = self.pod.kubelet("ContainerStatus", request).status
        return found

    def spec(self) -> Any:
        """Its config.json."""
        request = ContainerStatusRequest(container_id=self.id, verbose=True)
        return json.loads(self.pod.kubelet("ContainerStatus", request).info["info"])["runtimeSpec"]

    def ended(self) -> ContainerStatus:
        """How it is once it has ended."""
        wait_until(lambda: self.status().state == containers.EXITED, timeout_s=20)
        return self.status()

    def execute(self, *command: str, timeout_s: int = 0) -> streaming.ExecSyncResponse:
        """Run a program in it."""
        request = streaming.ExecSyncRequest(container_id=self.id, cmd=list(command), timeout=timeout_s)
        answer: streaming.ExecSyncResponse = self.pod.kubelet("ExecSync", request)
        return answer

    def log(self) -> str:
        """What it has said."""
        return Path(self.pod.config.log_directory, self.config.log_path).read_text()


@contextmanager
def running_pod(kubelet: Kubelet, config: PodSandboxConfig, handler: str = "") -> Iterator[Pod]:
    """A pod for as long as the block lasts."""
    pod = Pod(kubelet, config, handler)
    try:
        yield pod
    finally:
        pod.remove()
