"""What `run` refuses before anything is made: one line, exit code 125, and no container."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.machine import IMAGE, Machine

HEX = "f" * 80


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--uts", "host", "-h", "me"], "conflicting options: hostname and the UTS mode"),
        (["--network", "container:x", "-h", "me"], "conflicting options: hostname and the network mode"),
        (["--network", "container:x", "--dns", "1.1.1.1"], "conflicting options: dns and the network mode"),
        (
            ["--network", "container:x", "--add-host", "a:1.1.1.1"],
            "conflicting options: custom host-to-IP mapping and the network mode",
        ),
        (
            ["--userns", "private", "--pid", "host"],
            "cannot share the host's PID namespace when user namespaces are enabled",
        ),
        (["-v", "/tmp:/x", "-v", "/etc:/x"], "duplicate mount point: /x"),
        (["-v", "/tmp:/x", "--tmpfs", "/x/"], "duplicate mount point: /x"),
        (["--mount", "type=bind,src=/tmp,dst=/x", "-v", "named:/x"], "duplicate mount point: /x"),
        (["-m", "5m"], "the least that a container can live in is 6m"),
        (["-m", "10m", "--memory-swap", "9m"], "cannot be below it"),
        (["--memory-swap", "9m"], "it needs --memory"),
        (["--cpus", "much"], "must be a number of processors"),
        (["--cpus", "100000"], "must be between 0.01 and"),
        (["--cpu-quota", "10"], "the least is 1000"),
        (["--cpu-period", "2000000"], "must be 1000 to 1000000"),
        (["--cpuset-cpus", "a"], "must be numbers and ranges"),
        (["--oom-score-adj", "1001"], "must be -1000 to 1000"),
        (["--name", "a b"], "invalid container name 'a b'"),
        (["--name", "-a"], "invalid container name '-a'"),
        (["-h", "two words"], "invalid hostname 'two words'"),
        (["-h", HEX], "at most 64"),
        (["--dns", "me"], "must be an IP address"),
        (["--add-host", "a b:1.2.3.4"], "must be NAME:ADDRESS"),
        (["--device", "/dev/null:x"], "must be /dev/HOST"),
        (["--tmpfs", "/x:bad=1"], "a tmpfs has no option 'bad'"),
        (["--mount", "type=tmpfs,dst=/x,tmpfs-mode=9"], "mode must be octal"),
        (["--env-file", "/no/such"], "/no/such: env file cannot be read: no such file or directory"),
        (["--label-file", "/no/such"], "/no/such: label file cannot be read: no such file or directory"),
        (["--security-opt", "seccomp=/no/such"], "cannot be read: no such file or directory"),
    ],
)
def test_a_wrong_setting_is_one_line_and_makes_nothing(machine: Machine, flags: list[str], said: str) -> None:
    assert said in machine.refused("run", "-d", *flags, IMAGE, "true", status=125)
    assert machine.ok("ps", "-aq") == ""


def test_a_stopped_containers_pid_namespace_cannot_be_joined(machine: Machine, name: str) -> None:
    machine.ok("run", "--name", name, IMAGE, "true")
    said = machine.refused("run", "--rm", "--pid", f"container:{name}", IMAGE, "true", status=125)
    assert said == f"cannot join the pid namespace of container {name}: not running"


def test_the_hosts_network_takes_a_host_name(machine: Machine) -> None:
    assert machine.ok("run", "--rm", "--network", "host", "-h", "me", IMAGE, "hostname") == "me\n"


def test_a_slash_before_a_name_is_left_out(machine: Machine, name: str) -> None:
    machine.ok("create", "--name", f"/{name}", IMAGE, "true")
    assert machine.ok("ps", "-a", "--format", "{{.Names}}") == f"{name}\n"


def test_a_mount_hides_an_anonymous_volume_at_its_place(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "there").touch()
    for flags in (["-v", "/x", "-v", f"{tmp_path}:/x"], ["-v", f"{tmp_path}:/x", "-v", "/x"]):
        assert machine.ok("run", "--rm", *flags, IMAGE, "ls", "/x") == "there\n"


def test_a_bind_source_may_be_relative_with_a_dot(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "there").touch()
    words = ["run", "--rm", "--mount", "type=bind,src=./,dst=/x", IMAGE, "ls", "/x"]
    done = subprocess.run(
        [machine.command, *words], cwd=tmp_path, env=machine.environment, capture_output=True, check=True
    )
    assert done.stdout == b"there\n"


def test_ipc_none_has_no_shared_memory(machine: Machine) -> None:
    assert machine.run("run", "--rm", "--ipc", "none", IMAGE, "stat", "/dev/shm").returncode == 1


def test_shared_memory_of_size_0_has_the_default_size(machine: Machine) -> None:
    shown = machine.ok("run", "--rm", "--shm-size", "0", IMAGE, "mount")
    assert "size=65536k" in next(line for line in shown.splitlines() if " /dev/shm " in line)


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Path]:
    """A directory that is a shared mount of the host."""
    place = tmp_path / "shared"
    (place / "inside").mkdir(parents=True)
    subprocess.run(["mount", "--bind", place, place], check=True)
    try:
        subprocess.run(["mount", "--make-private", place], check=True)
        yield place
    finally:
        subprocess.run(["umount", "--recursive", place], check=True)


def test_mounts_go_both_ways_through_a_shared_bind_alone(machine: Machine, shared: Path) -> None:
    words = ["--privileged", IMAGE, "mount", "-t", "tmpfs", "from-inside", "/x/inside"]
    said = machine.refused("run", "--rm", "-v", f"{shared}:/x:rshared", *words, status=125)
    assert said == f"path {shared} is mounted on {shared} but it is not a shared mount"
    said = machine.refused("run", "--rm", "-v", f"{shared}:/x:rslave", *words, status=125)
    assert said == f"path {shared} is mounted on {shared} but it is not a shared or slave mount"
    subprocess.run(["mount", "--make-shared", shared], check=True)
    machine.ok("run", "--rm", "-v", f"{shared}:/x:rslave", *words)
    assert "from-inside" not in Path("/proc/self/mountinfo").read_text()
    machine.ok("run", "--rm", "-v", f"{shared}:/x:rshared", *words)
    assert "from-inside" in Path("/proc/self/mountinfo").read_text()
