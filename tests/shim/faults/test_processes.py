"""Processes that do not behave: they daemonise, ignore, stop, race, or are too many."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from cloche.errors import ClocheError
from cloche.kernel.cgroups.cgroup import Cgroup
from cloche.kernel.cgroups.layout import layout
from cloche.wire.messages import task
from cloche.wire.messages.types import RUNNING, STOPPED
from cloche.wire.status import StatusError
from tests.bundles import Bundle
from tests.shim.served import Served
from tests.waiting import wait_until


def below(shim: Served) -> list[int]:
    """Every child of the shim, zombies too."""
    tasks = Path(f"/proc/{shim.process.pid}/task").glob("*/children")
    return [int(pid) for path in tasks for pid in path.read_text().split()]


def own(bundle: Bundle) -> Cgroup:
    return Cgroup.plan(layout(), bundle.linux["cgroupsPath"])


def test_an_added_process_that_daemonises_ends_and_its_daemon_goes_on(shim: Served, sleeper: Bundle) -> None:
    shim.run(sleeper)
    out = sleeper.path / "out"
    # The daemon keeps the output open, as careless ones do.
    shim.add(sleeper, "d", "/bin/sh", "-c", "sleep 1000 & echo started; exit 4", stdout=f"file://{out}")
    shim.start("d")
    assert shim.wait("d") == 4
    wait_until(lambda: out.read_text() == "started\n")
    assert len(own(sleeper).processes()) == 2
    shim.kill()
    assert shim.wait() == 137
    shim.delete("d")
    shim.delete()
    assert not own(sleeper).exists()


def test_daemons_without_pids_of_their_own_come_to_the_shim_and_are_reaped(
    shim: Served, sleeper: Bundle
) -> None:
    sleeper.linux["namespaces"] = [n for n in sleeper.linux["namespaces"] if n["type"] != "pid"]
    sleeper.command("/bin/sh", "-c", "(sleep 0.2 &) ; (sleep 1000 &) ; sleep 0.4; exit 9")
    shim.run(sleeper)
    assert shim.wait() == 9
    shim.delete()
    wait_until(lambda: not below(shim), what="orphans to be reaped")


def test_a_process_that_ignores_signals_is_ended_by_the_one_that_cannot_be_ignored(
    shim: Served, sleeper: Bundle
) -> None:
    sleeper.command("/bin/sh", "-c", "trap '' TERM INT HUP; echo ready; while :; do sleep 0.05; done")
    out = sleeper.path / "out"
    shim.run(sleeper, stdout=f"file://{out}")
    wait_until(lambda: out.read_text() == "ready\n")
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        shim.kill(number)
    assert shim.status() == RUNNING
    shim.kill()
    assert shim.wait() == 137


def test_a_stopped_process_is_killed_like_any_other(shim: Served, sleeper: Bundle) -> None:
    pid = shim.run(sleeper)
    os.kill(pid, signal.SIGSTOP)
    assert shim.status() == RUNNING
    shim.add(sleeper, "e", "/bin/sh", "-c", "kill -STOP $$")
    stopped = shim.start("e")
    wait_until(lambda: Path(f"/proc/{stopped}/stat").read_text().rpartition(")")[2].split()[0] == "T")
    shim.kill(exec_id="e")
    assert shim.wait("e") == 137
    shim.kill()
    assert shim.wait() == 137


@pytest.mark.parametrize("delay", ["0", "0.005", "0.01", "0.02"])
def test_exec_racing_the_end_starts_or_says_that_it_is_over(
    shim: Served, sleeper: Bundle, delay: str
) -> None:
    sleeper.command("/bin/sh", "-c", f"sleep {delay}; exit 6")
    shim.run(sleeper)
    statuses = []
    for number in range(20):
        name = f"e{number}"
        try:
            shim.add(sleeper, name, "/bin/true")
            shim.start(name)
        except (ClocheError, StatusError):
            continue
        statuses.append(shim.wait(name))
    # One that was started in time may have been killed with the container.
    assert set(statuses) <= {0, 137}
    assert shim.wait() == 6
    assert shim.status() == STOPPED
    shim.delete()
    assert not own(sleeper).exists()


def test_where_no_process_may_be_added_exec_says_so_and_the_container_goes_on(
    shim: Served, sleeper: Bundle
) -> None:
    sleeper.linux["resources"] = {"pids": {"limit": 1}}
    sleeper.save()
    shim.run(sleeper)
    shim.add(sleeper, "e", "/bin/sh", "-c", "(true) && (true)")
    # On v1 it may come in, and then cannot fork; on v2 the kernel keeps it out.
    refused = []
    try:
        shim.start("e")
    except StatusError as error:
        refused.append(str(error))
    assert refused or shim.wait("e") != 0
    assert all("OCI runtime exec failed" in words for words in refused)
    assert shim.status() == RUNNING
    assert shim.call("Stats", task.StatsRequest(id="one")).stats is not None
    shim.kill()
    assert shim.wait() == 137


def test_a_fork_bomb_ends_with_its_container(shim: Served, sleeper: Bundle) -> None:
    sleeper.linux["resources"] = {"pids": {"limit": 40}}
    sleeper.command("/bin/sh", "-c", "(while :; do sleep 1000 & done); exec sleep 1000")
    shim.run(sleeper)
    wait_until(lambda: len(own(sleeper).processes()) >= 30)
    shim.kill(everyone=True)
    assert shim.wait() == 137
    shim.delete()
    assert not own(sleeper).exists()
    wait_until(lambda: not below(shim), what="orphans to be reaped")
