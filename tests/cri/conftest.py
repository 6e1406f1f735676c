"""A node of Kubernetes, with an image of busybox in a registry."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import leftovers
from tests.cri.kubelet import Kubelet, KubernetesNode, push, require
from tests.daemons import Registry
from tests.layouts import Layout, tar_directory

IMAGE = "test.example/busybox:latest"


@pytest.fixture(scope="session")
def layout(busybox_rootfs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An OCI layout with an image of busybox called IMAGE."""
    place = tmp_path_factory.mktemp("cri-image")
    image = Layout(place / "layout")
    image.image(IMAGE, [tar_directory(busybox_rootfs)], Cmd=["sh"], User="1000:1000")
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
    return push(registry, layout, IMAGE)


@pytest.fixture
def short() -> Iterator[Path]:
    """A directory with a short name, for a node of the test's own."""
    require()
    directory = tempfile.mkdtemp(prefix="k-")
    yield Path(directory)
    leftovers.remove_tree(directory)
