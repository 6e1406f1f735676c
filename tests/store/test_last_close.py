from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

import pytest

from cloche.store import session
from cloche.store.metadata import Metadata
from cloche.store.sqlite import Connection
from tests.store import children


def test_the_last_to_close_leaves_the_log_alone(tmp_path: Path) -> None:
    path = str(tmp_path / "meta.db")
    with Metadata(path) as metadata, metadata.write() as tx:
        tx.change("INSERT INTO namespaces VALUES ('one', '')")
    before = os.stat(path + "-wal").st_size
    assert before > 0
    with Metadata(path) as metadata, metadata.read() as tx:
        assert tx.execute("SELECT name FROM namespaces") == [("one",)]
    assert os.stat(path + "-wal").st_size == before


def test_a_process_that_opens_writes_and_closes_need_not_wait_for_the_disk(tmp_path: Path) -> None:
    with Metadata(str(tmp_path / "meta.db")) as metadata, metadata.write() as tx:
        tx.change("INSERT INTO namespaces VALUES ('one', '')")
    trace = tmp_path / "trace"
    code = """
        with metadata.write(durable=False) as tx:
            tx.change("INSERT INTO namespaces VALUES ('two', '')")
        metadata.close()
    """
    wrapper = ("strace", "-f", "-qq", "-e", "trace=fsync,fdatasync", "-o", str(trace))
    with children.start(tmp_path, code, wrapper=wrapper) as child:
        _, complaint = child.communicate(timeout=60)
    assert child.returncode == 0, complaint
    assert trace.read_text() == ""


def test_where_the_log_cannot_be_left_the_lock_is_held_while_it_is_written_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cannot(_: Connection) -> bool:
        return False

    monkeypatch.setattr(session, "keep_log", cannot)
    path = str(tmp_path / "meta.db")
    metadata = Metadata(path)
    with metadata.write() as tx:
        tx.change("INSERT INTO namespaces VALUES ('one', '')")
    lock = os.open(path + "-lock", os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX)
    closing = threading.Thread(target=metadata.close)
    closing.start()
    closing.join(0.1)
    assert closing.is_alive()
    assert os.path.exists(path + "-wal")
    os.close(lock)
    closing.join()
    assert not os.path.exists(path + "-wal")
