"""What a container changed: as docker diff lists it, and as a layer that makes the same tree again."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloche.errors import InvalidArgument
from cloche.image import diff, diff_layer, layer
from cloche.image.diff import Difference
from cloche.kernel import mounts, syscalls
from cloche.spec.mount import Mount
from tests.image.stores import Stores
from tests.image.tars import Tar, tree
from tests.image.test_unpack import bring, run

pytestmark = pytest.mark.usefixtures("root")

BELOW = (
    Tar().directory("etc").add("etc/passwd", data=b"root").add("etc/group", data=b"g")
    .directory("dir").add("dir/one").directory("dir/sub").add("dir/sub/two").add("kept")
    .directory("usr").directory("usr/bin").add("usr/bin/tool", data=b"tool", mode=0o755)
    .symlink("link", "kept").directory("root", mode=0o700)
)  # fmt: skip
BELOW_BYTES = BELOW.bytes()

CHANGE = """
echo more >> etc/passwd; rm etc/group; rm -r dir; mkdir dir; echo n > dir/new
mkdir -p new/deep; echo a > new/a; ln new/a new/b; ln -s a new/l; mknod new/null c 1 3; mkfifo new/fifo
chmod 711 root; chown 5:6 kept; rm link; mkdir link; touch usr/bin/x; rm usr/bin/x; chmod 4755 usr/bin/tool
"""
EXPECTED = """
C /dir|A /dir/new|D /dir/one|D /dir/sub|C /etc|D /etc/group|C /etc/passwd|C /kept|C /link|A /new|A /new/a
A /new/b|A /new/deep|A /new/fifo|A /new/l|A /new/null|C /root|C /usr|C /usr/bin|C /usr/bin/tool
"""
WANTED = [line for row in EXPECTED.split("\n") for line in row.split("|") if line]


class Active:
    """A container's snapshot upon an unpacked image, mounted while it is changed."""

    def __init__(self, stores: Stores, parent: str, place: Path) -> None:
        self.stores = stores
        self.place = place
        place.mkdir()
        with stores.metadata.write() as tx:
            self.mounts = stores.snapshotter.prepare(tx, "active", parent)
        with stores.metadata.write() as tx:
            self.parent = stores.snapshotter.view(tx, "before", parent)

    def change(self, script: str) -> None:
        mount = mounts.assemble(self.mounts)
        try:
            syscalls.move_mount(mount, syscalls.AT_FDCWD, str(self.place))
            subprocess.run(["sh", "-ec", script], cwd=self.place, check=True)
        finally:
            os.close(mount)
            syscalls.umount2(str(self.place), syscalls.MNT_DETACH)

    def difference(self) -> Difference:
        return diff.difference(self.mounts, self.parent)

    def changes(self) -> list[str]:
        with self.difference() as found:
            return [f"{change.kind} {change.path}" for change in found.changes()]


@pytest.fixture(params=["overlayfs", "native"])
def active(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Active]:
    stores = Stores(tmp_path / "root", request.param)
    chosen = bring(stores, tmp_path / "layout", [BELOW_BYTES])
    yield Active(stores, run(stores, chosen), tmp_path / "place")
    with stores.metadata.write() as tx:
        for key in ("active", "before"):
            stores.snapshotter.remove(tx, key)
    stores.snapshotter.purge()


def test_nothing_changed_is_an_empty_list(active: Active) -> None:
    assert active.changes() == []


def test_changes_are_listed_as_docker_lists_them(active: Active) -> None:
    active.change(CHANGE)
    assert active.changes() == WANTED


def test_the_layer_makes_the_same_tree_again(active: Active, tmp_path: Path) -> None:
    active.change(CHANGE)
    buffer = io.BytesIO()
    with active.difference() as found:
        diff_layer.write_layer(found, buffer.write)
    again = tmp_path / "again"
    again.mkdir()
    root = os.open(again, os.O_RDONLY)
    layer.apply(io.BytesIO(BELOW_BYTES), root, whiteouts="remove")
    layer.apply(io.BytesIO(buffer.getvalue()), root, whiteouts="remove")
    os.close(root)
    mount = mounts.assemble(active.mounts)
    try:
        syscalls.move_mount(mount, syscalls.AT_FDCWD, str(active.place))
        assert tree(again) == tree(active.place)
    finally:
        os.close(mount)
        syscalls.umount2(str(active.place), syscalls.MNT_DETACH)
    with tarfile.open(fileobj=io.BytesIO(buffer.getvalue())) as archive:
        names = archive.getnames()
    assert {"dir/.wh.one", "dir/.wh.sub", "etc/.wh.group"} <= set(names)


def test_without_a_parent_everything_is_new(tmp_path: Path) -> None:
    (tmp_path / "tree" / "d").mkdir(parents=True)
    (tmp_path / "tree" / "d" / "f").write_text("x")
    with diff.difference([Mount("bind", str(tmp_path / "tree"), ("rw", "rbind"))]) as found:
        assert [f"{change.kind} {change.path}" for change in found.changes()] == ["A /d", "A /d/f"]


def test_links_that_a_container_planted_are_not_followed(active: Active, tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "file").write_text("secret")
    active.change(f"rm -r dir; ln -s {tmp_path}/secret dir; ln -s {tmp_path}/secret/file stolen")
    buffer = io.BytesIO()
    with active.difference() as found:
        assert "A /dir/file" not in [f"{change.kind} {change.path}" for change in found.changes()]
        diff_layer.write_layer(found, buffer.write)
    assert b"secret\0" not in buffer.getvalue().replace(b"/secret\0", b"")
    with tarfile.open(fileobj=io.BytesIO(buffer.getvalue())) as archive:
        assert archive.getmember("stolen").issym()
        assert archive.getmember("dir").issym()


def test_a_name_that_would_be_a_whiteout_is_refused(active: Active) -> None:
    active.change("touch .wh.etc")
    with active.difference() as found, pytest.raises(InvalidArgument, match=r"names that begin with \.wh\."):
        diff_layer.write_layer(found, io.BytesIO().write)


def test_a_directory_in_the_place_of_a_link_is_looked_up_as_itself(active: Active) -> None:
    active.change("rm link; mkdir link; touch link/x; rm -r usr; ln -s etc usr")
    assert active.changes() == ["C /link", "A /link/x", "C /usr"]
