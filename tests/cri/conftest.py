"""A node of Kubernetes, with an image of busybox in a registry."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import leftovers
from tests.cri.kubelet import Kubelet, KubernetesNode, push, require
from tests.cri.pods import Pod, pod_config, running_pod
from tests.daemons import Registry
from tests.layouts import Layout, tar_directory

IMAGE, OTHER = "test.example/busybox:latest", "test.example/other:latest"


@pytest.fixture(scope="session")
def layout(busybox_rootfs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An OCI layout with an image of busybox called IMAGE, and another one to be removed, OTHER."""
    place = tmp_path_factory.mktemp("cri-image")
    image = Layout(place / "layout")
    layer = tar_directory(busybox_rootfs)
    image.image(IMAGE, [layer], Cmd=["sh"], User="1000:1000")
    image.image(OTHER, [layer], Cmd=["sh"], User="1000:1000", Labels={"other": "yes"})
    return image.path


@pytest.fixture(scope="package")
def running() -> Iterator[KubernetesNode]:
    """A node, shared by the tests of this package; its directory is empty afterwards."""
    require()
    directory = tempfile.mkdtemp(prefix="k-")
    with KubernetesNode(Path(directory)) as node:
        yield node
    leftovers.remove_tree(directory)


@pytest.fixture
def kubelet(running: KubernetesNode) -> Iterator[Kubelet]:
    """A client of the node."""
    with Kubelet(running.address) as client:
        yield client


@pytest.fixture
def reference(registry: Registry, layout: Path) -> str:
    """A name by which the image can be pulled, which no other test has."""
    return push(registry, layout, OTHER)


@pytest.fixture
def short() -> Iterator[Path]:
    """A directory with a short name, for a node of the test's own."""
    require()
    directory = tempfile.mkdtemp(prefix="k-")
    yield Path(directory)
    leftovers.remove_tree(directory)


@pytest.fixture(scope="package")
def image(running: KubernetesNode, registry: Registry, layout: Path) -> str:
    """An image that is on the node."""
    with Kubelet(running.address) as client:
        return client.pull(push(registry, layout, IMAGE))


@pytest.fixture
def pod(kubelet: Kubelet, tmp_path: Path) -> Iterator[Pod]:
    """A pod in the host's network."""
    with running_pod(kubelet, pod_config(tmp_path / "logs")) as found:
        yield found
