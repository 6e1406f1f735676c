"""What breaks around a pod: shims that die, plugins that fail, images that are gone."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from cloche.errors import ClocheError
from cloche.wire.messages.cri import containers, images, pods, version
from cloche.wire.messages.cri.values import NamespaceOption
from tests.cri.kubelet import Kubelet, KubernetesNode
from tests.cri.pods import Container, Pod, container_config, pod_config, running_pod
from tests.waiting import wait_until


def shim_of(node: KubernetesNode, pod: Pod) -> int:
    """The process that looks after a pod."""
    holder = json.loads(pod.status(verbose=True).info["info"])["pid"]
    parent = Path(f"/proc/{holder}/stat").read_text().rpartition(")")[2].split()[1]
    assert pod.id in Path(f"/proc/{parent}/cmdline").read_text()
    return int(parent)


def test_a_pod_whose_shim_dies_goes_on(
    kubelet: Kubelet, running: KubernetesNode, pod: Pod, image: str
) -> None:
    container = pod.run(container_config(image, "until test -e /end; do sleep 0.1; done; exit 7"))
    os.kill(shim_of(running, pod), signal.SIGKILL)
    # A call that was under way fails; the guard answers the next.
    assert wait_until(lambda: _touched(container))
    assert container.ended().exit_code == 7
    assert pod.status().status.state == pods.READY
    again = pod.run(container_config(image, "exit 8"))
    assert again.ended().exit_code == 8


def _touched(container: Container) -> bool:
    try:
        return container.execute("touch", "/end").exit_code == 0
    except ClocheError:
        return False


def test_a_pod_whose_shim_and_guard_die_is_not_ready_and_can_be_removed(
    kubelet: Kubelet, running: KubernetesNode, image: str, tmp_path: Path
) -> None:
    with running_pod(kubelet, pod_config(tmp_path)) as pod:
        container = pod.run(container_config(image, "sleep 1000"))
        shim = shim_of(running, pod)
        os.kill(shim, signal.SIGKILL)
        guard = wait_until(lambda: (found := shim_of(running, pod)) != shim and found)
        os.kill(guard, signal.SIGKILL)
        wait_until(lambda: pod.status().status.state == pods.NOT_READY)
        ended = container.ended()
        assert ended.exit_code in (137, 255)
        assert ended.reason in ("Error", "Unknown")
        pod.stop()
    places = running.directory / "state/io.containerd.runtime.v2.task/k8s.io"
    wait_until(lambda: not {pod.id, container.id} & set(os.listdir(places)))


@pytest.mark.parametrize("plugin", ["exit 1", "echo garbage", "kill -9 $$"])
def test_a_pod_that_cannot_be_connected_leaves_nothing(short: Path, plugin: str) -> None:
    (short / "net").mkdir()
    plugins = [{"type": "broken"}]
    document = {"cniVersion": "1.0.0", "name": "tests", "plugins": plugins}
    (short / "net" / "10-tests.conflist").write_text(json.dumps(document))
    program = short / "broken"
    program.write_text(f'#!/bin/sh\n[ "$CNI_COMMAND" = ADD ] || exit 0\n{plugin}\n')
    program.chmod(0o755)
    with KubernetesNode(short, plugins=str(short)) as node, Kubelet(node.address) as client:
        with pytest.raises(ClocheError, match="broken"):
            Pod(client, pod_config(short / "logs", options=NamespaceOption()))
        assert not client("ListPodSandbox", pods.ListPodSandboxRequest()).items
        assert not list((short / "state/netns").iterdir())
        assert not list((short / "root/cri/networks").iterdir())
        assert not list((short / "state/io.containerd.runtime.v2.task/k8s.io").iterdir())
        assert str(short) not in Path("/proc/self/mounts").read_text()


def test_a_node_without_networks_says_so(kubelet: Kubelet, short: Path) -> None:
    with KubernetesNode(short) as node, Kubelet(node.address) as client:
        told = client("Status", version.StatusRequest()).status.conditions
        (network,) = (each for each in told if each.type == "NetworkReady")
        assert not network.status
        assert "no network config found" in network.message
        with pytest.raises(ClocheError, match="no network config found"):
            Pod(client, pod_config(short / "logs", options=NamespaceOption()))


def test_a_container_outlives_its_image(kubelet: Kubelet, reference: str, tmp_path: Path) -> None:
    image = kubelet.pull(reference)
    with running_pod(kubelet, pod_config(tmp_path)) as pod:
        container = pod.create(container_config(image, "sleep 100"))
        kubelet("RemoveImage", images.RemoveImageRequest(image=images.ImageSpec(image=image)))
        container.start()
        assert container.execute("ls", "/bin/busybox").exit_code == 0
        assert container.status().state == containers.RUNNING
