"""Plugins that connect to a node: told of what happens, adjusting what is made, and dropped when they fail.

What is expected is what containerd 2.4 did with the same plugin.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cloche.errors import ClocheError, FailedPrecondition, InvalidArgument, Unimplemented
from cloche.wire.messages.cri import containers as cri
from cloche.wire.messages.cri.pods import UpdatePodSandboxResourcesRequest
from cloche.wire.messages.cri.resources import LinuxContainerResources
from cloche.wire.messages.cri.values import KeyValue as Variable
from cloche.wire.messages.nri import adjustments, containers, linux, resources
from cloche.wire.messages.nri import plugin as messages
from cloche.wire.messages.nri.values import Empty, KeyValue, OptionalInt, OptionalInt64, OptionalUInt64
from tests.cri.kubelet import Kubelet, KubernetesNode
from tests.cri.nri.plugin import Answer, Plugin
from tests.cri.pods import Container, Pod, container_config, pod_config, running_pod
from tests.waiting import wait_until

LIMIT_BYTES = 64 << 20


@pytest.fixture
def path(running: KubernetesNode) -> str:
    """The node's socket for plugins."""
    return f"{running.directory}/nri.sock"


def adjusting(**changes: Any) -> Answer:
    """An answer that adjusts every container so."""
    adjustment = adjustments.ContainerAdjustment(**changes)
    return lambda _: messages.CreateContainerResponse(adjust=adjustment)


def limiting(limit_bytes: int) -> Answer:
    """An answer that gives every container a memory limit."""
    memory = resources.LinuxMemory(limit=OptionalInt64(value=limit_bytes))
    lower = adjustments.LinuxContainerAdjustment(resources=resources.LinuxResources(memory=memory))
    return adjusting(linux=lower)


def refusing(_: Any) -> Any:
    """An answer that is an error."""
    raise FailedPrecondition("the plugin says no")


@contextmanager
def two(path: str, first: Answer, second: Answer) -> Iterator[tuple[Plugin, Plugin]]:
    """Two plugins that are asked what to change, the second connected first."""
    later = Plugin(path, "20", "second", CreateContainer=second)
    with later, Plugin(path, "10", "first", CreateContainer=first) as earlier:
        yield earlier, later


def test_a_plugin_is_told_all_that_happens_in_containerd_s_order(
    kubelet: Kubelet, image: str, path: str, tmp_path: Path
) -> None:
    with Plugin(path) as plugin, running_pod(kubelet, pod_config(tmp_path)) as pod:
        request = UpdatePodSandboxResourcesRequest(
            pod_sandbox_id=pod.id, resources=LinuxContainerResources(cpu_shares=512)
        )
        kubelet("UpdatePodSandboxResources", request)
        container = pod.run(container_config(image, "exit 3"))
        container.ended()
        wait_until(lambda: "StopContainer" in plugin.heard)
        pod.create(container_config(image, "true")).remove()
        pod.create(container_config(image, "true"))
    assert plugin.heard == [
        *("Configure", "Synchronize", "RunPodSandbox", "UpdatePodSandbox", "PostUpdatePodSandbox"),
        *("CreateContainer", "PostCreateContainer", "StartContainer", "PostStartContainer", "StopContainer"),
        *("CreateContainer", "PostCreateContainer", "StopContainer", "RemoveContainer"),
        *("CreateContainer", "PostCreateContainer", "StopPodSandbox"),
        *("RemoveContainer", "StopContainer", "RemoveContainer", "RemovePodSandbox"),
    ]
    told = dict(reversed(plugin.told))
    assert told["RunPodSandbox"].pod.name == pod.config.metadata.name  # type: ignore[union-attr]  # the test sets it
    assert told["RunPodSandbox"].pod.pid
    assert told["CreateContainer"].container.args == ["sh", "-c", "exit 3"]
    assert told["CreateContainer"].container.image.name.endswith(":latest")
    assert told["StopContainer"].container.exit_code == 3
    states = [each.container.state for name, each in plugin.told if name.endswith("StartContainer")]
    assert states == [containers.CREATED, containers.RUNNING]


