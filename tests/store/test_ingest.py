from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cloche.errors import DataLoss, InvalidArgument, NotFound, Unavailable
from cloche.store import clock, ingest
from cloche.store.content import ContentStore
from cloche.store.ingest import Writer
from tests.store import children


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


HELLO = digest_of(b"hello world")


@pytest.fixture
def store(tmp_path: Path) -> ContentStore:
    return ContentStore(str(tmp_path / "content"))


def test_bytes_written_in_pieces_become_one_blob(store: ContentStore) -> None:
    with store.writer("ref", digest=HELLO, size=11) as writer:
        writer.write(b"hello ")
        writer.write(memoryview(bytearray(b"world")))
        assert writer.offset == 11
        assert writer.commit() == HELLO
    assert store.read(HELLO) == b"hello world"
    assert list(store.ingests()) == []


def test_nothing_is_seen_of_a_blob_before_its_commit(store: ContentStore) -> None:
    with store.writer("ref") as writer:
        writer.write(b"hello world")
        assert not store.exists(HELLO)


def test_a_second_writer_of_a_ref_is_told_at_once(store: ContentStore) -> None:
    with store.writer("ref"):
        with pytest.raises(Unavailable, match="another writer"):
            store.writer("ref")
        store.writer("another ref").abort()
    store.writer("ref").abort()


def test_a_second_writer_in_another_process_is_told_at_once(store: ContentStore, tmp_path: Path) -> None:
    code = """
        from cloche.errors import Unavailable
        try:
            content.writer("ref")
        except Unavailable:
            print("taken")
    """
    with store.writer("ref"):
        assert children.run(tmp_path, code) == "taken\n"


def test_an_interrupted_ingest_goes_on_where_it_was(store: ContentStore) -> None:
    with store.writer("ref") as writer:
        writer.write(b"hello ")
    with store.writer("ref", digest=HELLO, size=11) as writer:
        assert writer.offset == 6
        writer.write(b"world")
        writer.commit()
    assert store.read(HELLO) == b"hello world"


def test_a_client_that_vanished_frees_the_ref_and_leaves_its_bytes(
    store: ContentStore, tmp_path: Path
) -> None:
    code = 'w = content.writer("ref"); w.write(b"hello "); print("written", flush=True); sys.stdin.read()'
    with children.start(tmp_path, code) as child:
        assert child.stdout is not None
        child.stdout.readline()
        with pytest.raises(Unavailable):
            store.writer("ref")
        child.kill()
    with store.writer("ref") as writer:
        assert writer.offset == 6
        writer.write(b"world")
        assert writer.commit() == HELLO


def test_bytes_that_changed_while_nobody_looked_are_found_out(store: ContentStore) -> None:
    with store.writer("ref") as writer:
        writer.write(b"hello ")
    (data,) = Path(store.root).glob("ingest/*/data")
    data.write_bytes(b"jello ")
    with store.writer("ref", digest=HELLO) as writer:
        writer.write(b"world")
        with pytest.raises(DataLoss, match="not the expected"):
            writer.commit()
    assert list(store.walk()) == []
    assert list(store.ingests()) == []


def test_a_restart_drops_what_was_there(store: ContentStore) -> None:
    with store.writer("ref") as writer:
        writer.write(b"something else entirely")
        writer.restart()
        writer.write(b"hello world")
        assert writer.commit() == HELLO


def test_more_left_over_than_expected_begins_anew(store: ContentStore) -> None:
    with store.writer("ref") as writer:
        writer.write(b"more than eleven bytes")
    with store.writer("ref", digest=HELLO, size=11) as writer:
        assert writer.offset == 0


def test_more_bytes_than_expected_are_refused_as_they_arrive(store: ContentStore) -> None:
    with store.writer("ref", size=5) as writer:
        writer.write(b"hello")
        with pytest.raises(DataLoss, match="more than the expected 5"):
            writer.write(b"!")


def test_fewer_bytes_than_expected_are_kept_for_a_resume(store: ContentStore) -> None:
    with store.writer("ref", digest=HELLO, size=11) as writer:
        writer.write(b"hello")
        with pytest.raises(DataLoss, match="5 bytes arrived, 11 expected"):
            writer.commit()
    with store.writer("ref", digest=HELLO, size=11) as writer:
        assert writer.offset == 5


