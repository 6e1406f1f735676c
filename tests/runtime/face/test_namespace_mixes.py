"""Kernel namespaces joined by path in every mix of owners, beside runc."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bundles import Bundle
from tests.peers import command, peer
from tests.runtime.face.runtimes import Runtime, unique
from tests.waiting import wait_until

FILES = {"pid": "pid", "network": "net", "ipc": "ipc", "uts": "uts", "cgroup": "cgroup"}
MAPPING = [{"containerID": 0, "hostID": 100000, "size": 65536}]
UNSHARE = ["--net", "--ipc", "--uts", "--cgroup", "--pid", "--fork", "--kill-child", "sleep", "1000"]
NOWHERE: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)


def _runs_sleep(pid: int) -> bool:
    return Path(f"/proc/{pid}/comm").read_text() == "sleep\n"


def _child(pid: int) -> int:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(children[0]) if children and _runs_sleep(int(children[0])) else 0


@pytest.fixture(scope="module")
def hosts_own() -> Iterator[int]:
    """A process in namespaces that belong to the first user namespace."""
    with subprocess.Popen([peer("unshare"), *UNSHARE], **NOWHERE) as process:
        yield wait_until(lambda: _child(process.pid))
        process.kill()


@pytest.fixture(scope="module")
def users_own() -> Iterator[int]:
    """A process in a user namespace and in others that belong to that."""
    with subprocess.Popen([peer("unshare"), "--user", "sleep", "1000"], **NOWHERE) as first:
        wait_until(lambda: _runs_sleep(first.pid))
        for name in ("uid_map", "gid_map"):
            Path(f"/proc/{first.pid}/{name}").write_text("0 100000 65536\n")
        words = ["nsenter", f"--user=/proc/{first.pid}/ns/user", "--setuid", "0", "--setgid", "0"]
        with subprocess.Popen([*words, peer("unshare"), *UNSHARE], **NOWHERE) as second:
            yield wait_until(lambda: _child(second.pid))
            second.kill()
        first.kill()


@pytest.fixture
def bundle(busybox_rootfs: Path) -> Iterator[Bundle]:
    """A bundle that ids of a user namespace may reach: runc goes there with them."""
    place = Path(tempfile.mkdtemp(prefix="mix-"))
    place.chmod(0o755)
    yield Bundle(place / "bundle", busybox_rootfs)
    shutil.rmtree(place)


@pytest.fixture
def runtimes(tmp_path: Path, root: None) -> Iterator[tuple[Runtime, Runtime]]:
    """cloche-runc and runc."""
    with (
        Runtime(command("cloche-runc"), tmp_path / "ours") as ours,
        Runtime(peer("runc"), tmp_path / "theirs") as theirs,
    ):
        yield ours, theirs


def mixes() -> Iterator[tuple[str, str, str]]:
    """A user namespace (none, new, joined), the kind that is special, and how (none, joined: whose)."""
    for user in ("none", "new", "joined"):
        yield user, "all", "new"
        for whose in ("host's", "user's"):
            yield user, "all", whose
        for kind in FILES:
            for whose in ("none", "host's", "user's"):
                yield user, kind, whose


def configure(bundle: Bundle, mix: tuple[str, str, str], holders: dict[str, int]) -> dict[str, str]:
    """Give the bundle its namespaces; which they must be then, by their kinds."""
    user, special, how = mix
    namespaces: list[dict[str, str]] = [{"type": "mount"}]
    expected = {"user": {"none": "the caller's", "new": "new", "joined": "user's"}[user]}
    if user != "none":
        theirs = holders["user's"]
        path = {"path": f"/proc/{theirs}/ns/user"} if user == "joined" else {}
        namespaces.append({"type": "user", **path})
        bundle.linux["uidMappings"] = bundle.linux["gidMappings"] = MAPPING
    for kind, file in FILES.items():
        wanted = how if special in (kind, "all") else "new"
        expected[kind] = "the caller's" if wanted == "none" else wanted
        if wanted != "none":
            path = {"path": f"/proc/{holders[wanted]}/ns/{file}"} if wanted in holders else {}
            namespaces.append({"type": kind, **path})
    bundle.linux["namespaces"] = namespaces
    if expected["uts"] != "new":
        del bundle.config["hostname"]
    # What can be mounted depends on who owns what; that is not the question here.
    bind = {"destination": "/proc", "type": "bind", "source": "/proc", "options": ["rbind"]}
    dev = {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]}
    bundle.config["mounts"] = [bind, dev]
    bundle.linux["maskedPaths"] = bundle.linux["readonlyPaths"] = []
    bundle.command("sleep", "1000")
    return expected


def whose(pid: int, holders: dict[str, int]) -> dict[str, str]:
    """Whose namespaces a process is in, by their kinds."""
    found = {}
    for kind, file in {**FILES, "user": "user"}.items():
        owners = {os.readlink(f"/proc/{holder}/ns/{file}"): name for name, holder in holders.items()}
        owners[os.readlink(f"/proc/self/ns/{file}")] = "the caller's"
        found[kind] = owners.get(os.readlink(f"/proc/{pid}/ns/{file}"), "new")
    return found


@pytest.mark.parametrize("mix", [*mixes()], ids="-".join)
def test_every_mix_of_owners(
    runtimes: tuple[Runtime, Runtime],
    bundle: Bundle,
    mix: tuple[str, str, str],
    hosts_own: int,
    users_own: int,
) -> None:
    holders = {"host's": hosts_own, "user's": users_own}
    expected = configure(bundle, mix, holders)
    for runtime in runtimes:
        # runc 1.1 gives the host's rights up before it joins what needs them; later ones, and we, do not.
        early = runtime.name == "runc"
        if early and mix[0] == "joined" and mix[2] == "host's":
            continue
        container_id = unique("mix")
        log = bundle.path / "log"
        words = ["--log", str(log), "run", "--detach", "--bundle", str(bundle.path), container_id]
        assert runtime.start_detached(*words) == 0, log.read_text()
        assert whose(runtime.state(container_id)["pid"], holders) == expected, runtime.name
        executed = runtime("exec", container_id, "true")
        assert executed.returncode == 0 or (early and mix[0] == "new"), executed.stderr
        runtime("delete", "--force", container_id)


@pytest.mark.parametrize("pids", ["none", "host's", "user's", "new"])
@pytest.mark.parametrize("user", ["new", "joined"])
def test_a_sysctl_is_written_whoever_owns_the_processes(
    runtimes: tuple[Runtime, Runtime], bundle: Bundle, user: str, pids: str, hosts_own: int, users_own: int
) -> None:
    """Only whoever owns the pid namespace may mount a procfs of it, through which sysctls are written."""
    holders = {"host's": hosts_own, "user's": users_own}
    configure(bundle, (user, "pid", pids), holders)
    bundle.linux["sysctl"] = {"net.ipv4.ip_forward": "1", "kernel.shm_rmid_forced": "1"}
    script = "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shm_rmid_forced"
    bundle.command("sh", "-c", script)
    before = Path("/proc/sys/kernel/shm_rmid_forced").read_text()
    for runtime in runtimes:
        if runtime.name == "runc" and (user, pids) == ("joined", "host's"):
            continue  # see above
        result = runtime("run", "--bundle", str(bundle.path), unique("mix"))
        assert (result.stdout, result.returncode) == ("1\n1\n", 0), result.stderr
    assert Path("/proc/sys/kernel/shm_rmid_forced").read_text() == before
