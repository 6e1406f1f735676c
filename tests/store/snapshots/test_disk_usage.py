from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from cloche.store.snapshots import trash
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


def test_a_tree_deeper_than_any_path_is_counted(tmp_path: Path) -> None:
    directory = os.open(tmp_path, os.O_RDONLY)
    for _ in range(600):
        os.mkdir("directory", dir_fd=directory)
        inner = os.open("directory", os.O_RDONLY, dir_fd=directory)
        os.close(directory)
        directory = inner
    os.close(directory)
    assert disk_usage(str(tmp_path)).inodes == 601
    os.mkdir(tmp_path / "trash")
    os.rename(tmp_path / "directory", tmp_path / "trash/directory")
    trash.empty(str(tmp_path / "trash"))


def test_a_symlink_is_counted_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere/d").mkdir(parents=True)
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/link").symlink_to(tmp_path / "elsewhere")
    assert disk_usage(str(tmp_path / "tree")).inodes == 2