def test_a_wrong_digest_leaves_nothing_behind(store: ContentStore) -> None:
    with store.writer("ref", digest=HELLO) as writer:
        writer.write(b"goodbye")
        with pytest.raises(DataLoss, match="its digest is"):
            writer.commit()
    with store.writer("ref") as writer:
        writer.write(b"goodbye")
        with pytest.raises(DataLoss, match="its digest is"):
            writer.commit(digest=HELLO)
    assert os.listdir(f"{store.root}/ingest") == []
    assert list(store.walk()) == []


def test_an_abort_forgets_the_bytes(store: ContentStore) -> None:
    writer = store.writer("ref")
    writer.write(b"hello")
    writer.abort()
    writer.abort()
    with store.writer("ref") as again:
        assert again.offset == 0


def test_an_interrupted_ingest_can_be_aborted_by_its_ref(store: ContentStore) -> None:
    writer = store.writer("ref")
    with pytest.raises(Unavailable):
        store.abort("ref")
    writer.close()
    store.abort("ref")
    with pytest.raises(NotFound, match="ref"):
        store.abort("ref")
    assert list(store.ingests()) == []


def test_what_is_arriving_can_be_seen_without_disturbing_it(store: ContentStore) -> None:
    with store.writer("ref", digest=HELLO, size=11) as writer:
        writer.write(b"hello")
        (seen,) = store.ingests()
        assert (seen.ref, seen.offset, seen.total, seen.expected) == ("ref", 5, 11, HELLO)
        assert seen.active
        assert ingest.status(store, "ref") == seen
        writer.write(b" world")
        started_at = seen.started_at
    (seen,) = store.ingests()
    assert not seen.active
    assert seen.started_at == started_at
    with pytest.raises(NotFound):
        ingest.status(store, "other")


@pytest.mark.parametrize("ref", ["", "a\0b", "x" * 5000, "\ud800"])
def test_a_ref_that_cannot_be_is_refused(store: ContentStore, ref: str) -> None:
    with pytest.raises(InvalidArgument):
        store.writer(ref)
    assert not os.path.exists(store.root)


def test_a_ref_may_look_like_a_path_and_is_none(store: ContentStore) -> None:
    with store.writer("../../../etc/passwd") as writer:
        writer.write(b"x")
    assert [seen.ref for seen in store.ingests()] == ["../../../etc/passwd"]
    assert len(os.listdir(f"{store.root}/ingest")) == 1


def test_old_interrupted_ingests_are_forgotten_unless_somebody_keeps_them(store: ContentStore) -> None:
    for ref in ("old", "kept", "active"):
        with store.writer(ref) as writer:
            writer.write(b"x")
    with store.writer("active"):
        assert ingest.forget_older(store, clock.now() + clock.HOUR, frozenset({"kept"})) == ["old"]
    assert sorted(seen.ref for seen in store.ingests()) == ["active", "kept"]
    assert ingest.forget_older(store, clock.now() - clock.HOUR, frozenset()) == []


COMMIT = """
    with content.writer("ref") as writer:
        writer.write(b"hello world")
        writer.commit()
"""


@pytest.mark.parametrize(("fault", "there"), [("content.synced", False), ("content.renamed", True)])
def test_a_writer_killed_in_its_commit_leaves_all_or_nothing_and_can_be_followed(
    store: ContentStore,
    tmp_path: Path,
    fault: str,
    there: bool,
) -> None:
    children.run_killed(tmp_path, COMMIT, fault)
    assert store.exists(HELLO) is there
    with store.writer("ref", digest=HELLO, size=11) as writer:
        assert writer.offset == (0 if there else 11)
        writer.write(b"hello world"[writer.offset :])
        writer.commit()
    assert store.read(HELLO) == b"hello world"
    assert list(store.ingests()) == []
    assert os.listdir(f"{store.root}/ingest") == []


def test_what_a_killed_commit_left_is_forgotten_after_a_while(store: ContentStore, tmp_path: Path) -> None:
    children.run_killed(tmp_path, COMMIT, "content.renamed")
    assert ingest.forget_older(store, clock.now() + clock.HOUR, frozenset()) == ["ref"]
    assert os.listdir(f"{store.root}/ingest") == []


FILL = """
    import subprocess
    from cloche.errors import ResourceExhausted
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", root + "/small"], check=True)
    content = ContentStore(root + "/small/content")
    data = bytes(range(256)) * 4000
    with content.writer("ref", size=len(data)) as writer:
        try:
            writer.write(data)
        except ResourceExhausted as error:
            print(error)
    subprocess.run(["mount", "-o", "remount,size=10m", root + "/small"], check=True)
    with content.writer("ref", size=len(data)) as writer:
        assert 0 < writer.offset < len(data)
        writer.write(data[writer.offset :])
        assert content.read(writer.commit()) == data
    subprocess.run(["umount", root + "/small"], check=True)
"""


