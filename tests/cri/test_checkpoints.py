"""Containers and pods written down by criu, and brought back: where this machine's criu can."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.cri.pod_checkpoints import _read_list
from cloche.errors import ClocheError, FailedPrecondition, InvalidArgument, NotFound
from cloche.wire.messages.cri import checkpoint, containers, pods
from cloche.wire.messages.cri.images import ImageSpec
from cloche.wire.messages.cri.values import CONTAINER, NODE, NamespaceOption
from tests import peers
from tests.cri import archives
from tests.cri.kubelet import Kubelet, KubernetesNode
from tests.cri.pods import Container, Pod, container_config, pod_config
from tests.waiting import wait_until

COUNTING = "i=0; while :; do i=$((i+1)); echo $i; echo $i >/number; sleep 0.1; done"


def criu_works() -> bool:
    """Whether this machine's criu can read its kernel."""
    return subprocess.run([peers.peer("criu"), "check"], capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def criu() -> None:
    """One that can."""
    if not criu_works():
        pytest.skip("this criu cannot read this kernel: a newer criu on the PATH can")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """For a checkpoint of a pod."""
    path = tmp_path / "checkpoint"
    path.mkdir()
    return path


def numbers(container: Container) -> list[int]:
    """What it has counted."""
    return [int(line.split()[-1]) for line in container.log().splitlines()]


def counts_on(container: Container) -> None:
    """Return when it has counted further."""
    wait_until(lambda: Path(container.pod.config.log_directory, container.config.log_path).exists())
    counted = len(numbers(container))
    wait_until(lambda: len(numbers(container)) > counted)


def own_pids(image: str, name: str) -> containers.ContainerConfig:
    """A container that counts, in a kernel namespace of processes of its own as kubelet asks for."""
    options = NamespaceOption(pid=CONTAINER, network=NODE)
    context = containers.LinuxContainerSecurityContext(run_as_username="root", namespace_options=options)
    linux = containers.LinuxContainerConfig(security_context=context)
    return container_config(image, COUNTING, name=name, linux=linux)


def counting(pod: Pod, image: str, *names: str) -> list[Container]:
    """Containers that count, and have begun to."""
    found = [pod.run(own_pids(image, name)) for name in names]
    wait_until(lambda: all(len(numbers(each)) > 3 for each in found))
    return found


def written(kubelet: Kubelet, pod: Pod, folder: Path, *chosen: Container, **more: Any) -> None:
    """Have the pod written into a folder."""
    ids = [each.id for each in chosen]
    request = checkpoint.CheckpointPodRequest(
        pod_sandbox_id=pod.id, output_path=str(folder), container_ids=ids, **more
    )
    kubelet("CheckpointPod", request)


@pytest.mark.criu
def test_a_container_goes_on_where_it_was_written_down(
    criu: None, kubelet: Kubelet, pod: Pod, image: str, tmp_path: Path
) -> None:
    [container] = counting(pod, image, "counts")
    archive = str(tmp_path / "counts.tar")
    request = checkpoint.CheckpointContainerRequest(container_id=container.id, location=archive)
    kubelet("CheckpointContainer", request)
    counts_on(container)
    container.stop()
    container.remove()
    restored = pod.create(own_pids(archive, "again"))
    restored.start()
    wait_until(lambda: len(numbers(restored)) > 3)
    assert numbers(restored)[0] > 3
    assert int(restored.execute("cat", "/number").stdout) >= numbers(restored)[0]


@pytest.mark.criu
def test_a_pod_goes_on_where_it_was_written_down(
    criu: None, kubelet: Kubelet, pod: Pod, image: str, tmp_path: Path, folder: Path
) -> None:
    one, two = counting(pod, image, "one", "two")
    written(kubelet, pod, folder, one, two)
    counts_on(one)
    counts_on(two)
    pod.stop()
    pod.remove()
    before = {each.name: each.read_bytes() for each in folder.iterdir()}
    config = pod_config(tmp_path / "restored")
    configs = [own_pids(image, name) for name in ("two", "one")]
    request = checkpoint.RestorePodRequest(
        checkpoint_path=str(folder), config=config, container_configs=configs
    )
    answer = kubelet("RestorePod", request)
    try:
        again = Pod(kubelet, config)
        assert again.id == answer.pod_sandbox_id
        assert [each.name for each in answer.restored_containers] == ["two", "one"]
        for each, wanted in zip(answer.restored_containers, configs, strict=True):
            container = Container(again, each.container_id, wanted)
            assert container.status().state == containers.CREATED
            container.start()
            counts_on(container)
            assert numbers(container)[0] > 3
        assert {each.name: each.read_bytes() for each in folder.iterdir()} == before
    finally:
        kubelet("RemovePodSandbox", pods.RemovePodSandboxRequest(pod_sandbox_id=answer.pod_sandbox_id))


def test_a_pod_that_cannot_be_written_down_runs_on(
    kubelet: Kubelet, pod: Pod, image: str, folder: Path
) -> None:
    if criu_works():
        pytest.skip("criu works here: it has nothing to fail with")
    both = counting(pod, image, "one", "two")
    with pytest.raises(ClocheError, match="criu"):
        written(kubelet, pod, folder, *both)
    assert list(folder.iterdir()) == []
    for each in both:
        counts_on(each)


def test_a_pod_that_cannot_be_marked_as_paused_runs_on(
    running: KubernetesNode, kubelet: Kubelet, pod: Pod, image: str, folder: Path
) -> None:
    both = counting(pod, image, "one", "two")
    marks = running.directory / "state/cri/paused"
    if marks.exists():
        marks.rmdir()
    marks.touch()
    try:
        with pytest.raises(FailedPrecondition, match="which says what is paused, cannot be made"):
            written(kubelet, pod, folder, *both)
    finally:
        marks.unlink()
    assert list(folder.iterdir()) == []
    for each in both:
        counts_on(each)


def test_what_cannot_be_chosen_is_refused(kubelet: Kubelet, pod: Pod, image: str, folder: Path) -> None:
    made = pod.create(container_config(image, "sleep 100", name="made"))
    with pytest.raises(FailedPrecondition, match="is not running"):
        written(kubelet, pod, folder, made)
    with pytest.raises(InvalidArgument, match="container_ids"):
        written(kubelet, pod, folder)
    with pytest.raises(InvalidArgument, match="each of them once"):
        written(kubelet, pod, folder, made, made)
    with pytest.raises(NotFound):
        written(kubelet, pod, folder, Container(pod, "none", made.config))
    with pytest.raises(InvalidArgument, match="'fast' is not known"):
        written(kubelet, pod, folder, made, options={"fast": "1"})
    with pytest.raises(InvalidArgument, match="must be an absolute path"):
        written(kubelet, pod, Path("here"), made)
    with pytest.raises(InvalidArgument, match="No such file"):
        written(kubelet, pod, folder / "none", made)
    shared = [pod.run(container_config(image, "sleep 100", name=name)) for name in ("one", "two")]
    with pytest.raises(FailedPrecondition, match="share their process ids"):
        written(kubelet, pod, folder, *shared)
    (folder / "mine").touch()
    with pytest.raises(InvalidArgument, match="must be empty, and has 'mine'"):
        written(kubelet, pod, folder, made)
    assert [each.name for each in folder.iterdir()] == ["mine"]


def restored(kubelet: Kubelet, folder: Path, *configs: containers.ContainerConfig, **more: Any) -> None:
    """Ask for a pod that is not to come."""
    request = checkpoint.RestorePodRequest(
        checkpoint_path=str(folder), config=pod_config(folder), container_configs=configs, **more
    )
    kubelet("RestorePod", request)


def test_what_does_not_belong_together_is_refused(kubelet: Kubelet, image: str, folder: Path) -> None:
    config = container_config(image, "sleep 100", name="one")
    known = set(kubelet("ListPodSandbox", pods.ListPodSandboxRequest()).items)
    with pytest.raises(InvalidArgument, match=r"pod\.dump: No such file"):
        restored(kubelet, folder, config)
    archives.write(folder / "0.tar", image)
    for damaged in ({"name": "one"}, {"name": "one", "archive": "../0"}):
        (folder / "pod.dump").write_text(json.dumps({"containers": [damaged]}))
        with pytest.raises(InvalidArgument, match="is damaged"):
            restored(kubelet, folder, config)
    (folder / "pod.dump").write_text(json.dumps({"containers": [{"name": "one", "archive": "0.tar"}]}))
    with pytest.raises(InvalidArgument, match="needs a name of its own"):
        restored(kubelet, folder, config, config)
    other = container_config(image, "sleep 100", name="two")
    with pytest.raises(InvalidArgument, match=r"two are wanted, and .* has one"):
        restored(kubelet, folder, other)
    with pytest.raises(InvalidArgument, match="its process is"):
        restored(kubelet, folder, config)
    config.image = ImageSpec(image="elsewhere.example/other:1")
    with pytest.raises(InvalidArgument, match=r"was of image .*, not elsewhere"):
        restored(kubelet, folder, config)
    with pytest.raises(InvalidArgument, match="'fast' is not known"):
        restored(kubelet, folder, config, options={"fast": "1"})
    # What fails late takes back what there was by then.
    config = container_config(image, name="one")
    data = (folder / "0.tar").read_bytes()
    (folder / "0.tar").write_bytes(data[: data.index(b"rootfs-diff.tar") + 600])
    with pytest.raises(InvalidArgument, match="is no archive"):
        restored(kubelet, folder, config)
    assert set(kubelet("ListPodSandbox", pods.ListPodSandboxRequest()).items) == known


@given(st.binary(max_size=200) | st.from_regex(r'\{"containers": \[\{"name": .{0,20}\}\]\}'))
def test_any_list_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes | str) -> None:
    folder = tmp_path_factory.mktemp("lists")
    (folder / "pod.dump").write_bytes(data.encode() if isinstance(data, str) else data)
    try:
        assert isinstance(_read_list(str(folder)), dict)
    except InvalidArgument:
        pass
