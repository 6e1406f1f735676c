from __future__ import annotations

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from cloche.engine import logs
from cloche.shim.jsonlog import LogWriter


def test_each_line_is_one_object_in_dockers_format(tmp_path: Path) -> None:
    path = tmp_path / "log.json"
    writer = LogWriter(str(path))
    writer.write("stdout", b'a "quoted" line\nand half')
    writer.write("stderr", b"error\n")
    writer.write("stdout", b" a line\nno end")
    writer.close()
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(entry["stream"], entry["log"]) for entry in entries] == [
        ("stdout", 'a "quoted" line\n'),
        ("stderr", "error\n"),
        ("stdout", "and half a line\n"),
        ("stdout", "no end"),
    ]
    assert all(list(entry) == ["log", "stream", "time"] for entry in entries)
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_container_that_writes_nothing_has_no_log(tmp_path: Path) -> None:
    LogWriter(str(tmp_path / "log.json")).close()
    assert list(tmp_path.iterdir()) == []
    assert list(logs.read(str(tmp_path / "log.json"))) == []


def test_a_line_without_end_is_cut_where_docker_cuts_it(tmp_path: Path) -> None:
    path = tmp_path / "log.json"
    writer = LogWriter(str(path))
    writer.write("stdout", b"x" * 40_000)
    writer.close()
    assert [len(line.data) for line in logs.read(str(path))] == [16384, 16384, 40_000 - 2 * 16384]


@given(chunks=st.lists(st.binary(max_size=60), max_size=8))
def test_every_byte_that_was_written_is_read_back(tmp_path_factory: object, chunks: list[bytes]) -> None:
    path = tmp_path_factory.mktemp("log") / "log.json"  # type: ignore[attr-defined]  # what pytest caught has it
    writer = LogWriter(str(path))
    for chunk in chunks:
        writer.write("stdout", chunk)
    writer.close()
    assert b"".join(line.data for line in logs.read(str(path))) == b"".join(chunks)


def test_the_last_lines_are_found_from_the_end(tmp_path: Path) -> None:
    path = tmp_path / "log.json"
    writer = LogWriter(str(path))
    for number in range(3000):
        writer.write("stdout", b"line %d %s\n" % (number, b"x" * (number % 97)))
    writer.close()
    everything = list(logs.read(str(path)))
    for count in (0, 1, 2, 1500, 2999, 3000, 5000):
        assert list(logs.read(str(path), tail=count)) == everything[len(everything) - min(count, 3000) :]


def test_what_a_crash_has_torn_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "log.json"
    writer = LogWriter(str(path))
    writer.write("stdout", b"whole\n")
    writer.close()
    with path.open("a") as file:
        file.write('{"log":"torn')
    assert [line.data for line in logs.read(str(path))] == [b"whole\n"]


@given(st.binary(max_size=120))
def test_any_line_is_understood_or_left_out(text: bytes) -> None:
    assert logs.parse(text) is None or isinstance(logs.parse(text), logs.Line)


def test_lines_are_chosen_by_their_time(tmp_path: Path) -> None:
    path = tmp_path / "log.json"
    path.write_text(
        "".join(f'{{"log":"{n}\\n","stream":"stdout","time":"1970-01-01T00:00:0{n}Z"}}\n' for n in range(6))
    )
    chosen = logs.read(str(path), since_ns=2 * 10**9, until_ns=4 * 10**9)
    assert [line.data for line in chosen] == [b"2\n", b"3\n", b"4\n"]
