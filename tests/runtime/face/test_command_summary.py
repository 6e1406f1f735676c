"""`state`, `start` and `delete` as the launcher answers them by itself, beside Python's answers."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from functools import partial

import pytest

from cloche.kernel import pidfd
from cloche.kernel.cgroups.cgroup import Cgroup
from cloche.kernel.cgroups.layout import layout
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
    assert programs(ours, "delete", "--force", made) == [ours.program]
    assert nothing_is_left(ours, made)


def has_stopped(runtime: Runtime, name: str) -> bool:
    """Whether a container's process has ended."""
    return runtime.status(name) == "stopped"


def nothing_is_left(runtime: Runtime, name: str) -> bool:
    """Neither state nor cgroups of a container."""
    cgroups = [path for path in Cgroup.plan(layout(), name).paths.values() if os.path.exists(path)]
    return cgroups == [] and not any(name in entry for entry in os.listdir(runtime.root))


@pytest.mark.parametrize("flags", [(), ("-f",)])
def test_what_was_only_created_or_has_ended_is_deleted_without_python(
    ours: Runtime, bundle: Bundle, flags: tuple[str, ...]
) -> None:
    bundle.command("true")
    for started in (False, True):
        name = unique("summary")
        assert ours.start_detached("create", "--bundle", str(bundle.path), name) == 0
        if started:
            assert ours("start", name).returncode == 0
            wait_until(partial(has_stopped, ours, name))
        assert programs(ours, "delete", *flags, name) == [ours.program]
        assert nothing_is_left(ours, name)


def test_what_runs_is_not_deleted_unless_it_is_forced(ours: Runtime, made: str) -> None:
    assert ours("start", made).returncode == 0
    assert "that is not stopped: running" in last_line(ours("delete", made))
    assert ours("pause", made).returncode == 0
    assert "that is not stopped: paused" in last_line(ours("delete", made))
    assert ours("delete", "--force", made).returncode == 0
    assert nothing_is_left(ours, made)


def test_whoever_stays_in_the_cgroups_is_pythons_to_end(ours: Runtime, bundle: Bundle) -> None:
    """Without a pid namespace others outlive the first process; one of them sits in a cgroup below."""
    bundle.linux["namespaces"] = [n for n in bundle.linux["namespaces"] if n["type"] not in ("pid", "cgroup")]
    bundle.command("sh", "-c", "sleep 1000 & sleep 1000 & exec true")
    name = unique("summary")
    assert ours.start_detached("create", "--bundle", str(bundle.path), name) == 0
    assert ours("start", name).returncode == 0
    wait_until(lambda: ours.status(name) == "stopped")
    paths = Cgroup.plan(layout(), name).paths
    below = f"{next(iter(paths.values()))}/below"
    os.mkdir(below)
    cgroup = Cgroup.load(layout(), paths)
    left = cgroup.processes()
    assert len(left) == 2
    with open(f"{below}/cgroup.procs", "w") as file:
        file.write(str(left[0]))
    assert len(programs(ours, "delete", name)) == 2
    assert nothing_is_left(ours, name)
    assert all(pidfd.ended(pid) for pid in left)


def test_a_poststop_hook_is_pythons_to_run(ours: Runtime, bundle: Bundle) -> None:
    seen = bundle.path / "seen"
    bundle.config["hooks"] = {"poststop": [{"path": "/bin/sh", "args": ["sh", "-c", f"cat > {seen}"]}]}
    bundle.command("true")
    name = unique("summary")
    assert ours.start_detached("create", "--bundle", str(bundle.path), name) == 0
    assert ours("delete", name).returncode == 0
    assert name in seen.read_text()
    assert nothing_is_left(ours, name)


@pytest.mark.parametrize("flags", [(), ("--force",)])
def test_force_also_sweeps_what_a_killed_command_has_left(
    ours: Runtime, made: str, flags: tuple[str, ...]
) -> None:
    (ours.root / "@half-other").mkdir()
    assert ours("delete", *flags, made).returncode == 0
    assert os.listdir(ours.root) == ([] if flags else ["@half-other"])


def test_what_is_not_as_usual_is_pythons_to_answer(ours: Runtime, made: str) -> None:
    assert "does not exist" in last_line(ours("state", f"{made}-other"))
    assert "invalid container id" in last_line(ours("start", ".."))
    assert ours("--log-format", "xml", "state", made).returncode == 1
    assert ours("start", made).returncode == 0
    assert "cannot start an already running container" in last_line(ours("start", made))
    (ours.root / made / "summary").write_bytes(b"cloche summary 2\0" + b"\xff" * 70_000)
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
