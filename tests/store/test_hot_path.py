"""What a start from a local image asks of the stores: one read, and two transactions at most."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from cloche.store import containers, images, leases
from cloche.store.containers import Container
from cloche.store.images import Image, Resolution, Target
from cloche.store.leases import Lease, Owner
from cloche.store.metadata import Metadata
from cloche.store.snapshots.overlayfs import Overlayfs

DIGEST = "sha256:" + "a" * 64


@pytest.fixture
def overlay(tmp_path: Path, metadata: Metadata) -> Overlayfs:
    overlay = Overlayfs(str(tmp_path / "snapshots/overlayfs"))
    parent = None
    with metadata.write() as tx:
        images.put(tx, "default", Image("image", Target("index", DIGEST, 1)))
        images.remember(tx, DIGEST, Resolution("linux/amd64", DIGEST, DIGEST, "layer 4"))
        for number in range(5):
            overlay.prepare(tx, "key", parent)
            overlay.commit(tx, f"layer {number}", "key")
            parent = f"layer {number}"
    return overlay


def run(metadata: Metadata, overlay: Overlayfs, owner: str) -> None:
    container_id = os.urandom(32).hex()
    with metadata.read() as tx:
        image = images.get(tx, "default", "image")
        assert image is not None
        found = images.resolution(tx, image.target.digest, "linux/amd64")
        assert found is not None
    with metadata.write(durable=False) as tx:
        leases.create(tx, Lease(container_id, "default", owner=owner))
        overlay.prepare(tx, container_id, found.chain_id)
        row = Container(container_id, "default", container_id[:8], image.name, "overlayfs", container_id)
        containers.create(tx, row.replace(spec=b"x" * 15_000, lease=container_id))
    with metadata.write(durable=False) as tx:
        containers.delete(tx, "default", container_id)
        overlay.remove(tx, container_id)
        leases.delete(tx, "default", container_id)
    overlay.purge()


def test_the_rows_and_directories_of_a_run_take_less_than_four_milliseconds_of_processor_time(
    metadata: Metadata, overlay: Overlayfs, tmp_path: Path
) -> None:
    durations = []
    with Owner(str(tmp_path / "leases")) as owner:
        for _ in range(20):
            start = time.thread_time()
            run(metadata, overlay, owner.name)
            durations.append(time.thread_time() - start)
    assert min(durations) < 0.004
    assert len(os.listdir(f"{overlay.root}/snapshots")) == 5
    assert os.listdir(f"{overlay.root}/trash") == []
    with metadata.read() as tx:
        assert tx.execute("SELECT * FROM containers") == tx.execute("SELECT * FROM leases") == []
