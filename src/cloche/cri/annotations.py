"""Annotations of config.json: how runtimes know pods and their containers, in containerd's words."""

from __future__ import annotations

from fnmatch import fnmatchcase

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cloche.cri.inventory import Pod
    from cloche.wire.messages.cri.containers import ContainerMetadata

_PREFIX = "io.kubernetes.cri."
IMAGE_NAME = f"{_PREFIX}image-name"


def of_pod(pod: Pod) -> dict[str, str]:
    """Of the process that holds a pod's namespaces."""
    return {
        f"{_PREFIX}container-type": "sandbox",
        f"{_PREFIX}sandbox-log-directory": pod.config.log_directory,
        **_of_both(pod),
    }


def of_container(pod: Pod, metadata: ContainerMetadata, image: str, *, typed: bool) -> dict[str, str]:
    """Of a container.

    typed: whether it says that it is one of a pod. runsc then puts it into the sandbox of the pod's holder,
    without a process that whoever executed runsc could wait for: so only its own shim may be told.
    """
    return {
        **({f"{_PREFIX}container-type": "container"} if typed else {}),
        f"{_PREFIX}container-name": metadata.name,
        IMAGE_NAME: image,
        **_of_both(pod),
    }


def _of_both(pod: Pod) -> dict[str, str]:
    return {
        f"{_PREFIX}sandbox-id": pod.id,
        f"{_PREFIX}sandbox-name": pod.metadata.name,
        f"{_PREFIX}sandbox-namespace": pod.metadata.namespace,
        f"{_PREFIX}sandbox-uid": pod.metadata.uid,
    }


def passed_on(given: Mapping[str, str], patterns: Sequence[str]) -> dict[str, str]:
    """Those that the configuration lets through to the runtime."""
    return {
        key: value
        for key, value in given.items()
        if any(key == pattern or fnmatchcase(key, pattern) for pattern in patterns)
    }
