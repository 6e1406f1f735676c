"""How long a shim serves."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from cloche.wire.messages import sandbox, task
from cloche.wire.services.sandbox import SANDBOX
from cloche.wire.services.task import TASK_V2
from tests.bundles import Bundle
from tests.shim.served import Served


def test_a_shim_that_was_forgotten_ends(tmp_path: Path) -> None:
    with Served(tmp_path, forgotten_s=0.1) as shim:
        shim.call("Connect", task.ConnectRequest(id="none"))
        assert shim.process.wait(10) == 0
    assert not Path(shim.path).exists()


def test_a_shim_with_a_container_or_a_sandbox_is_not_forgotten(
    root: None, sleeper: Bundle, tmp_path: Path
) -> None:
    with Served(tmp_path, forgotten_s=0.1) as shim:
        shim.create(sleeper)
        with pytest.raises(subprocess.TimeoutExpired):
            shim.process.wait(0.5)
        pid = shim.call("State", task.StateRequest(id="one")).pid
        os.kill(pid, signal.SIGKILL)
        shim.call("Wait", task.WaitRequest(id="one"))
        shim.call("Delete", task.DeleteRequest(id="one"))
        assert shim.process.wait(10) == 0
    with Served(tmp_path, forgotten_s=0.1) as shim:
        shim.client.call(SANDBOX, "CreateSandbox", sandbox.CreateSandboxRequest(sandbox_id="pod"))
        with pytest.raises(subprocess.TimeoutExpired):
            shim.process.wait(0.5)
        shim.client.call(TASK_V2, "Shutdown", task.ShutdownRequest(id="pod"))


def test_when_shutdown_is_answered_the_name_is_free(tmp_path: Path) -> None:
    for attempt in range(10):
        (tmp_path / str(attempt)).mkdir()
        with Served(tmp_path / str(attempt)) as shim:
            shim.call("Shutdown", task.ShutdownRequest(id="test"))
            assert not Path(shim.path).exists()


def test_a_shim_that_is_still_ending_leaves_its_successor_the_name(
    root: None, sleeper: Bundle, tmp_path: Path
) -> None:
    """It waits for someone to take its last events; meanwhile the same task is made again."""
    with socket.socket(socket.AF_UNIX) as deaf, socket.socket(socket.AF_UNIX) as successor:
        deaf.bind(str(tmp_path / "events"))
        deaf.listen(8)
        with Served(tmp_path, events=deaf.getsockname()) as shim:
            pid = shim.create(sleeper)
            os.kill(pid, signal.SIGKILL)
            shim.call("Wait", task.WaitRequest(id="one"))
            shim.call("Delete", task.DeleteRequest(id="one"))
            shim.call("Shutdown", task.ShutdownRequest(id="test"))
            successor.bind(shim.path)
            successor.listen()
            assert shim.process.poll() is None
            assert shim.process.wait(10) == 0
            assert Path(shim.path).is_socket()
