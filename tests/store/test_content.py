from __future__ import annotations

import hashlib
import os
import stat
import threading
from pathlib import Path

import pytest

from cloche.errors import DataLoss, InvalidArgument, NotFound, ResourceExhausted
from cloche.store import clock
from cloche.store.content import ContentStore

HELLO = "sha256:" + hashlib.sha256(b"hello").hexdigest()


@pytest.fixture
def store(tmp_path: Path) -> ContentStore:
    return ContentStore(str(tmp_path / "content"))


def test_bytes_put_are_read_back_by_their_digest(store: ContentStore) -> None:
    assert not store.exists(HELLO)
    assert store.put(b"hello") == HELLO
    assert store.exists(HELLO)
    assert store.size(HELLO) == 5
    assert store.read(HELLO) == b"hello"
    assert [info.digest for info in store.walk()] == [HELLO]
    assert os.listdir(f"{store.root}/ingest") == []


def test_putting_twice_is_putting_once(store: ContentStore) -> None:
    assert store.put(b"hello") == store.put(b"hello")
    assert len(list(store.walk())) == 1


def test_a_blob_lies_where_containerd_would_have_it_and_is_read_only(store: ContentStore) -> None:
    store.put(b"hello")
    path = f"{store.root}/blobs/sha256/{HELLO[7:]}"
    assert store.path(HELLO) == path
    assert Path(path).read_bytes() == b"hello"
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o444


def test_the_store_is_closed_to_others(store: ContentStore) -> None:
    store.put(b"hello")
    assert stat.S_IMODE(os.stat(store.root).st_mode) == 0o700


def test_a_descriptor_can_be_sent_by_the_kernel(store: ContentStore, tmp_path: Path) -> None:
    store.put(b"hello")
    descriptor = store.open(HELLO)
    assert not os.get_inheritable(descriptor)
    with open(tmp_path / "out", "wb") as out:
        assert os.sendfile(out.fileno(), descriptor, 0, 100) == 5
    os.close(descriptor)


def test_an_empty_blob_is_a_blob(store: ContentStore) -> None:
    digest = store.put(b"")
    assert store.read(digest) == b""
    assert store.size(digest) == 0


def test_an_empty_store_has_nothing_and_makes_nothing(store: ContentStore) -> None:
    assert list(store.walk()) == []
    assert list(store.ingests()) == []
    assert not store.exists(HELLO)
    assert not os.path.exists(store.root)


def test_a_missing_blob_is_not_found(store: ContentStore) -> None:
    for ask in (store.open, store.read, store.size, store.info, store.delete):
        with pytest.raises(NotFound, match=HELLO):
            ask(HELLO)


@pytest.mark.parametrize("digest", ["", "sha256:../../etc/passwd", "sha256:" + "g" * 64, "/etc/passwd"])
def test_what_is_no_digest_never_becomes_a_path(store: ContentStore, digest: str) -> None:
    for ask in (store.path, store.open, store.read, store.exists, store.delete):
        with pytest.raises(InvalidArgument):
            ask(digest)


def test_damage_on_disk_is_noticed_when_read_and_mended_by_the_next_ingest(store: ContentStore) -> None:
    store.put(b"hello")
    os.chmod(store.path(HELLO), 0o600)
    Path(store.path(HELLO)).write_bytes(b"jello")
    with pytest.raises(DataLoss, match="damaged"):
        store.read(HELLO)
    with store.writer("again", digest=HELLO) as writer:
        writer.write(b"hello")
        writer.commit()
    assert store.read(HELLO) == b"hello"


def test_a_blob_larger_than_the_limit_is_not_read(store: ContentStore) -> None:
    store.put(b"hello")
    with pytest.raises(ResourceExhausted, match="5 bytes"):
        store.read(HELLO, limit_bytes=4)


def test_a_deleted_blob_is_gone_but_readers_read_on(store: ContentStore) -> None:
    store.put(b"hello")
    descriptor = store.open(HELLO)
    store.delete(HELLO)
    assert not store.exists(HELLO)
    assert os.read(descriptor, 10) == b"hello"
    os.close(descriptor)


def test_asking_for_an_old_blob_makes_it_young_again(store: ContentStore) -> None:
    store.put(b"hello")
    later = clock.now()
    assert store.info(HELLO).used_at < later
    assert store.exists(HELLO)
    assert store.info(HELLO).used_at > later


def test_sha512_is_as_good(store: ContentStore) -> None:
    digest = "sha512:" + hashlib.sha512(b"hello").hexdigest()
    with store.writer("ref", digest=digest) as writer:
        writer.write(b"hello")
        assert writer.commit() == digest
    assert store.read(digest) == b"hello"


def waits_for(path: str) -> bool:
    """Whether somebody waits for the lock of a file."""
    inode = f":{os.stat(path).st_ino} "
    with open("/proc/locks", encoding="ascii") as locks:
        return any("->" in line and inode in line for line in locks)


def test_an_old_blob_that_a_collector_takes_just_now_was_not_found(store: ContentStore) -> None:
    store.put(b"hello")
    os.utime(store.path(HELLO), (0, 0))
    found: list[bool] = []
    asking = threading.Thread(target=lambda: found.append(store.exists(HELLO)))
    with store.locked(exclusive=True):
        asking.start()
        while not waits_for(f"{store.root}/lock"):
            assert asking.is_alive()
        os.rename(store.path(HELLO), f"{store.root}/taken")
    asking.join()
    assert found == [False]


def test_a_blob_is_put_in_place_while_no_collector_works(store: ContentStore) -> None:
    store.put(b"another")
    putting = threading.Thread(target=store.put, args=(b"hello",))
    with store.locked(exclusive=True):
        putting.start()
        while not waits_for(f"{store.root}/lock"):
            assert putting.is_alive()
        assert not os.path.exists(store.path(HELLO))
    putting.join()
    assert store.read(HELLO) == b"hello"
