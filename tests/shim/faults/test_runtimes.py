"""A runtime of a BinaryName that hangs, or fails in the middle, holds up its own container alone."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from cloche.errors import NotFound
from cloche.wire.messages import task
from cloche.wire.messages.google import Any as Packed
from cloche.wire.messages.runc_options import Options
from cloche.wire.messages.types import RUNNING
from tests.bundles import Bundle
from tests.shim.faults.beside import Beside
from tests.shim.runtimes import runtime
from tests.shim.served import Served
from tests.waiting import wait_until


def hanging_at(action: str, directory: Path) -> str:
    """runc, but for one of its commands, which writes its pid and hangs."""
    program = directory / "hanging"
    program.write_text(
        f'#!/bin/sh\ncase " $* " in *" {action} "*) echo $$ > {directory}/hangs; exec sleep 1000;; esac\n'
        f'exec {runtime("runc", directory)} "$@"\n'
    )
    program.chmod(0o755)
    return str(program)


def hung(directory: Path) -> int:
    """The pid of what hangs."""
    path = directory / "hangs"
    return int(wait_until(lambda: path.exists() and path.read_text().strip(), what="a command to hang"))


def test_a_create_that_hangs_keeps_nobody_else_waiting(
    shim: Served, sleeper: Bundle, tmp_path: Path, cgroup_parent: str, busybox_rootfs: Path
) -> None:
    twin = Bundle(tmp_path / "twin", busybox_rootfs)
    twin.linux["cgroupsPath"] = f"{cgroup_parent}/two"
    twin.command("/bin/sh", "-c", "exit 8")
    options = Options(binary_name=hanging_at("create", tmp_path), root=str(shim.state))
    request = task.CreateTaskRequest(id="one", bundle=str(sleeper.path), options=Packed.pack(options))
    with Beside(shim, "Create", request) as creating:
        pid = hung(tmp_path)
        began = time.monotonic()
        shim.run(twin, "two")
        assert shim.wait(container_id="two") == 8
        shim.delete(container_id="two")
        assert time.monotonic() - began < 2
        os.kill(pid, signal.SIGKILL)
    assert creating.error
    with pytest.raises(NotFound):
        shim.status()


def test_an_exec_that_hangs_does_not_keep_its_container_from_being_killed(
    shim: Served, sleeper: Bundle, tmp_path: Path
) -> None:
    shim.create(sleeper, options=Options(binary_name=hanging_at("exec", tmp_path)))
    shim.start()
    shim.add(sleeper, "e", "/bin/true")
    with Beside(shim, "Start", task.StartRequest(id="one", exec_id="e")) as starting:
        pid = hung(tmp_path)
        assert shim.status() == RUNNING
        shim.kill()
        os.kill(pid, signal.SIGKILL)
    assert starting.error
    assert shim.wait() == 137
    shim.delete()
