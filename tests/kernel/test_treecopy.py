from __future__ import annotations

import os
import socket
import stat
import subprocess
from pathlib import Path

import pytest

from cloche.kernel import treecopy
from cloche.kernel.treecopy import copy_tree

BOTH_WAYS = pytest.mark.parametrize("exact", [True, False])


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


def test_every_kind_of_file_keeps_what_makes_it_what_it_is(root: None, source: Path, target: Path) -> None:
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
    copy_tree(str(source), str(target), exact=True)
    assert {name: attributes(target / name) for name in names} == before
    assert sorted(os.listdir(target)) == sorted(os.listdir(source))
    assert (target / "file").read_bytes() == b"data"
    assert os.readlink(target / "link") == "missing"


@BOTH_WAYS
def test_hard_links_stay_links_and_are_not_links_to_the_original(
    source: Path, target: Path, exact: bool
) -> None:
    (source / "a").write_bytes(b"x")
    (source / "d/e").mkdir(parents=True)
    os.link(source / "a", source / "d/b")
    os.link(source / "a", source / "d/e/c")
    (source / "s").symlink_to("x")
    os.link(source / "s", source / "d/s2", follow_symlinks=False)
    copy_tree(str(source), str(target), exact=exact)
    numbers = {os.stat(target / name).st_ino for name in ("a", "d/b", "d/e/c")}
    assert len(numbers) == 1
    assert os.stat(target / "a").st_nlink == 3
    assert os.stat(source / "a").st_ino not in numbers
    assert os.lstat(target / "s").st_ino == os.lstat(target / "d/s2").st_ino


@BOTH_WAYS
def test_holes_stay_holes(root: None, source: Path, target: Path, exact: bool) -> None:
    with open(source / "sparse", "wb") as file:
        file.seek(5 << 20)
        file.write(b"middle")
        file.truncate(50 << 20)
    with open(source / "empty", "wb") as file:
        file.truncate(10 << 20)
    copy_tree(str(source), str(target), exact=exact)
    for name in ("sparse", "empty"):
        assert os.stat(target / name).st_size == os.stat(source / name).st_size
        assert os.stat(target / name).st_blocks <= os.stat(source / name).st_blocks + 8
        assert (target / name).read_bytes() == (source / name).read_bytes()


@BOTH_WAYS
def test_a_large_file_is_copied_whole(root: None, source: Path, target: Path, exact: bool) -> None:
    data = os.urandom(3_000_001)
    (source / "large").write_bytes(data)
    copy_tree(str(source), str(target), exact=exact)
    assert (target / "large").read_bytes() == data


@BOTH_WAYS
def test_names_that_are_not_text_are_copied(root: None, source: Path, target: Path, exact: bool) -> None:
    name = os.fsdecode(b"\xff\xfe" + b"x" * 250)
    (source / name).touch()
    copy_tree(str(source), str(target), exact=exact)
    assert os.listdir(target) == [name]


@BOTH_WAYS
def test_a_deep_tree_is_copied(root: None, source: Path, target: Path, exact: bool) -> None:
    deep = source
    for _ in range(100):
        deep = deep / "directory"
    deep.mkdir(parents=True)
    (deep / "file").write_text("deep")
    copy_tree(str(source), str(target), exact=exact)
    assert (target / deep.relative_to(source) / "file").read_text() == "deep"


def test_a_containers_files_come_without_devices_sockets_and_marks_of_overlayfs(
    root: None, source: Path, target: Path
) -> None:
    os.mknod(source / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.link(source / "null", source / "null2")
    os.mkfifo(source / "fifo", 0o640)
    (source / "d").mkdir()
    os.mknod(source / "d/disk", stat.S_IFBLK | 0o660, os.makedev(254, 0))
    os.mknod(source / "socket", stat.S_IFSOCK | 0o600)
    os.setxattr(source / "d", "trusted.overlay.opaque", b"y")
    os.setxattr(source / "d", "user.note", b"mine")
    copy_tree(str(source), str(target), exact=False)
    assert sorted(path.name for path in target.rglob("*")) == ["d", "fifo"]
    assert os.listxattr(target / "d") == ["user.note"]
    assert stat.S_IMODE(os.stat(target / "fifo").st_mode) == 0o640


def test_attributes_that_the_target_does_not_take_are_left_out_or_an_error(
    root: None, source: Path, target: Path
) -> None:
    (source / "file").touch()
    os.setxattr(source / "file", "user.note", b"mine")
    subprocess.run(["mount", "-t", "ramfs", "ramfs", target], check=True)
    try:
        with pytest.raises(OSError, match="not supported"):
            copy_tree(str(source), str(target), exact=True)
        (target / "file").unlink()
        copy_tree(str(source), str(target), exact=False)
        assert (target / "file").exists()
    finally:
        subprocess.run(["umount", target], check=True)


def test_what_took_a_files_place_meanwhile_is_left_out(root: None, source: Path, target: Path) -> None:
    os.mkfifo(source / "name")
    (source / "was").touch()
    opened = [os.open(each, os.O_RDONLY) for each in (source, target)]
    try:
        copier = treecopy._Copier(opened[1], exact=False)
        assert not copier._file(opened[0], opened[1], "name", os.stat(source / "was"))
    finally:
        for each in opened:
            os.close(each)
    assert os.listdir(target) == []


def test_a_link_in_the_place_of_a_directory_is_not_followed(root: None, source: Path, target: Path) -> None:
    (source / "name").symlink_to("/etc")
    opened = [os.open(each, os.O_RDONLY) for each in (source, target)]
    try:
        (target / "name").mkdir()
        with pytest.raises(NotADirectoryError):
            treecopy._Copier(opened[1], exact=False)._enter(opened[0], opened[1], "name", "name")
    finally:
        for each in opened:
            os.close(each)
    assert os.listdir(target / "name") == []
