"""A full disk and a read-only one: one clear line, and everything works again afterwards."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import peers
from tests.cli.machine import IMAGE, Machine

_SIZE = "40m"


@pytest.fixture
def machine(stores: Machine, tmp_path: Path) -> Iterator[Machine]:
    """Stores on a small file system, which is not the one that the state is on."""
    peers.require_root()
    archive = tmp_path / "image.tar"
    stores.ok("save", "-o", str(archive), IMAGE)
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_SIZE}", "tmpfs", str(disk)], check=True)
    try:
        own = Machine(stores.command, tmp_path)
        own.environment["CLOCHE_ROOT"] = str(disk / "root")
        own.ok("load", "-q", "-i", str(archive))
        yield own
        own.clean()
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(machine: Machine) -> Path:
    path = machine.place / "disk/filling"
    try:
        with path.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
    except OSError:
        return path


def works(machine: Machine, name: str) -> None:
    assert machine.ok("run", "--rm", IMAGE, "echo", "works").strip() == "works"
    machine.ok("run", "-d", "--name", name, IMAGE, "sleep", "60")
    machine.ok("rm", "-f", name)
    assert machine.ok("fsck") == ""


def test_the_state_may_be_on_another_file_system(machine: Machine, name: str) -> None:
    works(machine, name)


def test_a_full_disk_is_said_in_a_line_and_loses_nothing(machine: Machine, name: str) -> None:
    filling = fill(machine)
    full = "free some space and try again"
    assert machine.refused("run", "--rm", IMAGE, "true", status=125).endswith(full)
    assert machine.refused("create", IMAGE, "true").endswith(full)
    assert machine.refused("tag", IMAGE, "other").endswith(full)
    assert "space" in machine.refused("image", "from-host", "more", "sort")
    assert IMAGE in machine.ok("images")
    machine.ok("ps", "-a")
    filling.unlink()
    machine.run("fsck", "--repair")
    works(machine, name)
    machine.ok("image", "from-host", "more", "sort")


def test_an_archive_that_does_not_fit_can_be_loaded_later(machine: Machine, name: str) -> None:
    machine.ok("rmi", "-f", IMAGE)
    filling = fill(machine)
    with filling.open("r+b") as file:
        file.truncate(filling.stat().st_size - (1 << 20))
    assert "no space left" in machine.refused("load", "-q", "-i", str(machine.place / "image.tar")).lower()
    filling.unlink()
    machine.ok("load", "-q", "-i", str(machine.place / "image.tar"))
    machine.run("fsck", "--repair")
    works(machine, name)


def test_a_read_only_store_is_said_in_a_line(machine: Machine, name: str) -> None:
    disk = str(machine.place / "disk")
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    try:
        for words, status in ((("ps",), 1), (("run", IMAGE, "true"), 125), (("fsck",), 1)):
            line = machine.refused(*words, status=status)
            assert line.endswith("meta.db: cannot be opened: Read-only file system")
    finally:
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
    works(machine, name)
