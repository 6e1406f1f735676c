"""What breaks around a pod: shims that die, plugins that fail, images that are gone."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cloche.errors import ClocheError
from cloche.wire.messages.cri import containers, images, pods, version
from cloche.wire.messages.cri.values import NamespaceOption
from tests.cri.kubelet import PLUGINS, Kubelet, KubernetesNode
from tests.cri.networks import network
from tests.cri.pods import Container, Pod, container_config, pod_config, running_pod
from tests.shim.starting import parent
from tests.waiting import wait_until


def shim_of(node: KubernetesNode, pod: Pod, *, after: int = 0) -> int:
    """The process that looks after a pod. after: one that was killed."""
    holder = json.loads(pod.status(verbose=True).info["info"])["pid"]

    def found() -> int:
        shim = parent(holder)
        # What was killed has no command line any more before it has no child any more.
        words = Path(f"/proc/{shim}/cmdline").read_text()
        return shim if shim != after and pod.id in words else 0

    return wait_until(found, what="a shim")


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


def test_a_pod_whose_shim_dies_can_be_removed_at_once(
    kubelet: Kubelet, running: KubernetesNode, image: str, tmp_path: Path
) -> None:
    pod = Pod(kubelet, pod_config(tmp_path))
    pod.run(container_config(image, "sleep 1000"))
    os.kill(shim_of(running, pod), signal.SIGKILL)
    pod.remove()
    assert not [each for each in (running.directory / "root/cri/pods").iterdir() if each.name == pod.id]
    places = running.directory / "state/io.containerd.runtime.v2.task/k8s.io"
    wait_until(lambda: pod.id not in os.listdir(places))


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
        os.kill(shim_of(running, pod, after=shim), signal.SIGKILL)
        wait_until(lambda: pod.status().status.state == pods.NOT_READY)
        ended = container.ended()
        assert ended.exit_code in (137, 255)
        assert ended.reason in ("Error", "Unknown")
        pod.stop()
    places = running.directory / "state/io.containerd.runtime.v2.task/k8s.io"
    wait_until(lambda: not {pod.id, container.id} & set(os.listdir(places)))


TIMEOUTS = """[timeouts]
"io.cloche.timeout.cni.plugin" = "1s"
"io.cloche.timeout.cri.stage" = "100ms"
"""


@pytest.fixture
def breaking(short: Path) -> Iterator[tuple[KubernetesNode, Path]]:
    """A node that is quickly tired of waiting, and the last plugin of its network, to be written."""
    network(short, "broken")
    for name in ("ptp", "host-local"):
        (short / name).symlink_to(f"{PLUGINS}/{name}")
    plugin = short / "broken"
    plugin.touch(0o755)
    with KubernetesNode(short, plugins=str(short), more=TIMEOUTS) as node:
        yield node, plugin


def left_of_pods(node: KubernetesNode) -> list[str]:
    """What lies about, or is mounted, or is taken."""
    places = ("state/netns", "root/cri/networks", "state/io.containerd.runtime.v2.task/k8s.io")
    lying = [str(each) for place in places for each in (node.directory / place).iterdir()]
    taken = [str(each) for each in (node.directory / "addresses/tests").glob("10.*")]
    mounted = [
        line for line in Path("/proc/self/mounts").read_text().splitlines() if str(node.directory) in line
    ]
    return lying + taken + mounted


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("exit 1", "exit status 1"),
        ("echo garbage", "not JSON"),
        ("kill -9 $$", "exit status 137"),
        ("true", "printed no result"),
        ("exec sleep 1000", "not done after 1 s, and killed"),
    ],
)
def test_a_pod_that_cannot_be_connected_leaves_nothing(
    breaking: tuple[KubernetesNode, Path], text: str, words: str
) -> None:
    node, plugin = breaking
    plugin.write_text(f'#!/bin/sh\n[ "$CNI_COMMAND" = ADD ] || exit 0\n{text}\n')
    with Kubelet(node.address) as client:
        with pytest.raises(ClocheError, match=f"'broken'.*{words}"):
            Pod(client, pod_config(node.directory / "logs", options=NamespaceOption()))
        assert not client("ListPodSandbox", pods.ListPodSandboxRequest()).items
    assert not left_of_pods(node)


def test_a_network_that_hangs_is_named_and_undone_when_it_can_be(
    breaking: tuple[KubernetesNode, Path], tmp_path: Path
) -> None:
    node, plugin = breaking
    plugin.write_text("#!/bin/sh\nexec sleep 1000\n")
    config = pod_config(tmp_path, options=NamespaceOption())

    def ask(wait_s: float) -> str:
        time.sleep(wait_s)
        with Kubelet(node.address) as client, pytest.raises(ClocheError) as caught:
            Pod(client, config)
        return str(caught.value)

    with node.listening(tmp_path / "events"), ThreadPoolExecutor(2) as threads:
        first, second = threads.map(ask, (0, 0.5))
    name = f"pod tests/{config.metadata.name}" if config.metadata else ""
    assert "(ADD of 'tests'): not done after 1 s, and killed" in first
    assert f"{name}: connecting its networks has taken" in second
    assert f"{name}: connecting its networks has taken" in (tmp_path / "events").read_text()
    # Its DEL hung too, and is on record; the other plugin was called all the same.
    assert [Path(each).parent.name for each in left_of_pods(node)] == ["networks"]
    plugin.write_text("#!/bin/sh\nexit 0\n")
    node.stop()
    node.start()
    wait_until(lambda: not left_of_pods(node))


def test_a_node_without_networks_or_images_says_so(kubelet: Kubelet, short: Path) -> None:
    with KubernetesNode(short) as node, Kubelet(node.address) as client:
        (images_on,) = client("ImageFsInfo", images.ImageFsInfoRequest()).image_filesystems
        assert images_on.used_bytes.value == 0
        # Whose disk a kubelet measures.
        assert Path(images_on.fs_id.mountpoint).is_dir()
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
