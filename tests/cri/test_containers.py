"""Containers: their lives, logs, ends and limits."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from cloche.errors import AlreadyExists, DeadlineExceeded, FailedPrecondition, InvalidArgument, NotFound
from cloche.wire.messages.cri import containers, stats
from cloche.wire.messages.cri.images import ImageSpec
from cloche.wire.messages.cri.resources import LinuxContainerResources
from cloche.wire.messages.cri.values import STRICT, UNCONFINED, Capability, Int64Value, SecurityProfile
from cloche.wire.status import StatusError
from tests.cri.kubelet import Kubelet
from tests.cri.pods import Pod, container_config
from tests.waiting import wait_until

Security = containers.LinuxContainerSecurityContext


def linux(security: Security | None = None, **limits: int) -> containers.LinuxContainerConfig:
    resources = LinuxContainerResources(**limits) if limits else None
    return containers.LinuxContainerConfig(
        security_context=security or Security(run_as_username="root"), resources=resources
    )


def test_a_container_runs_and_its_end_is_told(pod: Pod, image: str) -> None:
    container = pod.create(container_config(image, "echo out; echo err >&2; exit 3"))
    assert container.status().state == containers.CREATED
    container.start()
    ended = container.ended()
    assert (ended.exit_code, ended.reason) == (3, "Error")
    assert 0 < ended.created_at <= ended.started_at <= ended.finished_at
    assert ended.image_id == image
    lines = [line.split(" ", 3)[1:] for line in container.log().splitlines()]
    assert sorted(lines) == [["stderr", "F", "err"], ["stdout", "F", "out"]]
    for _ in range(2):
        container.remove()
    with pytest.raises(NotFound):
        container.status()


def test_a_container_that_did_its_work_is_completed(pod: Pod, image: str) -> None:
    assert pod.run(container_config(image, "true")).ended().reason == "Completed"


def test_a_container_whose_memory_ran_out_says_so(pod: Pod, image: str) -> None:
    limits = linux(memory_limit_in_bytes=16 << 20)
    command = "x=a; while true; do x=$x$x; done"
    ended = pod.run(container_config(image, command, linux=limits)).ended()
    assert ended.reason == "OOMKilled"
    assert ended.exit_code != 0


def test_a_program_that_is_not_there_is_told_at_the_start(pod: Pod, image: str) -> None:
    container = pod.create(container_config(image, "/no/such", "program"))
    with pytest.raises(StatusError, match="/no/such"):
        container.start()
    status = container.status()
    assert (status.state, status.reason, status.exit_code) == (containers.EXITED, "StartError", 128)
    assert "/no/such" in status.message


def test_a_stop_waits_for_what_the_container_does_with_its_signal(pod: Pod, image: str) -> None:
    obedient = pod.run(container_config(image, "trap 'exit 7' TERM; echo ready; while :; do sleep .1; done"))
    stubborn = pod.run(container_config(image, "trap '' TERM; echo ready; while :; do sleep .1; done"))
    for each in (obedient, stubborn):
        wait_until(lambda each=each: "ready" in each.log())  # type: ignore[misc]  # bound at once
    obedient.stop(10)
    assert obedient.status().exit_code == 7
    begun = time.monotonic()
    stubborn.stop(1)
    assert time.monotonic() - begun >= 1
    assert stubborn.status().exit_code == 137
    stubborn.stop(1)


def test_a_container_asked_for_again_is_the_same_one(pod: Pod, image: str) -> None:
    config = container_config(image, "true")
    container = pod.create(config)
    assert pod.create(config).id == container.id
    config.command = ["false"]
    with pytest.raises(AlreadyExists, match=container.id):
        pod.create(config)


def test_starting_twice_and_running_in_what_has_ended_are_refused(pod: Pod, image: str) -> None:
    container = pod.run(container_config(image, "true"))
    container.ended()
    with pytest.raises(FailedPrecondition, match="exited"):
        container.start()
    with pytest.raises(FailedPrecondition):
        container.execute("true")
    pod.stop()
    with pytest.raises(FailedPrecondition):
        pod.create(container_config(image, "true"))


def test_a_program_is_run_in_a_container(pod: Pod, image: str) -> None:
    container = pod.run(container_config(image, "sleep 100"))
    done = container.execute("sh", "-c", "echo out; echo err >&2; exit 5")
    assert (done.stdout, done.stderr, done.exit_code) == (b"out\n", b"err\n", 5)
    with pytest.raises(DeadlineExceeded, match="timeout"):
        container.execute("sleep", "100", timeout_s=1)
    with pytest.raises(StatusError):
        container.execute("/no/such")
    with pytest.raises(InvalidArgument):
        container.execute()
    large = container.execute("dd", "if=/dev/zero", "bs=1024", "count=2000")
    assert len(large.stdout) == 2000 * 1024


def test_a_log_that_was_renamed_goes_on_in_a_new_one(pod: Pod, image: str, kubelet: Kubelet) -> None:
    container = pod.run(container_config(image, "while :; do date; sleep .05; done"))
    path = Path(pod.config.log_directory, container.config.log_path)
    wait_until(lambda: path.exists() and path.stat().st_size > 0)
    path.rename(f"{path}.1")
    request = containers.ReopenContainerLogRequest(container_id=container.id)
    kubelet("ReopenContainerLog", request)
    wait_until(lambda: path.exists() and path.stat().st_size > 0)
    container.stop()
    with pytest.raises(FailedPrecondition):
        kubelet("ReopenContainerLog", request)


def test_users_and_groups_are_as_the_policy_says(pod: Pod, image: str) -> None:
    user, group = Int64Value(value=1234), Int64Value(value=5678)
    for policy in (0, STRICT):
        security = Security(
            run_as_user=user, run_as_group=group, supplemental_groups=[42], supplemental_groups_policy=policy
        )
        container = pod.run(container_config(image, "sleep 100", linux=linux(security)))
        assert container.execute("id", "-u").stdout == b"1234\n"
        assert set(container.execute("id", "-G").stdout.split()) == {b"5678", b"42"}
        found = container.status().user
        assert found is not None
        assert found.linux is not None
        assert (found.linux.uid, found.linux.gid) == (1234, 5678)
    with pytest.raises(InvalidArgument, match="needs a user"):
        pod.create(container_config(image, "true", linux=linux(Security(run_as_group=group))))


def test_what_a_container_may_do_is_as_it_was_asked(pod: Pod, image: str) -> None:
    security = Security(
        run_as_username="root",
        capabilities=Capability(add_capabilities=["SYS_TIME"], drop_capabilities=["ALL"]),
        seccomp=SecurityProfile(profile_type=UNCONFINED),
        readonly_rootfs=True,
        masked_paths=["/proc/kcore"],
        readonly_paths=["/proc/sys"],
        no_new_privs=True,
    )
    container = pod.run(container_config(image, "sleep 100", linux=linux(security)))
    status = container.execute("cat", "/proc/self/status").stdout.decode()
    assert "CapEff:\t0000000002000000" in status
    assert "Seccomp:\t0" in status
    assert "NoNewPrivs:\t1" in status
    assert container.execute("touch", "/x").exit_code != 0
    assert container.execute("head", "-c1", "/proc/kcore").stdout == b""
    with pytest.raises(InvalidArgument, match="sandbox"):
        pod.create(container_config(image, "true", linux=linux(Security(privileged=True))))


def test_mounts_of_the_host_and_of_images(pod: Pod, image: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "file").write_text("hello")
    mounts = [
        containers.Mount(container_path="/data", host_path=str(tmp_path / "data"), readonly=True),
        containers.Mount(
            container_path="/deep",
            host_path=str(tmp_path / "data"),
            readonly=True,
            recursive_read_only=True,
            mount_options=["noexec"],
        ),
        containers.Mount(container_path="/made", host_path=str(tmp_path / "new" / "one")),
        containers.Mount(container_path="/image", image=ImageSpec(image=image), image_sub_path="bin"),
    ]
    container = pod.run(container_config(image, "sleep 100", mounts=mounts))
    assert container.execute("cat", "/data/file").stdout == b"hello"
    assert container.execute("touch", "/data/x").exit_code != 0
    assert container.execute("touch", "/deep/x").exit_code != 0
    assert container.execute("touch", "/made/x").exit_code == 0
    assert (tmp_path / "new" / "one" / "x").exists()
    assert container.execute("ls", "/image/busybox").exit_code == 0
    assert container.execute("touch", "/image/x").exit_code != 0
    container.remove()
    assert not [line for line in Path("/proc/self/mounts").read_text().splitlines() if container.id in line]


@pytest.mark.parametrize(
    "mount",
    [
        containers.Mount(container_path="relative", host_path="/tmp"),
        containers.Mount(container_path="/a", host_path="relative"),
        containers.Mount(container_path="/a", host_path="/tmp", propagation=9),
        containers.Mount(container_path="/a", host_path="/tmp", recursive_read_only=True),
        containers.Mount(container_path="/a", host_path="/tmp", mount_options=["bind"]),
        containers.Mount(container_path="/a", image=ImageSpec(image="none/such:1")),
    ],
)
def test_a_mount_that_cannot_be_leaves_nothing(
    pod: Pod, image: str, kubelet: Kubelet, mount: containers.Mount
) -> None:
    with pytest.raises((InvalidArgument, NotFound)):
        pod.create(container_config(image, "true", mounts=[mount]))
    chosen = containers.ContainerFilter(pod_sandbox_id=pod.id)
    assert not kubelet("ListContainers", containers.ListContainersRequest(filter=chosen)).containers


@pytest.mark.parametrize("path", ["../escape.log", "a/../../b.log"])
def test_a_log_outside_of_the_pods_directory_is_refused(pod: Pod, image: str, path: str) -> None:
    with pytest.raises(InvalidArgument, match="log_path"):
        pod.create(container_config(image, "true", log_path=path))


def test_limits_are_changed_while_it_runs(pod: Pod, image: str, kubelet: Kubelet) -> None:
    container = pod.run(container_config(image, "sleep 100", linux=linux(cpu_shares=512)))
    request = containers.UpdateContainerResourcesRequest(
        container_id=container.id, linux=LinuxContainerResources(memory_limit_in_bytes=64 << 20)
    )
    kubelet("UpdateContainerResources", request)
    found = container.status().resources
    assert found is not None
    assert found.linux is not None
    assert (found.linux.cpu_shares, found.linux.memory_limit_in_bytes) == (512, 64 << 20)
    used = kubelet("ContainerStats", stats.ContainerStatsRequest(container_id=container.id)).stats
    assert 0 < used.memory.available_bytes.value < 64 << 20


def test_what_pods_and_containers_use_is_told(pod: Pod, image: str, kubelet: Kubelet) -> None:
    container = pod.run(container_config(image, "dd if=/dev/zero of=/big bs=1M count=2; sleep 100"))
    wait_until(lambda: container.execute("stat", "/big").exit_code == 0)
    asked = stats.ContainerStatsRequest(container_id=container.id)
    wait_until(lambda: kubelet("ContainerStats", asked).stats.writable_layer.used_bytes.value > 2 << 20)
    used = kubelet("ContainerStats", asked).stats
    assert used.cpu.usage_core_nano_seconds.value > 0
    assert used.memory.working_set_bytes.value > 0
    chosen = stats.ContainerStatsFilter(pod_sandbox_id=pod.id)
    listed = kubelet("ListContainerStats", stats.ListContainerStatsRequest(filter=chosen)).stats
    assert [each.attributes.id for each in listed] == [container.id]
    whole = kubelet("PodSandboxStats", stats.PodSandboxStatsRequest(pod_sandbox_id=pod.id)).stats
    assert whole.linux.process.process_count.value >= 2
    assert whole.linux.memory.working_set_bytes.value >= used.memory.working_set_bytes.value // 2
    assert [each.attributes.id for each in whole.linux.containers] == [container.id]
