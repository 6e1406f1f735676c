"""Opening below a directory: the same with and without openat2, and through no link."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cloche.image.beneath import DIRECTORY, open_beneath, walk_beneath
from cloche.image.layertree import remove

OPENERS = [open_beneath, walk_beneath]


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "root" / "a" / "b").mkdir(parents=True)
    (tmp_path / "root" / "a" / "file").write_text("x")
    (tmp_path / "root" / "up").symlink_to("..")
    (tmp_path / "root" / "a" / "link").symlink_to("b")
    fd = os.open(tmp_path / "root", os.O_RDONLY)
    yield fd
    os.close(fd)


@pytest.mark.parametrize("opener", OPENERS)
def test_what_is_there_is_opened(opener: Callable[..., int], root: int) -> None:
    for path, flags in ((b"", DIRECTORY), (b"a/b", DIRECTORY), (b"a/file", os.O_RDONLY)):
        fd = opener(root, path, flags)
        assert os.path.samestat(os.fstat(fd), os.stat(path or b".", dir_fd=root))
        assert not os.get_inheritable(fd)
        os.close(fd)


@pytest.mark.parametrize("opener", OPENERS)
@pytest.mark.parametrize("path", [b"up", b"up/root", b"a/link", b"a/link/x", b"a/missing", b"a/file/x"])
def test_links_and_what_is_missing_are_refused(opener: Callable[..., int], path: bytes, root: int) -> None:
    with pytest.raises(OSError):
        opener(root, path)


def test_paths_longer_than_the_kernel_takes_are_opened(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    name = b"d" * 200
    path = b"/".join([name] * 30)
    here = os.dup(fd)
    for _ in range(30):
        os.mkdir(name, dir_fd=here)
        following = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = following
    found = open_beneath(fd, path)
    assert os.path.samestat(os.fstat(found), os.fstat(here))
    for descriptor in (found, here):
        os.close(descriptor)
    remove(fd, name)
    assert os.listdir(fd) == []
    os.close(fd)
