"""cloched is killed at every durable step: what ran goes on, nothing is leaked, and the next try works."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import leftovers, peers
from tests.api.conftest import IMAGE
from tests.daemons import Cloched
from tests.waiting import wait_until

STORE = ("metadata.commit", "metadata.committed")
ARRIVING = (*STORE, "content.synced", "content.renamed", "snapshot.prepared", "snapshot.committed")
CREATING = (*STORE, "snapshot.prepared", "task.bundled", "task.shim-started", "task.created")
DELETING = (*STORE, "task.deleted", "task.shut-down", "snapshot.removed", "snapshot.discarded")
REMOVING = (*STORE, "collect.leases", "collect.content")


@pytest.fixture(scope="module")
def cloched(archive: Path) -> Iterator[Cloched]:
    """A daemon of these tests' own, with a container that runs through all of them."""
    peers.require_root()
    place = tempfile.mkdtemp(prefix="f-")
    with Cloched(Path(place)) as daemon:
        daemon.ok("images", "import", str(archive))
        daemon.ok("run", "-d", IMAGE, "steady", "sleep", "6000")
        yield daemon
        daemon.ok("tasks", "kill", "--signal", "KILL", "steady")
        wait_until(lambda: "STOPPED" in daemon.ok("tasks", "ls"))
        daemon.run("tasks", "rm", "steady")
        daemon.ok("containers", "rm", "steady")
    leftovers.remove_tree(place)


def die_at(cloched: Cloched, fault: str, *words: str) -> None:
    """Have the daemon die at a place while ctr asks for something, and start it again."""
    cloched.stop()
    try:
        cloched.start(fault=fault)
    except RuntimeError:
        pass  # it came to that place before it listened
    failed = cloched.run(*words)
    if cloched.process.poll() is None:
        # The place is on a later way than ctr's answer, or on none: the collector's comes by itself.
        wait_until(
            lambda: cloched.process.poll() is not None,
            timeout_s=5,
            what=f"{fault} to be reached: {failed.stderr}",
        )
    assert cloched.process.returncode == -9, failed.stderr
    cloched.start()
    executed = cloched.run("tasks", "exec", "--exec-id", "look", "steady", "echo", "steady")
    assert executed.stdout == "steady\n", executed.stderr


def clear(cloched: Cloched, name: str) -> None:
    """Remove what is left of a container, as its owner would."""
    if name in cloched.ok("tasks", "ls", "-q").split():
        cloched.run("tasks", "kill", "--signal", "KILL", name)
        cloched.run("tasks", "rm", "--force", name)
    if name in cloched.ok("containers", "ls", "-q").split():
        cloched.ok("containers", "rm", name)
    if name in cloched.ok("snapshots", "ls"):
        cloched.ok("snapshots", "rm", name)


def bundles(cloched: Cloched) -> list[str]:
    base = cloched.directory / "state" / "io.containerd.runtime.v2.task" / "default"
    return sorted(entry.name for entry in base.iterdir())


@pytest.mark.parametrize("fault", ARRIVING)
def test_an_import_succeeds_the_second_time(cloched: Cloched, archive: Path, fault: str) -> None:
    cloched.run("--namespace", "arriving", "images", "rm", "--sync", IMAGE)
    cloched.ok("images", "rm", "--sync", IMAGE)
    die_at(cloched, fault, "--namespace", "arriving", "images", "import", str(archive))
    cloched.ok("--namespace", "arriving", "images", "import", str(archive))
    done = cloched.run("--namespace", "arriving", "run", "--rm", IMAGE, "arrived", "echo", "here")
    assert done.stdout == "here\n", done.stderr
    cloched.ok("images", "import", str(archive))


@pytest.mark.parametrize("fault", CREATING)
def test_a_run_succeeds_the_second_time(cloched: Cloched, fault: str) -> None:
    die_at(cloched, fault, "run", "--rm", IMAGE, "again", "true")
    clear(cloched, "again")
    done = cloched.run("run", "--rm", IMAGE, "again", "echo", "made")
    assert done.stdout == "made\n", done.stderr
    assert bundles(cloched) == ["steady"]


@pytest.mark.parametrize("fault", DELETING)
def test_what_was_half_deleted_is_deleted(cloched: Cloched, fault: str) -> None:
    cloched.ok("run", "-d", IMAGE, "ending", "true")
    wait_until(lambda: "STOPPED" in cloched.ok("tasks", "ls"))
    cloched.ok("containers", "create", "--", IMAGE, "other", "true")
    words = ("tasks", "rm", "ending") if fault.startswith("task.") else ("containers", "rm", "other")
    die_at(cloched, fault, *words)
    clear(cloched, "ending")
    clear(cloched, "other")
    assert bundles(cloched) == ["steady"]


@pytest.mark.parametrize("fault", REMOVING)
def test_an_image_that_was_half_removed_comes_back(cloched: Cloched, archive: Path, fault: str) -> None:
    cloched.run("--namespace", "arriving", "images", "rm", "--sync", IMAGE)
    die_at(cloched, fault, "images", "rm", "--sync", IMAGE)
    cloched.run("images", "rm", "--sync", IMAGE)
    cloched.ok("images", "import", str(archive))
    done = cloched.run("run", "--rm", IMAGE, "back", "echo", "back")
    assert done.stdout == "back\n", done.stderr
