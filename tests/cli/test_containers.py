"""Commands on containers that exist: each seen doing its work."""

from __future__ import annotations

import json
import re
import signal
import time

import pytest

from tests.cli.machine import IMAGE, Machine
from tests.waiting import wait_until

LOOP = "trap 'exit 7' TERM; echo started; while :; do sleep 0.05; done"


def running(machine: Machine, name: str, script: str = LOOP, *flags: str) -> str:
    """A detached container; returns its id once it has written its first line."""
    identifier = machine.ok("run", "-d", "--name", name, *flags, IMAGE, "sh", "-c", script).strip()
    machine.wait_for_log(name, "started")
    return identifier


def test_ps_has_dockers_columns(machine: Machine, name: str) -> None:
    identifier = running(machine, name)
    head, row = machine.ok("ps").splitlines()
    assert re.split(r" {3,}", head) == [
        "CONTAINER ID",
        "IMAGE",
        "COMMAND",
        "CREATED",
        "STATUS",
        "PORTS",
        "NAMES",
    ]
    cells = re.split(r" {2,}", row)
    assert cells[:2] == [identifier[:12], IMAGE]
    assert re.fullmatch(r'"sh -c \S.*\u2026"', cells[2])
    assert re.fullmatch(r".* ago", cells[3])
    assert re.fullmatch(r"Up .*", cells[4])
    assert cells[-1] == name


def test_ps_shows_the_ended_only_with_a(machine: Machine, name: str) -> None:
    machine.run("run", "--name", name, IMAGE, "sh", "-c", "exit 3")
    assert name not in machine.ok("ps")
    row = machine.ok("ps", "-a").splitlines()[1]
    assert re.search(r"Exited \(3\) .* ago", row)
    machine.ok("create", "--name", f"{name}-2", IMAGE, "true")
    assert machine.ok("ps", "-a", "--filter", f"name={name}-2", "--format", "{{.Status}}") == "Created\n"


def test_ps_filters_and_formats(machine: Machine, name: str) -> None:
    identifier = machine.ok("create", "--name", name, "-l", "a=b", IMAGE, "sleep", "1").strip()
    machine.ok("create", "--name", f"other-{name}", IMAGE, "true")
    for condition in (f"name=^/?{name}$", f"id={identifier[:10]}", "label=a", "label=a=b"):
        assert machine.ok("ps", "-aq", "--no-trunc", "--filter", condition) == f"{identifier}\n", condition
    assert len(machine.ok("ps", "-aq", "-f", "status=created", "-f", f"ancestor={IMAGE}").split()) == 2
    assert machine.ok("ps", "-aq", "-f", "status=exited") == ""
    form = '{{.ID}} {{.Names}} {{.Image}} {{.State}} {{.Label "a"}} {{.Labels}} {{.Command}}'
    assert machine.ok("ps", "-a", "--format", form, "-f", "label=a") == (
        f'{identifier[:12]} {name} {IMAGE} created b a=b "sleep 1"\n'
    )
    row = json.loads(machine.ok("ps", "-a", "--format", "json", "-f", "label=a"))
    assert (row["Names"], row["State"]) == (name, "created")
    assert machine.ok("ps", "-a", "--format", "table {{.Names}}", "-f", "label=a") == f"NAMES\n{name}\n"
    assert machine.ok("ps", "-lq").split() != [identifier[:12]]
    assert len(machine.ok("ps", "-qn", "1").split()) == 1


def test_ps_refuses_a_filter_that_is_none(machine: Machine) -> None:
    assert "bogus" in machine.refused("ps", "-f", "bogus=1")
    assert "bogus" in machine.refused("ps", "-f", "bogus")


def test_logs_follow_until_the_end(machine: Machine, name: str) -> None:
    running(machine, name, "echo started; echo err >&2; read x; echo last", "-i")
    follower = machine.start("logs", "-f", name)
    assert follower.stdout is not None
    assert follower.stdout.readline() == b"started\n"
    machine.ok("stop", "-t", "0", name)
    out, errors = follower.communicate(timeout=20)
    assert (out, errors, follower.returncode) == (b"", b"err\n", 0)


def test_logs_tail_since_until_and_timestamps(machine: Machine, name: str) -> None:
    machine.ok("run", "--name", name, IMAGE, "sh", "-c", "for i in 1 2 3 4 5; do echo $i; sleep 0.02; done")
    assert machine.ok("logs", "--tail", "2", name) == "4\n5\n"
    assert machine.ok("logs", "-n", "0", name) == ""
    assert machine.ok("logs", "--tail", "all", name) == "1\n2\n3\n4\n5\n"
    line = machine.ok("logs", "-t", "--tail=1", name)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z 5\n", line)
    assert machine.ok("logs", "--since", "1h", name).startswith("1\n")
    assert machine.ok("logs", "--until", "1h", name) == ""
    assert machine.ok("logs", "--since", line.split()[0], name) == "5\n"
    assert "tail" in machine.refused("logs", "--tail", "x", name)


