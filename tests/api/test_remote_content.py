"""Content that another daemon keeps, as a store: what tests/store says of one on a disk holds here too."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloche.daemon.remote_content import RemoteContent
from cloche.daemon.remote_ingest import KeeperAway
from cloche.errors import (
    DataLoss,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unavailable,
)
from cloche.store import clock, collect, elsewhere, images
from cloche.store.elsewhere import Place
from cloche.store.holdings import Holdings
from cloche.store.images import Image, Target
from cloche.store.metadata import Metadata
from tests.daemons import Cloched

BIG = bytes(range(256)) * 12_000


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@pytest.fixture
def content(cloched: Cloched, tmp_path: Path, name: str) -> Iterator[RemoteContent]:
    store = RemoteContent(str(tmp_path / "content"), Place(cloched.address, f"test-{name}"))
    yield store
    for blob in tuple(store.walk()):
        store.delete(blob.digest)
    store.close()


def test_what_is_put_can_be_had_by_bytes_and_as_a_file(content: RemoteContent) -> None:
    digest = content.put(BIG)
    assert digest == digest_of(BIG) == content.put(BIG)
    assert content.read(digest) == BIG
    with open(content.open(digest), "rb") as file:
        assert file.read() == BIG
    assert content.part(digest, 255, 3) == b"\xff\x00\x01"
    assert content.part(digest, len(BIG) - 1, 10) == b"\xff"
    assert content.part(digest, len(BIG), 10) == b""
    assert [(each.digest, each.size) for each in content.walk()] == [(digest, len(BIG))]
    assert content.document(digest, 10) is content.document(digest, 10) is None
    text = content.put(b'{"a": 1}')
    assert content.document(text, 100) == b'{"a": 1}'
    assert content.document(text, 7) is None
    with pytest.raises(ResourceExhausted, match="at most 5 are read"):
        content.read(text, limit_bytes=5)
    content.delete(digest)
    assert not content.exists(digest)
    for missing in (content.open, content.read, content.size, content.delete):
        with pytest.raises(NotFound):
            missing(digest)
    assert os.listdir(content.root) == ["lock"]


def test_a_namespace_sees_there_only_what_it_has(content: RemoteContent, tmp_path: Path) -> None:
    metadata = Metadata(str(tmp_path / "meta.db"))
    mine, theirs = (content.seen_by(Holdings(metadata, name)) for name in ("mine", "theirs"))
    digest = theirs.put(BIG)
    assert theirs.read(digest) == content.read(digest) == BIG
    assert not mine.exists(digest)
    for reading in (mine.open, mine.read, mine.size):
        with pytest.raises(NotFound):
            reading(digest)
    content.close()
    assert mine.put(BIG) == digest
    assert mine.read(digest) == BIG


def test_an_interrupted_ingest_is_gone_on_with(content: RemoteContent) -> None:
    digest = digest_of(BIG)
    with content.writer("layer", digest=digest, size=len(BIG)) as writer:
        writer.write(BIG[:2_000_000])
        with pytest.raises(Unavailable):
            content.writer("layer")
    assert content.status("layer").offset == 2_000_000
    assert [each.ref for each in content.ingests()] == ["layer"]
    with content.writer("layer", digest=digest, size=len(BIG)) as writer:
        assert writer.offset == 2_000_000
        assert writer.digest == digest_of(BIG[:2_000_000])
        writer.write(BIG[2_000_000:])
        assert writer.commit() == digest
    assert list(content.ingests()) == []
    with content.writer("layer", digest=digest) as writer:
        writer.restart()
        writer.write(BIG)
        assert writer.commit() == digest, "one that is there already stays"
    assert content.read(digest) == BIG


def test_what_is_not_what_it_should_be_leaves_nothing(content: RemoteContent) -> None:
    wanted = digest_of(BIG)
    with content.writer("wrong", digest=wanted, size=3) as writer, pytest.raises(DataLoss, match="more than"):
        writer.write(b"four")
    with content.writer("wrong", digest=wanted, size=3) as writer:
        writer.write(b"on")
        with pytest.raises(DataLoss, match="2 bytes arrived, 3 expected"):
            writer.commit()
    with content.writer("wrong", digest=wanted, size=3) as writer:
        assert writer.offset == 2
        writer.write(b"e")
        # The first bytes were not seen here: that daemon says what they are.
        with pytest.raises(DataLoss, match="digest"):
            writer.commit()
    with content.writer("wrong", digest=wanted) as writer:
        writer.write(b"other")
        with pytest.raises(DataLoss, match=f"not the expected {wanted}"):
            writer.commit()
    assert (list(content.walk()), list(content.ingests())) == ([], [])


def test_interrupted_ingests_are_forgotten_when_they_are_old(content: RemoteContent) -> None:
    for ref in ("old", "kept"):
        with content.writer(ref) as writer:
            writer.write(b"x")
    assert content.forget_ingests(0, frozenset()) == []
    assert content.forget_ingests(clock.now() + clock.HOUR, frozenset({"kept"})) == ["old"]
    content.abort("kept")
    with pytest.raises(NotFound):
        content.status("kept")


def test_what_is_not_needed_is_collected_there(content: RemoteContent, tmp_path: Path) -> None:
    metadata = Metadata(f"{tmp_path}/meta.db")
    store = collect.Store(str(tmp_path), metadata, content)
    config, garbage = content.put(b"config"), content.put(b"garbage")
    manifest = content.put(b'{"config": {"digest": "%s"}}' % config.encode())
    with metadata.write() as tx:
        images.put(tx, "default", Image("a:1", Target("application/json", manifest, 1)))
    assert collect.collect(store).content == (), "all of it is young"
    assert collect.collect(store, grace_ns=-clock.HOUR).content == (garbage,)
    assert {each.digest for each in content.walk()} == {config, manifest}
    away = RemoteContent(content.root, Place(f"{tmp_path}/nobody", "x"))
    with pytest.raises(KeeperAway, match=r"is away: .*/nobody: "):
        collect.collect(collect.Store(str(tmp_path), metadata, away), grace_ns=-clock.HOUR)
    metadata.close()
    assert content.exists(manifest)


def test_a_root_has_its_content_in_one_place(tmp_path: Path) -> None:
    directory = str(tmp_path / "content")
    assert elsewhere.settle(directory, "") is None
    place = elsewhere.settle(directory, "/run/a.sock")
    assert place is not None
    assert elsewhere.settle(directory, "/run/a.sock") == place == elsewhere.noted(directory)
    for other in ("", "/run/b.sock"):
        with pytest.raises(FailedPrecondition, match=r"kept at /run/a\.sock"):
            elsewhere.settle(directory, other)
    (tmp_path / "full/blobs/sha256").mkdir(parents=True)
    assert elsewhere.settle(f"{tmp_path}/full", "") is None
    (tmp_path / "full/blobs/sha256/1234").touch()
    with pytest.raises(FailedPrecondition, match="has blobs of its own"):
        elsewhere.settle(f"{tmp_path}/full", "/run/a.sock")
    for wrong in ("[]", "{}", '{"address": 1, "namespace": "x"}'):
        (tmp_path / "content/elsewhere.json").write_text(wrong)
        with pytest.raises((FailedPrecondition, InvalidArgument)):
            elsewhere.noted(directory)