def test_a_full_disk_is_told_and_the_ingest_can_go_on_when_there_is_room(tmp_path: Path) -> None:
    (tmp_path / "small").mkdir()
    with children.start(tmp_path, FILL, wrapper=("unshare", "--mount")) as child:
        output, complaint = child.communicate(timeout=60)
    assert child.returncode == 0, complaint
    assert "no space left" in output


COMPETE = """
    from cloche.errors import Unavailable
    done = 0
    while not done:
        try:
            with content.writer("ref") as writer:
                writer.restart()
                writer.write(b"hello world")
                writer.commit()
                done = 1
        except Unavailable:
            pass
"""


def test_writers_that_compete_for_a_ref_never_mix_their_bytes(store: ContentStore, tmp_path: Path) -> None:
    processes = [children.start(tmp_path, COMPETE) for _ in range(4)]
    for process in processes:
        _, complaint = process.communicate(timeout=60)
        assert process.returncode == 0, complaint
    assert [info.digest for info in store.walk()] == [HELLO]
    assert store.read(HELLO) == b"hello world"


def test_a_ref_whose_last_writer_is_just_leaving_can_be_had(
    store: ContentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its directory is there when ours is to be made, and gone a moment later."""
    real = os.mkdir
    met: list[str] = []

    def mkdir(path: str, mode: int = 0o777) -> None:
        if os.path.dirname(path).endswith("/ingest") and not met:
            met.append(path)
            raise FileExistsError(17, "File exists", path)
        real(path, mode)

    monkeypatch.setattr(os, "mkdir", mkdir)
    with store.writer("ref") as writer:
        writer.write(b"hello world")
        assert writer.commit() == HELLO
    assert met


class WriterMachine(RuleBasedStateMachine):
    """A writer against a model: the bytes it was given since it last began."""

    def __init__(self) -> None:
        super().__init__()
        self.root = tempfile.mkdtemp()
        self.store = ContentStore(self.root)
        self.writer: Writer | None = None
        self.pending = b""
        self.blobs: dict[str, bytes] = {}

    def teardown(self) -> None:
        if self.writer is not None:
            self.writer.close()
        shutil.rmtree(self.root)

    @precondition(lambda self: self.writer is None)
    @rule()
    def open(self) -> None:
        self.writer = self.store.writer("ref")
        assert self.writer.offset == len(self.pending)

    @precondition(lambda self: self.writer is not None)
    @rule()
    def open_again(self) -> None:
        with pytest.raises(Unavailable):
            self.store.writer("ref")

    @precondition(lambda self: self.writer is not None)
    @rule(data=st.binary(max_size=40))
    def write(self, data: bytes) -> None:
        assert self.writer is not None
        self.writer.write(data)
        self.pending += data

    @precondition(lambda self: self.writer is not None)
    @rule()
    def restart(self) -> None:
        assert self.writer is not None
        self.writer.restart()
        self.pending = b""

    @precondition(lambda self: self.writer is not None)
    @rule()
    def vanish(self) -> None:
        assert self.writer is not None
        self.writer.close()
        self.writer = None

    @precondition(lambda self: self.writer is not None)
    @rule()
    def abort(self) -> None:
        assert self.writer is not None
        self.writer.abort()
        self.writer, self.pending = None, b""

    @precondition(lambda self: self.writer is not None)
    @rule()
    def commit(self) -> None:
        assert self.writer is not None
        digest = self.writer.commit(size=len(self.pending))
        assert digest == digest_of(self.pending)
        self.blobs[digest] = self.pending
        self.writer, self.pending = None, b""

    @precondition(lambda self: self.writer is not None)
    @rule()
    def commit_as_something_else(self) -> None:
        assert self.writer is not None
        with pytest.raises(DataLoss):
            self.writer.commit(digest=digest_of(b"something else"))
        self.writer, self.pending = None, b""

    @precondition(lambda self: self.blobs)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        digest = data.draw(st.sampled_from(sorted(self.blobs)))
        self.store.delete(digest)
        del self.blobs[digest]

    @invariant()
    def the_store_has_what_was_committed(self) -> None:
        found = {info.digest: self.store.read(info.digest) for info in self.store.walk()}
        assert found == self.blobs


TestWriterAgainstAModel = WriterMachine.TestCase
TestWriterAgainstAModel.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