def test_exec_runs_another_command_inside(machine: Machine, name: str) -> None:
    running(machine, name)
    assert machine.ok("exec", name, "sh", "-c", "hostname; cat /proc/1/comm").split()[1] == "sh"
    assert machine.ok(
        "exec", "-e", "A=1", "-w", "/tmp", "-u", "5", name, "sh", "-c", "echo $A; pwd; id -u"
    ) == ("1\n/tmp\n5\n")
    assert machine.ok("exec", "-i", name, "cat", typed=b"typed") == "typed"
    assert machine.run("exec", name, "sh", "-c", "exit 9").returncode == 9
    assert machine.run("exec", name, "sh", "-c", "kill -9 $$").returncode == 137
    result = machine.run("exec", name, "sh", "-c", "echo out; echo err >&2")
    assert (result.stdout, result.stderr) == (b"out\n", b"err\n")


def test_exec_tells_what_cannot_be_executed(machine: Machine, name: str) -> None:
    running(machine, name)
    assert "no-such" in machine.refused("exec", name, "no-such", status=127)
    assert "/etc" in machine.refused("exec", name, "/etc", status=126)
    assert "nobody-x" in machine.refused("exec", "-u", "nobody-x", name, "true")


def test_exec_needs_a_running_container(machine: Machine, name: str) -> None:
    assert name in machine.refused("exec", name, "true")
    machine.ok("create", "--name", name, IMAGE, "true")
    assert "not running" in machine.refused("exec", name, "true")


def test_exec_detached_returns_at_once(machine: Machine, name: str) -> None:
    running(machine, name)
    assert machine.ok("exec", "-d", name, "sh", "-c", "echo done > /there; sleep 100") == ""
    wait_until(lambda: machine.run("exec", name, "cat", "/there").stdout == b"done\n", what="the file")


def test_start_and_restart_run_it_again(machine: Machine, name: str) -> None:
    assert machine.ok("create", "--name", name, IMAGE, "sh", "-c", LOOP)
    assert machine.ok("start", name) == f"{name}\n"
    machine.wait_for_log(name, "started")
    assert machine.ok("start", name) == f"{name}\n"
    first = machine.inspect(name)["State"]["Pid"]
    assert machine.ok("restart", "-t", "5", name) == f"{name}\n"
    state = machine.inspect(name)["State"]
    assert state["Running"]
    assert state["Pid"] != first


def test_start_attached_shows_the_output_and_gives_the_exit_code(machine: Machine, name: str) -> None:
    machine.ok("create", "-i", "--name", name, IMAGE, "sh", "-c", "cat; exit 4")
    result = machine.run("start", "-ai", name, typed=b"typed")
    assert (result.stdout, result.stderr, result.returncode) == (b"typed", b"", 4)
    assert machine.run("start", "-a", name, "other").returncode == 1


def test_stop_asks_and_then_kills(machine: Machine, name: str) -> None:
    running(machine, name)
    assert machine.ok("stop", name) == f"{name}\n"
    assert machine.inspect(name)["State"]["ExitCode"] == 7
    stubborn = f"{name}-stubborn"
    running(machine, stubborn, "trap '' TERM; echo started; while :; do sleep 0.05; done")
    assert machine.ok("stop", "-t", "1", stubborn) == f"{stubborn}\n"
    assert machine.inspect(stubborn)["State"]["ExitCode"] == 137


@pytest.mark.parametrize(
    ("words", "code"), [([], 137), (["-s", "TERM"], 7), (["--signal=SIGTERM"], 7), (["-s15"], 7)]
)
def test_kill_sends_the_signal(machine: Machine, name: str, words: list[str], code: int) -> None:
    running(machine, name)
    assert machine.ok("kill", *words, name) == f"{name}\n"
    machine.wait_for_status(name, "exited")
    assert machine.inspect(name)["State"]["ExitCode"] == code


def test_kill_of_what_is_not_running_is_refused(machine: Machine, name: str) -> None:
    machine.ok("create", "--name", name, IMAGE, "true")
    assert "not running" in machine.refused("kill", name)
    assert "BOGUS" in machine.refused("kill", "-s", "BOGUS", name)


def test_wait_prints_the_exit_codes(machine: Machine, name: str) -> None:
    running(machine, name)
    waiter = machine.start("wait", name)
    machine.ok("kill", "-s", "TERM", name)
    out, errors = waiter.communicate(timeout=20)
    assert (out, errors, waiter.returncode) == (b"7\n", b"", 0)
    assert machine.ok("wait", name, name) == "7\n7\n"


def test_rm_refuses_what_runs_unless_forced(machine: Machine, name: str) -> None:
    running(machine, name)
    assert "running" in machine.refused("rm", name)
    assert machine.ok("rm", "-f", name) == f"{name}\n"
    assert machine.ok("ps", "-aq") == ""


