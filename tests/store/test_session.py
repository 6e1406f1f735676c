from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cloche.errors import DataLoss, FailedPrecondition, Unavailable
from cloche.store import schema
from cloche.store import session as module
from cloche.store.metadata import Metadata
from tests.store import children

HOT_MODULES = (
    "cloche.store.metadata, cloche.store.images, cloche.store.containers, cloche.store.leases,"
    "cloche.store.content, cloche.store.snapshots.open, cloche.store.snapshots.overlayfs"
)
TOO_HEAVY = (
    "typing dataclasses enum re pathlib subprocess json argparse socket sqlite3 ctypes collections contextlib"
    " functools logging tempfile shutil datetime threading asyncio urllib http hashlib"
)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "meta.db")


def put(metadata: Metadata, name: str) -> None:
    with metadata.write() as tx:
        tx.change("INSERT INTO namespaces VALUES (?, '')", (name,))


def names(metadata: Metadata) -> list[str]:
    with metadata.read() as tx:
        return [row[0] for row in tx.execute("SELECT name FROM namespaces ORDER BY name")]


def test_a_writer_keeps_out_of_a_checkpoint(path: str) -> None:
    with Metadata(path, busy_timeout_s=0.05) as metadata:
        put(metadata, "one")
        lock = os.open(path + "-lock", os.O_RDWR)
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(Unavailable), metadata.write():
            pass
        os.close(lock)
        put(metadata, "two")
        assert names(metadata) == ["one", "two"]


def test_a_checkpoint_keeps_out_of_a_writer(path: str) -> None:
    with Metadata(path) as writing, Metadata(path) as other:
        put(writing, "one")
        with writing.write() as tx:
            tx.change("INSERT INTO namespaces VALUES ('two', '')")
            assert not other.checkpoint()
        assert os.stat(path + "-wal").st_size > 0
        assert other.checkpoint()
        assert os.stat(path + "-wal").st_size == 0
        assert names(writing) == ["one", "two"]


