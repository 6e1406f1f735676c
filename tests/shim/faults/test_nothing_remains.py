"""Nothing of a deleted container remains: not in the shim, not on the machine."""

from __future__ import annotations

import os
from pathlib import Path

from cloche.kernel import mountinfo
from tests.bundles import Bundle
from tests.shim.served import Served
from tests.waiting import wait_until


def mounts_of(shim: Served) -> set[str]:
    mounts = mountinfo.mounts(shim.process.pid)
    return {mount.point for mount in mounts if mount.point.startswith(str(shim.directory))}


def files_of(directory: Path) -> set[str]:
    return {str(path) for path in directory.rglob("*") if "rootfs" not in path.parts}


def test_rounds_of_containers_with_execs_leave_nothing(
    shim: Served, sleeper: Bundle, cgroup_parent: str
) -> None:
    def one() -> None:
        shim.run(sleeper, stdout=f"file://{sleeper.path}/out")
        for number in range(3):
            shim.add(sleeper, f"e{number}", "/bin/sh", "-c", "echo x; sleep 0.01 &")
            shim.start(f"e{number}")
            shim.wait(f"e{number}")
            shim.delete(f"e{number}")
        shim.kill()
        shim.wait()
        shim.delete()

    one()  # what is loaded once stays
    wait_until(lambda: shim.threads() == 1)
    before = shim.descriptors(), mounts_of(shim), files_of(sleeper.path), files_of(shim.state)
    for _ in range(10):
        one()
    wait_until(lambda: shim.threads() == 1, what="lanes to end")
    assert (shim.descriptors(), mounts_of(shim), files_of(sleeper.path), files_of(shim.state)) == before
    children = Path(f"/proc/{shim.process.pid}/task").glob("*/children")
    assert not [pid for path in children for pid in path.read_text().split()]
    for root, directories, _ in os.walk("/sys/fs/cgroup"):
        assert not [name for name in directories if name == "one" and cgroup_parent in root]
