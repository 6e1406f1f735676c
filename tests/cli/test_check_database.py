"""A damaged database: it is noticed at once, and `fsck --repair` makes it anew from what is left."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import peers
from tests.cli.machine import IMAGE, Machine


@pytest.fixture
def machine(stores: Machine, tmp_path: Path) -> Iterator[Machine]:
    """Stores of the test's own, since it damages them."""
    peers.require_root()
    archive = tmp_path / "image.tar"
    stores.ok("save", "-o", str(archive), IMAGE)
    own = Machine(stores.command, tmp_path)
    own.ok("load", "-q", "-i", str(archive))
    yield own
    own.clean()


def damage(machine: Machine, table: str) -> Path:
    """Overwrite the root page of a table, or the first page of all."""
    path = machine.place / "root/meta.db"
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        ((size,),) = database.execute("PRAGMA page_size")
        found = database.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)).fetchone()
    database.close()
    with path.open("r+b") as file:
        file.seek((found[0] - 1) * size if found else 0)
        file.write(os.urandom(size))
    (machine.place / "root/meta.db-lock").write_bytes(b"another boot")
    return path


def repaired(machine: Machine) -> str:
    result = machine.run("fsck", "--repair")
    assert (result.returncode, result.stderr) == (1, b""), result
    return result.stdout.decode()


def test_what_is_on_other_pages_is_kept(machine: Machine, name: str) -> None:
    machine.ok("create", "--name", name, IMAGE, "echo", "still here")
    path = damage(machine, "blob_labels")
    assert "`cloche fsck --repair` moves it away and makes it anew" in machine.refused("ps")
    shown = machine.run("fsck")
    assert shown.returncode == 1
    assert b"--repair would move it to meta.db.damaged-TIME" in shown.stdout
    assert f"database {path}: kept 1 images, 1 containers, 2 snapshots" in repaired(machine)
    assert list(path.parent.glob("meta.db.damaged-*"))
    assert machine.ok("fsck") == ""
    assert machine.ok("start", "-a", name).strip() == "still here"


def test_lost_names_of_images_come_from_the_blobs(machine: Machine) -> None:
    damage(machine, "images")
    told = repaired(machine)
    assert "found again among the blobs (sha256:" in told
    assert machine.run("images", "-a").stdout.count(b"\n") == 2
    reference = told.partition("\nimage ")[2].partition(": found")[0]
    assert machine.ok("run", "--rm", reference, "echo", "runs").strip() == "runs"


def test_a_running_container_goes_on_when_everything_is_lost(machine: Machine, name: str) -> None:
    machine.ok("run", "-d", "--name", name, IMAGE, "sh", "-c", "while :; do date >> /log; sleep 0.1; done")
    (container_id,) = machine.ok("ps", "-q", "--no-trunc").split()
    snapshots = machine.place / "root/snapshots"
    others = snapshots / "of-a-package/snapshots/700"
    others.mkdir(parents=True)
    damage(machine, "the first page")
    told = repaired(machine)
    assert others.is_dir()
    assert f"container {container_id} of default: found again by its bundle" in told
    assert "what it belonged to is lost" in told
    assert machine.ok("ps", "-q", "--no-trunc").split() == [container_id]
    assert machine.ok("exec", container_id, "sh", "-c", "cat /log | head -n 1; echo > /new; ls /new")
    machine.ok("run", "--rm", machine.ok("images", "-q").split()[0], "true")
    numbers = [int(each.name) for each in snapshots.glob("overlayfs/snapshots/*") if each.name.isdecimal()]
    assert min(numbers) > 700, "none of a package's is given out again"
    machine.ok("kill", container_id)


def test_a_database_that_is_open_is_not_moved(machine: Machine) -> None:
    path = damage(machine, "images")
    with sqlite3.connect(path) as database:
        database.execute("SELECT name FROM namespaces").fetchall()
        told = repaired(machine)
    database.close()
    assert "by hand: stop cloched and what else has it open" in told
    assert not list(path.parent.glob("meta.db.damaged-*"))
    repaired(machine)


def test_a_damaged_database_of_events_is_removed(machine: Machine) -> None:
    path = machine.place / "state/run.db"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(os.urandom(8192))
    assert f"database {path}: damaged: file is not a database; repaired: remove it" in repaired(machine)
    assert not path.exists()
    assert machine.ok("fsck") == ""
