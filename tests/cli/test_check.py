"""`cloche fsck` names what is damaged, mends what it may, and leaves alone what is in use."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import peers
from tests.cli.machine import IMAGE, Machine


@pytest.fixture
def machine(stores: Machine, tmp_path: Path) -> Iterator[Machine]:
    """Stores of the test's own, since it damages them, with the image loaded from an archive."""
    peers.require_root()
    archive = tmp_path / "image.tar"
    stores.ok("save", "-o", str(archive), IMAGE)
    own = Machine(stores.command, tmp_path)
    own.ok("load", "-q", "-i", str(archive))
    yield own
    own.run("fsck", "--repair")
    own.clean()


def root(machine: Machine) -> Path:
    return machine.place / "root"


def found(machine: Machine, *words: str) -> list[str]:
    """The lines of a check that must find something."""
    result = machine.run("fsck", *words)
    assert (result.returncode, result.stderr) == (1, b""), result
    return result.stdout.decode().splitlines()


def layer(machine: Machine) -> Path:
    """The image's largest blob."""
    blobs = (root(machine) / "content/blobs/sha256").iterdir()
    return max(blobs, key=lambda path: path.stat().st_size)


def spoil(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(100)
        file.write(b"damage")


def change(machine: Machine, sql: str) -> None:
    with sqlite3.connect(root(machine) / "meta.db") as database:
        database.execute(sql)
    database.close()


def test_nothing_is_found_where_all_is_well(machine: Machine, name: str) -> None:
    assert machine.ok("fsck") == ""
    machine.ok("run", "-d", "--name", name, IMAGE, "sleep", "60")
    machine.ok("run", "--rm", IMAGE, "true")
    assert machine.ok("fsck", "--repair") == ""
    assert machine.status(name) == "running"


def test_a_damaged_blob_is_named_with_its_image_and_comes_again(machine: Machine) -> None:
    blob = layer(machine)
    spoil(blob)
    (line,) = found(machine)
    assert line.startswith(f"blob sha256:{blob.name}: damaged: its bytes have the digest sha256:")
    assert "--repair would remove it, so that the next pull of " in line
    assert f"{IMAGE}:latest" in line
    assert blob.exists()
    (line,) = found(machine, "--repair")
    assert "; repaired: remove it" in line
    assert not blob.exists()
    (line,) = found(machine)
    assert line.endswith("by hand: pull it again: until then it cannot be saved or pushed")
    assert machine.ok("run", "--rm", IMAGE, "echo", "works").strip() == "works"
    machine.ok("load", "-q", "-i", str(machine.place / "image.tar"))
    assert machine.ok("fsck") == ""


def test_json_has_a_finding_a_line(machine: Machine) -> None:
    (root(machine) / "content/blobs/sha256/stray").write_text("")
    (row,) = map(json.loads, found(machine, "--format", "json"))
    assert (row["Kind"], row["Subject"], row["Repaired"]) == ("blob", "sha256:stray", False)
    (row,) = map(json.loads, found(machine, "--repair", "--format", "json"))
    assert row["Repaired"]
    assert machine.ok("fsck") == ""


def test_directories_and_rows_of_snapshots_are_compared(machine: Machine) -> None:
    snapshots = root(machine) / "snapshots/overlayfs/snapshots"
    (snapshots / "99999").mkdir()
    (real,) = (entry for entry in snapshots.iterdir() if entry.name != "99999")
    shutil.rmtree(real)
    lines = found(machine, "--repair")
    assert len(lines) == 2, lines
    assert f"its directory {real} is missing; repaired: forget it" in lines[0]
    assert f"{snapshots}/99999: belongs to no snapshot; repaired: move it to the trash" in lines[1]
    assert list(snapshots.iterdir()) == []
    assert machine.ok("fsck") == ""
    assert machine.ok("run", "--rm", IMAGE, "echo", "unpacked again").strip() == "unpacked again"


def test_a_layer_that_a_running_container_has_is_kept(machine: Machine, name: str) -> None:
    machine.ok("run", "-d", "--name", name, IMAGE, "sleep", "60")
    snapshots = root(machine) / "snapshots/overlayfs/snapshots"
    lowest = min(snapshots.iterdir(), key=lambda path: int(path.name))
    lowest.rename(machine.place / "elsewhere")
    (line,) = found(machine, "--repair")
    assert "by hand: remove container " in line
    assert machine.status(name) == "running"
    (machine.place / "elsewhere").rename(lowest)
    assert machine.ok("fsck") == ""


def test_a_container_without_its_snapshot_is_removed_unless_it_runs(machine: Machine, name: str) -> None:
    machine.ok("create", "--name", name, IMAGE, "true")
    machine.ok("run", "-d", "--name", f"{name}-2", IMAGE, "sleep", "60")
    change(machine, "DELETE FROM snapshots WHERE kind = 'active'")
    lines = found(machine)
    assert f"container {name} of default: its snapshot is missing: it cannot start any more; " in lines[0]
    assert f"container {name}-2 of default: its snapshot is missing, and it runs; by hand: " in lines[1]
    found(machine, "--repair")
    assert machine.ok("ps", "-a", "--format", "{{.Names}}").split() == [f"{name}-2"]


def test_an_image_without_its_manifest_is_forgotten(machine: Machine) -> None:
    with sqlite3.connect(root(machine) / "meta.db") as database:
        ((digest,),) = database.execute("SELECT digest FROM images")
    database.close()
    os.unlink(root(machine) / "content/blobs/sha256" / digest.partition(":")[2])
    (line,) = found(machine)
    assert f"its manifest or config is missing ({digest}); --repair would forget the name" in line
    lines = found(machine, "--repair")
    assert [line.partition(" ")[0] for line in lines] == ["image", "resolution"]
    assert machine.ok("fsck") == ""
    machine.ok("load", "-q", "-i", str(machine.place / "image.tar"))
    machine.ok("run", "--rm", IMAGE, "true")


def test_what_a_killed_process_left_is_forgotten(machine: Machine) -> None:
    directory = root(machine) / f"content/ingest/{'a' * 64}"
    directory.mkdir(parents=True)
    (directory / "lock").touch()
    (directory / "data").write_bytes(b"123")
    change(machine, "INSERT INTO lease_resources VALUES ('default', 'gone', 'images', 'x')")
    change(machine, "INSERT INTO leases VALUES ('default', 'dead', '', 1, NULL, 'nobody')")
    lines = found(machine, "--repair")
    assert f"ingest {'a' * 64}: interrupted after 3 bytes" in lines[0]
    assert "lease dead of default: its owner is dead; repaired" in lines[1]
    assert "lease gone of default: is gone, but what it kept is still noted; repaired" in lines[2]
    assert machine.ok("fsck") == ""