def test_nothing_waits_for_a_shim_that_says_farewell(machine: Machine, name: str) -> None:
    """It stays for 1.2 s after its container, for those who are attached; the container is free before."""

    def removed_s() -> float:
        running(machine, name)
        begun = time.monotonic()
        machine.ok("rm", "-f", name)
        return time.monotonic() - begun

    assert min(removed_s() for _ in range(3)) < 1


def test_one_that_is_missing_does_not_keep_the_others_from_being_done(machine: Machine, name: str) -> None:
    machine.ok("create", "--name", name, IMAGE, "true")
    result = machine.run("rm", "no-such-container", name)
    assert result.returncode == 1
    assert result.stdout.decode() == f"{name}\n"
    assert b"no-such-container" in result.stderr


def test_pause_and_unpause(machine: Machine, name: str) -> None:
    running(machine, name)
    assert machine.ok("pause", name) == f"{name}\n"
    assert "(Paused)" in machine.ok("ps", "--format", "{{.Status}}")
    assert machine.status(name) == "paused"
    assert "paused" in machine.refused("exec", name, "true")
    assert machine.ok("unpause", name) == f"{name}\n"
    assert machine.status(name) == "running"


def test_rename(machine: Machine, name: str) -> None:
    machine.ok("create", "--name", name, IMAGE, "true")
    machine.ok("rename", name, f"{name}-new")
    assert machine.inspect(f"{name}-new")["Name"] == f"/{name}-new"
    assert name in machine.refused("rename", name, "x")


def test_inspect_takes_names_ids_and_templates(machine: Machine, name: str) -> None:
    identifier = machine.ok("create", "--name", name, IMAGE, "true").strip()
    assert json.loads(machine.ok("inspect", identifier[:8]))[0]["Id"] == identifier
    assert machine.ok("inspect", "-f", "{{.Name}} {{.State.Status}}", name) == f"/{name} created\n"
    assert json.loads(machine.ok("inspect", "--type", "image", IMAGE))[0]["RepoTags"]
    assert machine.ok("inspect", "--type=container", "--format", "{{.Id}}", name) == f"{identifier}\n"
    result = machine.run("inspect", "no-such", name)
    assert result.returncode == 1
    assert json.loads(result.stdout)[0]["Id"] == identifier
    assert b"no-such" in result.stderr


def test_top_lists_the_processes(machine: Machine, name: str) -> None:
    running(machine, name)
    head, *rows = machine.ok("top", name).splitlines()
    assert head.split() == ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
    assert any("sh -c" in row for row in rows)
    head, *rows = machine.ok("top", name, "-o", "pid,comm").splitlines()
    assert head.split() == ["PID", "COMMAND"]
    assert str(machine.inspect(name)["State"]["Pid"]) in {row.split()[0] for row in rows}


def test_stats_shows_what_is_used(machine: Machine, name: str) -> None:
    running(machine, name, LOOP, "-m", "64m")
    head, row = machine.ok("stats", "--no-stream", name).splitlines()
    assert re.split(r" {2,}", head) == [
        *("CONTAINER ID", "NAME", "CPU %", "MEM USAGE / LIMIT", "MEM %", "NET I/O", "BLOCK I/O", "PIDS"),
    ]
    cells = re.split(r" {2,}", row)
    assert cells[1] == name
    assert re.fullmatch(r"[\d.]+%", cells[2])
    assert re.fullmatch(r"[\d.]+[KM]?i?B / 64MiB", cells[3])
    assert int(cells[7]) >= 1
    assert machine.ok("stats", "--no-stream", "--format", "{{.Name}}") == f"{name}\n"


def test_stats_streams_until_it_is_interrupted(machine: Machine, name: str) -> None:
    running(machine, name)
    stream = machine.start("stats", "--format", "{{.Name}}", name)
    assert stream.stdout is not None
    while name.encode() not in stream.stdout.readline():
        pass
    stream.send_signal(signal.SIGINT)
    _, errors = stream.communicate(timeout=20)
    assert errors == b""
    assert stream.returncode in (0, 130, -signal.SIGINT)


def test_container_prune_removes_what_has_ended(machine: Machine, name: str) -> None:
    identifier = machine.ok("create", "--name", name, IMAGE, "true").strip()
    running(machine, f"{name}-2")
    said = machine.ok("container", "prune", "-f")
    assert said.startswith(f"Deleted Containers:\n{identifier}\n\nTotal reclaimed space: ")
    assert len(machine.ok("ps", "-aq").split()) == 1


def test_diff_lists_changes(machine: Machine, name: str) -> None:
    script = (
        "touch /added; rm /etc/hostname-none 2>/dev/null; mkdir /dir; echo x > /dir/file; rm /bin/seq; true"
    )
    machine.ok("run", "--name", name, IMAGE, "sh", "-c", script)
    lines = machine.ok("diff", name).splitlines()
    assert {"A /added", "A /dir", "A /dir/file"} <= set(lines)
    assert any(line.startswith("D ") and line.endswith("/seq") for line in lines)
