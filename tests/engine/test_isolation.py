"""What a container with default settings can see and do, asked from inside."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cloche.engine.engine import Engine
from cloche.engine.images import Image
from cloche.engine.options import MountOption, Options

pytestmark = pytest.mark.system


def _ask(engine: Engine, image: Image, script: str, options: Options | None = None) -> str:
    result = engine.run(image, ["sh", "-c", script], options=options, timeout_s=20)
    assert result.exit_code == 0, result
    return result.stdout.decode().strip()


def _fails(engine: Engine, image: Image, script: str, options: Options | None = None) -> str:
    result = engine.run(image, ["sh", "-c", script], options=options, timeout_s=20)
    assert result.exit_code != 0, result
    return result.stderr.decode()


def _status(engine: Engine, image: Image, options: Options | None = None) -> dict[str, str]:
    text = _ask(engine, image, "cat /proc/self/status", options)
    return {key: value.strip() for key, _, value in (line.partition(":") for line in text.splitlines())}


def test_it_is_process_one_with_a_host_name_of_its_own(engine: Engine, tools: Image) -> None:
    pid, name, file = _ask(engine, tools, "echo $$; hostname; cat /etc/hostname").split()
    assert pid == "1"
    assert name == file != os.uname().nodename
    assert _ask(engine, tools, "hostname", Options(hostname="box")) == "box"


def test_it_sees_only_the_loopback(engine: Engine, tools: Image) -> None:
    assert _ask(engine, tools, "ls /sys/class/net") == "lo"
    assert "lo" in _ask(engine, tools, "ls /sys/class/net", Options(network="host"))


def test_its_cgroup_is_the_root_it_sees_and_cannot_be_written(engine: Engine, tools: Image) -> None:
    lines = _ask(engine, tools, "cat /proc/self/cgroup").splitlines()
    assert lines
    assert all(line.split(":", 2)[2] == "/" for line in lines)
    message = _fails(engine, tools, "mkdir /sys/fs/cgroup/memory/x || mkdir /sys/fs/cgroup/x")
    assert "Read-only file system" in message


def test_it_holds_dockers_capabilities_and_no_inheritable_ones(engine: Engine, tools: Image) -> None:
    status = _status(engine, tools)
    assert status["CapEff"] == status["CapPrm"] == status["CapBnd"] == "00000000a80425fb"
    assert status["CapInh"] == status["CapAmb"] == "0" * 16
    assert status["NoNewPrivs"] == "0"


def test_another_user_has_no_effective_capability(engine: Engine, tools: Image) -> None:
    status = _status(engine, tools, Options(user="1000"))
    assert status["CapEff"] == status["CapPrm"] == "0" * 16
    assert status["CapBnd"] == "00000000a80425fb"
    assert status["Uid"].split() == ["1000"] * 4


def test_a_filter_is_in_force_and_refuses_new_namespaces(engine: Engine, tools: Image) -> None:
    assert _status(engine, tools)["Seccomp"] == "2"
    assert "Operation not permitted" in _fails(engine, tools, "unshare --user true")
    unconfined = Options(security_opt=("seccomp=unconfined",))
    assert _status(engine, tools, unconfined)["Seccomp"] == "0"


def test_no_new_privileges_and_an_own_profile_are_obeyed(engine: Engine, tools: Image) -> None:
    profile = (
        '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": '
        '[{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}]}'
    )
    options = Options(security_opt=("no-new-privileges", f"seccomp={profile}"))
    assert _status(engine, tools, options)["NoNewPrivs"] == "1"
    assert "not supported" in _fails(engine, tools, "mkdir /x", options)


@pytest.mark.parametrize("path", ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"])
def test_what_tells_of_the_host_is_masked(engine: Engine, tools: Image, path: str) -> None:
    if os.path.exists(path):
        assert _ask(engine, tools, f"if test -d {path}; then ls {path}; else cat {path}; fi") == ""


def test_proc_sys_is_read_only(engine: Engine, tools: Image) -> None:
    message = _fails(engine, tools, "echo 1 > /proc/sys/kernel/panic")
    assert "ead-only file system" in message


def test_a_sysctl_of_its_own_namespace_is_set(engine: Engine, tools: Image) -> None:
    options = Options(sysctls={"net.ipv4.ip_unprivileged_port_start": "7"})
    assert _ask(engine, tools, "cat /proc/sys/net/ipv4/ip_unprivileged_port_start", options) == "7"


def test_devices_of_the_host_are_not_there_and_not_allowed(engine: Engine, tools: Image) -> None:
    names = set(_ask(engine, tools, "ls /dev").split())
    assert {"null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts", "shm", "mqueue"} <= names
    assert not {name for name in names if name.startswith(("sd", "vd", "kmsg", "mem"))}


def test_a_device_that_is_given_is_there(engine: Engine, tools: Image) -> None:
    from cloche.engine.grammar import device

    options = Options(devices=(device("/dev/null:/dev/mine:r"),))
    assert _ask(engine, tools, "stat -c %t:%T /dev/mine; cat /dev/mine", options) == "1:3"


def test_a_read_only_root_has_its_writable_places(engine: Engine, tools: Image) -> None:
    options = Options(read_only=True, mounts=(MountOption("tmpfs", "/tmp", tmpfs_options=("size=1m",)),))
    assert _ask(engine, tools, "touch /tmp/x /dev/shm/x && echo yes", options) == "yes"
    assert "Read-only file system" in _fails(engine, tools, "touch /x", options)


def test_a_read_only_bind_cannot_be_written_nor_the_host_through_it(
    engine: Engine, tools: Image, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("here")
    read_only = Options(mounts=(MountOption("bind", "/in", str(tmp_path), read_only=True),))
    assert _ask(engine, tools, "cat /in/file", read_only) == "here"
    assert "Read-only file system" in _fails(engine, tools, "touch /in/new", read_only)
    assert "Read-only file system" in _fails(engine, tools, "rm /in/file", read_only)
    writable = Options(mounts=(MountOption("bind", "/in", str(tmp_path)),))
    _ask(engine, tools, "touch /in/new", writable)
    assert (tmp_path / "new").exists()


def test_a_missing_source_is_made_for_a_volume_flag_only(
    engine: Engine, tools: Image, tmp_path: Path
) -> None:
    made = tmp_path / "deep" / "er"
    _ask(
        engine,
        tools,
        "touch /in/x",
        Options(mounts=(MountOption("bind", "/in", str(made), create_source=True),)),
    )
    assert (made / "x").exists()


def test_limits_are_in_its_cgroup(engine: Engine, tools: Image) -> None:
    options = Options(memory=64 << 20, pids_limit=50, cpus=0.5, cpu_shares=512)
    v1 = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/pids/pids.max"
    v2 = "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max"
    assert _ask(engine, tools, f"{v1} 2>/dev/null || {v2}", options).split() == [str(64 << 20), "50"]


def test_init_reaps_and_hands_signals_on(engine: Engine, tools: Image) -> None:
    options = Options(init=True)
    assert _ask(engine, tools, "readlink /proc/1/exe; test $$ != 1", options).endswith("/sbin/docker-init")
    assert engine.run(tools, ["sh", "-c", "exit 7"], options=options, timeout_s=20).exit_code == 7


def test_nothing_of_the_host_is_mounted_or_left_open(engine: Engine, tools: Image) -> None:
    lines = _ask(engine, tools, "cat /proc/self/mountinfo").splitlines()
    places = {"/" + line.split()[4].split("/")[1] for line in lines}
    assert places == {"/", "/proc", "/dev", "/sys", "/etc"}
    assert {line.split()[4] for line in lines if line.split()[4].startswith("/etc")} == {
        "/etc/hosts",
        "/etc/hostname",
        "/etc/resolv.conf",
    }
    numbers = _ask(engine, tools, "ls /proc/self/fd").split()
    assert set(numbers) <= {"0", "1", "2", "3"}, numbers


def test_privileged_takes_the_walls_down(engine: Engine, tools: Image) -> None:
    options = Options(privileged=True)
    status = _status(engine, tools, options)
    assert status["Seccomp"] == "0"
    with open("/proc/self/status", encoding="ascii") as file:
        own = next(line.split()[1] for line in file if line.startswith("CapBnd"))
    assert status["CapBnd"] == own
    assert _ask(engine, tools, "echo 1 > /proc/sys/vm/swappiness; ls /dev", options)


def test_a_private_user_namespace_has_no_capability_over_the_host(engine: Engine, tools: Image) -> None:
    options = Options(userns="private")
    assert _ask(engine, tools, "cat /proc/self/uid_map", options).split() == ["0", "0", "65536"]
    assert _ask(engine, tools, "id -u; touch /x && echo made", options).split() == ["0", "made"]
