from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from cloche.store.snapshots.copy_tree import copy_tree


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.mkdir()
    return path


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "target"
    path.mkdir()
    return path


def attributes(path: Path) -> tuple[object, ...]:
    status = os.stat(path, follow_symlinks=False)
    xattrs = {
        name: os.getxattr(path, name, follow_symlinks=False)
        for name in os.listxattr(path, follow_symlinks=False)
    }
    times = (status.st_atime_ns, status.st_mtime_ns)
    return status.st_mode, status.st_uid, status.st_gid, status.st_rdev, times, xattrs


def test_every_kind_of_file_keeps_what_makes_it_what_it_is(source: Path, target: Path) -> None:
    (source / "file").write_bytes(b"data")
    (source / "program").write_bytes(b"#!")
    (source / "link").symlink_to("missing")
    (source / "d").mkdir()
    (source / "d/inside").touch()
    os.mknod(source / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(source / "disk", stat.S_IFBLK | 0o660, os.makedev(254, 0))
    os.mknod(source / "whiteout", stat.S_IFCHR, 0)
    os.mkfifo(source / "fifo", 0o640)
    here = os.getcwd()
    os.chdir(source)  # a socket's path has an end
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
    os.chdir(here)
    os.chown(source / "program", 1000, 1000)
    os.chmod(source / "program", 0o6755)
    os.setxattr(source / "program", "user.note", b"\0\xff")
    capability = b"\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
    os.setxattr(source / "program", "security.capability", capability)
    os.setxattr(source / "d", "trusted.overlay.opaque", b"y")
    os.setxattr(source / "link", "trusted.note", b"on a link", follow_symlinks=False)
    os.chown(source / "link", 7, 8, follow_symlinks=False)
    os.chmod(source / "d", 0o1777)
    names = ["", *sorted(os.listdir(source)), "d/inside"]
    for number, name in enumerate(reversed(names)):
        times = (10**18 + number, 10**18 + number * 7 + 1)
        os.utime(source / name, ns=times, follow_symlinks=False)
    before = {name: attributes(source / name) for name in names}
    copy_tree(str(source), str(target))
    assert {name: attributes(target / name) for name in names} == before
    assert sorted(os.listdir(target)) == sorted(os.listdir(source))
    assert (target / "file").read_bytes() == b"data"
    assert os.readlink(target / "link") == "missing"


def test_hard_links_stay_links_and_are_not_links_to_the_original(source: Path, target: Path) -> None:
    (source / "a").write_bytes(b"x")
    (source / "d/e").mkdir(parents=True)
    os.link(source / "a", source / "d/b")
    os.link(source / "a", source / "d/e/c")
    (source / "s").symlink_to("x")
    os.link(source / "s", source / "d/s2", follow_symlinks=False)
    copy_tree(str(source), str(target))
    numbers = {os.stat(target / name).st_ino for name in ("a", "d/b", "d/e/c")}
    assert len(numbers) == 1
    assert os.stat(target / "a").st_nlink == 3
    assert os.stat(source / "a").st_ino not in numbers
    assert os.lstat(target / "s").st_ino == os.lstat(target / "d/s2").st_ino


def test_holes_stay_holes(source: Path, target: Path) -> None:
    with open(source / "sparse", "wb") as file:
        file.seek(5 << 20)
        file.write(b"middle")
        file.truncate(50 << 20)
    with open(source / "empty", "wb") as file:
        file.truncate(10 << 20)
    copy_tree(str(source), str(target))
    for name in ("sparse", "empty"):
        assert os.stat(target / name).st_size == os.stat(source / name).st_size
        assert os.stat(target / name).st_blocks <= os.stat(source / name).st_blocks + 8
        assert (target / name).read_bytes() == (source / name).read_bytes()


def test_a_large_file_is_copied_whole(source: Path, target: Path) -> None:
    data = os.urandom(3_000_001)
    (source / "large").write_bytes(data)
    copy_tree(str(source), str(target))
    assert (target / "large").read_bytes() == data


def test_names_that_are_not_text_are_copied(source: Path, target: Path) -> None:
    name = os.fsdecode(b"\xff\xfe" + b"x" * 250)
    (source / name).touch()
    copy_tree(str(source), str(target))
    assert os.listdir(target) == [name]


def test_a_deep_tree_is_copied(source: Path, target: Path) -> None:
    deep = source
    for _ in range(100):
        deep = deep / "directory"
    deep.mkdir(parents=True)
    (deep / "file").write_text("deep")
    copy_tree(str(source), str(target))
    assert (target / deep.relative_to(source) / "file").read_text() == "deep"
