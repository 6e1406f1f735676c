"""`cloche run` end to end: exit codes, streams, settings, signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.cli.machine import IMAGE, Machine
from tests.waiting import wait_until


def inside(machine: Machine, script: str, *flags: str) -> str:
    """What a shell script in a new container prints."""
    return machine.ok("run", "--rm", *flags, IMAGE, "sh", "-c", script).strip()


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["true"], 0),
        (["false"], 1),
        (["sh", "-c", "exit 42"], 42),
        (["sh", "-c", "sh -c 'kill -KILL $$'; exit $?"], 137),
        (["sh", "-c", "sh -c 'kill -TERM $$'; exit $?"], 143),
    ],
)
def test_the_exit_code_is_the_containers(machine: Machine, words: list[str], status: int) -> None:
    result = machine.run("run", "--rm", IMAGE, *words)
    assert result.returncode == status
    assert machine.ok("ps", "-aq") == ""


def test_a_program_that_is_not_there_is_127(machine: Machine) -> None:
    message = machine.refused("run", "--rm", IMAGE, "no-such-program", status=127)
    assert "no-such-program" in message
    assert machine.ok("ps", "-aq") == ""


def test_a_program_that_cannot_be_executed_is_126(machine: Machine) -> None:
    assert "/etc" in machine.refused("run", "--rm", IMAGE, "/etc", status=126)
    assert machine.ok("ps", "-aq") == ""


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--memory", "12q"], "12q"),
        (["--cpus", "x"], "x"),
        (["-v", "a:b:c:d"], "a:b:c:d"),
        (["--mount", "type=bind,foo"], "foo"),
        (["--mount", "type=bind,source=/no/such,target=/x"], "/no/such"),
        (["--ulimit", "bogus=1"], "bogus"),
        (["--env-file", "/no/such/file"], "/no/such/file"),
        (["--cap-add", "CAP_BOGUS"], "BOGUS"),
        (["--network", "bogus"], "bogus"),
        (["--security-opt", "bogus=1"], "bogus"),
        (["--security-opt", "seccomp=/no/such"], "/no/such"),
        (["--device", "/dev/no-such"], "/dev/no-such"),
        (["--user", "nobody-at-all"], "nobody-at-all"),
        (["--sysctl", "kernel.panic=1"], "kernel.panic"),
        (["--name", "a/b"], "a/b"),
        (["--platform", "linux/s390x", "--pull", "never"], "s390x"),
        (["--pull", "sometimes"], "sometimes"),
        (["--stop-signal", "SIGBOGUS"], "SIGBOGUS"),
        (["-w", "relative"], "relative"),
        (["--snapshotter", "bogus"], "bogus"),
    ],
)
def test_a_setting_without_meaning_is_refused_and_nothing_is_left(
    machine: Machine, flags: list[str], words: str
) -> None:
    assert words in machine.refused("run", "--rm", *flags, IMAGE, "true", status=125)
    assert machine.ok("ps", "-aq") == ""


def test_an_image_that_is_nowhere_is_125(machine: Machine) -> None:
    assert "no-such-image" in machine.refused("run", "--pull", "never", "no-such-image", status=125)


def test_standard_input_reaches_the_container_with_i(machine: Machine) -> None:
    assert machine.ok("run", "--rm", "-i", IMAGE, "cat", typed=b"one\ntwo\n") == "one\ntwo\n"


def test_standard_input_is_empty_without_i(machine: Machine) -> None:
    assert machine.ok("run", "--rm", IMAGE, "cat", typed=b"not for you") == ""


def test_large_input_and_output_pass_whole(machine: Machine) -> None:
    data = os.urandom(3_000_000)
    result = machine.run("run", "--rm", "-i", IMAGE, "cat", typed=data)
    assert result.stdout == data


def test_output_and_errors_stay_apart(machine: Machine) -> None:
    result = machine.run("run", "--rm", IMAGE, "sh", "-c", "echo out; echo err >&2")
    assert (result.stdout, result.stderr) == (b"out\n", b"err\n")


def test_a_reader_that_goes_away_ends_it_all(machine: Machine) -> None:
    with machine.start("run", "--rm", IMAGE, "yes") as process:
        assert process.stdout is not None
        assert process.stdout.read(4) == b"y\ny\n"
        process.stdout.close()
        # As PID 1 `yes` is spared SIGPIPE, and says itself what is wrong.
        assert process.wait(20) == 1
    assert machine.ok("ps", "-aq") == ""


def test_variables_come_from_flags_files_and_this_environment(machine: Machine, tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text("# comment\nA=file\nB=file\n")
    machine.environment["FROM_HERE"] = "here"
    flags = ("--env-file", str(file), "-e", "B=flag", "-eFROM_HERE", "--env=D=4")
    assert inside(machine, 'echo "$A $B $FROM_HERE $D"', *flags) == "file flag here 4"


@pytest.mark.parametrize(
    ("flags", "script", "output"),
    [
        (("-w", "/tmp"), "pwd", "/tmp"),
        (("-u", "1000:1001"), "id -u; id -g", "1000\n1001"),
        (("-h", "glass"), "hostname", "glass"),
        (("--hostname=glass",), "hostname", "glass"),
        (("--entrypoint", "echo"), "x", "-c x"),
        (("--read-only",), "touch /x 2>/dev/null || echo no", "no"),
        (("--tmpfs", "/t:size=1m"), "grep ' /t ' /proc/mounts | grep -c tmpfs", "1"),
        (("--ulimit", "nofile=123:123"), "ulimit -n", "123"),
        (("--oom-score-adj", "500"), "cat /proc/self/oom_score_adj", "500"),
        (("--network", "none"), "ls /sys/class/net", "lo"),
        (("--cap-drop", "ALL"), "grep CapEff /proc/self/status | grep -c 0000000000000000", "1"),
        (
            ("--cap-drop", "all", "--cap-add", "chown"),
            "grep -c 'CapEff.*0000000000000001' /proc/self/status",
            "1",
        ),
        (("--security-opt", "no-new-privileges"), "grep -c 'NoNewPrivs.*1' /proc/self/status", "1"),
        (("--security-opt", "seccomp=unconfined"), "grep -c 'Seccomp:.*0' /proc/self/status", "1"),
        (("--sysctl", "kernel.msgmax=4096"), "cat /proc/sys/kernel/msgmax", "4096"),
        (("--device", "/dev/loop-control:/dev/xyz:r"), "ls /dev/xyz", "/dev/xyz"),
        (("--device", "/dev/kmsg"), "test -c /dev/kmsg && echo yes", "yes"),
        (("--shm-size", "1m"), "grep -c 'shm.*size=1024k' /proc/mounts", "1"),
        ((), "echo $$", "1"),
        (("--init",), "test $$ -ne 1 && echo yes", "yes"),
        (("--add-host", "glass:10.1.2.3"), "grep glass /etc/hosts", "10.1.2.3\tglass"),
        (("--group-add", "77"), "id -G", "0 77"),
    ],
)
def test_a_flag_does_inside_what_it_says(
    machine: Machine, flags: tuple[str, ...], script: str, output: str
) -> None:
    if "--entrypoint" in flags:
        assert machine.ok("run", "--rm", *flags, IMAGE, "-c", script).strip() == output
        return
    assert inside(machine, script, *flags) == output


@pytest.mark.parametrize("kind", ["pid", "ipc", "uts", "net", "cgroup"])
def test_a_namespace_is_the_containers_own_unless_it_is_the_hosts(machine: Machine, kind: str) -> None:
    flag = {"net": "network", "cgroup": "cgroupns"}.get(kind, kind)
    ours = os.readlink(f"/proc/self/ns/{kind}")
    assert inside(machine, f"readlink /proc/self/ns/{kind}") != ours
    assert inside(machine, f"readlink /proc/self/ns/{kind}", f"--{flag}", "host") == ours


def test_limits_reach_the_cgroup(machine: Machine, name: str) -> None:
    machine.ok(
        *("run", "-d", "--name", name, "-m", "64m", "--memory-swap", "64m", "--cpus", "0.5"),
        *("--cpu-shares", "512", "--cpuset-cpus", "0", "--pids-limit", "20", IMAGE, "sleep", "100"),
    )
    document = machine.inspect(name)
    settings = document["HostConfig"]
    assert (settings["Memory"], settings["NanoCpus"], settings["PidsLimit"]) == (64 << 20, 500_000_000, 20)
    assert machine.ok("exec", name, "nproc").strip() == "1"
    cgroups = Path("/proc", str(document["State"]["Pid"]), "cgroup").read_text()
    assert name not in cgroups or document["Id"] in cgroups


def test_a_process_over_the_memory_limit_is_killed(machine: Machine) -> None:
    result = machine.run(
        *("run", "--rm", "-m", "16m", "--memory-swap", "16m", IMAGE),
        *("sh", "-c", "dd if=/dev/zero of=/dev/null bs=200M count=1"),
    )
    assert result.returncode == 137 or b"Killed" in result.stderr


def test_folders_of_the_host_are_mounted(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("from the host")
    assert inside(machine, "cat /in/file", "-v", f"{tmp_path}:/in") == "from the host"
    assert inside(machine, "touch /in/new && echo yes", "-v", f"{tmp_path}:/in") == "yes"
    assert (tmp_path / "new").exists()
    flags = ("--mount", f"type=bind,source={tmp_path},target=/in,readonly")
    assert inside(machine, "touch /in/x 2>/dev/null || echo no", *flags) == "no"


def test_privileged_has_every_capability_and_device(machine: Machine) -> None:
    ours = next(line for line in Path("/proc/self/status").read_text().splitlines() if "CapBnd" in line)
    assert inside(machine, "grep CapEff /proc/self/status", "--privileged").split()[1] == ours.split()[1]
    assert inside(machine, "ls /dev/loop-control", "--privileged") == "/dev/loop-control"


def test_labels_and_names_are_kept(machine: Machine, name: str, tmp_path: Path) -> None:
    cidfile = tmp_path / "cid"
    identifier = machine.ok(
        *("create", "--name", name, "--label", "a=b", "-l", "c", "--cidfile", str(cidfile), IMAGE, "true")
    ).strip()
    assert cidfile.read_text() == identifier
    assert len(identifier) == 64
    document = machine.inspect(name)
    assert (document["Id"], document["Name"]) == (identifier, f"/{name}")
    assert document["Config"]["Labels"] == {"a": "b", "c": ""}
    assert "there already" in machine.refused("create", "--cidfile", str(cidfile), IMAGE, "true")


def test_a_name_in_use_is_refused(machine: Machine, name: str) -> None:
    machine.ok("create", "--name", name, IMAGE, "true")
    assert name in machine.refused("run", "--name", name, IMAGE, "true", status=125)
    assert len(machine.ok("ps", "-aq").split()) == 1


def test_without_rm_the_container_stays_with_its_log(machine: Machine, name: str) -> None:
    assert machine.run("run", "--name", name, IMAGE, "sh", "-c", "echo out; exit 3").returncode == 3
    state = machine.inspect(name)["State"]
    assert (state["Status"], state["ExitCode"], state["Running"]) == ("exited", 3, False)
    assert machine.ok("logs", name) == "out\n"


def test_detached_prints_the_id_and_leaves_it_running(machine: Machine) -> None:
    identifier = machine.ok("run", "-d", IMAGE, "sleep", "100").strip()
    assert len(identifier) == 64
    assert machine.status(identifier) == "running"
    machine.ok("rm", "-f", identifier)


def test_detached_with_rm_removes_itself_at_the_end(machine: Machine) -> None:
    machine.ok("run", "-d", "--rm", IMAGE, "true")
    wait_until(lambda: machine.ok("ps", "-aq") == "", what="the container to go")


READY = "echo ready; while :; do sleep 0.05; done"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP])
def test_signals_are_passed_on(machine: Machine, number: signal.Signals) -> None:
    name = number.name.removeprefix("SIG")
    process = machine.start(
        "run", "--rm", IMAGE, "sh", "-c", f"trap 'echo got {name}; exit 5' {name}; {READY}"
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(number)
    out, errors = process.communicate(timeout=20)
    assert (out, errors, process.returncode) == (f"got {name}\n".encode(), b"", 5)


def test_signals_stay_here_without_sig_proxy(machine: Machine, name: str) -> None:
    process = machine.start("run", "--name", name, "--sig-proxy=false", IMAGE, "sh", "-c", READY)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode in (-signal.SIGTERM, 143)


def test_the_native_snapshotter_can_be_chosen(machine: Machine) -> None:
    assert inside(machine, "echo here", "--snapshotter", "native") == "here"


def test_an_attached_run_leaves_no_process_behind(machine: Machine) -> None:
    machine.ok("run", "--rm", IMAGE, "true")
    listing = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(machine.place) not in listing


def test_the_users_defaults_are_dockers(machine: Machine, name: str) -> None:
    machine.ok("create", "--name", name, "-it", IMAGE, "sh")
    config = machine.inspect(name)["Config"]
    assert (config["Tty"], config["OpenStdin"], config["Cmd"], config["Image"]) == (True, True, ["sh"], IMAGE)
    assert json.loads(machine.ok("inspect", "-f", "{{json .State.Running}}", name)) is False


def test_an_attached_container_is_stopped_and_entered_from_elsewhere(machine: Machine, name: str) -> None:
    script = f"trap 'exit 4' TERM; {READY}"
    with machine.start("run", "--rm", "--name", name, IMAGE, "sh", "-c", script) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        assert machine.ok("exec", name, "cat", "/proc/1/comm") == "sh\n"
        assert machine.ok("stop", name) == f"{name}\n"
        assert process.wait(20) == 4
    assert machine.ok("ps", "-aq") == ""


def test_what_is_left_of_a_run_that_was_killed_is_cleared_by_the_next_command(machine: Machine) -> None:
    with machine.start("run", "--rm", IMAGE, "sh", "-c", READY) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.kill()
    wait_until(lambda: machine.ok("ps", "-aq") == "", what="the container to go")


def test_bytes_that_are_no_text_pass_through_arguments_and_variables(machine: Machine) -> None:
    value = os.fsdecode(b"\xffx")
    result = machine.run("run", "--rm", "-e", f"A={value}", IMAGE, "sh", "-c", 'echo "$A$1"', "sh", value)
    assert result.stdout == b"\xffx\xffx\n"
