from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from cloche.store import blob_labels, clock, containers, images, leases
from cloche.store.collect import Store, collect, orphans, released_now
from cloche.store.containers import Container
from cloche.store.content import ContentStore
from cloche.store.images import Image, Resolution, Target
from cloche.store.leases import Lease, Owner, Resource
from cloche.store.metadata import Metadata
from cloche.store.snapshots.open import snapshotter
from tests.store import children

INDEX = "application/vnd.oci.image.index.v1+json"
DAY = 24 * clock.HOUR
LATER = DAY + clock.HOUR


@pytest.fixture
def store(tmp_path: Path, metadata: Metadata) -> Store:
    return Store(str(tmp_path), metadata, ContentStore(str(tmp_path / "content")))


def wait(monkeypatch: pytest.MonkeyPatch, nanoseconds: int = LATER) -> None:
    monkeypatch.setattr(clock, "_offset", nanoseconds)


def descriptor(digest: str) -> dict[str, object]:
    return {"mediaType": "x", "digest": digest, "size": 1}


def put_json(store: Store, document: object) -> str:
    return store.content.put(json.dumps(document).encode())


class Built:
    """An image of one index, one manifest, one config and two layers, unpacked in both snapshotters."""

    def __init__(self, store: Store, name: str, *, unpacked: bool = True) -> None:
        self.layers = [store.content.put(f"{name} {number}".encode()) for number in range(2)]
        self.config = put_json(store, {"name": name, "config": {"digest": "not one"}})
        self.manifest = put_json(
            store,
            {"config": descriptor(self.config), "layers": [descriptor(layer) for layer in self.layers]},
        )
        self.index = put_json(store, {"manifests": [descriptor(self.manifest)]})
        self.blobs = {self.index, self.manifest, self.config, *self.layers}
        self.image = Image(name, Target(INDEX, self.index, 1))
        self.chain = f"chain of {name}"
        with store.metadata.write() as tx:
            images.put(tx, "default", self.image)
            found = Resolution("linux/amd64", self.manifest, self.config, self.chain)
            images.remember(tx, self.index, found)
            if unpacked:
                overlay = snapshotter("overlayfs", store.root)
                overlay.prepare(tx, f"{name} lower")
                overlay.commit(tx, f"{self.chain} lower", f"{name} lower")
                overlay.prepare(tx, f"{name} upper", f"{self.chain} lower")
                overlay.commit(tx, self.chain, f"{name} upper")


def blobs(store: Store) -> set[str]:
    return {info.digest for info in store.content.walk()}


def snapshots(store: Store, namespace: str = "default") -> set[str]:
    with store.metadata.read() as tx:
        return {info.name for info in snapshotter("overlayfs", store.root, namespace).walk(tx)}


def remove_image(store: Store, built: Built) -> None:
    with store.metadata.write() as tx:
        images.delete(tx, "default", built.image.name)


