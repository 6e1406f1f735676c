"""What every snapshotter must do, whatever it is made of; after containerd's own suite for them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from cloche.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from cloche.store.metadata import Metadata
from cloche.store.snapshots.local import LocalSnapshotter
from cloche.store.snapshots.open import snapshotter
from tests.store.snapshots.mounting import layer, left, mounted, shown, tree


def test_an_empty_snapshot_can_be_written_and_committed(
    metadata: Metadata, snapshots: LocalSnapshotter
) -> None:
    with metadata.write() as tx:
        mounts = snapshots.prepare(tx, "key", labels={"a": "b"})
        info = snapshots.stat(tx, "key")
        assert (info.name, info.kind, info.parent, info.labels) == ("key", "active", "", {"a": "b"})
    with mounted(mounts) as root:
        (root / "foo").write_text("foo\n")
        (root / "d").mkdir()
        assert (root / "foo").read_text() == "foo\n"
    with metadata.write() as tx:
        assert snapshots.mounts(tx, "key") == mounts
        snapshots.commit(tx, "name", "key", labels={"c": "d"})
        info = snapshots.stat(tx, "name")
        assert (info.name, info.kind, info.parent, info.labels) == ("name", "committed", "", {"c": "d"})
        with pytest.raises(NotFound):
            snapshots.stat(tx, "key")
    with shown(metadata, snapshots, "name") as root:
        assert tree(root) == {"foo": "foo\n", "d": "0o755"}


def test_layers_add_change_and_delete(metadata: Metadata, snapshots: LocalSnapshotter) -> None:
    with layer(metadata, snapshots, "one") as root:
        (root / "etc").mkdir()
        (root / "etc/hosts").write_text("one")
        (root / "etc/profile").write_text("one")
        (root / "root").mkdir(mode=0o700)
        (root / "gone").write_text("one")
    with layer(metadata, snapshots, "two", "one") as root:
        (root / "etc/profile").write_text("two")
        (root / "gone").unlink()
        (root / "link").symlink_to("etc/hosts")
        (root / "etc").rename(root / "etc.moved") if snapshots.name == "native" else None
    changed = "etc.moved" if snapshots.name == "native" else "etc"
    with layer(metadata, snapshots, "three", "two") as root:
        (root / "gone").write_text("three")
        os.rename(root / changed / "hosts", root / changed / "guests")
    with shown(metadata, snapshots, "one") as root:
        assert tree(root) == {
            "etc": "0o755", "etc/hosts": "one", "etc/profile": "one", "root": "0o700", "gone": "one"
        }  # fmt: skip
    with shown(metadata, snapshots, "two") as root:
        assert tree(root) == {
            changed: "0o755", f"{changed}/hosts": "one", f"{changed}/profile": "two", "root": "0o700",
            "link": "-> etc/hosts",
        }  # fmt: skip
    with shown(metadata, snapshots, "three") as root:
        assert tree(root) == {
            changed: "0o755", f"{changed}/guests": "one", f"{changed}/profile": "two", "root": "0o700",
            "link": "-> etc/hosts", "gone": "three",
        }  # fmt: skip


def test_a_directory_replaced_by_a_file_and_back_shows_nothing_of_what_was(
    metadata: Metadata, snapshots: LocalSnapshotter
) -> None:
    with layer(metadata, snapshots, "one") as root:
        (root / "d").mkdir()
        (root / "d/old").write_text("old")
    with layer(metadata, snapshots, "two", "one") as root:
        (root / "d/old").unlink()
        (root / "d").rmdir()
        (root / "d").write_text("a file")
    with layer(metadata, snapshots, "three", "two") as root:
        (root / "d").unlink()
        (root / "d").mkdir()
        (root / "d/new").write_text("new")
    with shown(metadata, snapshots, "two") as root:
        assert tree(root) == {"d": "a file"}
    with shown(metadata, snapshots, "three") as root:
        assert tree(root) == {"d": "0o755", "d/new": "new"}


def test_twenty_layers_are_one_tree(metadata: Metadata, snapshots: LocalSnapshotter) -> None:
    parent = None
    for number in range(20):
        with layer(metadata, snapshots, f"layer {number}", parent) as root:
            (root / "latest").write_text(str(number))
            (root / f"file{number}").write_text(str(number))
        parent = f"layer {number}"
    with shown(metadata, snapshots, "layer 19") as root:
        assert tree(root) == {"latest": "19"} | {f"file{number}": str(number) for number in range(20)}


def test_what_two_containers_write_upon_one_image_stays_apart(
    metadata: Metadata, snapshots: LocalSnapshotter
) -> None:
    with layer(metadata, snapshots, "image") as root:
        (root / "file").write_text("image")
    with metadata.write() as tx:
        one, two = snapshots.prepare(tx, "one", "image"), snapshots.prepare(tx, "two", "image")
    with metadata.read() as tx:
        assert (one, two) == (snapshots.mounts(tx, "one"), snapshots.mounts(tx, "two"))
    with mounted(one) as first, mounted(two) as second:
        (first / "file").write_text("one")
        (second / "file").unlink()
        assert tree(first) == {"file": "one"}
        assert tree(second) == {}
    with shown(metadata, snapshots, "image") as root:
        assert tree(root) == {"file": "image"}


@pytest.mark.parametrize("parents", [0, 1, 2])
def test_a_view_cannot_be_written(metadata: Metadata, snapshots: LocalSnapshotter, parents: int) -> None:
    names = ["one", "two"][:parents]
    for name, parent in zip(names, [None, "one"], strict=False):
        with layer(metadata, snapshots, name, parent) as root:
            (root / name).write_text(name)
    with metadata.write() as tx:
        mounts = snapshots.view(tx, "view", names[-1] if names else None)
        assert snapshots.stat(tx, "view").kind == "view"
    with mounted(mounts) as root:
        assert tree(root) == {name: name for name in names}
        with pytest.raises(OSError, match="Read-only"):
            (root / "new").write_text("new")
    with metadata.write() as tx:
        with pytest.raises(FailedPrecondition, match="only active ones"):
            snapshots.commit(tx, "name", "view")
        snapshots.remove(tx, "view")


def test_owner_and_mode_of_the_root_are_those_of_the_parents_root(
    metadata: Metadata, snapshots: LocalSnapshotter
) -> None:
    with layer(metadata, snapshots, "one") as root:
        os.chown(root, 1000, 2000)
        os.chmod(root, 0o1775)
    with layer(metadata, snapshots, "two", "one") as root:
        assert (os.stat(root).st_uid, os.stat(root).st_gid) == (1000, 2000)
    with shown(metadata, snapshots, "two") as root:
        status = os.stat(root)
        assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (1000, 2000, 0o1775)


def test_the_umask_of_the_caller_does_not_matter(metadata: Metadata, snapshots: LocalSnapshotter) -> None:
    old = os.umask(0o077)
    try:
        with metadata.write() as tx:
            mounts = snapshots.prepare(tx, "key")
        with mounted(mounts) as root:
            assert stat.S_IMODE(os.stat(root).st_mode) == 0o755
    finally:
        os.umask(old)


def test_names_that_are_taken_or_missing_are_told_apart(
    metadata: Metadata, snapshots: LocalSnapshotter
) -> None:
    with layer(metadata, snapshots, "image"):
        pass
    with metadata.write() as tx:
        snapshots.prepare(tx, "active", "image")
        with pytest.raises(AlreadyExists):
            snapshots.prepare(tx, "active", "image")
        with pytest.raises(AlreadyExists):
            snapshots.view(tx, "image")
        with pytest.raises(AlreadyExists):
            snapshots.commit(tx, "image", "active")
        with pytest.raises(NotFound, match="is to be a parent"):
            snapshots.prepare(tx, "new", "missing")
        with pytest.raises(InvalidArgument, match="a parent must be committed"):
            snapshots.prepare(tx, "new", "active")
        for ask in (snapshots.stat, snapshots.mounts, snapshots.usage, snapshots.remove):
            with pytest.raises(NotFound):
                ask(tx, "missing")
        with pytest.raises(NotFound):
            snapshots.commit(tx, "new", "missing")
        with pytest.raises(NotFound):
            snapshots.update(tx, "missing", {})
        with pytest.raises(FailedPrecondition, match="make a view"):
            snapshots.mounts(tx, "image")
        with pytest.raises(FailedPrecondition, match="is committed"):
            snapshots.commit(tx, "again", "image")
        assert snapshots.exists(tx, "active")
        assert not snapshots.exists(tx, "new")


@pytest.mark.parametrize("key", ["", "a\0b", "x" * 5000])
def test_a_key_that_cannot_be_is_refused(metadata: Metadata, snapshots: LocalSnapshotter, key: str) -> None:
    with metadata.write() as tx, pytest.raises(InvalidArgument):
        snapshots.prepare(tx, key)
    assert not os.path.exists(snapshots.root)


def test_a_parent_is_not_removed_before_its_children(metadata: Metadata, snapshots: LocalSnapshotter) -> None:
    with layer(metadata, snapshots, "one"):
        pass
    with layer(metadata, snapshots, "two", "one"):
        pass
    with metadata.write() as tx:
        snapshots.view(tx, "view", "two")
        for parent, child in (("one", "two"), ("two", "view")):
            with pytest.raises(FailedPrecondition, match=f"is the parent of '{child}'"):
                snapshots.remove(tx, parent)
        for key in ("view", "two", "one"):
            snapshots.remove(tx, key)
        assert snapshots.walk(tx) == ()
    assert left(snapshots) == []
    assert snapshots.purge() == 0
    assert os.listdir(f"{snapshots.root}/trash") == []


def test_a_number_is_never_used_twice(metadata: Metadata, snapshots: LocalSnapshotter) -> None:
    seen = []
    for _ in range(3):
        with metadata.write() as tx:
            seen.append(snapshots.prepare(tx, "key"))
        with metadata.write() as tx:
            snapshots.remove(tx, "key")
    assert len(set(seen)) == 3


def test_walking_shows_parents_before_children_of_this_namespace_only(
    metadata: Metadata, snapshots: LocalSnapshotter, tmp_path: Path
) -> None:
    elsewhere = snapshotter(snapshots.name, str(tmp_path), "elsewhere")
    with layer(metadata, snapshots, "one"):
        pass
    with layer(metadata, elsewhere, "one"):
        pass
    with metadata.write() as tx:
        snapshots.prepare(tx, "a", "one", {"x": "y"})
        snapshots.view(tx, "b", "one")
        walked = [(info.name, info.kind, info.parent) for info in snapshots.walk(tx)]
        assert walked == [("one", "committed", ""), ("a", "active", "one"), ("b", "view", "one")]
        assert [info.name for info in elsewhere.walk(tx)] == ["one"]
        elsewhere.remove(tx, "one")
        assert snapshots.exists(tx, "one")


def test_labels_can_be_replaced_and_have_a_limit(metadata: Metadata, snapshots: LocalSnapshotter) -> None:
    with metadata.write() as tx:
        snapshots.prepare(tx, "key", labels={"a": "b"})
        before = snapshots.stat(tx, "key")
        info = snapshots.update(tx, "key", {"c": "d"})
        assert info == snapshots.stat(tx, "key")
        assert info.labels == {"c": "d"}
        assert info.created_at == before.created_at
        assert info.updated_at >= before.updated_at
        with pytest.raises(InvalidArgument, match="4096"):
            snapshots.update(tx, "key", {"k": "v" * 5000})
        with pytest.raises(InvalidArgument, match="4096"):
            snapshots.prepare(tx, "other", labels={"k": "v" * 5000})


def test_usage_counts_a_linked_file_once_and_parents_not_at_all(
    metadata: Metadata, snapshots: LocalSnapshotter
) -> None:
    with layer(metadata, snapshots, "image") as root:
        (root / "a").write_bytes(b"x" * 100_000)
        os.link(root / "a", root / "b")
    with metadata.write() as tx:
        usage = snapshots.usage(tx, "image")
        assert usage.inodes == 2
        assert 100_000 < usage.size < 120_000
        mounts = snapshots.prepare(tx, "active", "image")
    with mounted(mounts) as root:
        (root / "c").write_bytes(b"x" * 10_000)
    with metadata.read() as tx:
        grown = snapshots.usage(tx, "active")
    own = snapshots.name == "overlayfs"
    assert grown.inodes == (2 if own else 3)
    assert 10_000 < grown.size < (30_000 if own else 140_000)


def test_usage_given_with_the_commit_is_kept(metadata: Metadata, snapshots: LocalSnapshotter) -> None:
    with metadata.write() as tx:
        snapshots.prepare(tx, "key")
    with metadata.read() as tx:
        usage = snapshots.disk_usage(tx, "key")
    with metadata.write() as tx:
        snapshots.commit(tx, "name", "key", usage=usage.replace(size=12345))
        assert snapshots.usage(tx, "name") == usage.replace(size=12345)


def fail_after(metadata: Metadata, snapshots: LocalSnapshotter, parent: str | None) -> None:
    with metadata.write() as tx:
        snapshots.prepare(tx, "key", parent)
        snapshots.view(tx, "view", parent)
        raise ZeroDivisionError


@pytest.mark.parametrize("parent", [None, "image"])
def test_a_transaction_that_fails_leaves_no_directory(
    metadata: Metadata, snapshots: LocalSnapshotter, parent: str | None
) -> None:
    with layer(metadata, snapshots, "image"):
        pass
    before = left(snapshots)
    with pytest.raises(ZeroDivisionError):
        fail_after(metadata, snapshots, parent)
    assert left(snapshots) == before


def remove_and_fail(metadata: Metadata, snapshots: LocalSnapshotter, key: str) -> None:
    with metadata.write() as tx:
        snapshots.remove(tx, key)
        raise ZeroDivisionError


def test_a_removal_that_fails_removes_nothing(metadata: Metadata, snapshots: LocalSnapshotter) -> None:
    with layer(metadata, snapshots, "image") as root:
        (root / "file").write_text("here")
    with pytest.raises(ZeroDivisionError):
        remove_and_fail(metadata, snapshots, "image")
    with shown(metadata, snapshots, "image") as root:
        assert tree(root) == {"file": "here"}


def test_what_is_prepared_and_removed_in_one_transaction_was_never_there(
    metadata: Metadata, snapshots: LocalSnapshotter
) -> None:
    with layer(metadata, snapshots, "image"):
        pass
    before = left(snapshots)
    with metadata.write() as tx:
        snapshots.prepare(tx, "key", "image")
        snapshots.remove(tx, "key")
    assert left(snapshots) == before
