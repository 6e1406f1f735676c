"""The node as a whole: events, measurements, handlers, and every verb on what is not there."""

from __future__ import annotations

import json
import urllib.parse
from pathlib import Path
from typing import Any

import pytest

from cloche.cri.joining import Joining, Work
from cloche.errors import ClocheError, DeadlineExceeded, InvalidArgument, NotFound
from cloche.wire.messages.cri import (
    checkpoint,
    containers,
    events,
    metrics,
    pods,
    stats,
    status,
    streaming,
    version,
)
from cloche.wire.messages.cri.values import NamespaceOption
from cloche.wire.protobuf import Message
from tests.cri.kubelet import Kubelet, KubernetesNode
from tests.cri.networks import network
from tests.cri.pods import Pod, container_config, pod_config, running_pod
from tests.shim.runtimes import runtime as program_of

NOBODY = "0" * 64
ON_POD = {"pod_sandbox_id": NOBODY}
ON_CONTAINER = {"container_id": NOBODY}


@pytest.mark.parametrize("nothing", ["", NOBODY, "../../etc", "x" * 5000, "%00", "\U0001f514"])
@pytest.mark.parametrize(
    ("name", "request_type", "field"),
    [
        ("PodSandboxStatus", pods.PodSandboxStatusRequest, "pod_sandbox_id"),
        ("ContainerStatus", status.ContainerStatusRequest, "container_id"),
        ("StartContainer", containers.StartContainerRequest, "container_id"),
        ("CreateContainer", containers.CreateContainerRequest, "pod_sandbox_id"),
        ("UpdateContainerResources", containers.UpdateContainerResourcesRequest, "container_id"),
        ("UpdatePodSandboxResources", pods.UpdatePodSandboxResourcesRequest, "pod_sandbox_id"),
        ("ReopenContainerLog", containers.ReopenContainerLogRequest, "container_id"),
        ("ExecSync", streaming.ExecSyncRequest, "container_id"),
        ("Exec", streaming.ExecRequest, "container_id"),
        ("Attach", streaming.AttachRequest, "container_id"),
        ("PortForward", streaming.PortForwardRequest, "pod_sandbox_id"),
        ("ContainerStats", stats.ContainerStatsRequest, "container_id"),
        ("PodSandboxStats", stats.PodSandboxStatsRequest, "pod_sandbox_id"),
        ("CheckpointContainer", checkpoint.CheckpointContainerRequest, "container_id"),
    ],
)
def test_what_is_not_there_is_not_found(
    kubelet: Kubelet, name: str, request_type: type[Message], field: str, nothing: str
) -> None:
    with pytest.raises(NotFound):
        kubelet(name, request_type(**{field: nothing}))


@pytest.mark.parametrize(
    ("name", "request_type", "field"),
    [
        ("StopPodSandbox", pods.StopPodSandboxRequest, "pod_sandbox_id"),
        ("RemovePodSandbox", pods.RemovePodSandboxRequest, "pod_sandbox_id"),
        ("StopContainer", containers.StopContainerRequest, "container_id"),
        ("RemoveContainer", containers.RemoveContainerRequest, "container_id"),
    ],
)
def test_what_is_gone_is_stopped_and_removed(
    kubelet: Kubelet, name: str, request_type: type[Message], field: str
) -> None:
    kubelet(name, request_type(**{field: NOBODY}))


@pytest.mark.parametrize(
    "name", ["RunPodSandbox", "CreateContainer", "PullImage", "RemoveImage", "ImageStatus"]
)
def test_an_empty_request_is_refused(kubelet: Kubelet, name: str) -> None:
    from cloche.wire.services.cri import IMAGES, RUNTIME

    method = RUNTIME.methods.get(name) or IMAGES.methods[name]
    with pytest.raises((InvalidArgument, NotFound)):
        kubelet(name, method.request())