def test_what_a_plugin_asks_for_is_what_the_container_has(pod: Pod, image: str, path: str) -> None:
    changes = adjusting(
        annotations={"a.test/b": "c"},
        env=[KeyValue(key="ADDED", value="yes"), KeyValue(key="-GONE")],
        args=["sh", "-c", "echo $ADDED $GONE; ulimit -n; cat /proc/self/oom_score_adj; ls /mnt; sleep 100"],
        mounts=[
            containers.Mount(destination="/mnt", type="bind", source="/proc/sys", options=["rbind", "ro"]),
            containers.Mount(destination="-/dev/mqueue"),
        ],
        rlimits=[containers.POSIXRlimit(type="RLIMIT_NOFILE", soft=100, hard=200)],
        linux=adjustments.LinuxContainerAdjustment(
            oom_score_adj=OptionalInt(value=700),
            devices=[linux.LinuxDevice(path="/dev/nul", type="c", major=1, minor=3)],
        ),
    )
    with Plugin(path, CreateContainer=changes):
        variable = Variable(key="GONE", value=b"here")
        container = pod.run(container_config(image, "true", envs=[variable]))
    wait_until(lambda: "kernel" in container.log())
    assert [line.split(" ", 3)[3] for line in container.log().splitlines()[:3]] == ["yes", "100", "700"]
    assert container.execute("sh", "-c", "echo > /dev/nul && ls /dev").stdout.count(b"nul") == 2
    assert container.spec()["annotations"]["a.test/b"] == "c"
    assert "/dev/mqueue" not in [each["destination"] for each in container.spec()["mounts"]]


def test_two_plugins_that_set_the_same_are_both_named_and_nothing_is_made(
    pod: Pod, image: str, path: str
) -> None:
    with two(path, limiting(LIMIT_BYTES), limiting(LIMIT_BYTES)) as (first, second):
        with pytest.raises(InvalidArgument, match="'10-first' and '20-second' both set memory limit"):
            pod.create(container_config(image, "true"))
        assert pod.status().containers_statuses == ()
        expected = ["CreateContainer", "StopContainer", "RemoveContainer"]
        assert (first.happened, second.happened) == (expected, expected)


def test_a_later_plugin_sees_what_an_earlier_one_wants_and_may_replace_it(
    pod: Pod, image: str, path: str
) -> None:
    first = adjusting(env=[KeyValue(key="WHO", value="first")], annotations={"who": "first"})
    second = adjusting(env=[KeyValue(key="-WHO"), KeyValue(key="WHO", value="second")])
    with two(path, first, second) as (_, later):
        container = pod.create(container_config(image, "true", annotations={"who": "nobody"}))
    told = later.told[-2][1].container
    assert "WHO=first" in told.env
    assert told.annotations["who"] == "first"
    assert [each for each in container.spec()["process"]["env"] if "WHO" in each] == ["WHO=second"]


@pytest.mark.parametrize(
    "changes",
    [
        {"linux": adjustments.LinuxContainerAdjustment(io_priority=linux.LinuxIOPriority(io_class=9))},
        {"rlimits": [containers.POSIXRlimit(type="RLIMIT_NONSENSE", soft=1, hard=1)]},
        {"env": [KeyValue(key="A=B", value="c")]},
        {"cdi_devices": [containers.CDIDevice(name="test/there=is-none")]},
    ],
    ids=["priority", "limit", "variable", "device"],
)
def test_what_cannot_be_applied_fails_the_container(changes: Any, pod: Pod, image: str, path: str) -> None:
    with Plugin(path, CreateContainer=adjusting(**changes)), pytest.raises(ClocheError):
        pod.create(container_config(image, "true"))
    assert pod.status().containers_statuses == ()


def test_an_error_about_a_pod_fails_the_pod(kubelet: Kubelet, path: str, tmp_path: Path) -> None:
    refused = pytest.raises(FailedPrecondition, match="10-test: RunPodSandbox: the plugin says no")
    with Plugin(path, RunPodSandbox=refusing) as plugin, refused:
        Pod(kubelet, pod_config(tmp_path))
    assert plugin.happened == ["RunPodSandbox", "StopPodSandbox", "RemovePodSandbox"]


