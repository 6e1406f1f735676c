from __future__ import annotations

import os
from pathlib import Path

import pytest

from cloche.errors import FailedPrecondition, Unavailable
from cloche.spec.mount import Mount
from cloche.store import clock
from cloche.store.metadata import Metadata
from cloche.store.snapshots.native import Native
from tests.store import children
from tests.store.snapshots.mounting import layer


@pytest.fixture
def native(tmp_path: Path) -> Native:
    return Native(str(tmp_path / "native"))


def test_the_mounts_are_those_of_containerd(metadata: Metadata, native: Native) -> None:
    with layer(metadata, native, "one"):
        pass
    with metadata.write() as tx:
        active, view = native.prepare(tx, "active", "one"), native.view(tx, "view", "one")
    base = f"{native.root}/snapshots"
    assert active == (Mount("bind", f"{base}/2", ("rw", "rbind")),)
    assert view == (Mount("bind", f"{base}/1", ("ro", "rbind")),)


PREPARE = """
    from cloche.store.snapshots.native import Native
    with metadata.write() as tx:
        Native(root + "/native").prepare(tx, "key", "image")
"""


@pytest.mark.parametrize("fault", ["metadata.committed", "snapshot.copied", "metadata.commit:2"])
def test_a_copy_that_was_interrupted_is_never_taken_for_whole(
    metadata: Metadata, native: Native, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    with layer(metadata, native, "image") as root:
        (root / "file").write_text("here")
    children.run_killed(tmp_path, PREPARE, fault)
    monkeypatch.setattr(clock, "_offset", clock.HOUR)
    whole = os.path.isdir(f"{native.root}/snapshots/2")
    assert whole is (fault == "metadata.commit:2")
    with metadata.write() as tx:
        if not whole:
            for ask in (lambda: native.mounts(tx, "key"), lambda: native.commit(tx, "name", "key")):
                with pytest.raises(FailedPrecondition, match="interrupted: remove it"):
                    ask()
        assert native.cleanup(tx) == (0 if whole else 1)
        native.remove(tx, "key")
    assert os.listdir(f"{native.root}/snapshots") == ["1"]


def test_a_copy_under_way_is_not_ready_and_not_garbage(
    metadata: Metadata, native: Native, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "_offset", clock.HOUR)
    with layer(metadata, native, "image"):
        pass
    with metadata.write() as tx:
        native.prepare(tx, "key", "image")
        with pytest.raises(Unavailable, match="still being copied"):
            native.mounts(tx, "key")
        assert native.cleanup(tx) == 0
    with metadata.read() as tx:
        native.mounts(tx, "key")


def prepare(metadata: Metadata, native: Native) -> None:
    with metadata.write() as tx:
        native.prepare(tx, "key", "image")


def test_a_copy_that_fails_takes_its_snapshot_with_it(metadata: Metadata, native: Native) -> None:
    with layer(metadata, native, "image"):
        pass
    os.rename(f"{native.root}/snapshots/1", f"{native.root}/hidden")
    with pytest.raises(FileNotFoundError):
        prepare(metadata, native)
    with metadata.read() as tx:
        assert not native.exists(tx, "key")
    assert os.listdir(f"{native.root}/snapshots") == []
    os.rename(f"{native.root}/hidden", f"{native.root}/snapshots/1")
    prepare(metadata, native)