def test_everything_that_happens_is_told(
    running: KubernetesNode, kubelet: Kubelet, image: str, tmp_path: Path
) -> None:
    with (
        Kubelet(running.address) as listener,
        listener.stream("GetContainerEvents", events.GetEventsRequest()) as call,
    ):
        # Answered once the stream is open: nothing is missed after that.
        listener("Version", version.VersionRequest())
        with running_pod(kubelet, pod_config(tmp_path)) as pod:
            container = pod.run(container_config(image, "true"))
            container.ended()
            container.remove()
        told: list[Any] = []
        for event in call:
            told.append((event.container_id, event.container_event_type))
            if event.container_event_type == events.STOPPED and event.container_id == container.id:
                (found,) = event.containers_statuses
                assert (found.state, found.reason) == (containers.EXITED, "Completed")
                assert event.pod_sandbox_status.id == pod.id
            if told[-1] == (pod.id, events.DELETED):
                break
    order = [events.CREATED, events.STARTED, events.STOPPED, events.DELETED]
    assert [kind for who, kind in told if who == container.id] == order
    assert [kind for who, kind in told if who == pod.id] == order


def test_measurements_have_the_labels_that_their_descriptors_say(
    pod: Pod, kubelet: Kubelet, image: str
) -> None:
    container = pod.run(container_config(image, "sleep 100", name="measured"))
    asked = metrics.ListMetricDescriptorsRequest()
    keys = {each.name: list(each.label_keys) for each in kubelet("ListMetricDescriptors", asked).descriptors}
    found = kubelet("ListPodSandboxMetrics", metrics.ListPodSandboxMetricsRequest()).pod_metrics
    (mine,) = (each for each in found if each.pod_sandbox_id == pod.id)
    (of_container,) = mine.container_metrics
    assert of_container.container_id == container.id
    for metric in (*mine.metrics, *of_container.metrics):
        assert len(metric.label_values) == len(keys[metric.name])
    labels = dict(zip(keys["container_memory_rss"], _one(of_container, "container_memory_rss"), strict=True))
    assert labels["container"] == "measured"
    assert labels["namespace"] == "tests"
    with kubelet.stream("StreamPodSandboxMetrics", metrics.StreamPodSandboxMetricsRequest()) as call:
        streamed = [each.pod_sandbox_id for answer in call for each in answer.pod_sandbox_metrics]
    assert pod.id in streamed


def _one(found: metrics.ContainerMetrics, name: str) -> list[str]:
    (metric,) = (each for each in found.metrics if each.name == name)
    return list(metric.label_values)


def test_lists_are_streamed_as_well(pod: Pod, kubelet: Kubelet, image: str) -> None:
    container = pod.run(container_config(image, "sleep 100"))
    calls: dict[str, tuple[Message, str, str]] = {
        "StreamPodSandboxes": (pods.StreamPodSandboxesRequest(), "pod_sandboxes", pod.id),
        "StreamContainers": (containers.StreamContainersRequest(), "containers", container.id),
    }
    for name, (request, field, wanted) in calls.items():
        with kubelet.stream(name, request) as call:
            assert wanted in [each.id for answer in call for each in getattr(answer, field)]
    for name, stats_request, field, wanted in (
        ("StreamContainerStats", stats.StreamContainerStatsRequest(), "container_stats", container.id),
        ("StreamPodSandboxStats", stats.StreamPodSandboxStatsRequest(), "pod_sandbox_stats", pod.id),
    ):
        with kubelet.stream(name, stats_request) as call:
            found = [each.attributes.id for answer in call for each in getattr(answer, field)]
        assert wanted in found


@pytest.mark.parametrize("runtime", ["runc", "crun", "runsc"])
def test_other_runtimes_run_pods_by_their_handlers(
    short: Path, runtime: str, registry: Any, layout: Path
) -> None:
    from tests.cri.conftest import IMAGE
    from tests.cri.kubelet import push

    program = program_of(runtime, short)
    limit = {"type": "RLIMIT_NOFILE", "soft": 321, "hard": 321}
    base = {"process": {"rlimits": [limit], "env": ["A=1", "PATH=/no"]}}
    (short / "base.json").write_text(json.dumps(base))
    handler = f"""[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.other]
runtime_type = "io.containerd.runc.v2"
base_runtime_spec = "{short}/base.json"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.other.options]
BinaryName = "{program}"
"""
    with KubernetesNode(short, more=handler) as node, Kubelet(node.address) as client:
        told = client("Status", version.StatusRequest())
        assert "other" in {each.name for each in told.runtime_handlers}
        image = client.pull(push(registry, layout, IMAGE))
        network(short)
        config = pod_config(short / "logs", options=NamespaceOption())
        with running_pod(client, config, "other") as pod:
            assert pod.status().status.runtime_handler == "other"
            container = pod.run(container_config(image, "echo hello; sleep 100"))
            assert container.execute("sh", "-c", "echo $A; ulimit -n").stdout == b"1\n321\n"
            container.stop()
            assert container.status().exit_code == 137
            assert "hello" in container.log()


