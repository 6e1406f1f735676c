"""An ordinary user runs containers: the bundle of `spec --rootless`, beside runc's."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import cloche
from tests import leftovers, peers
from tests.bundles import make_rootfs
from tests.runtime.face.runtimes import Runtime, last_line, unique
from tests.waiting import wait_until

UID = 61234
_MAIN = "from cloche.runtime.command import main; main()"


class Account:
    """A user of the machine with a home that holds a bundle; whose Python is the system's own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.bundle = home / "bundle"
        self.runtime_directory = home / "run"
        for directory in (self.bundle, self.runtime_directory):
            directory.mkdir()
        make_rootfs(self.bundle / "rootfs")
        package = Path(cloche.__file__).parent
        shutil.copytree(package, home / "lib" / "cloche", ignore=shutil.ignore_patterns("__pycache__"))
        for program in ("cloche-runc", "runc"):
            self._write_command(program)
        subprocess.run(["chown", "-R", f"{UID}:{UID}", str(home)], check=True)
        home.chmod(0o755)
        assert self("runc")("spec", "--rootless", cwd=self.bundle).returncode == 0
        self.change(lambda config: config["process"].update(terminal=False))
        self.change(lambda config: config["root"].update(readonly=False))

    def _write_command(self, name: str) -> None:
        command = peers.peer("runc") if name == "runc" else f"/usr/bin/python3 -c '{_MAIN}'"
        environment = f"HOME={self.home} XDG_RUNTIME_DIR={self.runtime_directory} PATH={os.defpath}:/usr/sbin"
        script = self.home / name
        script.write_text(
            f"#!/bin/sh\nexec setpriv --reuid {UID} --regid {UID} --clear-groups env -i {environment} "
            f"{leftovers.SESSION_VARIABLE}={os.environ[leftovers.SESSION_VARIABLE]} "
            f'PYTHONPATH={self.home}/lib {command} "$@"\n'
        )
        script.chmod(0o755)

    def __call__(self, name: str) -> Runtime:
        return Runtime(str(self.home / name), self.runtime_directory / name)

    def change(self, edit: Any) -> None:
        """Edit config.json."""
        path = self.bundle / "config.json"
        config = json.loads(path.read_text())
        edit(config)
        path.write_text(json.dumps(config))

    def command(self, *words: str) -> None:
        """Set process.args."""
        self.change(lambda config: config["process"].update(args=list(words)))


@pytest.fixture
def account(root: None) -> Iterator[Account]:
    version = subprocess.run(
        ["/usr/bin/python3", "-c", "import sys; print(sys.version_info >= (3, 11))"],
        capture_output=True,
        text=True,
        check=False,
    )
    if version.stdout.strip() != "True":
        peers.unavailable("needs a Python 3.11 that every user may run: apt-get install python3")
    home = Path(tempfile.mkdtemp(prefix="u-", dir="/tmp"))
    try:
        yield Account(home)
    finally:
        shutil.rmtree(home)


@pytest.mark.parametrize("name", ["cloche-runc", "runc"])
def test_an_ordinary_user_runs_a_container(account: Account, name: str) -> None:
    account.command("sh", "-c", "id -u; cat /proc/self/uid_map; echo made > /made; cat /proc/self/setgroups")
    with account(name) as runtime:
        result = runtime("run", "--bundle", str(account.bundle), unique("user"))
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["0", "0", str(UID), "1", "deny"]
    assert (account.bundle / "rootfs" / "made").stat().st_uid == UID


@pytest.mark.parametrize("name", ["cloche-runc", "runc"])
def test_a_life_without_root(account: Account, name: str) -> None:
    account.command("sleep", "300")
    container_id = unique("user")
    with account(name) as runtime:
        assert runtime.start_detached("create", "--bundle", str(account.bundle), container_id) == 0
        assert runtime.status(container_id) == "created"
        assert runtime("start", container_id).returncode == 0
        assert runtime.status(container_id) == "running"
        result = runtime("exec", container_id, "sh", "-c", "id -u; exit 3")
        assert (result.returncode, result.stdout) == (3, "0\n")
        for command in (["pause"], ["ps", "-f", "json"], ["update", "--pids-limit", "5"]):
            result = runtime(*command, container_id)
            assert result.returncode == 1, command
            assert "cgroup" in result.stderr
        assert runtime("kill", container_id, "KILL").returncode == 0
        wait_until(lambda: runtime.status(container_id) == "stopped", what="the end of the container")
        assert runtime("delete", container_id).returncode == 0
        assert runtime("list", "-q").stdout == ""


def test_the_state_is_below_the_users_own_directory(account: Account) -> None:
    account.command("sleep", "300")
    container_id = unique("user")
    program = str(account.home / "cloche-runc")
    nowhere = subprocess.DEVNULL
    words = [program, "run", "--detach", "--bundle", str(account.bundle), container_id]
    subprocess.run(words, stdin=nowhere, stdout=nowhere, stderr=nowhere, check=True)
    assert (account.runtime_directory / "cloche" / "runc" / container_id / "state.json").exists()
    subprocess.run([program, "delete", "--force", container_id], check=True)


