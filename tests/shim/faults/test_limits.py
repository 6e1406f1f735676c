"""A shim whose descriptors run out refuses what it cannot do, and goes on when there are some again."""

from __future__ import annotations

import resource
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from cloche.errors import ClocheError
from cloche.kernel.cgroups.cgroup import Cgroup
from cloche.kernel.cgroups.layout import directories_of, layout
from cloche.runtime.container import containers
from cloche.wire.messages import task
from cloche.wire.messages.types import RUNNING
from cloche.wire.status import StatusError
from tests.bundles import Bundle
from tests.shim.served import Served
from tests.waiting import wait_until

MOST = 96


def _few() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (MOST, MOST))


@pytest.fixture
def narrow(cgroup_parent: str, tmp_path: Path) -> Iterator[Served]:
    """A shim that may have few descriptors."""
    with Served(tmp_path, limit=_few) as running:
        yield running
    for left in containers(f"{running.state}/tests"):
        left.delete(force=True)


@pytest.fixture
def plain(sleeper: Bundle) -> Bundle:
    """A sleeper that asks for no more descriptors than the shim has."""
    sleeper.process["rlimits"] = []
    sleeper.save()
    return sleeper


def test_execs_without_end_are_refused_and_the_container_goes_on(narrow: Served, plain: Bundle) -> None:
    narrow.run(plain)
    refused = 0
    started = []
    for number in range(60):
        name = f"e{number}"
        try:
            narrow.add(plain, name, "/bin/sleep", "1000", stdout=f"file://{plain.path}/{name}")
            narrow.start(name)
            started.append(name)
        except (ClocheError, StatusError):
            refused += 1
    assert refused
    assert started
    assert narrow.status() == RUNNING
    for name in started:
        narrow.kill(exec_id=name)
        assert narrow.wait(name) == 137
        narrow.delete(name)
    narrow.add(plain, "after", "/bin/true")
    narrow.start("after")
    assert narrow.wait("after") == 0
    narrow.kill()
    assert narrow.wait() == 137
    narrow.delete()


def test_clients_without_end_wait_in_the_queue_and_are_served_later(narrow: Served, plain: Bundle) -> None:
    narrow.run(plain)
    clients = []
    try:
        for _ in range(MOST + 20):
            made = socket.socket(socket.AF_UNIX)
            clients.append(made)
            made.connect(narrow.path)
        assert narrow.status() == RUNNING
    finally:
        for made in clients:
            made.close()
    with narrow.connect() as late:
        assert narrow.call("Connect", task.ConnectRequest(id="one"), client=late).task_pid
    wait_until(lambda: narrow.descriptors() < MOST - 20)
    narrow.kill()
    assert narrow.wait() == 137
    narrow.delete()


@pytest.fixture
def crowded(shim: Served, cgroup_parent: str) -> Iterator[Path]:
    """The pids.max of a cgroup of the shim's own."""
    shim.call("Connect", task.ConnectRequest(id="one"))
    before = pids_directory(directories_of(shim.process.pid))
    cgroup = Cgroup.create(layout(), f"{cgroup_parent}-shim")
    try:
        (pids_directory(cgroup.paths) / "cgroup.procs").write_text(str(shim.process.pid))
        yield pids_directory(cgroup.paths) / "pids.max"
    finally:
        (before / "cgroup.procs").write_text(str(shim.process.pid))
        cgroup.destroy()


def pids_directory(paths: Mapping[str, str]) -> Path:
    """Of these cgroups the one that counts processes."""
    return Path(paths.get("pids") or paths[""])


def test_a_shim_that_may_start_nothing_says_so_and_goes_on(
    shim: Served, sleeper: Bundle, crowded: Path
) -> None:
    wait_until(lambda: shim.threads() == 1)
    crowded.write_text("1")
    with pytest.raises((ClocheError, StatusError), match="can be started"):
        shim.create(sleeper)
    # A lane's thread, and no process beside it.
    crowded.write_text("2")
    with pytest.raises(
        (ClocheError, StatusError), match="cannot be started: Resource temporarily unavailable"
    ):
        shim.create(sleeper)
    crowded.write_text("max")
    shim.run(sleeper)
    assert shim.status() == RUNNING
    shim.kill()
    assert shim.wait() == 137
    shim.delete()
