"""A daemon that is killed between any two steps loses nothing, and leaves nothing."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloche.errors import ClocheError
from cloche.wire.messages.cri import checkpoint, containers, pods
from tests import leftovers
from tests.cri.conftest import IMAGE
from tests.cri.kubelet import Kubelet, KubernetesNode, push, require
from tests.cri.pods import Pod, container_config, pod_config
from tests.daemons import Registry
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def node() -> Iterator[KubernetesNode]:
    """A node that is killed again and again."""
    require()
    directory = tempfile.mkdtemp(prefix="k-")
    with KubernetesNode(Path(directory)) as killed:
        yield killed
    leftovers.remove_tree(directory)


@pytest.fixture(scope="module")
def image(node: KubernetesNode, registry: Registry, layout: Path) -> str:
    """An image that is on that node."""
    with Kubelet(node.address) as client:
        return client.pull(push(registry, layout, IMAGE))


@pytest.fixture
def short(node: KubernetesNode) -> Path:
    """The node's directory."""
    return node.directory


def listed(client: Kubelet) -> tuple[int, int]:
    """How many pods and containers there are."""
    return (
        len(client("ListPodSandbox", pods.ListPodSandboxRequest()).items),
        len(client("ListContainers", containers.ListContainersRequest()).containers),
    )


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_what_ran_is_found_again_and_what_ended_meanwhile_has_its_code(
    node: KubernetesNode, short: Path, image: str, how: str
) -> None:
    with Kubelet(node.address) as client:
        pod = Pod(client, pod_config(short / "logs"))
        stays = pod.run(container_config(image, "sleep 1000"))
        flag = short / f"go-{how}"
        flag.mkdir()
        mount = containers.Mount(container_path="/go", host_path=str(flag))
        ends = pod.run(
            container_config(image, "while [ ! -e /go/now ]; do sleep .05; done; exit 9", mounts=[mount])
        )
        waits = pod.create(container_config(image, "true"))
    getattr(node, how)()
    (flag / "now").touch()
    node.start()
    with Kubelet(node.address) as client:
        pod.kubelet = client
        assert pod.status().status.state == pods.READY
        assert stays.status().state == containers.RUNNING
        assert stays.execute("echo", "there").stdout == b"there\n"
        assert ends.ended().exit_code == 9
        waits.start()
        assert waits.ended().exit_code == 0
        pod.remove()
        assert listed(client) == (0, 0)
    assert not (short / "root/cri/containers").exists() or not list((short / "root/cri/containers").iterdir())


def test_a_pod_that_was_paused_to_be_written_down_goes_on(
    node: KubernetesNode, short: Path, image: str, tmp_path: Path
) -> None:
    node.stop()
    node.start(fault="cri.pod-paused")
    with Kubelet(node.address) as client:
        pod = Pod(client, pod_config(short / "logs"))
        container = pod.run(container_config(image, "while :; do date; sleep 0.1; done"))
        request = checkpoint.CheckpointPodRequest(
            pod_sandbox_id=pod.id, output_path=str(tmp_path), container_ids=[container.id]
        )
        with pytest.raises(ClocheError):
            client("CheckpointPod", request)
    node.process.wait(10)
    said = container.log()
    node.start()
    with Kubelet(node.address) as client:
        pod.kubelet = client
        wait_until(lambda: len(container.log()) > len(said))
        assert not list((short / "state/cri/paused").iterdir())
        pod.remove()


@pytest.mark.parametrize("fault", ["cri.pod-begun", "cri.pod-created"])
def test_a_pod_that_was_never_made_is_gone_with_the_next_daemon(
    node: KubernetesNode, short: Path, fault: str
) -> None:
    node.stop()
    node.start(fault=fault)
    config = pod_config(short / "logs")
    with Kubelet(node.address) as client, pytest.raises(ClocheError):
        Pod(client, config)
    node.process.wait(10)
    node.start()
    with Kubelet(node.address) as client:
        assert listed(client) == (0, 0)
        pod = Pod(client, config)
        pod.remove()
    assert not list((short / "state/io.containerd.runtime.v2.task/k8s.io").iterdir())
    assert str(short) not in Path("/proc/self/mounts").read_text()


@pytest.mark.parametrize(
    ("fault", "state"),
    [
        ("cri.container-begun", None),
        ("cri.container-created", containers.CREATED),
        ("cri.container-started", containers.CREATED),
        ("cri.container-ended", containers.EXITED),
        ("cri.pod-ended", containers.EXITED),
    ],
)
def test_a_containers_life_goes_on_after_a_kill(
    node: KubernetesNode, short: Path, image: str, fault: str, state: int | None
) -> None:
    config = pod_config(short / "logs")
    node.stop()
    node.start(fault=fault)
    command = container_config(image, "exit 4")
    with Kubelet(node.address) as client:
        pod = Pod(client, config)
        try:
            container = pod.run(command)
            container.ended()
            pod.stop()
        except ClocheError:
            pass  # which is when the daemon died
    node.process.wait(10)
    node.start()
    with Kubelet(node.address) as client:
        pod.kubelet = client
        found = client("ListContainers", containers.ListContainersRequest()).containers
        assert [each.state for each in found] == ([state] if state is not None else [])
        if state in (None, containers.CREATED):
            container = pod.create(command)
            container.start()
            wait_until(lambda: container.status().state == containers.EXITED)
            assert container.status().exit_code == 4
        pod.remove()
        assert listed(client) == (0, 0)
    assert not list((short / "state/io.containerd.runtime.v2.task/k8s.io").iterdir())