def test_all_of_an_image_stays_while_it_has_a_name(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    built = Built(store, "image")
    wait(monkeypatch)
    collected = collect(store)
    assert (collected.content, collected.snapshots) == ((), ())
    assert blobs(store) == built.blobs
    assert snapshots(store) == {built.chain, f"{built.chain} lower"}


def test_all_of_an_image_goes_a_day_after_its_last_name(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = Built(store, "image")
    remove_image(store, built)
    assert collect(store).content == ()
    assert blobs(store) == built.blobs
    assert len(snapshots(store)) == 2
    wait(monkeypatch)
    collected = collect(store)
    assert set(collected.content) == built.blobs
    assert collected.freed_bytes > 0
    assert len(collected.snapshots) == 2
    assert blobs(store) == snapshots(store) == set()
    for directory in ("content/trash", "snapshots/overlayfs/trash", "snapshots/overlayfs/snapshots"):
        assert os.listdir(f"{store.root}/{directory}") == []
    with store.metadata.read() as tx:
        assert images.resolution(tx, built.index, "linux/amd64") is None


def test_what_a_user_removes_goes_at_once_and_what_others_share_stays(store: Store) -> None:
    shared = put_json(store, {"config": {}})
    removed, kept = Built(store, "removed"), Built(store, "kept")
    both = put_json(store, {"layers": [descriptor(shared), descriptor(removed.layers[0])]})
    with store.metadata.write() as tx:
        images.put(tx, "default", Image("both", Target(INDEX, both, 1)))
    young = store.content.put(b"somebody pulls this just now")
    remove_image(store, removed)
    collect(store, released=released_now(removed.index))
    assert blobs(store) == kept.blobs | {both, shared, removed.layers[0], young}
    assert snapshots(store) == {kept.chain, f"{kept.chain} lower"}


def test_of_what_a_user_removed_that_stays_which_somebody_wanted_since(store: Store) -> None:
    removed = Built(store, "removed")
    remove_image(store, removed)
    released = released_now(removed.index)
    assert store.content.exists(removed.index)
    assert store.content.put(b"removed 0") == removed.layers[0]
    collect(store, released=released)
    assert blobs(store) == {removed.index, removed.layers[0]}
    assert snapshots(store) == set()


def test_a_container_keeps_its_snapshot_and_all_below_when_its_image_goes(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = Built(store, "image")
    with store.metadata.write() as tx:
        snapshotter("overlayfs", store.root).prepare(tx, "c", built.chain)
        snapshotter("overlayfs", store.root).prepare(tx, "nobody's", built.chain)
        containers.create(tx, Container("c", "default", snapshotter="overlayfs", snapshot_key="c"))
    remove_image(store, built)
    wait(monkeypatch)
    collect(store)
    assert blobs(store) == set()
    assert snapshots(store) == {"c", built.chain, f"{built.chain} lower"}


def test_namespaces_share_content_and_not_snapshots(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    built = Built(store, "image")
    with store.metadata.write() as tx:
        images.put(tx, "other", built.image)
        snapshotter("overlayfs", store.root, "other").prepare(tx, "key")
        snapshotter("overlayfs", store.root, "other").commit(tx, built.chain, "key")
    remove_image(store, built)
    wait(monkeypatch)
    collect(store)
    assert blobs(store) == built.blobs
    assert snapshots(store) == set()
    assert snapshots(store, "other") == {built.chain}


def test_leases_keep_content_snapshots_and_ingests(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    built = Built(store, "image")
    other = store.content.put(b"other")
    for ref in ("kept", "old"):
        with store.content.writer(ref) as writer:
            writer.write(b"x")
    with store.metadata.write() as tx:
        leases.create(tx, Lease("one", "default"))
        for kind, resource in (
            ("content", built.manifest),
            ("snapshots/overlayfs", built.chain),
            ("ingests", "kept"),
        ):
            leases.add(tx, "default", "one", Resource(kind, resource))
    remove_image(store, built)
    wait(monkeypatch)
    collected = collect(store)
    assert set(collected.content) == {built.index, other}
    assert snapshots(store) == {built.chain, f"{built.chain} lower"}
    assert collected.ingests == ("old",)
    with store.metadata.write() as tx:
        leases.delete(tx, "default", "one")
    collect(store)
    assert blobs(store) == snapshots(store) == set()
    assert list(store.content.ingests()) == []


def test_a_flat_lease_keeps_what_it_names_and_no_more(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    built = Built(store, "image", unpacked=False)
    with store.metadata.write() as tx:
        leases.create(tx, Lease("flat", "default", {leases.FLAT_LABEL: "yes"}))
        leases.add(tx, "default", "flat", Resource("content", built.manifest))
    remove_image(store, built)
    wait(monkeypatch)
    collect(store)
    assert blobs(store) == {built.manifest}


def test_a_lease_whose_time_is_over_keeps_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = store.content.put(b"leased")
    until = clock.format_rfc3339(clock.now() + 2 * DAY)
    with store.metadata.write() as tx:
        leases.create(tx, Lease("one", "default", {leases.EXPIRE_LABEL: until}))
        leases.add(tx, "default", "one", Resource("content", digest))
    wait(monkeypatch)
    assert collect(store).leases == ()
    assert blobs(store) == {digest}
    wait(monkeypatch, 2 * DAY + clock.HOUR)
    assert collect(store).leases == ("one",)
    assert blobs(store) == set()


def test_a_run_lease_ends_with_its_process_but_not_before_its_container(store: Store) -> None:
    with Owner(store.leases) as owner:
        with store.metadata.write() as tx:
            leases.create(tx, Lease("run", "default", owner=owner.name))
            containers.create(tx, Container("c", "default", lease="run"))
        with store.metadata.read() as tx:
            assert orphans(tx, store.root) == ()
        assert collect(store).leases == ()
    assert collect(store).leases == ()
    with store.metadata.read() as tx:
        assert [container.id for container in orphans(tx, store.root)] == ["c"]
    with store.metadata.write() as tx:
        containers.delete(tx, "default", "c")
    assert collect(store).leases == ("run",)
    assert os.listdir(store.leases) == []


def test_labels_refer_as_they_do_in_containerd(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    put = {
        name: store.content.put(name.encode())
        for name in ("root", "a", "b", "c", "back", "of image", "alone", "x")
    }
    overlay = snapshotter("overlayfs", store.root)
    with store.metadata.write() as tx:
        for key, labels in (
            ("by content", {}),
            ("root", {"containerd.io/gc.root": "now", "containerd.io/gc.ref.content": put["c"]}),
            ("alone", {}),
        ):
            overlay.prepare(tx, f"key {key}")
            overlay.commit(tx, key, f"key {key}", labels)
        images.put(
            tx,
            "default",
            Image(
                "image", Target(INDEX, put["x"], 1), {"containerd.io/gc.ref.content.extra": put["of image"]}
            ),
        )
        for digest, changes in (
            (put["root"], {"containerd.io/gc.root": "2024", "containerd.io/gc.ref.content.l.0": put["a"]}),
            (put["a"], {"containerd.io/gc.ref.content": put["b"]}),
            (put["b"], {"containerd.io/gc.ref.snapshot.overlayfs/1": "by content"}),
            (put["back"], {"containerd.io/gc.bref.image": "image"}),
            (put["alone"], {"containerd.io/gc.bref.content": put["alone"]}),
        ):
            blob_labels.update(tx, "default", digest, dict(changes))
    wait(monkeypatch)
    collect(store)
    assert blobs(store) == set(put.values()) - {put["alone"]}
    assert snapshots(store) == {"by content", "root"}
    with store.metadata.read() as tx:
        assert blob_labels.get(tx, "default", put["alone"]) == {}


@pytest.mark.parametrize(
    "data",
    [
        b"{",
        b"{" * 100_000,
        b'{"manifests": 3, "layers": [1, null, {"digest": "x"}, {"digest": 5}], "config": []}',
    ],
)
def test_content_that_only_looks_like_a_manifest_harms_nobody(
    store: Store, monkeypatch: pytest.MonkeyPatch, data: bytes
) -> None:
    digest = store.content.put(data)
    with store.metadata.write() as tx:
        images.put(tx, "default", Image("image", Target(INDEX, digest, 1)))
    wait(monkeypatch)
    collect(store)
    assert blobs(store) == {digest}


def test_manifests_that_refer_to_each_other_do_not_keep_each_other(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = store.content.put(b"one"), store.content.put(b"two")
    with store.metadata.write() as tx:
        blob_labels.update(tx, "default", one, {"containerd.io/gc.ref.content": two})
        blob_labels.update(tx, "default", two, {"containerd.io/gc.ref.content": one})
    wait(monkeypatch)
    assert set(collect(store).content) == {one, two}


def test_what_is_wanted_again_before_it_goes_stays_another_day(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = store.content.put(b"wanted")
    wait(monkeypatch)
    assert store.content.exists(digest)
    assert collect(store).content == ()
    wait(monkeypatch, 2 * LATER)
    assert collect(store).content == (digest,)


COLLECT = """
    import cloche.store.clock
    from cloche.store.collect import Store, collect
    cloche.store.clock.advance(25 * cloche.store.clock.HOUR)
    collect(Store(root, metadata, content))
"""


@pytest.mark.parametrize(
    "fault",
    [
        "metadata.commit:1", "collect.leases", "collect.content", "metadata.commit:2", "metadata.committed:2",
        "snapshot.removed", "snapshot.discarded:2",
    ],
)  # fmt: skip
def test_a_collection_that_is_killed_takes_nothing_that_is_kept_and_is_finished_by_the_next(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    gone, kept = Built(store, "gone"), Built(store, "kept")
    remove_image(store, gone)
    with store.metadata.write() as tx:
        leases.create(tx, Lease("one", "default", expires_at=clock.now() + clock.HOUR))
        leases.add(tx, "default", "one", Resource("content", gone.index))
    children.run_killed(tmp_path, COLLECT, fault)
    assert blobs(store) >= kept.blobs
    assert snapshots(store) >= {kept.chain, f"{kept.chain} lower"}
    wait(monkeypatch)
    collect(store)
    assert blobs(store) == kept.blobs
    assert snapshots(store) == {kept.chain, f"{kept.chain} lower"}
    assert len(os.listdir(f"{store.root}/snapshots/overlayfs/snapshots")) == 2
    for directory in ("content/trash", "snapshots/overlayfs/trash"):
        assert (
            not os.path.exists(f"{store.root}/{directory}") or os.listdir(f"{store.root}/{directory}") == []
        )


WANT_OLD = """
    data = str(os.getpid()).encode()
    kept = 0
    for _ in range(150):
        digest = content.put(data)
        try:
            os.utime(content.path(digest), (0, 0))
        except FileNotFoundError:
            continue
        if content.exists(digest):
            assert content.read(digest) == data
            kept += 1
    print(kept)
"""


def test_a_collector_never_takes_an_old_blob_that_was_just_found(store: Store, tmp_path: Path) -> None:
    collecting = COLLECT.replace("25 * cloche.store.clock.HOUR", "0").replace(
        "    collect(", "    for _ in range(60): collect("
    )
    processes = [children.start(tmp_path, code) for code in (WANT_OLD, WANT_OLD, collecting, collecting)]
    for process in processes:
        _, complaint = process.communicate(timeout=120)
        assert process.returncode == 0, complaint
