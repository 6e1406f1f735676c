"""Unpacking images: the tree that umoci makes, nothing left after a failure, several at once."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from cloche.errors import DataLoss, InvalidArgument
from cloche.image import archive, unpack
from cloche.image.resolve import Chosen
from cloche.store import clock
from tests.image.stores import NAMESPACE, Stores
from tests.image.tars import Tar, tree
from tests.layouts import Layout

pytestmark = pytest.mark.usefixtures("root")

KINDS = ["overlayfs", "native"]


def layers() -> list[bytes]:
    first = Tar().directory(".", mode=0o751).directory("etc", mode=0o750, uid=3, gid=4)
    first.add("etc/passwd", data=b"root").add("etc/group", data=b"g").directory("usr/lib")
    first.add("usr/lib/libc.so", data=b"c" * 9000).hardlink("usr/lib/libc.so.6", "usr/lib/libc.so")
    first.add("dir/one").add("dir/sub/two").add("opaque/old").add("replaced", data=b"file")
    first.directory("became-file").add("became-file/x")
    second = Tar().add("etc/.wh.group").add("etc/passwd", data=b"changed").add("dir/.wh.sub")
    second.directory("opaque", mode=0o700).add("opaque/.wh..wh..opq").add("opaque/new")
    second.directory("replaced").add("replaced/inside", data=b"now a directory")
    second.add("became-file", data=b"file")
    third = Tar().add("dir/sub/three").add("usr/bin/tool", mode=0o4755).symlink("link", "usr/bin")
    return [first.bytes(), second.bytes(), third.bytes()]


def bring(stores: Stores, where: Path, contents: list[bytes], *, compressed: bool = True) -> Chosen:
    """An image of these layers in the content store, not unpacked."""
    layout = Layout(where)
    layout.image("test:1", contents, compressed=compressed)
    (row,) = archive.load(str(where), content=stores.content, metadata=stores.metadata, namespace=NAMESPACE)
    return stores.chosen(row)


def run(stores: Stores, chosen: Chosen, **more: object) -> str:
    return unpack.unpack(
        chosen.manifest, chosen.config, content=stores.content, metadata=stores.metadata,
        snapshotter=stores.snapshotter, **more,  # type: ignore[arg-type]  # handed through as it is
    )  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_the_tree_is_the_one_that_umoci_unpacks(
    kind: str, tmp_path: Path, peer: Callable[[str], str]
) -> None:
    stores = Stores(tmp_path / "root", kind)
    chosen = bring(stores, tmp_path / "layout", layers())
    name = run(stores, chosen)
    command = [peer("umoci"), "unpack", "--image", f"{tmp_path}/layout:test:1", f"{tmp_path}/umoci"]
    subprocess.run(command, check=True, capture_output=True)
    with stores.show(name, tmp_path / "shown") as shown:
        ours = tree(shown)
        theirs = tree(tmp_path / "umoci" / "rootfs")
        # umoci gives directories that no layer lists, and those that it changed, other times.
        for path in ("dir", "dir/sub", "usr", "usr/bin", "usr/lib", "etc", "became-file", "opaque"):
            ours[path], theirs[path] = _timeless(ours[path]), _timeless(theirs[path])
        assert _links_apart(ours) == _links_apart(theirs)
        assert (shown / "etc").stat().st_uid == 3
        assert stat.S_IMODE(shown.stat().st_mode) == 0o751
    assert stores.snapshots() == [*_chain(chosen)]


def _timeless(facts: tuple[object, ...]) -> tuple[object, ...]:
    return (*facts[:4], 0, *facts[5:])


def _links_apart(found: dict[str, tuple[object, ...]]) -> dict[str, tuple[object, ...]]:
    """Without link counts: overlayfs counts those of the layer."""
    return {path: (*facts[:5], *facts[6:]) for path, facts in found.items()}


def _chain(chosen: Chosen) -> list[str]:
    from cloche.spec.image import chain_id

    ids = chosen.config.diff_ids
    return [chain_id(ids[: count + 1]) for count in range(len(ids))]


@pytest.mark.parametrize("kind", KINDS)
def test_snapshots_that_are_there_are_used(kind: str, tmp_path: Path) -> None:
    stores = Stores(tmp_path / "root", kind)
    contents = layers()
    below = bring(stores, tmp_path / "below", contents[:2])
    run(stores, below)
    whole = bring(stores, tmp_path / "whole", contents)
    for layer in below.manifest.layers:
        stores.content.delete(layer.digest)
    assert run(stores, whole) == _chain(whole)[-1]
    assert run(stores, whole) == _chain(whole)[-1]
    assert len(stores.snapshots()) == 3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("damage", ["wrong diff id", "bad layer", "missing blob"])
def test_a_failure_leaves_no_snapshot_and_no_directory(kind: str, damage: str, tmp_path: Path) -> None:
    stores = Stores(tmp_path / "root", kind)
    contents = layers()
    if damage == "bad layer":
        contents[1] = Tar().symlink("loop", "loop").add("loop/x").bytes()
    chosen = bring(stores, tmp_path / "layout", contents)
    if damage == "wrong diff id":
        ids = chosen.config.document["rootfs"]["diff_ids"]
        ids[1] = "sha256:" + "1" * 64
        chosen.config.diff_ids = tuple(ids)
    elif damage == "missing blob":
        stores.content.delete(chosen.manifest.layers[1].digest)
    errors = {"wrong diff id": DataLoss, "bad layer": InvalidArgument}
    with pytest.raises(errors.get(damage, Exception)):
        run(stores, chosen)
    stores.snapshotter.purge()
    if kind == "overlayfs":
        assert stores.snapshots() == []
    assert len(stores.snapshots()) < 2
    assert stores.leftovers() == []


def test_several_unpackers_of_one_image_do_not_disturb_each_other(tmp_path: Path) -> None:
    stores = Stores(tmp_path / "root")
    chosen = bring(stores, tmp_path / "layout", layers())
    names: list[str] = []
    threads = [threading.Thread(target=lambda: names.append(run(stores, chosen))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert names == [_chain(chosen)[-1]] * 4
    assert len(stores.snapshots()) == 3
    assert stores.leftovers() == []


def test_layers_are_waited_for(tmp_path: Path) -> None:
    stores = Stores(tmp_path / "root")
    chosen = bring(stores, tmp_path / "layout", layers())
    asked: list[str] = []
    run(stores, chosen, wait=asked.append)
    assert sorted(asked) == sorted(layer.digest for layer in chosen.manifest.layers)


def test_directories_that_a_layer_implies_look_as_they_do_below(tmp_path: Path) -> None:
    stores = Stores(tmp_path / "root")
    below = Tar().directory(".", mode=0o711, uid=9)
    below.directory("a", mode=0o2750, uid=5, gid=6, pax_headers={"SCHILY.xattr.user.note": "n"})
    below.directory("a/b", mode=0o700).directory("gone", mode=0o700).directory("hidden/in", mode=0o700)
    middle = Tar().add(".wh.gone").add("hidden/.wh..wh..opq")
    top = Tar().add("a/b/file").add("gone/file").add("hidden/in/file")
    chosen = bring(stores, tmp_path / "layout", [below.bytes(), middle.bytes(), top.bytes()])
    with stores.show(run(stores, chosen), tmp_path / "shown") as shown:
        seen = {name: (shown / name).stat() for name in (".", "a", "a/b", "gone", "hidden/in")}
        assert (seen["."].st_uid, stat.S_IMODE(seen["."].st_mode)) == (9, 0o711)
        assert (seen["a"].st_uid, seen["a"].st_gid, stat.S_IMODE(seen["a"].st_mode)) == (5, 6, 0o2750)
        assert os.getxattr(shown / "a", "user.note") == b"n"
        assert stat.S_IMODE(seen["a/b"].st_mode) == 0o700
        assert stat.S_IMODE(seen["gone"].st_mode) == 0o755
        assert stat.S_IMODE(seen["hidden/in"].st_mode) == 0o755


def test_an_opaque_root_hides_everything_below(tmp_path: Path) -> None:
    stores = Stores(tmp_path / "root")
    contents = [
        Tar().add("old").add("dir/old").bytes(),
        Tar().add(".wh..wh..opq").add("dir/new").add("new").bytes(),
    ]
    chosen = bring(stores, tmp_path / "layout", contents)
    with stores.show(run(stores, chosen), tmp_path / "shown") as shown:
        assert sorted(str(path.relative_to(shown)) for path in shown.rglob("*")) == ["dir", "dir/new", "new"]


def test_a_leftover_of_a_crash_is_cleaned_up(tmp_path: Path) -> None:
    stores = Stores(tmp_path / "root")
    chosen = bring(stores, tmp_path / "layout", layers())
    run(stores, chosen)
    left = Path(stores.snapshotter.root) / "snapshots" / "new-dead"
    shutil.copytree("/etc/apt", left / "fs")
    clock.advance(120 * clock.SECOND)
    try:
        with stores.metadata.write() as tx:
            assert stores.snapshotter.cleanup(tx) == 1
    finally:
        clock.advance(-120 * clock.SECOND)
    stores.snapshotter.purge()
    assert not left.exists()


def test_a_bad_layer_is_told_while_another_is_still_waited_for(tmp_path: Path) -> None:
    stores = Stores(tmp_path / "root")
    contents = [*layers(), Tar().symlink("loop", "loop").add("loop/x").bytes()]
    chosen = bring(stores, tmp_path / "layout", contents)
    late = chosen.manifest.layers[0].digest
    arrives = threading.Event()

    def wait(digest: str) -> None:
        if digest == late:
            arrives.wait(30)

    with pytest.raises(InvalidArgument, match="too many symbolic links"):
        run(stores, chosen, wait=wait)
    arrives.set()
    assert stores.snapshots() == []
    assert stores.leftovers() == []
