from __future__ import annotations

import os
from pathlib import Path

import pytest

from cloche.store.snapshots import trash
from tests.store import children


@pytest.fixture
def bin_directory(tmp_path: Path) -> Path:
    return tmp_path / "trash"


def test_what_is_discarded_is_out_of_the_way_at_once_and_gone_when_emptied(
    tmp_path: Path, bin_directory: Path
) -> None:
    victim = tmp_path / "victim"
    for _ in range(2):
        (victim / "a/b").mkdir(parents=True)
        (victim / "a/file").touch()
        (victim / "a/b").chmod(0)
        trash.discard(str(victim), str(bin_directory))
        assert not victim.exists()
    assert len(os.listdir(bin_directory)) == 2
    assert trash.empty(str(bin_directory)) == 0
    assert os.listdir(bin_directory) == []


def test_what_is_missing_is_no_trouble(tmp_path: Path, bin_directory: Path) -> None:
    trash.discard(str(tmp_path / "missing"), str(bin_directory))
    assert trash.empty(str(bin_directory)) == 0
    assert not bin_directory.exists()


def test_a_symlink_is_removed_and_not_followed(tmp_path: Path, bin_directory: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/file").touch()
    (bin_directory / "tree").mkdir(parents=True)
    (bin_directory / "tree/link").symlink_to(tmp_path / "precious")
    (bin_directory / "link").symlink_to(tmp_path / "precious")
    trash.empty(str(bin_directory))
    assert os.listdir(bin_directory) == []
    assert (tmp_path / "precious/file").exists()


def test_what_is_mounted_in_a_discarded_tree_is_not_touched(tmp_path: Path, bin_directory: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/file").touch()
    (bin_directory / "tree/mountpoint").mkdir(parents=True)
    (bin_directory / "tree/other").touch()
    # A bind mount of the same filesystem: the device number alone would not show it.
    code = f"""
        import subprocess
        from cloche.store.snapshots import trash
        mountpoint = "{bin_directory}/tree/mountpoint"
        subprocess.run(["mount", "--bind", "{tmp_path}/precious", mountpoint], check=True)
        print(trash.empty("{bin_directory}"))
        print(os.listdir("{bin_directory}/tree"))
        subprocess.run(["umount", mountpoint], check=True)
    """
    with children.start(tmp_path, code, wrapper=("unshare", "--mount")) as child:
        output, complaint = child.communicate(timeout=60)
    assert output == "1\n['mountpoint']\n", complaint
    assert (tmp_path / "precious/file").exists()
    assert trash.empty(str(bin_directory)) == 0


def test_a_tree_deeper_than_any_path_is_emptied(bin_directory: Path) -> None:
    bin_directory.mkdir()
    directory = os.open(bin_directory, os.O_RDONLY)
    for _ in range(600):
        os.mkdir("directory", dir_fd=directory)
        inner = os.open("directory", os.O_RDONLY, dir_fd=directory)
        os.close(directory)
        directory = inner
    os.close(directory)
    assert trash.empty(str(bin_directory)) == 0
    assert os.listdir(bin_directory) == []


def test_several_may_empty_the_same_trash(tmp_path: Path, bin_directory: Path) -> None:
    for number in range(50):
        (bin_directory / f"tree{number}/a/b").mkdir(parents=True)
        (bin_directory / f"tree{number}/a/file").touch()
    code = f"""
        from cloche.store.snapshots import trash
        trash.empty("{bin_directory}")
    """
    processes = [children.start(tmp_path, code) for _ in range(4)]
    for process in processes:
        _, complaint = process.communicate(timeout=60)
        assert process.returncode == 0, complaint
    trash.empty(str(bin_directory))
    assert os.listdir(bin_directory) == []
