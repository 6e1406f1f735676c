"""`state` and `start` as the launcher answers them by itself, beside Python's answers."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest

from tests import peers
from tests.bundles import Bundle
from tests.runtime.face.runtimes import Runtime, last_line, unique
from tests.waiting import wait_until

# A flag that the launcher leaves to Python.
BY_PYTHON = "--debug"


@pytest.fixture
def made(ours: Runtime, bundle: Bundle) -> Iterator[str]:
    """A created container with annotations that need care."""
    bundle.config["annotations"] = {"z": '<&>\\n"', "a": "ä\u0001b", "@pid": '"@status"'}
    bundle.command("sleep", "1000")
    name = unique("summary")
    assert ours.start_detached("create", "--bundle", str(bundle.path), name) == 0
    yield name
    ours("delete", "--force", name)


def programs(runtime: Runtime, *arguments: str) -> list[str]:
    """What is executed on the way of a command."""
    words = [peers.peer("strace"), "-e", "trace=execve", "-e", "signal=none", *runtime.words(*arguments)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, done.stderr
    return [line.split('"')[1] for line in done.stderr.splitlines() if line.startswith("execve")]


def test_every_status_is_told_as_python_tells_it(ours: Runtime, made: str) -> None:
    def both() -> str:
        launcher, python = ours("state", made), ours(BY_PYTHON, "state", made)
        assert (launcher.returncode, launcher.stdout) == (python.returncode, python.stdout)
        return ours.status(made)

    assert both() == "created"
    assert ours("start", made).returncode == 0
    assert both() == "running"
    assert ours("pause", made).returncode == 0
    assert both() == "paused"
    assert ours("resume", made).returncode == 0
    assert ours("kill", made, "KILL").returncode == 0
    wait_until(lambda: ours.status(made) == "stopped")
    assert both() == "stopped"


def test_no_python_is_started(ours: Runtime, made: str) -> None:
    assert programs(ours, "state", made) == [ours.program]
    assert programs(ours, "start", made) == [ours.program]
    assert programs(ours, f"--root={ours.root}", "--log-format", "json", "state", made) == [ours.program]
    assert len(programs(ours, BY_PYTHON, "state", made)) == 2


def test_what_is_not_as_usual_is_pythons_to_answer(ours: Runtime, made: str) -> None:
    assert "does not exist" in last_line(ours("state", f"{made}-other"))
    assert "invalid container id" in last_line(ours("start", ".."))
    assert ours("--log-format", "xml", "state", made).returncode == 1
    assert ours("start", made).returncode == 0
    assert "cannot start an already running container" in last_line(ours("start", made))
    (ours.root / made / "summary").write_bytes(b"cloche summary 1\0" + b"\xff" * 70_000)
    assert ours.status(made) == "running"
    (ours.root / made / "summary").unlink()
    assert ours.status(made) == "running"


def test_a_program_that_cannot_be_executed_is_told_as_python_tells_it(ours: Runtime, bundle: Bundle) -> None:
    (bundle.rootfs / "bin" / "script").write_text("#!/no/such/interpreter\n")
    (bundle.rootfs / "bin" / "script").chmod(0o755)
    bundle.command("/bin/script")
    lines = []
    for flags in ((), (BY_PYTHON,)):
        name = unique("summary")
        assert ours.start_detached("create", "--bundle", str(bundle.path), name) == 0
        failed = ours(*flags, "start", name)
        assert failed.returncode == 1
        lines.append(last_line(failed).partition(" level=")[2])
        assert ours.status(name) == "stopped"
        assert os.listdir(ours.root / name) != []
        assert not (ours.root / name / "failure").exists()
        assert "has stopped" in last_line(ours("start", name))
        assert ours("delete", name).returncode == 0
    assert lines[0] == lines[1]
    assert "/no/such/interpreter" in lines[0]
