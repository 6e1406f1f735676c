"""The life of a container through the command line; each test is asked of runc as well."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests import leftovers
from tests.bundles import Bundle
from tests.runtime.face.runtimes import TIMEOUT_S, Runtime, last_line, unique
from tests.waiting import wait_until


@pytest.fixture
def sleeper(bundle: Bundle) -> Bundle:
    """A bundle whose process waits to be killed."""
    return bundle.command("sleep", "300")


def create(runtime: Runtime, bundle: Bundle, *flags: str) -> str:
    container_id = unique("life")
    assert runtime.start_detached("create", "--bundle", str(bundle.path), *flags, container_id) == 0
    return container_id


def run_detached(runtime: Runtime, bundle: Bundle, *flags: str) -> str:
    container_id = unique("life")
    arguments = ("run", "--detach", "--bundle", str(bundle.path), *flags, container_id)
    assert runtime.start_detached(*arguments) == 0
    return container_id


def stop(runtime: Runtime, container_id: str) -> None:
    assert runtime("kill", container_id, "KILL").returncode == 0
    wait_until(lambda: runtime.status(container_id) == "stopped", what="the end of the container")


def test_a_container_goes_through_its_whole_life(runtime: Runtime, sleeper: Bundle, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    container_id = create(runtime, sleeper, "--pid-file", str(pid_file))
    state = runtime.state(container_id)
    assert state["status"] == "created"
    assert state["pid"] == int(pid_file.read_text())
    assert state["bundle"] == str(sleeper.path)
    assert state["rootfs"] == str(sleeper.rootfs)
    assert runtime("start", container_id).returncode == 0
    assert runtime.status(container_id) == "running"
    assert Path(f"/proc/{state['pid']}/cmdline").read_bytes() == b"sleep\x00300\x00"
    result = runtime("exec", container_id, "sh", "-c", "echo inside; hostname; exit 7")
    assert (result.returncode, result.stdout) == (7, "inside\nrunc\n")
    stop(runtime, container_id)
    assert runtime.state(container_id)["pid"] == 0
    assert runtime("delete", container_id).returncode == 0
    assert runtime("state", container_id).returncode == 1
    assert runtime("list", "-q").stdout == ""


def test_an_attached_run_gives_output_and_exit_code_and_removes_the_container(
    runtime: Runtime, bundle: Bundle
) -> None:
    bundle.command("sh", "-c", "cat; echo err >&2; exit 5")
    words = runtime.words("run", "--bundle", str(bundle.path), unique("run"))
    result = subprocess.run(words, input="typed\n", capture_output=True, text=True, timeout=TIMEOUT_S)
    assert (result.returncode, result.stdout, result.stderr) == (5, "typed\n", "err\n")
    assert runtime("list", "-q").stdout == ""


def test_the_exit_code_of_a_killed_process_is_128_and_the_signal(runtime: Runtime, bundle: Bundle) -> None:
    bundle.command("sh", "-c", "sh -c 'kill -9 $$'; exit $?")
    assert runtime("run", "--bundle", str(bundle.path), unique("run")).returncode == 137


def test_keep_leaves_the_stopped_container(runtime: Runtime, bundle: Bundle) -> None:
    container_id = unique("keep")
    bundle.command("true")
    assert runtime("run", "--keep", "--bundle", str(bundle.path), container_id).returncode == 0
    assert runtime.status(container_id) == "stopped"
    assert runtime("delete", container_id).returncode == 0


def test_the_current_directory_is_the_bundle_where_none_is_given(runtime: Runtime, bundle: Bundle) -> None:
    bundle.command("echo", "here")
    assert runtime("run", unique("cwd"), cwd=bundle.path).stdout == "here\n"


def test_flags_may_follow_the_id_and_have_one_dash_or_two(runtime: Runtime, bundle: Bundle) -> None:
    bundle.command("echo", "here")
    assert runtime("run", unique("dash"), "-bundle", str(bundle.path)).stdout == "here\n"
    assert runtime("run", f"-b={bundle.path}", unique("dash")).stdout == "here\n"


def test_a_created_container_is_deleted_without_force(runtime: Runtime, sleeper: Bundle) -> None:
    container_id = create(runtime, sleeper)
    assert runtime("delete", container_id).returncode == 0
    assert runtime("state", container_id).returncode == 1


def test_a_running_container_is_deleted_with_force_only(runtime: Runtime, sleeper: Bundle) -> None:
    container_id = run_detached(runtime, sleeper)
    refused = runtime("delete", container_id)
    assert refused.returncode == 1
    assert f"cannot delete container {container_id} that is not stopped: running" in refused.stderr
    assert runtime("delete", "--force", container_id).returncode == 0
    assert runtime("list", "-q").stdout == ""


def test_delete_with_force_does_not_mind_a_container_that_is_not_there(runtime: Runtime) -> None:
    assert runtime("delete", "--force", "nobody").returncode == 0
    assert runtime("delete", "nobody").returncode == 1


def test_an_id_in_use_is_refused(runtime: Runtime, sleeper: Bundle) -> None:
    container_id = create(runtime, sleeper)
    result = runtime("run", "--bundle", str(sleeper.path), container_id)
    assert result.returncode == 1
    assert "container with given ID already exists" in last_line(result)
    assert runtime.status(container_id) == "created"


def test_start_of_a_started_container_is_refused(runtime: Runtime, sleeper: Bundle) -> None:
    container_id = run_detached(runtime, sleeper)
    result = runtime("start", container_id)
    assert result.returncode == 1
    assert "cannot start an already running container" in last_line(result)


def test_kill_sends_signals_by_name_and_number(runtime: Runtime, bundle: Bundle) -> None:
    for word, number in (("USR1", 10), ("sigusr2", 12), ("1", 1), ("", 15)):
        bundle.command("sh", "-c", f"trap 'exit {number}' {number}; echo ready; while :; do sleep 0.01; done")
        container_id = unique("kill")
        words = runtime.words("run", "--bundle", str(bundle.path), container_id)
        with subprocess.Popen(words, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as process:
            assert process.stdout
            assert process.stdout.readline() == b"ready\n"
            assert runtime("kill", container_id, *([word] if word else [])).returncode == 0
            assert process.wait(TIMEOUT_S) == number


def test_kill_of_a_stopped_container_is_refused_in_the_words_callers_know(
    runtime: Runtime, sleeper: Bundle
) -> None:
    container_id = run_detached(runtime, sleeper)
    stop(runtime, container_id)
    result = runtime("kill", container_id, "KILL")
    assert result.returncode == 1
    assert "container not running" in last_line(result)


def test_kill_of_all_processes_does_not_mind_that_there_are_none(runtime: Runtime, sleeper: Bundle) -> None:
    container_id = run_detached(runtime, sleeper)
    stop(runtime, container_id)
    assert runtime("kill", "--all", container_id, "KILL").returncode == 0


def test_kill_of_all_processes_reaches_each(runtime: Runtime, bundle: Bundle) -> None:
    bundle.command("sh", "-c", "sleep 300 & sleep 300; echo $?")
    container_id = unique("all")
    words = runtime.words("run", "--bundle", str(bundle.path), container_id)
    with subprocess.Popen(words, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as process:
        wait_until(lambda: len(json.loads(runtime("ps", "-f", "json", container_id).stdout or "[]")) == 3)
        assert runtime("kill", "--all", container_id, "TERM").returncode == 0
        output, _ = process.communicate(timeout=TIMEOUT_S)
        assert output == b"143\n"


def test_an_unknown_signal_is_refused(runtime: Runtime, sleeper: Bundle) -> None:
    container_id = create(runtime, sleeper)
    result = runtime("kill", container_id, "NONSENSE")
    assert result.returncode == 1
    assert "unknown signal" in last_line(result)


def test_exec_takes_its_settings_from_flags_and_configuration(runtime: Runtime, sleeper: Bundle) -> None:
    container_id = run_detached(runtime, sleeper)
    variables = ("-e", "A=1", "-e", "TERM=other", "-e", "A=2,3")
    flags: tuple[str, ...] = (*variables, "--cwd", "/tmp", "--user", "5:6", "-g", "7", "-g=8")
    result = runtime("exec", *flags, container_id, "sh", "-c", "id; pwd; echo $A $TERM; env | grep -c ^A=")
    assert result.stdout.splitlines() == ["uid=5 gid=6 groups=7,8", "/tmp", "2,3 other", "1"]
    flags = ("--cap", "CAP_SYS_TIME", "--no-new-privs=false")
    result = runtime("exec", *flags, container_id, "grep", "-E", "CapEff|NoNew", "/proc/self/status")
    assert result.stdout.split() == ["CapEff:", "0000000022000420", "NoNewPrivs:", "0"]


def test_exec_takes_a_whole_process_from_a_file(runtime: Runtime, sleeper: Bundle, tmp_path: Path) -> None:
    container_id = run_detached(runtime, sleeper)
    process = tmp_path / "process.json"
    process.write_text(json.dumps({"args": ["/bin/sh", "-c", "pwd; echo $A"], "cwd": "/etc", "env": ["A=b"]}))
    assert runtime("exec", "-p", str(process), container_id).stdout == "/etc\nb\n"


def test_a_detached_exec_writes_its_pid_and_returns(
    runtime: Runtime, sleeper: Bundle, tmp_path: Path
) -> None:
    container_id = run_detached(runtime, sleeper)
    pid_file = tmp_path / "pid"
    flags = ("--detach", "--pid-file", str(pid_file))
    assert runtime.start_detached("exec", *flags, container_id, "sleep", "301") == 0
    pid = int(pid_file.read_text())
    wait_until(lambda: Path(f"/proc/{pid}/cmdline").read_bytes() == b"sleep\x00301\x00")
    assert pid in json.loads(runtime("ps", "-f", "json", container_id).stdout)


def test_pause_and_resume(runtime: Runtime, sleeper: Bundle) -> None:
    container_id = run_detached(runtime, sleeper)
    assert runtime("resume", container_id).returncode == 1
    assert runtime("pause", container_id).returncode == 0
    assert runtime.status(container_id) == "paused"
    refused = runtime("exec", container_id, "true")
    assert refused.returncode == 255
    assert "cannot exec in a paused container" in last_line(refused)
    assert runtime("resume", container_id).returncode == 0
    assert runtime.status(container_id) == "running"


def test_a_paused_container_is_deleted_with_force(runtime: Runtime, sleeper: Bundle) -> None:
    container_id = run_detached(runtime, sleeper)
    assert runtime("pause", container_id).returncode == 0
    assert runtime("delete", "--force", container_id).returncode == 0


def test_ps_shows_the_containers_processes(runtime: Runtime, sleeper: Bundle) -> None:
    container_id = run_detached(runtime, sleeper)
    pid = runtime.state(container_id)["pid"]
    assert json.loads(runtime("ps", "--format", "json", container_id).stdout) == [pid]
    header, line = runtime("ps", container_id).stdout.splitlines()
    assert header.split()[:2] == ["UID", "PID"]
    assert line.endswith("sleep 300")
    assert runtime("ps", container_id, "-o", "pid,cmd").stdout.split() == [
        *("PID", "CMD", str(pid), "sleep", "300")
    ]


def test_a_signal_to_an_attached_run_reaches_the_process(runtime: Runtime, bundle: Bundle) -> None:
    bundle.command("sh", "-c", "trap 'exit 33' TERM; echo ready; while :; do sleep 0.01; done")
    words = runtime.words("run", "--bundle", str(bundle.path), unique("signal"))
    with subprocess.Popen(words, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as process:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(TIMEOUT_S) == 33
    assert runtime("list", "-q").stdout == ""


def test_the_state_root_is_made_private(runtime: Runtime, sleeper: Bundle) -> None:
    container_id = create(runtime, sleeper)
    assert os.stat(runtime.root / container_id).st_mode & 0o077 in (0, 0o011)


def test_annotations_are_in_the_state(runtime: Runtime, sleeper: Bundle) -> None:
    sleeper.config["annotations"] = {"b.c/d": "<1>", "a": "ä"}
    sleeper.save()
    container_id = create(runtime, sleeper)
    assert runtime.state(container_id)["annotations"] == {"a": "ä", "b.c/d": "<1>"}
    assert '"b.c/d": "\\u003c1\\u003e"' in runtime("state", container_id).stdout


def test_without_pivot_root_the_container_runs_too(runtime: Runtime, bundle: Bundle) -> None:
    bundle.command("ls", "/")
    result = runtime("run", "--no-pivot", "--bundle", str(bundle.path), unique("chroot"))
    assert (result.returncode, result.stderr) == (0, "")
    assert "etc" in result.stdout.split()


def test_a_creation_killed_at_any_moment_is_removed_by_delete(ours: Runtime, sleeper: Bundle) -> None:
    nowhere = subprocess.DEVNULL
    for milliseconds in range(8, 60, 3):
        container_id = unique("killed")
        words = ours.words("create", "--bundle", str(sleeper.path), container_id)
        process = subprocess.Popen(words, stdin=nowhere, stdout=nowhere, stderr=nowhere)
        try:
            process.wait(milliseconds / 1000)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert ours("delete", "--force", container_id).returncode == 0
        assert not (ours.root / container_id).exists()
        assert not [line for line in leftovers.quick() if container_id in line]
