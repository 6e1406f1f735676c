from __future__ import annotations

from pathlib import Path

import pytest

from cloche.errors import NotFound
from cloche.spec import digest as digests
from cloche.store import blob_labels, namespaces
from cloche.store.collect import Store, collect
from cloche.store.content import ContentStore
from cloche.store.holdings import SHAREABLE, Holdings
from cloche.store.metadata import Metadata

HELLO = digests.of(b"hello")


@pytest.fixture
def metadata(tmp_path: Path) -> Metadata:
    return Metadata(str(tmp_path / "meta.db"))


@pytest.fixture
def store(tmp_path: Path) -> ContentStore:
    return ContentStore(str(tmp_path / "content"))


def test_a_namespace_sees_nothing_of_what_another_brought(store: ContentStore, metadata: Metadata) -> None:
    mine, theirs = (store.seen_by(Holdings(metadata, name)) for name in ("mine", "theirs"))
    theirs.put(b"hello")
    assert theirs.read(HELLO) == b"hello"
    assert not mine.exists(HELLO)
    for reading in (mine.open, mine.info, mine.read, mine.size):
        with pytest.raises(NotFound, match="not here"):
            reading(HELLO)
    assert mine.put(b"hello") == HELLO
    assert mine.read(HELLO) == b"hello"
    # One file, seen by both, and by who sees everything.
    assert [each.digest for each in mine.walk()] == [HELLO]
    assert store.read(HELLO) == b"hello"


def test_who_may_see_a_blob_does_not_see_one_that_is_gone(store: ContentStore, metadata: Metadata) -> None:
    mine = store.seen_by(Holdings(metadata, "mine"))
    mine.put(b"hello")
    store.delete(HELLO)
    assert not mine.exists(HELLO)
    with pytest.raises(NotFound):
        mine.open(HELLO)


@pytest.mark.parametrize(("value", "shares"), [("true", True), ("yes", False), ("", False)])
def test_a_label_of_the_namespace_shares_its_blobs(metadata: Metadata, value: str, shares: bool) -> None:
    with metadata.write() as tx:
        namespaces.create(tx, "theirs", {SHAREABLE: value} if value else {"other": "label"})
        blob_labels.update(tx, "theirs", HELLO, {})
    assert Holdings(metadata, "mine").has(HELLO) == shares
    assert not Holdings(metadata, "mine").has(digests.of(b"other"))


def test_nobody_goes_on_with_what_another_namespace_began(store: ContentStore, metadata: Metadata) -> None:
    """Its bytes would be in a blob of somebody who may not have been given them."""
    refs = {store.seen_by(Holdings(metadata, name)).own_ref("layer-x") for name in ("mine", "theirs")}
    assert len(refs) == 2
    assert store.own_ref("layer-x") == "layer-x"


def test_a_collection_for_one_namespace_spares_the_blobs_of_all(
    store: ContentStore, metadata: Metadata, tmp_path: Path
) -> None:
    theirs, mine = (store.seen_by(Holdings(metadata, name)) for name in ("theirs", "mine"))
    layer = theirs.put(b"layer")
    manifest = theirs.put(b'{"layers": [{"digest": "%s"}]}' % layer.encode())
    mine.put(b"layer")
    with metadata.write() as tx:
        blob_labels.update(tx, "theirs", manifest, {"containerd.io/gc.root": "yes"})
    gone = collect(Store(str(tmp_path), metadata, mine), grace_ns=0)
    assert gone.content == ()
    assert store.exists(layer)
