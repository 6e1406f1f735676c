from __future__ import annotations

import os
import sqlite3
import stat
import threading
import time
from pathlib import Path

import pytest

from cloche.errors import FailedPrecondition, Unavailable
from cloche.store.metadata import Metadata, Transaction
from tests.store import children


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "meta.db")


def put(metadata: Metadata, name: str) -> None:
    with metadata.write() as tx:
        tx.change("INSERT INTO namespaces VALUES (?, '')", (name,))


def names(metadata: Metadata) -> list[str]:
    with metadata.read() as tx:
        return [row[0] for row in tx.execute("SELECT name FROM namespaces ORDER BY name")]


def test_what_is_written_is_there_for_the_next_process(path: str) -> None:
    with Metadata(path) as metadata:
        put(metadata, "one")
    with Metadata(path) as metadata:
        assert names(metadata) == ["one"]


def test_the_files_are_for_their_owner_alone(path: str) -> None:
    with Metadata(path) as metadata:
        put(metadata, "one")
        for suffix in ("", "-wal", "-shm", "-lock"):
            assert stat.S_IMODE(os.stat(path + suffix).st_mode) == 0o600


def test_every_commit_is_synced_and_no_commit_checkpoints(path: str) -> None:
    with Metadata(path) as metadata, metadata.read() as tx:
        assert tx.first("PRAGMA journal_mode") == ("wal",)
        assert tx.first("PRAGMA synchronous") == (2,)
        assert tx.first("PRAGMA wal_autocheckpoint") == (0,)


def synchronous(tx: Transaction) -> int:
    row = tx.first("PRAGMA synchronous")
    assert row is not None
    return int(row[0])


def syncs(tmp_path: Path, code: str) -> int:
    trace = tmp_path / "trace"
    wrapper = ("strace", "-f", "-qq", "-e", "trace=fsync,fdatasync", "-o", str(trace))
    with children.start(tmp_path, code, wrapper=wrapper) as child:
        _, complaint = child.communicate(timeout=60)
        assert child.returncode == 0, complaint
    return trace.read_text().count("sync(")


# SQLite syncs the directory too before its first sync of a log that may be new.
@pytest.mark.parametrize(("durable", "counts"), [(True, {2, 3}), (False, {0})])
def test_a_transaction_waits_for_the_disk_only_if_it_is_to_be_durable(
    tmp_path: Path, durable: bool, counts: set[int]
) -> None:
    with Metadata(str(tmp_path / "meta.db")) as metadata:
        put(metadata, "zero")
        code = f"""
            for name in ("one", "two"):
                with metadata.write(durable={durable}) as tx:
                    tx.change("INSERT INTO namespaces VALUES (?, '')", (name,))
            os._exit(0)
        """
        assert syncs(tmp_path, code) in counts
        assert names(metadata) == ["one", "two", "zero"]


def test_only_that_one_transaction_is_not_durable(path: str) -> None:
    with Metadata(path, busy_timeout_s=0.05) as metadata, Metadata(path) as other:
        with metadata.write(durable=False) as tx:
            assert synchronous(tx) == 1
            with pytest.raises(RuntimeError):
                metadata.write(durable=False).__enter__()
            assert synchronous(tx) == 1
        with other.write(), pytest.raises(Unavailable):
            metadata.write(durable=False).__enter__()
        with metadata.write() as tx:
            assert synchronous(tx) == 2


def test_an_exception_undoes_rows_and_what_belongs_to_them_last_first(path: str) -> None:
    undone: list[int] = []

    def refuse() -> None:
        undone.append(2)
        raise OSError("cannot be undone")

    def write(metadata: Metadata) -> None:
        with metadata.write() as tx:
            tx.change("INSERT INTO namespaces VALUES ('one', '')")
            tx.on_rollback(lambda: undone.append(1))
            tx.on_rollback(refuse)
            tx.after_commit(lambda: undone.append(3))
            raise ZeroDivisionError

    with Metadata(path) as metadata:
        with pytest.raises(ZeroDivisionError):
            write(metadata)
        assert names(metadata) == []
    assert undone == [2, 1]


def test_what_was_to_follow_the_commit_is_all_done_and_its_error_is_told(path: str) -> None:
    done: list[str] = []

    def fail() -> None:
        raise FailedPrecondition("full")

    def write(metadata: Metadata) -> None:
        with metadata.write() as tx:
            tx.change("INSERT INTO namespaces VALUES ('one', '')")
            tx.after_commit(fail)
            tx.after_commit(lambda: done.append("second"))
            tx.on_rollback(lambda: done.append("undone"))

    with Metadata(path) as metadata:
        with pytest.raises(FailedPrecondition, match="full"):
            write(metadata)
        assert names(metadata) == ["one"]
    assert done == ["second"]


