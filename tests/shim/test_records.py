from __future__ import annotations

from pathlib import Path

from cloche.shim import records
from cloche.shim.records import Ended, Started


def test_nothing_is_known_before_a_start(tmp_path: Path) -> None:
    assert records.read(str(tmp_path)) == (None, None)


def test_an_end_belongs_to_its_start(tmp_path: Path) -> None:
    directory = str(tmp_path)
    records.write_started(directory, Started("first"))
    records.write_ended(directory, Ended("first", "later", 3, oom_killed=True))
    assert records.read(directory) == (Started("first"), Ended("first", "later", 3, oom_killed=True))
    records.write_started(directory, Started("second"))
    assert records.read(directory) == (Started("second"), None)


def test_a_torn_record_counts_as_absent(tmp_path: Path) -> None:
    directory = str(tmp_path)
    records.write_started(directory, Started("first"))
    for torn in ('{"started_at":"first","fini', "[]", "3", "{}", ""):
        (tmp_path / "exit.json").write_text(torn)
        assert records.read(directory) == (Started("first"), None)


def test_no_half_written_file_stays(tmp_path: Path) -> None:
    records.write_ended(str(tmp_path), Ended("a", "b", 0))
    assert [path.name for path in tmp_path.iterdir()] == ["exit.json"]
