"""What a purely unified machine must show; run by pytest inside the guest (see test_unified.py)."""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from pathlib import Path
from typing import Any

import pytest

from cloche.kernel import pidfd
from cloche.kernel.cgroups import device_filter
from cloche.kernel.cgroups.cgroup import Cgroup
from cloche.kernel.cgroups.layout import UNIFIED, layout
from cloche.runtime.container import Container
from tests.bundles import Bundle
from tests.peers import command, peer
from tests.runtime.containers import Runtime, pipe, read_all, runtime
from tests.waiting import wait_until

__all__ = ["runtime"]

TREE = Path("/sys/fs/cgroup")
EXEC: dict[str, Any] = {
    "args": [],
    "cwd": "/",
    "env": ["PATH=/bin"],
    "user": {"uid": 0, "gid": 0},
    "capabilities": {},
}


def disk() -> tuple[int, int]:
    """The numbers of the disk that temporary files are on."""
    major, _, minor = Path("/sys/block/vda/dev").read_text().strip().partition(":")
    return int(major), int(minor)


def directory_of(container: Container) -> Path:
    """The one cgroup of a container."""
    assert list(container.cgroup.paths) == [UNIFIED]
    return Path(container.cgroup.paths[UNIFIED])


def membership(pid: int) -> str:
    """Where a process is: what /proc says."""
    return Path(f"/proc/{pid}/cgroup").read_text().strip()


def executed(container: Container, script: str) -> tuple[int, str]:
    """Run a shell script by exec: status and what it said."""
    with pipe() as (reader, writer):
        process = container.execute({**EXEC, "args": ["sh", "-c", script]}, stdio=(writer, writer, writer))  # type: ignore[typeddict-item]  # a literal
        os.close(writer)
        said = read_all(reader)
        with process:
            return process.wait(), said


class Made:
    """A container of a runtime's command: created by `with`, and deleted after it."""

    def __init__(self, program: str, bundle: Bundle, *, caller: Path = TREE) -> None:
        self._rooted = [program, "--root", str(bundle.path.parent / "states" / Path(program).name)]
        self._bundle = bundle
        self._caller = caller

    def __enter__(self) -> Made:
        """Create it, from a process that sits in the cgroup `caller`."""
        words = " ".join([*self._rooted, "create", "--bundle", str(self._bundle.path), "made"])
        script = f"echo 0 > {self._caller}/cgroup.procs; exec {words} > /dev/null"
        subprocess.run(["sh", "-c", script], check=True)
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run([*self._rooted, "delete", "--force", "made"], check=True)

    def said(self, *words: str) -> dict[str, Any]:
        """What a command answers about the container, as JSON."""
        done = subprocess.run([*self._rooted, *words, "made"], check=True, capture_output=True)
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer


def test_a_process_is_born_in_its_cgroup_and_sees_it_as_the_root(runtime: Runtime, bundle: Bundle) -> None:
    with runtime.running(bundle) as container:
        directory = directory_of(container)
        assert membership(container.pid) == f"0::/{directory.relative_to(TREE)}"
        assert container.processes() == [container.pid]
        assert executed(container, "cat /proc/self/cgroup") == (0, "0::/\n")
    assert not directory.exists()


def test_the_cgroup_mount_shows_the_containers_own_and_takes_its_options(
    runtime: Runtime, bundle: Bundle
) -> None:
    script = "cat /sys/fs/cgroup/cgroup.procs; mkdir /sys/fs/cgroup/new"
    status, text = runtime.run(bundle, "sh", "-c", script)
    assert text.split()[0] == "1"
    assert status != 0
    assert "Read-only file system" in text
    (mount,) = (mount for mount in bundle.config["mounts"] if mount["destination"] == "/sys/fs/cgroup")
    mount["options"].remove("ro")
    assert runtime.run(bundle, "sh", "-c", script)[0] == 0


