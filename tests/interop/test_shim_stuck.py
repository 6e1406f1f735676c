"""Containers that are stuck, under Debian's containerd: others go on, and it is said what they wait for."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fuse import DeafMount
from tests.interop.places import IMAGE, RUNTIME, Place, detach, ok, remove, statuses
from tests.shim.starting import alive, parent
from tests.waiting import wait_until


@pytest.fixture
def shared(root: None, tmp_path: Path) -> Iterator[Path]:
    """A directory in which something is mounted later that containers then see."""
    place = tmp_path / "shared"
    place.mkdir()
    subprocess.run(["mount", "--bind", str(place), str(place)], check=True)
    try:
        subprocess.run(["mount", "--make-shared", str(place)], check=True)
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def why(cloche: str, state: Path, reference: str) -> list[dict[str, Any]]:
    """What `cloche why-stuck` says about a container of the daemon with that state directory."""
    command = [cloche, "--state", str(state), "why-stuck", "--format", "json", reference]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_container_on_a_dead_file_system_holds_nobody_up_and_can_be_freed(
    place: Place, shared: Path, cloche: str
) -> None:
    mount = f"type=bind,src={shared},dst=/shared,options=rbind:rslave:rw"
    script = "until [ -e /shared/go ]; do sleep 0.02; done; exec ls /shared/deaf/inside"
    with place.containerd() as daemon:
        words = ("run", "--detach", *RUNTIME, "--mount", mount, IMAGE, "stuck", "sh", "-c", script)
        ok(daemon, *words)
        state = place.directory / "state"
        with DeafMount(shared / "deaf") as deaf:
            (shared / "go").touch()
            deaf.swallow()
            ok(daemon, "tasks", "kill", "--signal", "KILL", "stuck")
            (finding,) = wait_until(
                lambda: [one for one in why(cloche, state, "stuck") if "FUSE mount" in one["WaitsFor"]]
            )
            assert "/shared/deaf" in finding["WaitsFor"]
            assert statuses(daemon) == {"stuck": "RUNNING"}
            assert ok(daemon, "run", "--rm", *RUNTIME, IMAGE, "other", "echo", "on") == "on\n"
            subprocess.run(["sh", "-c", finding["Remedy"]], check=True)
            wait_until(lambda: statuses(daemon) == {"stuck": "STOPPED"})
        remove(daemon, "stuck")
        wait_until(lambda: not (place.bundles / "stuck").exists())


def test_a_process_that_daemonises_is_the_shims_and_goes_with_its_container(place: Place) -> None:
    with place.containerd() as daemon:
        detach(daemon, "one")
        script = "(setsid sleep 1000 </dev/null >/dev/null 2>&1 &); exit 3"
        done = daemon.run("tasks", "exec", "--exec-id", "e", "one", "sh", "-c", script)
        assert done.returncode == 3
        init = place.pid("one", "init.pid")
        pids = [int(line.split()[0]) for line in ok(daemon, "tasks", "ps", "one").splitlines()[1:]]
        (orphan,) = (pid for pid in pids if pid != init)
        assert parent(orphan) in (init, place.pid("one", "shim.pid"))
        ok(daemon, "tasks", "kill", "--signal", "KILL", "one")
        wait_until(lambda: not alive(orphan))
        wait_until(lambda: statuses(daemon) == {"one": "STOPPED"})
        remove(daemon, "one")


def test_a_stopped_shim_does_not_stop_others(place: Place) -> None:
    with place.containerd() as daemon:
        for name in ("one", "two"):
            detach(daemon, name)
        shim = place.pid("one", "shim.pid")
        os.kill(shim, 19)
        try:
            done = ok(daemon, "tasks", "exec", "--exec-id", "e", "two", "echo", "on")
            assert done == "on\n"
        finally:
            os.kill(shim, 18)
        for name in ("one", "two"):
            remove(daemon, name)
    wait_until(lambda: not alive(shim))
