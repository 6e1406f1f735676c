from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from cloche.store.snapshots.disk_usage import disk_usage


def test_the_count_is_that_of_du(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/file").write_bytes(b"x" * 123_456)
    os.link(tmp_path / "d/file", tmp_path / "link")
    (tmp_path / "symlink").symlink_to("/")
    with open(tmp_path / "sparse", "wb") as file:
        file.truncate(1 << 30)
    usage = disk_usage(str(tmp_path))
    output = subprocess.run(["du", "-s", "-B1", tmp_path], check=True, capture_output=True, text=True).stdout
    assert usage.size == int(output.split()[0])
    assert usage.inodes == 5


def test_what_is_missing_cannot_be_counted(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        disk_usage(str(tmp_path / "missing"))