def test_without_a_cgroup_namespace_the_hosts_mount_keeps_its_options(
    runtime: Runtime, bundle: Bundle
) -> None:
    """A new mount of cgroup2 made in the first namespace would take the host's options away."""
    subprocess.run(["mount", "-o", "remount,nsdelegate,memory_recursiveprot", TREE], check=True)
    bundle.linux["namespaces"] = [n for n in bundle.linux["namespaces"] if n["type"] != "cgroup"]
    text = runtime.output(bundle, "cat /proc/self/cgroup; ls /sys/fs/cgroup; ! mkdir /sys/fs/cgroup/new")
    assert text.startswith("0::/cloche-test-")
    assert "cgroup.subtree_control" in text
    assert "Read-only file system" in text
    options = next(line for line in Path("/proc/mounts").read_text().splitlines() if f" {TREE} " in line)
    assert "nsdelegate" in options
    assert "memory_recursiveprot" in options


def test_a_process_beyond_its_memory_is_killed_and_counted(runtime: Runtime, bundle: Bundle) -> None:
    bundle.linux["resources"]["memory"] = {"limit": 16 << 20, "swap": 16 << 20}
    bundle.command("dd", "if=/dev/zero", "of=/dev/null", "bs=64M", "count=1")
    container, process = runtime.create(bundle)
    with process:
        container.start()
        assert process.wait() == 137
    assert container.cgroup.oom_kills() == 1
    container.delete()


def test_processes_are_limited(runtime: Runtime, bundle: Bundle) -> None:
    bundle.linux["resources"]["pids"] = {"limit": 4}
    status, text = runtime.run(bundle, "sh", "-c", "for i in 1 2 3 4 5 6; do sleep 1 & done; wait")
    assert status != 0
    assert "can't fork" in text


LIMITS: dict[str, Any] = {
    "memory": {"limit": 64 << 20, "swap": 96 << 20, "reservation": 32 << 20},
    "cpu": {"shares": 512, "quota": 50000, "period": 100000, "cpus": "0", "mems": "0"},
    "pids": {"limit": 33},
    "hugepageLimits": [{"pageSize": "2MB", "limit": 4 << 20}],
    "unified": {"memory.high": "60000000", "cpu.idle": "0"},
}
FILES = (
    *("cpu.max", "cpu.weight", "cpu.idle", "cpuset.cpus", "cpuset.mems", "hugetlb.2MB.max", "io.max"),
    *("memory.high", "memory.low", "memory.max", "memory.swap.max", "pids.max", "cgroup.subtree_control"),
)


def test_limits_come_out_as_runcs(bundle: Bundle, cgroup_parent: str) -> None:
    major, minor = disk()
    throttle = [{"major": major, "minor": minor, "rate": 1 << 20}]
    bundle.linux["resources"] |= LIMITS | {"blockIO": {"throttleWriteBpsDevice": throttle}}
    found = []
    for program in (peer("runc"), command("cloche-runc")):
        place = bundle.linux["cgroupsPath"] = f"{cgroup_parent}/{Path(program).name}"
        bundle.save()
        with Made(program, bundle):
            files = {name: TREE / place[1:] / name for name in FILES}
            found.append({name: path.read_text() for name, path in files.items() if path.exists()})
    # runc 1.1's straight line; later ones, and crun, have the curve.
    assert (found[0].pop("cpu.weight"), found[1].pop("cpu.weight")) == ("20\n", "59\n")
    assert found[1] == found[0]


def test_an_update_changes_the_running(runtime: Runtime, bundle: Bundle) -> None:
    with runtime.running(bundle) as container:
        container.cgroup.apply({"pids": {"limit": 7}, "cpu": {"quota": 20000}})
        directory = directory_of(container)
        assert (directory / "pids.max").read_text() == "7\n"
        assert (directory / "cpu.max").read_text() == "20000 100000\n"


