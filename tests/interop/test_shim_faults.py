"""Our shim under a containerd that is somewhere else, is killed, or loses its shim."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.interop.places import IMAGE, RUNTIME, Place, detach, ok, remove, statuses
from tests.shim.starting import alive, parent
from tests.waiting import wait_until


def test_containerd_in_a_mount_namespace_of_its_own(place: Place) -> None:
    with place.containerd("unshare", "--mount") as daemon:
        for name in ("one", "two"):
            assert ok(daemon, "run", "--rm", *RUNTIME, IMAGE, name, "echo", name) == f"{name}\n"
        detach(daemon, "stays")
        shim = place.pid("stays", "shim.pid")
        namespace = os.readlink(f"/proc/{daemon.process.pid}/ns/mnt")
        assert os.readlink(f"/proc/{shim}/ns/mnt") == namespace != os.readlink("/proc/self/ns/mnt")
        remove(daemon, "stays")


def test_shims_are_in_the_cgroup_of_their_containerd(place: Place) -> None:
    base = Path("/sys/fs/cgroup/memory")
    cgroup = Path(base if base.exists() else "/sys/fs/cgroup", f"{place.namespace}-daemon")
    cgroup.mkdir()
    enter = ("sh", "-c", f'echo $$ > {cgroup}/cgroup.procs; exec "$@"', "sh")
    try:
        with place.containerd() as daemon:
            # A warm parent that is in another cgroup than the daemon of the next lines.
            detach(daemon, "before")
        with place.containerd(*enter) as daemon:
            detach(daemon, "after")
            listed = (cgroup / "cgroup.procs").read_text().split()
            assert str(place.pid("after", "shim.pid")) in listed
            assert str(place.pid("before", "shim.pid")) not in listed
            assert str(place.pid("after", "init.pid")) not in listed
            for name in ("before", "after"):
                remove(daemon, name)
    finally:
        wait_until(lambda: not (cgroup / "cgroup.procs").read_text())
        cgroup.rmdir()


def test_containers_go_on_without_containerd_and_are_found_again(place: Place) -> None:
    with place.containerd() as daemon:
        detach(daemon, "stays")
        daemon.process.kill()
    pid = place.pid("stays", "init.pid")
    assert alive(pid)
    assert parent(pid) == place.pid("stays", "shim.pid")
    with place.containerd() as daemon:
        assert statuses(daemon) == {"stays": "RUNNING"}
        assert ok(daemon, "tasks", "exec", "--exec-id", "more", "stays", "echo", "hello") == "hello\n"
        remove(daemon, "stays")


def test_an_exit_while_no_containerd_was_there_is_not_lost(place: Place) -> None:
    with place.containerd() as daemon:
        detach(daemon, "stays")
        daemon.process.kill()
    os.kill(place.pid("stays", "init.pid"), signal.SIGKILL)
    with place.containerd() as daemon:
        wait_until(lambda: statuses(daemon).get("stays") == "STOPPED")
        assert "non-zero exit code 137" in daemon.run("tasks", "delete", "stays").stderr
        remove(daemon, "stays")


def test_containerd_killed_while_a_shim_starts_leaves_nothing_that_stays(place: Place) -> None:
    with place.containerd() as daemon:
        ok(daemon, "run", "--rm", *RUNTIME, IMAGE, "warm-up", "true")
    # Each a little later on the way.
    for number, seen in enumerate(("config.json", "address", "shim.pid", "init.pid")):
        with place.containerd() as daemon:
            name = f"late-{number}"
            words = daemon.ctr("run", "--detach", *RUNTIME, IMAGE, name, "sleep", "1000")
            with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as client:
                there = place.bundles / name / seen
                wait_until(lambda: client.poll() is not None or there.exists())  # noqa: B023
                daemon.process.kill()
                client.wait()
    with place.containerd() as daemon:
        for name in statuses(daemon):
            ok(daemon, "tasks", "rm", "--force", name)
        for name in ok(daemon, "containers", "ls", "--quiet").split():
            ok(daemon, "containers", "rm", name)
        # This containerd keeps shims that never got a container, its own as well. Ours end by
        # themselves some time later; here they are made to, and what was theirs is cleaned up.
        forgotten = serving(place)
        assert {int(child) for pid in forgotten for child in children_of(pid).split()} <= set(forgotten)
        place.shims.kill(*forgotten)
        wait_until(
            lambda: not place.bundles.exists() or not list(place.bundles.iterdir()),
            what="bundles to be removed",
        )


def children_of(pid: int) -> str:
    """The pids of a process's children."""
    return Path(f"/proc/{pid}/task/{pid}/children").read_text()


def serving(place: Place) -> list[int]:
    """The shims of a place that are still there."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = Path("/proc", entry, "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if f"{place.directory}/containerd.sock" in words and "-id" in words and alive(int(entry)):
            found.append(int(entry))
    return found


@pytest.mark.parametrize("victims", ["shim", "shim and warm parent"])
def test_what_a_killed_shim_leaves_is_cleaned_up(place: Place, victims: str) -> None:
    with place.containerd() as daemon:
        detach(daemon, "loses")
        detach(daemon, "keeps")
        shim, pid = place.pid("loses", "shim.pid"), place.pid("loses", "init.pid")
        address = (place.bundles / "loses" / "address").read_text().removeprefix("unix://")
        if victims != "shim":
            place.shims.kill(*place.shims.warm_parents())
        place.shims.kill(shim)
        wait_until(lambda: not alive(pid), what="the container to be killed")
        wait_until(lambda: "loses" not in statuses(daemon))
        wait_until(lambda: not (place.bundles / "loses").exists())
        assert not Path(address).exists()
        assert statuses(daemon) == {"keeps": "RUNNING"}
        ok(daemon, "containers", "rm", "loses")
        detach(daemon, "loses")
        assert statuses(daemon) == {"keeps": "RUNNING", "loses": "RUNNING"}
        for name in ("keeps", "loses"):
            remove(daemon, name)


def test_a_killed_warm_parent_takes_nothing_with_it(place: Place) -> None:
    with place.containerd() as daemon:
        detach(daemon, "one")
        place.shims.kill(*place.shims.warm_parents())
        assert statuses(daemon) == {"one": "RUNNING"}
        detach(daemon, "two")
        assert len(place.shims.warm_parents()) == 1
        for name in ("one", "two"):
            remove(daemon, name)