def test_what_follows_a_commit_may_begin_a_transaction(path: str) -> None:
    with Metadata(path) as metadata:
        with metadata.write() as tx:
            tx.after_commit(lambda: put(metadata, "later"))
        assert names(metadata) == ["later"]


def test_a_transaction_inside_another_of_the_same_thread_is_a_mistake(path: str) -> None:
    with Metadata(path) as metadata, metadata.read():
        with pytest.raises(RuntimeError), metadata.write():
            pass
        with pytest.raises(RuntimeError), metadata.read():
            pass


def test_a_reader_sees_one_state_while_a_writer_changes_it(path: str) -> None:
    with Metadata(path) as metadata:
        put(metadata, "one")
        with metadata.read() as tx:
            before = tx.execute("SELECT name FROM namespaces")
            writer = threading.Thread(target=put, args=(metadata, "two"))
            writer.start()
            writer.join()
            assert tx.execute("SELECT name FROM namespaces") == before
        assert names(metadata) == ["one", "two"]


def test_a_second_writer_waits_and_then_is_told_that_it_cannot(path: str) -> None:
    with Metadata(path) as first, Metadata(path, busy_timeout_s=0.05) as second, first.write():
        waiting = pytest.raises(Unavailable, match="try again")
        with waiting, second.write():
            pass


def test_who_is_not_patient_is_told_at_once_and_waits_again_the_next_time(path: str) -> None:
    with Metadata(path) as here, Metadata(path) as there:
        put(here, "first")
        began = time.monotonic()
        with there.write(), pytest.raises(Unavailable):
            here.write(patient=False).__enter__()
        assert time.monotonic() - began < 1
        with here.write(patient=False) as tx:
            tx.change("INSERT INTO namespaces VALUES ('second', '')")
        writing, go = threading.Event(), threading.Event()

        def write_slowly() -> None:
            with there.write():
                writing.set()
                go.wait(5)

        writer = threading.Thread(target=write_slowly)
        writer.start()
        assert writing.wait(5)
        threading.Timer(0.1, go.set).start()
        put(here, "third")
        writer.join()
        assert names(here) == ["first", "second", "third"]


def test_threads_have_connections_of_their_own(path: str) -> None:
    with Metadata(path) as metadata:
        threads = [threading.Thread(target=put, args=(metadata, f"n{number}")) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(names(metadata)) == 16


def test_a_forked_child_opens_the_database_anew(path: str) -> None:
    with Metadata(path) as metadata:
        put(metadata, "parent")
        child = os.fork()
        if child == 0:
            try:
                put(metadata, "child")
                metadata.close()
                os._exit(0)
            finally:
                os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
        put(metadata, "parent again")
        assert names(metadata) == ["child", "parent", "parent again"]


WRITE = """
    with metadata.write() as tx:
        tx.change("INSERT INTO namespaces VALUES ('one', '')")
        tx.change("INSERT INTO namespaces VALUES ('two', '')")
"""


@pytest.mark.parametrize(("fault", "left"), [("metadata.commit", []), ("metadata.committed", ["one", "two"])])
def test_a_writer_killed_before_its_commit_changed_nothing_and_after_it_everything(
    tmp_path: Path, fault: str, left: list[str]
) -> None:
    with Metadata(str(tmp_path / "meta.db")) as metadata:
        assert names(metadata) == []
        children.run_killed(tmp_path, WRITE, fault)
        assert names(metadata) == left
        put(metadata, "three")


FILL = """
    import subprocess
    from cloche.errors import ResourceExhausted
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", root + "/small"], check=True)
    metadata = Metadata(root + "/small/meta.db")
    written = 0
    try:
        while True:
            with metadata.write() as tx:
                tx.on_rollback(lambda: print("undone"))
                tx.change("INSERT INTO namespaces VALUES (?, ?)", (str(written), "x" * 20_000))
            written += 1
    except ResourceExhausted as error:
        print(error)
    with metadata.read() as tx:
        assert tx.first("SELECT count(*) FROM namespaces") == (written,)
    metadata.check()
    metadata.close()
    subprocess.run(["mount", "-o", "remount,size=10m", root + "/small"], check=True)
    with metadata.write() as tx:
        tx.change("INSERT INTO namespaces VALUES ('more', '')")
    metadata.close()
    subprocess.run(["umount", root + "/small"], check=True)
"""


def test_a_full_disk_undoes_the_transaction_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "small").mkdir()
    with children.start(tmp_path, FILL, wrapper=("unshare", "--mount")) as child:
        output, complaint = child.communicate(timeout=60)
    assert child.returncode == 0, complaint
    assert output.startswith("undone\n")
    assert "full: free some space" in output


def test_a_mistake_in_a_statement_is_ours(path: str) -> None:
    with Metadata(path) as metadata, metadata.read() as tx, pytest.raises(sqlite3.OperationalError):
        tx.execute("SELECT nothing")