def test_disk_writes_are_held_to_their_rate(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    major, minor = disk()
    throttle = [{"major": major, "minor": minor, "rate": 1 << 20}]
    bundle.linux["resources"]["blockIO"] = {"throttleWriteBpsDevice": throttle}
    shared = {"type": "bind", "source": str(tmp_path), "destination": "/tmp", "options": ["bind"]}
    bundle.config["mounts"].append(shared)
    bundle.command("dd", "if=/dev/zero", "of=/tmp/file", "bs=512k", "count=3", "oflag=direct")
    container, process = runtime.create(bundle)
    with process:
        before = os.times().elapsed
        container.start()
        assert process.wait() == 0
        assert os.times().elapsed - before > 1
    written = [c.value for c in container.cgroup.metrics().block_io if (c.op, c.kind) == ("Write", "bytes")]
    assert sum(written) >= 3 << 19
    container.delete()


def test_devices_are_filtered_for_the_container_and_what_is_executed_in_it(
    runtime: Runtime, bundle: Bundle
) -> None:
    major, minor = disk()
    node = {"path": "/dev/disk", "type": "b", "major": major, "minor": minor, "fileMode": 0o666}
    bundle.linux["devices"] = [node]
    read = "head -c 512 /dev/disk | wc -c"
    with runtime.running(bundle) as container:
        directory = os.open(directory_of(container), os.O_RDONLY)
        assert len(device_filter.attached(directory)) == 1
        status, text = executed(container, read)
        assert "Operation not permitted" in text
        rule = {"allow": True, "type": "b", "major": major, "minor": minor, "access": "r"}
        container.cgroup.apply({"devices": [{"allow": False, "access": "rwm"}, rule]})
        assert len(device_filter.attached(directory)) == 1
        os.close(directory)
        assert executed(container, read) == (0, "512\n")
        status, text = executed(container, "echo > /dev/disk")
        assert (status != 0, "Operation not permitted" in text) == (True, True)
        assert executed(container, "head -c1 /dev/zero | wc -c; echo > /dev/null") == (0, "1\n")


def test_a_paused_container_stands_still_until_it_is_resumed(runtime: Runtime, bundle: Bundle) -> None:
    with runtime.running(bundle) as container:
        container.pause()
        assert container.status() == "paused"
        assert "frozen 1" in (directory_of(container) / "cgroup.events").read_text()
        container.resume()
        assert container.status() == "running"
        container.pause()  # and the end of the block kills it


def test_all_processes_of_a_container_with_the_hosts_pids_are_killed(
    runtime: Runtime, bundle: Bundle
) -> None:
    bundle.linux["namespaces"] = [n for n in bundle.linux["namespaces"] if n["type"] != "pid"]
    with runtime.running(bundle, "sh", "-c", "sleep 1000 & sleep 1000 & sleep 1000 & wait") as container:
        wait_until(lambda: len(container.processes()) == 4, what="four processes")
        everyone = container.processes()
        container.kill(9, everyone=True)
        wait_until(lambda: not container.cgroup.processes(), what="an empty cgroup")
        # The guest's first process may take its time to reap them.
        assert all(pidfd.ended(pid) for pid in everyone)


NESTED = """
mkdir /sys/fs/cgroup/init; echo 1 > /sys/fs/cgroup/init/cgroup.procs
echo +memory +pids > /sys/fs/cgroup/cgroup.subtree_control; echo nested; exec sleep 1000
"""


def _with_writable_cgroups(bundle: Bundle, script: str) -> Bundle:
    for mount in bundle.config["mounts"]:
        if mount["destination"] == "/sys/fs/cgroup":
            mount["options"] = [option for option in mount["options"] if option != "ro"]
    return bundle.command("sh", "-c", script)


def test_exec_finds_its_way_where_the_container_divided_its_cgroup(runtime: Runtime, bundle: Bundle) -> None:
    """As systemd does inside: then nobody can enter the container's own cgroup any more (EBUSY)."""
    _with_writable_cgroups(bundle, NESTED)
    with runtime.running(bundle, *bundle.process["args"]) as container:
        wait_until(lambda: membership(container.pid).endswith("/init"), what="a nested cgroup")
        wait_until(lambda: (directory_of(container) / "cgroup.subtree_control").read_text().strip())
        assert executed(container, "cat /proc/self/cgroup") == (0, "0::/init\n")
        assert len(container.processes()) == 1


THREADED = """
mkdir /sys/fs/cgroup/t; echo threaded > /sys/fs/cgroup/t/cgroup.type; exec sleep 1000
"""


def test_exec_enters_a_cgroup_with_threaded_ones_below(runtime: Runtime, bundle: Bundle) -> None:
    _with_writable_cgroups(bundle, THREADED)
    with runtime.running(bundle, *bundle.process["args"]) as container:
        kind = directory_of(container) / "cgroup.type"
        wait_until(lambda: kind.read_text() == "domain threaded\n", what="a threaded domain")
        assert executed(container, "cat /proc/self/cgroup") == (0, "0::/\n")


def test_the_root_of_a_user_namespace_arranges_its_cgroup_but_not_its_limits(
    runtime: Runtime, bundle: Bundle
) -> None:
    bundle.linux["namespaces"].append({"type": "user"})
    mapping = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    bundle.linux["uidMappings"] = bundle.linux["gidMappings"] = mapping
    bundle.linux["resources"]["pids"] = {"limit": 50}
    os.chown(bundle.rootfs, 100000, 100000)
    _with_writable_cgroups(bundle, NESTED)
    with runtime.running(bundle, *bundle.process["args"]) as container:
        wait_until(lambda: (directory_of(container) / "cgroup.subtree_control").read_text().strip())
        assert executed(container, "cat /proc/self/cgroup") == (0, "0::/init\n")
        status, text = executed(container, "echo 60 > /sys/fs/cgroup/pids.max")
        assert (status != 0, "Permission denied" in text) == (True, True)


def test_a_cgroup_namespace_is_joined_by_path(runtime: Runtime, bundle: Bundle) -> None:
    """Also where nsdelegate keeps everyone within his own."""
    with runtime.running(bundle) as first:
        own = {"type": "cgroup", "path": f"/proc/{first.pid}/ns/cgroup"}
        bundle.linux["namespaces"] = [n for n in bundle.linux["namespaces"] if n["type"] != "cgroup"] + [own]
        assert runtime.output(bundle, "cat /proc/self/cgroup") == "0::/../c2\n"


@pytest.mark.parametrize("path", [None, "relative/place"])
def test_a_path_that_is_not_absolute_means_the_same_as_to_runc(bundle: Bundle, path: str | None) -> None:
    """Beside the caller's own cgroup, which has processes and so cannot be divided."""
    place = TREE / f"cloche-caller-{uuid.uuid4().hex[:6]}"
    (place / "leaf").mkdir(parents=True)
    found = []
    try:
        for program in (peer("runc"), command("cloche-runc")):
            bundle.linux.pop("cgroupsPath", None)
            if path:
                bundle.linux["cgroupsPath"] = path
            bundle.save()
            with Made(program, bundle, caller=place / "leaf") as made:
                found.append(membership(made.said("state")["pid"]))
    finally:
        for directory in sorted((p for p in place.rglob("*") if p.is_dir()), reverse=True):
            directory.rmdir()
        place.rmdir()
    assert found[1] == found[0]
    assert found[0].startswith(f"0::/{place.name}/")


def test_statistics_are_those_of_runc(runtime: Runtime, bundle: Bundle) -> None:
    bundle.linux["resources"]["pids"] = {"limit": 12}
    bundle.linux["resources"]["memory"] = {"limit": 64 << 20}
    bundle.linux["cgroupsPath"] = f"{runtime.cgroup_parent}/theirs"
    bundle.command("sleep", "1000")
    with Made(peer("runc"), bundle) as made:
        theirs = made.said("events", "--stats")["data"]
    del bundle.linux["cgroupsPath"]
    with runtime.running(bundle) as container:
        ours = container.cgroup.metrics()
    assert ours.pids is not None
    assert (ours.pids.usage, ours.pids.limit) == (1, theirs["pids"]["limit"])
    assert ours.memory is not None
    assert ours.memory.memory.limit == theirs["memory"]["usage"]["limit"]
    assert 0 < ours.memory.memory.usage < theirs["memory"]["usage"]["limit"]
    assert set(theirs["memory"]["raw"]) == set(ours.memory.stats)
    assert ours.cpu is not None
    assert ours.cpu.total_ns > 0


def test_a_cgroup_that_was_killed_while_frozen_is_not_frozen_afterwards(cgroup_parent: str) -> None:
    cgroup = Cgroup.create(layout(), f"{cgroup_parent}/frozen")
    cgroup.freeze()
    cgroup.kill()
    assert not cgroup.frozen()
    cgroup.destroy()
