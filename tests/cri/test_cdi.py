"""Devices by specifications on the machine, in JSON and in YAML."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloche.errors import NotFound
from cloche.wire.messages.cri.containers import CDIDevice
from tests.cri.kubelet import KubernetesNode
from tests.cri.pods import Pod, container_config

JSON = {
    "cdiVersion": "0.6.0",
    "kind": "example.com/net",
    "containerEdits": {"env": ["NET=whole"]},
    "devices": [
        {"name": "one", "containerEdits": {"deviceNodes": [{"path": "/dev/one", "hostPath": "/dev/full"}]}}
    ],
}
YAML = """cdiVersion: "0.6.0"
kind: example.com/gpu
devices:
- name: "0"
  containerEdits:
    env: [GPU=0]
    deviceNodes:
    - {path: /dev/gpu0, hostPath: /dev/zero, permissions: r}
    mounts:
    - {hostPath: /etc/hostname, containerPath: /gpu/name}
"""


@pytest.fixture
def specifications(running: KubernetesNode) -> Iterator[Path]:
    """The node's folder of specifications."""
    folder = running.directory / "cdi"
    folder.mkdir()
    (folder / "net.json").write_text(json.dumps(JSON))
    (folder / "gpu.yaml").write_text(YAML)
    yield folder
    for each in folder.iterdir():
        each.unlink()
    folder.rmdir()


def test_a_container_has_the_devices_that_it_names(specifications: Path, pod: Pod, image: str) -> None:
    (specifications / "broken.yaml").write_text("a: [")
    names = [CDIDevice(name=name) for name in ("example.com/gpu=0", "example.com/net=one")]
    container = pod.run(container_config(image, "sleep 100", cdi_devices=names))
    shown = container.execute("sh", "-c", "echo $GPU $NET; stat -c %t:%T /dev/gpu0 /dev/one; cat /gpu/name")
    assert shown.stdout.decode().splitlines()[:3] == ["0 whole", "1:5", "1:7"]
    assert shown.exit_code == 0


@pytest.mark.parametrize("text", ["a: [", "[]", "kind: example.com/x", "? "])
def test_a_specification_that_cannot_be_read_is_named(
    specifications: Path, pod: Pod, image: str, text: str
) -> None:
    (specifications / "broken.yaml").write_text(text)
    with pytest.raises(NotFound, match=r"broken\.yaml: "):
        pod.create(container_config(image, "true", cdi_devices=[CDIDevice(name="example.com/x=1")]))
