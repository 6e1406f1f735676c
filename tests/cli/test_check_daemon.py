"""Damage and full disks with the daemon on the same stores."""

from __future__ import annotations

import errno
import os
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests import peers
from tests.cli.machine import IMAGE, Machine
from tests.daemons import Daemon
from tests.peers import peer

REFERENCE = f"docker.io/library/{IMAGE}:latest"


@pytest.fixture
def machine(stores: Machine, tmp_path: Path) -> Iterator[Machine]:
    """Stores on a small file system of the test's own, with the image."""
    peers.require_root()
    stores.ok("save", "-o", str(tmp_path / "image.tar"), IMAGE)
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", str(disk)], check=True)
    try:
        own = Machine(stores.command, tmp_path)
        own.environment["CLOCHE_ROOT"] = str(disk / "root")
        own.ok("load", "-q", "-i", str(tmp_path / "image.tar"))
        yield own
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def words(machine: Machine) -> list[str]:
    return [f"{Path(machine.command).parent}/cloched"]


@contextmanager
def serving(machine: Machine) -> Iterator[Daemon]:
    with Daemon(words(machine), machine.place / "log", machine.environment) as daemon:
        daemon.wait_for(socket.AF_UNIX, f"{machine.place}/state/cloched.sock")
        yield daemon


def fill(path: Path) -> None:
    try:
        with path.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
    except OSError as error:
        assert error.errno == errno.ENOSPC  # noqa: PT017 - it is how this ends


def ctr(machine: Machine, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [peer("ctr"), "--address", f"{machine.place}/state/cloched.sock", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_fsck_works_beside_the_daemon_and_finds_nothing(machine: Machine) -> None:
    with serving(machine):
        assert ctr(machine, "containers", "create", REFERENCE, "kept").returncode == 0
        assert ctr(machine, "run", "-d", REFERENCE, "runs", "sleep", "60").returncode == 0
        assert machine.ok("fsck", "--repair") == ""
        assert set(ctr(machine, "containers", "ls", "-q").stdout.split()) == {"kept", "runs"}
        assert ctr(machine, "tasks", "rm", "--force", "runs").returncode == 0
        assert ctr(machine, "containers", "rm", "runs", "kept").returncode == 0


def test_the_daemon_says_at_its_start_that_the_database_is_damaged(machine: Machine) -> None:
    path = machine.place / "disk/root/meta.db"
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    with path.open("r+b") as file:
        file.write(os.urandom(4096))
    result = subprocess.run(
        words(machine), env=machine.environment, capture_output=True, text=True, check=False, timeout=20
    )
    assert result.returncode == 1
    assert "`cloche fsck --repair` moves it away and makes it anew" in result.stderr
    assert machine.run("fsck", "--repair").returncode == 1
    with serving(machine):
        (found,) = ctr(machine, "images", "ls", "-q").stdout.split()
        assert found.startswith("docker.io/library/recovered@sha256:")
        result = ctr(machine, "run", "--rm", found, "again", "echo", "runs")
        assert (result.stdout, result.stderr) == ("runs\n", "")


def test_a_full_disk_is_an_error_to_the_client_and_the_daemon_works_on(machine: Machine) -> None:
    filling = machine.place / "disk/filling"
    archive = str(machine.place / "image.tar")
    with serving(machine):
        fill(filling)
        for command in (
            ("run", "--rm", REFERENCE, "one", "true"),
            ("containers", "create", REFERENCE, "one"),
            ("images", "tag", REFERENCE, "docker.io/library/other:latest"),
            ("images", "import", archive),
        ):
            result = ctr(machine, *command)
            assert result.returncode == 1
            assert "free some space and try again" in result.stderr
        assert ctr(machine, "images", "ls", "-q").stdout.split() == [REFERENCE]
        filling.unlink()
        assert ctr(machine, "images", "import", archive).returncode == 0
        assert ctr(machine, "run", "--rm", REFERENCE, "two", "echo", "works").stdout == "works\n"
        machine.run("fsck", "--repair")
        assert machine.ok("fsck") == ""


def test_the_daemon_does_not_start_on_a_read_only_root(machine: Machine) -> None:
    disk = str(machine.place / "disk")
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    try:
        result = subprocess.run(
            words(machine), env=machine.environment, capture_output=True, text=True, check=False, timeout=20
        )
        assert result.returncode == 1
        assert "Read-only file system" in result.stderr
        assert "Traceback" not in result.stderr
    finally:
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
