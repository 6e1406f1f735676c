"""A user without root and the part of cgroup2 that is his; run inside the guest (see test_systemd.py)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bundles import make_rootfs
from tests.peers import command, peer
from tests.runtime.face.runtimes import Result, last_line
from tests.vm.systemd import USER
from tests.waiting import wait_until

TREE = Path("/sys/fs/cgroup")
MANAGED = f"/user.slice/user-{USER}.slice/user@{USER}.service/user.slice"
DELEGATED = TREE / "cloche-delegated"


_BECOME = """
import os, sys
user, cgroup = int(sys.argv[1]), sys.argv[2]
if cgroup:
    with open(f"{cgroup}/cgroup.procs", "w") as file:
        file.write("0")
os.setgroups([])
os.setgid(user)
os.setuid(user)
os.execvp(sys.argv[3], sys.argv[3:])
"""


class Account:
    """User 1000 with a bundle and one runtime. flags: in front of its commands; cgroup: where he sits."""

    def __init__(self, home: Path, program: str, *flags: str, cgroup: Path | None = None) -> None:
        self.bundle = home / "bundle"
        self._words = [program, "--root", str(home / Path(program).name), *flags]
        self._cgroup = cgroup
        if not self.bundle.exists():
            make_rootfs(self.bundle / "rootfs")
            subprocess.run(["chown", "-R", f"{USER}:{USER}", str(home)], check=True)
            self.run(peer("runc"), "spec", "--rootless", "--bundle", str(self.bundle))
        self.change(terminal=False, args=["sleep", "1000"])

    def run(self, *words: str, quiet: bool = False) -> Result:
        """Run a command as the user. quiet: without reading what it says."""
        words = (sys.executable, "-I", "-c", _BECOME, str(USER), str(self._cgroup or ""), *words)
        environment = {"PATH": os.environ["PATH"], "XDG_RUNTIME_DIR": f"/run/user/{USER}", "HOME": "/tmp"}
        streams: Any = subprocess.DEVNULL if quiet else subprocess.PIPE
        return subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            stdout=streams,
            stderr=streams,
            text=True,
            check=False,
            timeout=60,
            env=environment,
        )

    def __call__(self, *words: str, quiet: bool = False) -> Result:
        """Run a command of the runtime."""
        return self.run(*self._words, *words, quiet=quiet)

    def change(self, *, resources: Any = None, **process: Any) -> None:
        """Edit config.json."""
        path = self.bundle / "config.json"
        config = json.loads(path.read_text())
        config["process"].update(process)
        if resources is not None:
            config["linux"]["resources"] = resources
        path.write_text(json.dumps(config))

    def made(self, container_id: str = "c1") -> int:
        """Run a container that stays; its pid."""
        log = self.bundle / "log"
        words = ["--log", str(log), "run", "--detach", "--bundle", str(self.bundle), container_id]
        assert self(*words, quiet=True).returncode == 0, log.read_text()
        return int(json.loads(self("state", container_id).stdout)["pid"])

    def close(self) -> None:
        """Delete all that is left."""
        for container_id in self("list", "-q").stdout.split():
            self("delete", "--force", container_id)


@pytest.fixture
def home(root: None) -> Iterator[Path]:
    """A directory that the user may enter."""
    place = Path(tempfile.mkdtemp(prefix="u-", dir="/disk"))
    place.chmod(0o755)
    yield place
    shutil.rmtree(place)


@pytest.fixture
def managed(home: Path) -> Iterator[Account]:
    """The user and his own systemd. He sits elsewhere, from where that alone may move what is his."""
    account = Account(home, command("cloche-runc"), "--systemd-cgroup")
    yield account
    account.close()


def membership(pid: int) -> str:
    """The cgroup of a process."""
    return Path(f"/proc/{pid}/cgroup").read_text().strip().removeprefix("0::")


def test_the_users_systemd_makes_the_scope_and_its_limits_act(managed: Account) -> None:
    managed.change(resources={"pids": {"limit": 20}, "memory": {"limit": 64 << 20}})
    pid = managed.made()
    assert membership(pid) == f"{MANAGED}/runc-c1.scope"
    place = TREE / membership(pid)[1:]
    assert (place / "pids.max").read_text() == "20\n"
    assert (place / "memory.max").read_text() == f"{64 << 20}\n"
    assert managed("exec", "c1", "cat", "/proc/self/cgroup").stdout == "0::/\n"
    script = "for i in $(seq 40); do sleep 5 & done; wait"
    assert "can't fork" in managed("exec", "c1", "sh", "-c", script).stderr
    assert managed("update", "--pids-limit", "5", "c1").returncode == 0
    assert (place / "pids.max").read_text() == "5\n"
    assert managed("pause", "c1").returncode == 0
    assert json.loads(managed("state", "c1").stdout)["status"] == "paused"
    assert managed("delete", "--force", "c1").returncode == 0
    assert not place.exists()


def test_without_a_manager_the_user_is_told_what_is_missing(home: Path) -> None:
    account = Account(home, command("cloche-runc"), "--systemd-cgroup")
    done = account.run(
        "env", "-u", "XDG_RUNTIME_DIR", *account._words, "run", "--bundle", str(account.bundle), "c1"
    )
    assert "neither XDG_RUNTIME_DIR nor DBUS_SESSION_BUS_ADDRESS is set" in last_line(done)


def _is_failed(unit: str) -> bool:
    return subprocess.run([peer("systemctl"), "--quiet", "is-failed", unit], check=False).returncode == 0


@pytest.fixture
def leaf(root: None) -> Iterator[Path]:
    """A part of cgroup2 that was given to the user, and the cgroup in it where he sits."""
    inner = DELEGATED / "leaf"
    inner.mkdir(parents=True)
    for controller in ("memory", "pids", "cpu"):
        for place in (TREE, DELEGATED):
            (place / "cgroup.subtree_control").write_text(f"+{controller}")
    for place in (DELEGATED, inner):
        os.chown(place, USER, USER)
        for name in ("cgroup.procs", "cgroup.subtree_control", "cgroup.threads"):
            os.chown(place / name, USER, USER)
    yield inner
    wait_until(lambda: not (inner / "cgroup.procs").read_text())
    for directory in sorted((p for p in DELEGATED.rglob("*") if p.is_dir()), reverse=True):
        directory.rmdir()
    DELEGATED.rmdir()


@pytest.fixture
def delegated(home: Path, leaf: Path) -> Iterator[Account]:
    """The user in the part of cgroup2 that is his, without systemd."""
    account = Account(home, command("cloche-runc"), "--rootless", "true", cgroup=leaf)
    yield account
    account.close()


def test_limits_act_in_a_part_of_cgroup2_that_is_the_users(delegated: Account) -> None:
    delegated.change(resources={"pids": {"limit": 20}, "memory": {"limit": 16 << 20, "swap": 16 << 20}})
    pid = delegated.made()
    place = DELEGATED / "c1"
    assert membership(pid) == f"/{DELEGATED.name}/c1"
    assert (place / "pids.max").read_text() == "20\n"
    assert delegated("exec", "c1", "cat", "/proc/self/cgroup").stdout == "0::/\n"
    eater = delegated("exec", "c1", "dd", "if=/dev/zero", "of=/dev/null", "bs=64M", "count=1")
    assert eater.returncode == 137
    assert "oom_kill 1" in (place / "memory.events").read_text()
    script = "for i in $(seq 40); do sleep 5 & done; wait"
    assert "can't fork" in delegated("exec", "c1", "sh", "-c", script).stderr
    assert delegated("update", "--pids-limit", "7", "c1").returncode == 0
    assert (place / "pids.max").read_text() == "7\n"
    assert delegated("pause", "c1").returncode == 0
    assert delegated("delete", "--force", "c1").returncode == 0
    assert not place.exists()


def test_who_insists_on_cgroups_is_told_where_he_has_none(home: Path) -> None:
    account = Account(home, command("cloche-runc"), "--rootless", "false")
    account.change(resources={})
    refused = last_line(account("run", "--bundle", str(account.bundle), "c1"))
    assert "linux.cgroupsPath" in refused
    assert "Permission denied" in refused
    assert account("list", "-q").stdout == ""


def test_a_container_can_be_deleted_after_its_user_has_logged_out(managed: Account) -> None:
    managed.made()
    manager = f"user@{USER}.service"
    # At once: asked politely, the container's first process would not end for a minute and a half.
    subprocess.run([peer("systemctl"), "kill", "--signal=KILL", manager], check=True)
    try:
        wait_until(lambda: _is_failed(manager))
        deleted = managed("delete", "--force", "c1")
        assert deleted.returncode == 0, deleted.stderr
        assert managed("list", "-q").stdout == ""
    finally:
        subprocess.run([peer("systemctl"), "start", manager], check=True)
