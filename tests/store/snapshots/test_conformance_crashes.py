"""What every snapshotter must leave behind when processes die or compete: nothing lost, nothing leaked."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cloche.store import clock
from cloche.store.metadata import Metadata
from cloche.store.snapshots.local import LocalSnapshotter
from cloche.store.snapshots.open import snapshotter
from tests.store import children
from tests.store.snapshots.mounting import layer, left, mounted, shown, tree

CHANGE = """
    snapshots = snapshotter(os.environ["SNAPSHOTTER"], root)
    with metadata.write() as tx:
        mounts = snapshots.prepare(tx, "new", "image")
    with metadata.write() as tx:
        snapshots.commit(tx, "changed", "new")
    with metadata.write() as tx:
        snapshots.remove(tx, "changed")
    snapshots.purge()
"""
KILLED: dict[str, set[str]] = {
    "snapshot.prepared": set(),
    "metadata.commit:1": set(),
    "metadata.committed:1": {"new"},
    "snapshot.committed": {"new"},
    "metadata.commit:2": {"new"},
    "metadata.committed:2": {"changed"},
    "metadata.commit:3": {"changed"},
    "metadata.committed:3": set(),
    "snapshot.removed": set(),
    "snapshot.discarded": set(),
}


@pytest.mark.parametrize("fault", KILLED)
def test_wherever_a_process_is_killed_nothing_is_lost_and_nothing_leaks(
    metadata: Metadata,
    snapshots: LocalSnapshotter,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
) -> None:
    with layer(metadata, snapshots, "image") as root:
        (root / "file").write_text("here")
    monkeypatch.setenv("SNAPSHOTTER", snapshots.name)
    point, _, count = fault.partition(":")
    # The native snapshotter has one more transaction, between the first and the second.
    more = count in ("2", "3") and snapshots.name == "native"
    children.run_killed(tmp_path, CHANGE, f"{point}:{int(count or 1) + more}")
    monkeypatch.setattr(clock, "_offset", clock.HOUR)
    with metadata.write() as tx:
        names = {info.name for info in snapshots.walk(tx)}
        assert names == {"image"} | KILLED[fault]
        snapshots.cleanup(tx)
    snapshots.purge()
    assert len(left(snapshots)) <= len(names)
    assert [name for name in left(snapshots) if not name.isdecimal()] == []
    with shown(metadata, snapshots, "image") as root:
        assert tree(root) == {"file": "here"}
    with metadata.write() as tx:
        for name in names - {"image"}:
            snapshots.remove(tx, name)
        snapshots.prepare(tx, "new", "image")
        snapshots.remove(tx, "new")
        snapshots.remove(tx, "image")
        snapshots.cleanup(tx)
    snapshots.purge()
    assert left(snapshots) == []
    assert os.listdir(f"{snapshots.root}/trash") == []


def test_cleanup_leaves_alone_what_has_a_row_in_any_namespace(
    metadata: Metadata, snapshots: LocalSnapshotter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with metadata.write() as tx:
        snapshots.prepare(tx, "one")
        snapshotter(snapshots.name, str(tmp_path), "elsewhere").prepare(tx, "two")
    for stray in ("99", "new-98", "not a number"):
        os.mkdir(f"{snapshots.root}/snapshots/{stray}")
    with metadata.write() as tx:
        assert snapshots.cleanup(tx) == 2, "new-98 may be locked in a moment"
    monkeypatch.setattr(clock, "_offset", clock.HOUR)
    with metadata.write() as tx:
        assert snapshots.cleanup(tx) == 1
    assert left(snapshots) == ["1", "2"]


def test_a_leftover_directory_makes_room_for_a_new_snapshot(
    metadata: Metadata, snapshots: LocalSnapshotter
) -> None:
    os.makedirs(f"{snapshots.root}/snapshots/1/fs")
    Path(f"{snapshots.root}/snapshots/1/fs/stale").touch()
    with metadata.write() as tx:
        mounts = snapshots.prepare(tx, "key")
    with mounted(mounts) as root:
        assert tree(root) == {}


PREPARE_MANY = """
    snapshots = snapshotter(os.environ["SNAPSHOTTER"], root)
    for number in range(10):
        with metadata.write() as tx:
            snapshots.prepare(tx, f"{os.getpid()} {number}", "image")
        if number % 2:
            with metadata.write() as tx:
                snapshots.remove(tx, f"{os.getpid()} {number}")
                snapshots.cleanup(tx)
            snapshots.purge()
"""


def test_four_processes_prepare_remove_clean_and_purge_at_once(
    metadata: Metadata, snapshots: LocalSnapshotter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with layer(metadata, snapshots, "image") as root:
        (root / "file").write_text("here")
    monkeypatch.setenv("SNAPSHOTTER", snapshots.name)
    processes = [children.start(tmp_path, PREPARE_MANY) for _ in range(4)]
    for process in processes:
        _, complaint = process.communicate(timeout=60)
        assert process.returncode == 0, complaint
    with metadata.read() as tx:
        walked = snapshots.walk(tx)
        assert len(walked) == 21
        for info in walked[1:]:
            with mounted(snapshots.mounts(tx, info.name)) as root:
                assert tree(root) == {"file": "here"}
    assert len(left(snapshots)) == 21