def test_errors_about_a_container_fail_its_start_and_nothing_that_is_done(
    pod: Pod, image: str, path: str
) -> None:
    with Plugin(path, StartContainer=refusing, PostCreateContainer=refusing) as plugin:
        container = pod.create(container_config(image, "true"))
        with pytest.raises(FailedPrecondition, match="StartContainer"):
            container.start()
    assert container.status().reason == "StartError"
    assert plugin.happened[-2:] == ["StartContainer", "StopContainer"]


@pytest.mark.parametrize("name", ["hangs", "garbage", "malformed", "goes"])
def test_a_plugin_that_fails_is_dropped_and_the_pod_goes_on(
    name: str, running: KubernetesNode, pod: Pod, image: str, path: str
) -> None:
    def create(_: Any) -> Any:
        if name == "garbage":
            plugin.send_raw(b"\xff" * 64)
        elif name == "goes":
            plugin.send_raw(b"")
            plugin._socket.shutdown(2)
        elif name == "malformed":
            return messages.PluginInstance(name="\x08")
        return None

    with Plugin(path, "10", f"it-{name}", CreateContainer=create) as plugin, Plugin(path, "20") as other:
        pod.create(container_config(image, "true"))
        wait_until(plugin.gone.is_set)
        assert other.happened == ["CreateContainer", "PostCreateContainer"]
    lines = [line for line in running.log.read_text().splitlines() if f"10-it-{name} is dropped" in line]
    assert len(lines) == 1


def test_limits_of_a_running_container_are_changed_without_being_asked(
    pod: Pod, image: str, path: str
) -> None:
    def update(container: Container, **more: Any) -> adjustments.ContainerUpdate:
        cpu = resources.LinuxCPU(shares=OptionalUInt64(value=512))
        limits = resources.LinuxResources(cpu=cpu, **more)
        lower = adjustments.LinuxContainerUpdate(resources=limits)
        return adjustments.ContainerUpdate(container_id=container.id, linux=lower)

    container = pod.run(container_config(image, "sleep 1000"))
    with Plugin(path) as plugin:
        pids = resources.LinuxPids(limit=33)
        plugin.call(
            "UpdateContainers", messages.UpdateContainersRequest(update=[update(container, pids=pids)])
        )
        assert container.status().resources.linux.cpu_shares == 512  # type: ignore[union-attr]  # the test sets it
        assert container.spec()["linux"]["resources"]["pids"] == {"limit": 33}
        eviction = adjustments.ContainerEviction(container_id=container.id, reason="too many")
        plugin.call("UpdateContainers", messages.UpdateContainersRequest(evict=[eviction]))
        assert container.status().state == cri.EXITED
        with pytest.raises(ClocheError, match="could not be updated"):
            plugin.call("UpdateContainers", messages.UpdateContainersRequest(update=[update(container)]))


def test_a_plugin_changes_what_the_kubelet_asks_for(pod: Pod, image: str, path: str) -> None:
    def update(request: Any) -> Any:
        assert request.linux_resources.cpu.shares.value == 300
        limits = resources.LinuxResources(cpu=resources.LinuxCPU(shares=OptionalUInt64(value=777)))
        lower = adjustments.LinuxContainerUpdate(resources=limits)
        changed = adjustments.ContainerUpdate(container_id=request.container.id, linux=lower)
        return messages.UpdateContainerResponse(update=[changed])

    container = pod.run(container_config(image, "sleep 1000"))
    with Plugin(path, UpdateContainer=update) as plugin:
        limits = LinuxContainerResources(cpu_shares=300, oom_score_adj=500)
        asked = cri.UpdateContainerResourcesRequest(container_id=container.id, linux=limits)
        pod.kubelet("UpdateContainerResources", asked)
        assert plugin.happened == ["UpdateContainer", "PostUpdateContainer"]
    found = container.status().resources.linux  # type: ignore[union-attr]  # the test sets it
    assert found is not None
    assert (found.cpu_shares, found.oom_score_adj) == (777, 500)


