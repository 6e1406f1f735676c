from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.kernel import paths

Open = Callable[..., int]


@pytest.fixture(params=["openat2", "walk"])
def open_in_root(request: pytest.FixtureRequest) -> Open:
    return paths.open_in_root if request.param == "openat2" else paths.walk_in_root


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A root with a file, directories, and links that try to lead out."""
    root = tmp_path / "root"
    (root / "a" / "b").mkdir(parents=True)
    (root / "a" / "file").write_text("inside")
    (tmp_path / "file").write_text("outside")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").write_text("outside")
    for name, target in {
        "absolute": "/a/file",
        "relative": "a/file",
        "climbing": "../../../../a/file",
        "directory": "/a/../a/b/..",
        "chain": "absolute",
        "loop": "loop",
        "ping": "pong",
        "pong": "ping",
        "dangling": "/nowhere",
        "escape": str(tmp_path / "file"),
        "proc": "/proc/self/root",
    }.items():
        (root / name).symlink_to(target)
    return root


@pytest.fixture
def root(tree: Path) -> Iterator[int]:
    descriptor = os.open(tree, os.O_PATH | os.O_DIRECTORY)
    yield descriptor
    os.close(descriptor)


def read(descriptor: int) -> str:
    with open(descriptor) as file:
        return file.read()


@pytest.mark.parametrize(
    "path",
    [
        "a/file",
        "/a/file",
        "//a//./file",
        "../a/file",
        "a/b/../../../../a/file",
        "absolute",
        "relative",
        "climbing",
        "chain",
        "directory/file",
        "/directory/b/../file",
        "a/b/../b/../file",
    ],
)
def test_every_way_leads_to_the_file_inside(open_in_root: Open, root: int, path: str) -> None:
    assert read(open_in_root(root, path, os.O_RDONLY)) == "inside"


@pytest.mark.parametrize(
    ("path", "number"),
    [
        ("nothing", errno.ENOENT),
        ("dangling", errno.ENOENT),
        ("escape", errno.ENOENT),
        ("loop", errno.ELOOP),
        ("ping", errno.ELOOP),
        ("ping/file", errno.ELOOP),
        ("a/file/x", errno.ENOTDIR),
        ("a/file/", errno.ENOTDIR),
        ("proc/etc", errno.ELOOP),
    ],
)
def test_what_is_not_there_is_not_there(open_in_root: Open, root: int, path: str, number: int) -> None:
    with pytest.raises(OSError) as caught:
        open_in_root(root, path, os.O_RDONLY)
    assert caught.value.errno == number


@pytest.mark.parametrize("path", ["/", ".", "..", "", "a/..", "a/../.."])
def test_the_root_is_its_own_parent(open_in_root: Open, tree: Path, root: int, path: str) -> None:
    if not path and open_in_root is paths.open_in_root:
        pytest.skip("openat2 has no empty paths")
    descriptor = open_in_root(root, path, os.O_PATH | os.O_DIRECTORY)
    assert os.path.samestat(os.fstat(descriptor), os.stat(tree))
    os.close(descriptor)


def test_a_new_file_is_made_inside(open_in_root: Open, tree: Path, root: int) -> None:
    os.close(open_in_root(root, "../directory/new", os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode=0o600))
    assert (tree / "a" / "new").stat().st_mode & 0o777 == 0o600


def test_a_link_is_not_followed_when_asked_so(open_in_root: Open, root: int) -> None:
    with pytest.raises(OSError) as caught:
        open_in_root(root, "absolute", os.O_RDONLY | os.O_NOFOLLOW)
    assert caught.value.errno == errno.ELOOP
    descriptor = open_in_root(root, "absolute", os.O_PATH | os.O_NOFOLLOW)
    assert os.readlink("", dir_fd=descriptor) == "/a/file"
    os.close(descriptor)


def test_descriptors_do_not_pass_an_exec_and_none_is_lost(open_in_root: Open, root: int) -> None:
    before = os.listdir("/proc/self/fd")
    descriptor = open_in_root(root, "directory/b/../file", os.O_RDONLY)
    assert not os.get_inheritable(descriptor)
    os.close(descriptor)
    for path in ("nothing", "loop", "a/file/x"):
        with pytest.raises(OSError):
            open_in_root(root, path, os.O_RDONLY)
    assert os.listdir("/proc/self/fd") == before


def test_magic_links_of_the_kernel_are_not_followed() -> None:
    proc = os.open("/proc", os.O_PATH | os.O_DIRECTORY)
    with pytest.raises(OSError) as caught:
        paths.open_in_root(proc, "self/root/etc", os.O_PATH)
    assert caught.value.errno == errno.ELOOP
    with pytest.raises(OSError):
        paths.walk_in_root(proc, "self/root/etc", os.O_PATH)
    os.close(proc)


def test_directories_are_made_through_links_that_stay_inside(tree: Path, root: int) -> None:
    descriptor = paths.make_directories_in_root(root, "/directory/../../directory/x/y", 0o700)
    assert os.path.samestat(os.fstat(descriptor), (tree / "a" / "x" / "y").stat())
    os.close(descriptor)
    assert sorted(os.listdir(tree.parent / "a")) == ["file"]


@given(
    st.lists(st.sampled_from(["a", "b", "..", ".", "", "file", "absolute", "climbing", "directory", "new"]))
)
def test_both_ways_to_open_agree(names: list[str]) -> None:
    with tempfile.TemporaryDirectory() as place:
        top = Path(place, "root")
        (top / "a" / "b").mkdir(parents=True)
        (top / "a" / "file").write_text("")
        (top / "absolute").symlink_to("/a/b")
        (top / "climbing").symlink_to("../../a")
        (top / "a" / "directory").symlink_to("/climbing/../a")
        root = os.open(top, os.O_PATH)
        results = []
        for way in (paths.open_in_root, paths.walk_in_root):
            try:
                descriptor = way(root, "/" + "/".join(names), os.O_PATH)
                results.append((os.fstat(descriptor).st_ino, 0))
                os.close(descriptor)
            except OSError as error:
                results.append((0, error.errno or 0))
        os.close(root)
    assert results[0] == results[1]


@given(st.text())
def test_a_joined_path_is_never_above_the_root(path: str) -> None:
    joined = paths.join("/top/root", path)
    assert joined == "/top/root" or joined.startswith("/top/root/")
    assert ".." not in joined.split("/")