def test_spec_writes_what_the_user_can_run(account: Account) -> None:
    (account.bundle / "config.json").unlink()
    with account("cloche-runc") as runtime:
        assert runtime("spec", "--rootless", cwd=account.bundle).returncode == 0
        account.change(lambda config: config["process"].update(terminal=False, args=["echo", "here"]))
        result = runtime("run", "--bundle", str(account.bundle), unique("user"))
    assert (result.returncode, result.stdout) == (0, "here\n"), result.stderr


def test_a_lower_oom_score_is_left_as_it_is(account: Account) -> None:
    account.change(lambda config: config["process"].update(oomScoreAdj=-500))
    account.command("cat", "/proc/self/oom_score_adj")
    with account("cloche-runc") as runtime:
        result = runtime("run", "--bundle", str(account.bundle), unique("user"))
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) == int(Path("/proc/self/oom_score_adj").read_text())


def test_bind_mounts_of_what_the_user_may_see(account: Account) -> None:
    (account.home / "data").mkdir()
    (account.home / "data" / "word").write_text("shared")
    mount = {"destination": "/data", "source": str(account.home / "data"), "options": ["bind", "ro"]}
    account.change(lambda config: config["mounts"].append(mount))
    account.command("sh", "-c", "cat /data/word; touch /data/x")
    with account("cloche-runc") as runtime:
        result = runtime("run", "--bundle", str(account.bundle), unique("user"))
        assert result.stdout == "shared"
        assert "Read-only" in result.stderr
        account.change(lambda config: config["mounts"][-1].update(source="/root/secret"))
        result = runtime("run", "--bundle", str(account.bundle), unique("user"))
    assert result.returncode == 1
    assert "mounts[7]" in last_line(result)
    assert "permission denied" in last_line(result)


def test_ids_that_are_not_the_users_need_its_ranges(account: Account) -> None:
    peers.peer("newuidmap")
    more = {"containerID": 1, "hostID": 400000, "size": 1000}
    account.change(lambda config: config["linux"]["uidMappings"].append(more))
    with account("cloche-runc") as runtime:
        result = runtime("run", "--bundle", str(account.bundle), unique("user"))
    assert result.returncode == 1
    assert "newuidmap" in last_line(result)
    assert "/etc/subuid" in last_line(result)


def test_ranges_of_ids_are_mapped_by_the_helpers(account: Account) -> None:
    peers.peer("newuidmap")
    passwd, ranges = account.home / "passwd", account.home / "subids"
    passwd.write_text(f"{Path('/etc/passwd').read_text()}tester:x:{UID}:{UID}::/:/bin/sh\n")
    ranges.write_text("tester:400000:1000\n")
    for kind in ("uidMappings", "gidMappings"):
        more = {"containerID": 1, "hostID": 400000, "size": 1000}
        account.change(lambda config, kind=kind, more=more: config["linux"][kind].append(more))
    account.change(lambda config: config["process"].update(user={"uid": 5, "gid": 6, "additionalGids": [7]}))
    account.command("sh", "-c", "id -u; id -G; cat /proc/self/uid_map")
    words = ["--root", f"{account.runtime_directory}/r", "run", "-b", str(account.bundle), unique("user")]
    run = " ".join([str(account.home / "cloche-runc"), *words])
    files = ((passwd, "/etc/passwd"), (ranges, "/etc/subuid"), (ranges, "/etc/subgid"))
    binds = " && ".join(f"mount --bind {ours} {theirs}" for ours, theirs in files)
    result = subprocess.run(
        ["unshare", "--mount", "sh", "-c", f"{binds} && exec {run}"],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["5", "6", "7", "0", str(UID), "1", "1", "400000", "1000"]


def test_a_bundle_for_root_is_refused_with_what_to_do(account: Account) -> None:
    namespaces = [{"type": "pid"}, {"type": "mount"}]
    account.change(lambda config: config.pop("hostname"))
    account.change(lambda config: config["linux"].update(namespaces=namespaces))
    account.change(lambda config: config["linux"].update(uidMappings=[], gidMappings=[]))
    with account("cloche-runc") as runtime:
        result = runtime("run", "--bundle", str(account.bundle), unique("user"))
    assert result.returncode == 1
    assert "spec --rootless" in last_line(result)


def test_what_is_explained_is_what_an_ordinary_user_gets(account: Account) -> None:
    with account("cloche-runc") as runtime:
        result = runtime("run", "--explain", "--bundle", str(account.bundle), unique("user"))
    assert result.returncode == 0, result.stderr
    assert "enter cgroup" not in result.stdout
    assert "stage two: copy tree" in result.stdout
    assert "clone tree" not in result.stdout


def test_a_place_for_state_that_is_not_the_users(account: Account) -> None:
    runtime = account("cloche-runc")
    runtime.root = Path("/run/cloche-not-yours")
    result = runtime("run", "--bundle", str(account.bundle), unique("user"))
    assert result.returncode == 1
    assert "XDG_RUNTIME_DIR" in last_line(result)