def test_a_long_log_is_written_back(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHECKPOINT_BYTES", 100_000)
    with Metadata(path) as metadata:
        sizes = []
        for number in range(60):
            put(metadata, f"n{number}")
            sizes.append(os.stat(path + "-wal").st_size)
        assert 0 in sizes
        assert max(sizes) < 200_000


COUNT = """
    import cloche.store.session
    cloche.store.session.CHECKPOINT_BYTES = 60_000
    for _ in range(40):
        with metadata.write() as tx:
            (text,) = tx.first("SELECT labels FROM namespaces WHERE name = 'count'")
            tx.change("UPDATE namespaces SET labels = ? WHERE name = 'count'", (str(int(text) + 1),))
    with metadata.read() as tx:
        tx.execute("SELECT * FROM namespaces")
"""


def test_eight_processes_lose_no_update_while_the_log_is_written_back_again_and_again(tmp_path: Path) -> None:
    path = str(tmp_path / "meta.db")
    with Metadata(path) as metadata:
        with metadata.write() as tx:
            tx.change("INSERT INTO namespaces VALUES ('count', '0')")
        processes = [children.start(tmp_path, COUNT) for _ in range(8)]
        for process in processes:
            _, complaint = process.communicate(timeout=120)
            assert process.returncode == 0, complaint
        with metadata.read() as tx:
            assert tx.first("SELECT labels FROM namespaces") == ("320",)
        metadata.check()


def test_eight_processes_may_be_the_first_at_once(tmp_path: Path) -> None:
    code = """
        sys.stdin.read()
        with metadata.write() as tx:
            tx.change("INSERT INTO namespaces VALUES (?, '')", (str(os.getpid()),))
    """
    processes = [children.start(tmp_path, code) for _ in range(8)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.close()
        process.stdin = None
    for process in processes:
        _, complaint = process.communicate(timeout=120)
        assert process.returncode == 0, complaint
    with Metadata(str(tmp_path / "meta.db")) as metadata:
        assert sorted(map(int, names(metadata))) == sorted(process.pid for process in processes)


WRITE = """
    with metadata.write() as tx:
        tx.change("INSERT INTO namespaces VALUES ('one', '')")
        tx.change("INSERT INTO namespaces VALUES ('two', '')")
"""


def test_a_process_killed_while_it_makes_the_tables_leaves_them_to_the_next(tmp_path: Path) -> None:
    children.run_killed(tmp_path, WRITE, "metadata.migrated")
    with Metadata(str(tmp_path / "meta.db")) as metadata:
        put(metadata, "one")
        assert names(metadata) == ["one"]


def test_a_process_killed_in_a_checkpoint_does_no_harm(tmp_path: Path) -> None:
    children.run_killed(tmp_path, WRITE + "    metadata.checkpoint()\n", "metadata.checkpoint")
    with Metadata(str(tmp_path / "meta.db")) as metadata:
        assert names(metadata) == ["one", "two"]
        assert metadata.checkpoint()
        metadata.check()


def test_an_older_database_is_brought_up_to_date_and_keeps_its_rows(path: str) -> None:
    with Metadata(path) as metadata:
        put(metadata, "one")
    more = (*schema.MIGRATIONS, ("ALTER TABLE namespaces ADD COLUMN colour TEXT DEFAULT 'blue'",))
    with Metadata(path, migrations=more) as metadata, metadata.read() as tx:
        assert tx.execute("SELECT name, colour FROM namespaces") == [("one", "blue")]


def test_a_newer_database_is_refused_untouched(path: str) -> None:
    with Metadata(path, migrations=(*schema.MIGRATIONS, ("CREATE TABLE later (x)",))) as metadata:
        put(metadata, "one")
    with pytest.raises(FailedPrecondition, match="newer cloche"), Metadata(path) as metadata:
        names(metadata)


def damage(path: str) -> None:
    with Metadata(path) as metadata:
        for number in range(300):
            put(metadata, f"namespace-{number}")
    with open(path, "r+b") as file:
        size = file.seek(0, os.SEEK_END)
        for page in range(4096, size, 4096):
            file.seek(page)
            file.write(b"\xff" * 300)


def test_what_is_no_database_is_told_plainly(path: str) -> None:
    Path(path).write_bytes(b"this is not a database, whatever its name says" * 100)
    with pytest.raises(DataLoss, match="damaged"), Metadata(path) as metadata:
        names(metadata)


def test_damage_that_is_met_is_told_plainly(path: str) -> None:
    damage(path)
    with pytest.raises(DataLoss, match="fsck --repair"), Metadata(path) as metadata:
        names(metadata)


def test_the_first_opening_after_a_reboot_looks_for_damage(path: str) -> None:
    damage(path)
    with Metadata(path) as metadata, metadata.read():
        pass
    Path(path + "-lock").write_bytes(b"00000000-0000-0000-0000-000000000000\n")
    with pytest.raises(DataLoss, match="damaged"), Metadata(path) as metadata, metadata.read():
        pass


def test_a_user_who_may_not_is_told_what_to_do(tmp_path: Path) -> None:
    os.chmod(tmp_path, 0o711)
    code = """
        from cloche.errors import PermissionDenied
        os.setuid(65534)
        try:
            metadata.read()
        except PermissionDenied as error:
            print(error)
    """
    assert "be root, or choose another --root" in children.run(tmp_path, code)


def test_a_root_that_cannot_be_is_told_plainly(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FailedPrecondition, match="cannot be opened"):
        Metadata(str(tmp_path / "file/meta.db")).read()


def test_a_database_that_is_there_opens_within_two_milliseconds_of_processor_time(path: str) -> None:
    with Metadata(path) as metadata:
        put(metadata, "one")
        durations = []
        for _ in range(20):
            start = time.thread_time()
            other = Metadata(path)
            with other.read() as tx:
                tx.first("SELECT 1 FROM images")
            durations.append(time.thread_time() - start)
            other.close()
    assert min(durations) < 0.002


def test_the_modules_of_a_start_import_nothing_heavy() -> None:
    code = f"import sys; sys.path = sys.argv[1:]; import {HOT_MODULES}; print(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, *sys.path], check=True, capture_output=True, text=True
    )
    assert set(TOO_HEAVY.split()).isdisjoint(result.stdout.split())


def test_sqlite_loaded_lightly_leaves_functools_itself_to_others() -> None:
    code = (
        "import sys; sys.path = sys.argv[1:]; import cloche.store.sqlite as s; c = s.connect(':memory:');"
        "[c.execute(f'SELECT {n}') for n in range(300)]; c.execute('SELECT 1');"
        "import functools; assert functools.partial(int, '3')() == 3;"
        "assert functools.lru_cache()(len)('ab') == 2"
    )
    subprocess.run([sys.executable, "-I", "-S", "-c", code, *sys.path], check=True)
