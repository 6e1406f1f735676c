"""Bad input: one clear line that names the place, runc's exit code, nothing started, nothing left."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import leftovers
from tests.bundles import Bundle
from tests.runtime.face.runtimes import Runtime, last_line, session_prefix, unique


@pytest.fixture(autouse=True)
def nothing_is_left(ours: Runtime, tmp_path: Path) -> Iterator[None]:
    """No container, file of state, mount or cgroup, whatever was refused."""
    yield
    ours_to_clean = (session_prefix("bad"), str(tmp_path))
    assert not [line for line in leftovers.quick() if any(word in line for word in ours_to_clean)]
    assert not ours.root.exists() or [name for name in os.listdir(ours.root) if name != "@filters"] == []


def refused(runtime: Runtime, bundle: Path, *, code: int = 1) -> str:
    """What create and run say; they must say the same, in one line."""
    messages = []
    for command in ("create", "run"):
        result = runtime(command, "--bundle", str(bundle), unique("bad"))
        assert result.returncode == code
        assert result.stdout == ""
        lines = result.stderr.strip().splitlines()
        assert len(lines) == 1, result.stderr
        messages.append(lines[0].partition(f"{command} failed: ")[2].rstrip('"'))
    assert messages[0] == messages[1] != ""
    return messages[0]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "config.json: not JSON: "),
        ("{", "config.json: not JSON: "),
        ("{}{", "config.json: not JSON: "),
        ('{"ociVersion": 1' + "0" * 5000 + "}", "config.json: not JSON"),
        ("[" * 100000, "config.json: not JSON"),
        ("[]", "config.json: must be an object, not a list"),
        ("null", "config.json: must be an object, not null"),
        ('{"ociVersion": "1.0.0"}', "config.json: process: is missing"),
    ],
)
def test_a_config_that_is_no_configuration(ours: Runtime, bundle: Bundle, text: str, problem: str) -> None:
    (bundle.path / "config.json").write_text(text)
    assert refused(ours, bundle.path).startswith(problem)


def test_a_config_that_is_not_utf_8(ours: Runtime, bundle: Bundle) -> None:
    (bundle.path / "config.json").write_bytes(b'{"ociVersion": "\xff"}')
    assert "config.json: not JSON" in refused(ours, bundle.path)


def test_a_config_that_is_missing(ours: Runtime, bundle: Bundle) -> None:
    (bundle.path / "config.json").unlink()
    assert "config.json not found in" in refused(ours, bundle.path)


def test_a_bundle_that_is_missing(ours: Runtime, tmp_path: Path) -> None:
    assert "--bundle" in refused(ours, tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("member", "value", "problem"),
    [
        ("ociVersion", "2.0.0", "config.json: ociVersion: "),
        ("hostname", 5, "config.json: hostname: must be a string, not a number"),
        ("mounts", {}, "config.json: mounts: must be a list, not an object"),
    ],
)
def test_a_member_that_is_wrong(
    ours: Runtime, bundle: Bundle, member: str, value: object, problem: str
) -> None:
    bundle.config[member] = value
    bundle.save()
    assert refused(ours, bundle.path).startswith(problem)


def test_missing_arguments(ours: Runtime, bundle: Bundle) -> None:
    del bundle.process["args"]
    bundle.save()
    assert refused(ours, bundle.path) == "config.json: process.args: is missing"


def test_a_root_filesystem_that_does_not_exist(ours: Runtime, bundle: Bundle) -> None:
    bundle.config["root"]["path"] = "nowhere"
    bundle.save()
    message = refused(ours, bundle.path)
    assert "root.path" in message
    assert "no such file or directory" in message.lower()


@pytest.mark.parametrize(
    ("program", "problem"),
    [
        ("nonexistent", "executable file not found in $PATH"),
        ("/nonexistent", "no such file or directory"),
        ("/etc", "permission denied"),
        ("/etc/passwd", "permission denied"),
    ],
)
def test_a_program_that_cannot_be_executed(ours: Runtime, bundle: Bundle, program: str, problem: str) -> None:
    (bundle.rootfs / "etc" / "passwd").chmod(0o644)
    bundle.command(program)
    result = ours("run", "--bundle", str(bundle.path), unique("bad"))
    assert result.returncode == 1
    assert problem in last_line(result)
    assert "process.args[0]" in last_line(result)


def test_an_unknown_capability_is_a_warning(ours: Runtime, bundle: Bundle) -> None:
    bundle.process["capabilities"]["bounding"].append("CAP_NONSENSE")
    bundle.command("true")
    result = ours("run", "--bundle", str(bundle.path), unique("bad"))
    assert result.returncode == 0
    assert "level=warning" in result.stderr
    assert "CAP_NONSENSE" in result.stderr


def test_an_unknown_system_call_is_a_warning(ours: Runtime, bundle: Bundle) -> None:
    rule = {"names": ["mount", "nonsense_call"], "action": "SCMP_ACT_ERRNO"}
    bundle.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
    bundle.command("true")
    result = ours("run", "--bundle", str(bundle.path), unique("bad"))
    assert result.returncode == 0
    assert "level=warning" in result.stderr
    assert "config.json: linux.seccomp.syscalls[0].names: " in result.stderr
    assert "nonsense_call" in result.stderr


def test_a_sysctl_outside_the_containers_namespaces(ours: Runtime, bundle: Bundle) -> None:
    bundle.linux["sysctl"] = {"kernel.core_pattern": "x"}
    bundle.save()
    message = refused(ours, bundle.path)
    assert "linux.sysctl[" in message
    assert "would change the host" in message
    assert Path("/proc/sys/kernel/core_pattern").read_text() != "x\n"


def test_a_mount_whose_source_is_missing(ours: Runtime, bundle: Bundle) -> None:
    bundle.config["mounts"].append({"destination": "/x", "source": "/nonexistent", "options": ["bind"]})
    bundle.save()
    message = refused(ours, bundle.path)
    assert "mounts[7]" in message
    assert "no such file or directory" in message.lower()


@pytest.mark.parametrize("container_id", ["a/b", "../x", "..", ".", "x" * 2000, "a b", "", "ä"])
def test_an_id_that_cannot_be_one(ours: Runtime, bundle: Bundle, container_id: str) -> None:
    for command in ("create", "run", "state", "start", "kill", "delete", "pause", "resume", "ps"):
        result = ours(command, container_id, cwd=bundle.path)
        assert result.returncode == 1
        assert len(result.stderr.splitlines()) == 1
        assert "container id" in result.stderr
    assert ours("exec", container_id, "true").returncode == 255


def test_preserved_descriptors_that_are_not_open(ours: Runtime, bundle: Bundle) -> None:
    result = ours("run", "--bundle", str(bundle.path), "--preserve-fds", "3", unique("bad"))
    assert result.returncode == 1
    assert "--preserve-fds: descriptor 3 is not open" in last_line(result)


def test_a_console_socket_nobody_listens_on(ours: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    bundle.process["terminal"] = True
    bundle.save()
    nobody = str(tmp_path / "nobody.sock")
    arguments = ("create", "--console-socket", nobody, "--bundle", str(bundle.path), unique("bad"))
    result = ours(*arguments)
    assert result.returncode == 1
    assert f"--console-socket {nobody}" in last_line(result)


@pytest.mark.parametrize("flags", [[], ["--detach"]])
def test_a_terminal_where_there_is_none(ours: Runtime, bundle: Bundle, flags: list[str]) -> None:
    bundle.process["terminal"] = True
    bundle.save()
    words = ours.words("run", *flags, "--bundle", str(bundle.path), unique("bad"))
    result = subprocess.run(
        words,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        start_new_session=True,
        check=False,
    )
    assert result.returncode == 1
    assert "t" in last_line(result)


def test_a_pid_file_that_cannot_be_written_ends_the_container(
    ours: Runtime, bundle: Bundle, tmp_path: Path
) -> None:
    bundle.command("sleep", "300")
    for command in ("create", "run"):
        arguments = (command, "--pid-file", str(tmp_path / "no" / "pid"), "--bundle", str(bundle.path))
        result = ours(*arguments, unique("bad"))
        assert result.returncode == 1
        assert "no" in last_line(result)


@pytest.mark.parametrize(
    ("general", "flags", "problem"),
    [
        (["--rootless", "maybe"], [], "--rootless maybe"),
        ([], ["--preserve-fds", "-1"], "--preserve-fds must not be negative"),
        ([], ["--console-socket", "/x"], "console socket"),
    ],
)
def test_flags_that_are_refused(
    ours: Runtime, bundle: Bundle, general: list[str], flags: list[str], problem: str
) -> None:
    result = ours(*general, "create", "--bundle", str(bundle.path), *flags, unique("bad"))
    assert result.returncode == 1
    assert problem in last_line(result)


def test_a_bundle_path_through_a_symlink_that_is_swapped_while_it_runs(
    ours: Runtime, bundle: Bundle, tmp_path: Path
) -> None:
    """Whichever bundle is found, config and root filesystem are of the same one."""
    bundle.command("cat", "/mark")
    other = tmp_path / "other"
    subprocess.run(["cp", "-a", str(bundle.path), str(other)], check=True)
    (bundle.rootfs / "mark").write_text("first")
    (other / "rootfs" / "mark").write_text("second")
    for path, word in ((bundle.path, "first"), (other, "second")):
        config = json.loads((path / "config.json").read_text())
        config["process"]["args"] = ["sh", "-c", f"echo {word} $(cat /mark)"]
        (path / "config.json").write_text(json.dumps(config))
    link = tmp_path / "link"
    link.symlink_to(other)
    done = threading.Event()

    def swap() -> None:
        targets = [bundle.path, other]
        while not done.is_set():
            temporary = tmp_path / "next"
            temporary.symlink_to(targets[0])
            temporary.rename(link)
            targets.reverse()

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        for _ in range(20):
            result = ours("run", "--bundle", str(link), unique("bad"))
            assert result.stdout in ("first first\n", "second second\n"), result.stderr
    finally:
        done.set()
        swapper.join()


def test_a_resource_limit_that_the_kernel_refuses_leaves_nothing(ours: Runtime, bundle: Bundle) -> None:
    bundle.linux["resources"]["cpu"] = {"cpus": "9999"}
    bundle.save()
    result = ours("run", "--bundle", str(bundle.path), unique("bad"))
    assert result.returncode == 1
    assert "config.json: linux.resources: " in last_line(result)
    assert "cpuset.cpus" in last_line(result)


def test_exec_refuses_what_is_no_process(ours: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    container_id = unique("bad")
    bundle.command("sleep", "300")
    assert ours.start_detached("run", "-d", "-b", str(bundle.path), container_id) == 0
    process = tmp_path / "process.json"
    for text, problem in (
        ("{", "not JSON"),
        ('{"args": ["x"]}', "cwd: is missing"),
        ('{"args": ["x"], "cwd": "x"}', "cwd: "),
        ('{"args": [], "cwd": "/"}', "args: must not be empty"),
    ):
        process.write_text(text)
        result = ours("exec", "--process", str(process), container_id)
        assert result.returncode == 255
        assert problem in last_line(result)
    for arguments, problem in (
        ((container_id,), "exec args cannot be empty"),
        (("--user", "root", container_id, "id"), "is not a uid"),
        (("--user", "1:", container_id, "id"), "is not a gid"),
        (("--additional-gids", "-1", container_id, "id"), "--additional-gids"),
        (("--cwd", "x", container_id, "id"), "cwd: "),
        (("--env", "x", container_id, "id"), "NAME=VALUE"),
        (("--cgroup", "x", container_id, "id"), "does not exist: make it first"),
        (("--cwd", "/nonexistent", container_id, "id"), "process.cwd"),
    ):
        result = ours("exec", *arguments)
        assert result.returncode == 255
        assert problem in last_line(result)
    assert ours("delete", "--force", container_id).returncode == 0
