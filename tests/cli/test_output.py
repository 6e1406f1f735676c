"""Output without the io layers, and files that appear when they are whole."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.cli import output
from cloche.cli.output_file import OutputFile
from cloche.errors import InvalidArgument


def test_all_is_written_to_a_pipe_that_does_not_block() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    data = os.urandom(1_000_000)
    received = bytearray()

    def read() -> None:
        while part := os.read(reading, 65536):
            received.extend(part)

    reader = threading.Thread(target=read)
    reader.start()
    output.write_bytes(data, writing)
    os.close(writing)
    reader.join()
    os.close(reading)
    assert received == data


def test_bytes_that_are_no_text_come_out_as_they_went_in(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    output.line(os.fsdecode(b"a\xffb") + "\u20ac")
    assert capfdbinary.readouterr().out == b"a\xffb\xe2\x82\xac\n"


@given(st.text(st.characters(codec=None)))
def test_one_line_is_one_printable_line(text: str) -> None:
    assert output.one_line(text).isprintable()


def test_one_line_shows_what_it_does_not_print() -> None:
    assert output.one_line("a\x1b[31mb\nc\udcff") == "a\\x1b[31mb c\\xff"


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with OutputFile(str(path)) as file:
        file.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def torn(path: Path) -> None:
    with OutputFile(str(path)) as file:
        file.write(b"half")
        raise KeyError


def test_a_file_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(KeyError):
        torn(path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_device_is_written_to_as_it_is() -> None:
    with OutputFile("/dev/null") as file:
        file.write(b"x")
    assert not os.path.isfile("/dev/null")


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="none: no such directory"):
        OutputFile(str(tmp_path / "none" / "file"))