def test_a_handler_may_have_networks_of_its_own(short: Path, registry: Any, layout: Path) -> None:
    handler = f"""[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.other]
runtime_type = "io.containerd.runc.v2"
cni_conf_dir = "{short}/more"
cni_max_conf_num = 0
"""
    network(short)
    for name, third in (("a", 94), ("b", 95)):
        network(short, folder="more", name=name, third=third)
    with KubernetesNode(short, more=handler) as node, Kubelet(node.address) as client:
        for name, wanted in (("", {"tests": 1}), ("other", {"a": 1, "b": 1})):
            with running_pod(client, pod_config(short / "logs", options=NamespaceOption()), name) as pod:
                told = pod.status().status.network
                assert told.ip.startswith("10.87.93." if not name else "10.87.94.")
                assert not told.additional_ips
                taken = {
                    place.name: len(list(place.glob("10.*"))) for place in (short / "addresses").iterdir()
                }
                assert {key: count for key, count in taken.items() if count} == wanted


def test_a_checkpoint_says_why_it_cannot_be_had(
    pod: Pod, kubelet: Kubelet, image: str, tmp_path: Path
) -> None:
    container = pod.run(container_config(image, "sleep 100"))
    archive = tmp_path / "checkpoint.tar"
    request = checkpoint.CheckpointContainerRequest(container_id=container.id, location=str(archive))
    failure = ""
    try:
        kubelet("CheckpointContainer", request)
    except ClocheError as error:
        failure = str(error)
    # Where criu is an old one, which does not know this kernel, that is what is said.
    assert not failure or "criu" in failure, failure
    assert archive.exists() == (not failure)
    assert failure or archive.stat().st_mode & 0o777 == 0o600
    assert container.status().state == containers.RUNNING
    request.location = "relative"
    with pytest.raises(InvalidArgument):
        kubelet("CheckpointContainer", request)


def test_where_streams_are_is_told_once_each(pod: Pod, kubelet: Kubelet, image: str) -> None:
    container = pod.run(container_config(image, "sleep 100"))
    request = streaming.ExecRequest(container_id=container.id, cmd=["sh"], stdout=True)
    urls = {kubelet("Exec", request).url for _ in range(3)}
    assert len(urls) == 3
    assert all(urllib.parse.urlsplit(url).hostname == "127.0.0.1" for url in urls)
    assert "/portforward/" in kubelet("PortForward", streaming.PortForwardRequest(pod_sandbox_id=pod.id)).url


def test_what_is_asked_verbosely_is_json(pod: Pod, kubelet: Kubelet, image: str) -> None:
    container = pod.create(container_config(image, "true"))
    request = status.ContainerStatusRequest(container_id=container.id, verbose=True)
    told = json.loads(kubelet("ContainerStatus", request).info["info"])
    assert told["sandboxID"] == pod.id
    assert told["runtimeSpec"]["process"]["args"] == ["sh", "-c", "true"]


def test_whoever_joins_stuck_work_is_told_what_it_is_stuck_at() -> None:
    import asyncio

    async def run() -> None:
        told: list[str] = []
        joining, go_on = Joining(0, told.append), asyncio.Event()

        async def work(under_way: Work) -> str:
            under_way.enter("connecting its networks")
            await go_on.wait()
            return "done"

        first = asyncio.ensure_future(joining.run("key", "pod x", work))
        await asyncio.sleep(0.01)
        with pytest.raises(DeadlineExceeded, match="pod x: connecting its networks has taken"):
            await joining.run("key", "pod x", work)
        await asyncio.sleep(0.3)
        assert [text.partition(" has")[0] for text in told] == ["pod x: connecting its networks"]
        first.cancel()
        go_on.set()
        second = asyncio.ensure_future(Joining(30, told.append).run("key", "pod x", work))
        assert await second == "done"

    asyncio.run(run())
