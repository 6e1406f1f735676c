"""What a test session leaves behind on the machine: nothing, or it fails."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.waiting import wait_until

# Every process that descends from the session carries this in its environment, however often it
# was handed to another parent.
SESSION_VARIABLE = "CLOCHE_TEST_SESSION"

STATE_DIRECTORIES = ("/run/cloche", "/var/lib/cloche")
# The cache of compiled filters: kept on purpose, for as long as the machine runs.
FILTERS = "@filters"


def _token() -> bytes:
    return f"{SESSION_VARIABLE}={os.environ.get(SESSION_VARIABLE, '')}".encode()


def _mounts() -> Iterator[str]:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split(" ")
        yield f"mount {fields[4]} ({fields[fields.index('-') + 1]}, id {fields[0]})"


def _cgroup_roots() -> Iterator[str]:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split(" ")
        if fields[fields.index("-") + 1] in ("cgroup", "cgroup2"):
            yield fields[4]


def _foreign(pid: str) -> bool:
    """Whether a process is neither ours nor in a container: it lives in the machine's own root."""
    try:
        environment = Path("/proc", pid, "environ").read_bytes()
        outside = os.readlink(f"/proc/{pid}/ns/mnt") == os.readlink("/proc/self/ns/mnt")
    except OSError:
        return False
    return outside and _token() not in environment.split(b"\0")


def _cgroups(*, all_owners: bool) -> Iterator[str]:
    """Every cgroup; without all_owners not those that only others' processes are in."""
    for root in _cgroup_roots():
        for directory, _, _ in os.walk(root):
            try:
                pids = Path(directory, "cgroup.procs").read_text().split()
            except OSError:
                pids = []
            if all_owners or not pids or not all(_foreign(pid) for pid in pids):
                yield f"cgroup {directory}"


def _processes() -> Iterator[str]:
    """Descendants of this session other than itself, by the variable they carry."""
    own = os.getpid()
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == own:
            continue
        try:
            environment = Path("/proc", entry, "environ").read_bytes()
            words = Path("/proc", entry, "cmdline").read_bytes().replace(b"\0", b" ")
        except OSError:
            continue
        if _token() in environment.split(b"\0"):
            yield f"process {entry} ({words.decode(errors='replace').strip()[:200]})"


def _namespaces() -> Iterator[str]:
    """Every namespace that some process is in or that is bound to a path."""
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            for kind in ("net", "mnt", "pid", "ipc", "uts", "user", "cgroup"):
                try:
                    yield f"namespace {os.readlink(f'/proc/{entry}/ns/{kind}')}"
                except OSError:
                    continue


def _files() -> Iterator[str]:
    for place in STATE_DIRECTORIES:
        for directory, names, files in os.walk(place):
            if FILTERS in names:
                names.remove(FILTERS)
            yield from (f"file {directory}/{name}" for name in files)
    for directory in (tempfile.gettempdir(), "/run", "/dev/shm"):
        for name in os.listdir(directory):
            if "cloche" in name and f"{directory}/{name}" not in STATE_DIRECTORIES:
                yield f"file {directory}/{name}"


def _loop_devices() -> Iterator[str]:
    for device in Path("/sys/block").glob("loop*/loop/backing_file"):
        yield f"loop device {device.parent.parent.name}"


def network() -> set[str]:
    """The machine's network devices and routes: what must be there afterwards as before."""
    routes = Path("/proc/net/route").read_text().splitlines()[1:]
    devices = {f"network device {name}" for name in os.listdir("/sys/class/net")}
    return devices | {"route " + " ".join(route.split()[:3]) for route in routes}


def quick() -> set[str]:
    """The kinds that are cheap to look at after each test."""
    return {*_mounts(), *_cgroups(all_owners=False)}


def everything(*, all_owners: bool = False) -> set[str]:
    """All that a session could leave, one line each.

    all_owners: with the cgroups that others use, such as the machine's session manager: for the
        picture taken before, since a session's own processes start in one of these.
    """
    cgroups = _cgroups(all_owners=all_owners)
    return {*_mounts(), *cgroups, *_processes(), *_namespaces(), *_files(), *_loop_devices(), *_handed_down()}


def _handed_down() -> set[str]:
    """What the host's own cgroup2 hands to its children: not a test's to change."""
    return {
        f"controller {name} in {control}"
        for control in (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup"))
        if (control / "cgroup.subtree_control").exists()
        for name in (control / "cgroup.subtree_control").read_text().split()
    }


def after_settling(before: set[str], *, timeout_s: float = 20) -> set[str]:
    """What is there and was not before, once the kernel has had time to take things down.

    A warm parent of shims leaves fifteen seconds after the last of them.
    """
    try:
        wait_until(lambda: everything() <= before, timeout_s=timeout_s)
    except TimeoutError:
        return everything() - before
    return set()


def children() -> set[int]:
    """This process's children: a session may have daemons of its own."""
    lists = (path.read_text() for path in Path("/proc/self/task").glob("*/children"))
    return {int(pid) for pids in lists for pid in pids.split()}


def speaking_of(word: str) -> list[int]:
    """The processes other than this one whose command line has a word in it."""
    found = []
    for entry in os.listdir("/proc"):
        try:
            if entry.isdigit() and word.encode() in Path("/proc", entry, "cmdline").read_bytes():
                found.append(int(entry))
        except OSError:
            continue
    return [pid for pid in found if pid != os.getpid()]


def remove_parent_cgroup(name: str) -> None:
    """Remove a cgroup that other projects' runtimes make around their containers' and leave.

    name: such as "docker", or a namespace of containerd's. One that is in use is not empty, and stays.
    """
    for root in _cgroup_roots():
        with contextlib.suppress(OSError):
            os.rmdir(f"{root}/{name}")


def remove_tree(directory: str) -> None:
    """Remove a directory, but nothing that was left mounted below it: that may be the machine's.

    Tried for a while: somebody's clean-up may still be at work in it.
    """

    def removed() -> bool:
        for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
            if (point := line.split(" ")[4]).startswith(directory + "/"):
                subprocess.run(["umount", "--lazy", point], check=False)
        try:
            shutil.rmtree(directory)
        except FileNotFoundError:
            return not os.path.exists(directory)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EBUSY):
                raise
            return False
        return True

    wait_until(removed, what=f"{directory} to be removable")