def test_a_limit_that_a_plugin_set_survives_an_update_of_another(pod: Pod, image: str, path: str) -> None:
    with Plugin(path, CreateContainer=limiting(LIMIT_BYTES)):
        container = pod.run(container_config(image, "sleep 1000"))
    limits = LinuxContainerResources(cpu_shares=300)
    pod.kubelet(
        "UpdateContainerResources",
        cri.UpdateContainerResourcesRequest(container_id=container.id, linux=limits),
    )
    assert container.status().resources.linux.memory_limit_in_bytes == LIMIT_BYTES  # type: ignore[union-attr]  # the test sets it
    assert container.spec()["linux"]["resources"]["memory"]["limit"] == LIMIT_BYTES


def test_a_plugin_that_comes_late_is_told_what_runs(pod: Pod, image: str, path: str) -> None:
    running = pod.run(container_config(image, "sleep 1000"))
    pod.run(container_config(image, "true")).ended()
    with Plugin(path) as plugin:
        request = dict(plugin.told)["Synchronize"]
        assert pod.id in [each.id for each in request.pods]
        of_pod = [each.id for each in request.containers if each.pod_sandbox_id == pod.id]
        assert of_pod == [running.id]


def test_only_what_was_asked_for_is_told_and_old_plugins_are_told_by_state_changes(
    pod: Pod, image: str, path: str
) -> None:
    def unknown(_: Any) -> Any:
        raise Unimplemented("what is that?")

    mask = sum(1 << messages.EVENTS[each] - 1 for each in ("PostCreateContainer", "RemoveContainer"))
    with Plugin(path, events=mask, PostCreateContainer=unknown) as plugin:
        pod.create(container_config(image, "true")).remove()
    assert plugin.happened == ["PostCreateContainer", "StateChange", "RemoveContainer"]
    assert dict(plugin.told)["StateChange"].event == messages.EVENTS["PostCreateContainer"]


@pytest.mark.parametrize(
    ("index", "name"),
    [("1", "a"), ("1x", "a"), ("100", "a"), ("10", ""), ("10", "a b")],
    ids=["one digit", "a letter", "three digits", "no name", "a space"],
)
def test_a_plugin_that_has_no_proper_name_is_refused(index: str, name: str, path: str) -> None:
    with pytest.raises(InvalidArgument, match=r"plugin (index|name)"):
        Plugin(path, index, name)


def test_a_plugin_that_wants_unknown_events_or_hangs_in_synchronize_is_never_asked(
    pod: Pod, image: str, path: str
) -> None:
    unknown = Plugin(path, events=1 << 20)
    wait_until(unknown.gone.is_set)
    hanging = Plugin(path, Synchronize=lambda _: None)
    pod.create(container_config(image, "true"))
    wait_until(hanging.gone.is_set)
    assert unknown.happened == hanging.happened == []
    unknown.close()
    hanging.close()


def test_a_validator_decides_over_all_changes(pod: Pod, image: str, path: str) -> None:
    def validate(request: Any) -> Any:
        owner = request.owners.owners[request.container.id].compound[6].owners["BAD"]
        return messages.ValidateContainerAdjustmentResponse(reject=True, reason=f"BAD is of {owner}")

    bad = adjusting(env=[KeyValue(key="BAD", value="1")])
    validator = Plugin(path, "30", ValidateContainerAdjustment=validate)
    rejected = pytest.raises(ClocheError, match="30-test rejects the container: BAD is of 20-test")
    with Plugin(path, "20", CreateContainer=bad), validator, rejected:
        pod.create(container_config(image, "true"))


def test_nothing_is_what_a_plugin_that_says_nothing_changes(pod: Pod, image: str, path: str) -> None:
    config = container_config(image, "true", name="same")
    plain = pod.create(config)
    before = plain.spec()
    plain.remove()
    with Plugin(path, CreateContainer=adjusting()), Plugin(path, "20", StopContainer=lambda _: Empty()):
        after = pod.create(config).spec()
    assert after | {"linux": {}} == before | {"linux": {}}
    assert after["linux"] | {"cgroupsPath": ""} == before["linux"] | {"cgroupsPath": ""}
