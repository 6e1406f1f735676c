"""A process in uninterruptible sleep, on a FUSE mount that never answers: nobody else has to wait for it."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from cloche.errors import FailedPrecondition, NotFound
from cloche.kernel.threads import thread
from cloche.wire.messages import task
from cloche.wire.messages.google import Any as Packed
from cloche.wire.messages.runc_options import Options
from cloche.wire.messages.types import RUNNING
from tests.bundles import Bundle
from tests.fuse import DeafMount
from tests.shim.faults.beside import Beside
from tests.shim.served import Served
from tests.waiting import wait_until

AT_ONCE_S = 2.0


@pytest.fixture
def shared(root: None, tmp_path: Path, sleeper: Bundle) -> Iterator[Path]:
    """A directory in which the host mounts something for the container later, which sees it at /shared."""
    place = tmp_path / "shared"
    place.mkdir()
    subprocess.run(["mount", "--bind", str(place), str(place)], check=True)
    try:
        subprocess.run(["mount", "--make-shared", str(place)], check=True)
        bound = {"destination": "/shared", "source": str(place), "options": ["rbind", "rslave"]}
        sleeper.config["mounts"].append(bound)
        sleeper.save()
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def stuck_for_good(mount: DeafMount, pid: int) -> None:
    """Wait until a process asked, and not even SIGKILL ends its waiting."""
    mount.swallow()
    wait_until(lambda: (found := thread(pid)) is not None and found.is_in("request_wait_answer"))


def test_a_stuck_container_answers_and_others_are_not_held_up(
    shim: Served, sleeper: Bundle, shared: Path, cgroup_parent: str
) -> None:
    script = "until [ -e /shared/go ]; do sleep 0.02; done; exec ls /shared/deaf/inside"
    pid = shim.run(sleeper.command("/bin/sh", "-c", script))
    with DeafMount(shared / "deaf") as deaf:
        (shared / "go").touch()
        stuck_for_good(deaf, pid)
        shim.kill()
        _answers_beside_it(shim, sleeper, pid, f"{cgroup_parent}/two")
    assert shim.wait() == 137
    shim.delete()


def _answers_beside_it(shim: Served, sleeper: Bundle, pid: int, cgroup: str) -> None:
    wait_until(lambda: (found := thread(pid)) is not None and found.state == "D")
    began = time.monotonic()
    assert shim.status() == RUNNING
    with pytest.raises(FailedPrecondition, match="cannot delete a running"):
        shim.delete()
    shim.kill(signal.SIGTERM)
    sleeper.linux["cgroupsPath"] = cgroup
    sleeper.command("/bin/sh", "-c", "exit 8")
    shim.run(sleeper, "two")
    assert shim.wait(container_id="two") == 8
    shim.delete(container_id="two")
    assert time.monotonic() - began < AT_ONCE_S


def test_what_is_stuck_beside_a_call_keeps_no_other_call_waiting(
    shim: Served, sleeper: Bundle, shared: Path
) -> None:
    shim.run(sleeper)
    with DeafMount(shared / "deaf") as deaf:
        shim.add(sleeper, "e", "/bin/ls", "/shared/deaf/inside")
        stuck_for_good(deaf, shim.start("e"))
        began = time.monotonic()
        assert shim.status("e") == shim.status() == RUNNING
        shim.add(sleeper, "f", "/bin/true")
        shim.start("f")
        assert shim.wait("f") == 0
        assert len(shim.call("Pids", task.PidsRequest(id="one")).processes) == 2
        shim.kill(exec_id="e")
        assert time.monotonic() - began < AT_ONCE_S
    assert shim.wait("e") == 137
    shim.kill()
    shim.wait()


def test_a_create_that_is_stuck_holds_up_its_own_container_alone(
    shim: Served, sleeper: Bundle, cgroup_parent: str, tmp_path: Path, busybox_rootfs: Path
) -> None:
    # A mount's source is behind the mount that never answers.
    bound = {"destination": "/x", "source": f"{tmp_path}/deaf/below", "options": ["bind"]}
    sleeper.config["mounts"].append(bound)
    sleeper.save()
    twin = Bundle(tmp_path / "twin", busybox_rootfs)
    twin.linux["cgroupsPath"] = f"{cgroup_parent}/two"
    twin.command("/bin/sh", "-c", "exit 8")
    options = Packed.pack(Options(root=str(shim.state)))
    request = task.CreateTaskRequest(id="one", bundle=str(sleeper.path), options=options)
    with ExitStack() as mounted:
        deaf = mounted.enter_context(DeafMount(tmp_path / "deaf"))
        with Beside(shim, "Create", request) as creating:
            deaf.swallow()
            began = time.monotonic()
            shim.run(twin, "two")
            assert shim.wait(container_id="two") == 8
            shim.delete(container_id="two")
            assert time.monotonic() - began < AT_ONCE_S
            mounted.close()
    assert creating.error
    with pytest.raises(NotFound):
        shim.status()
