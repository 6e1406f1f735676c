"""Fifos, as containerd's clients make and leave them."""

from __future__ import annotations

from pathlib import Path

from cloche.shim.stdio.opening import Uris
from tests.shim.stdio.harness import Reader, Shim, fifo
from tests.waiting import wait_until


def test_output_reaches_each_reader_and_ends(shim: Shim, tmp_path: Path) -> None:
    uris = Uris(stdout=fifo(tmp_path, "out"), stderr=fifo(tmp_path, "err"))
    out, err = Reader(uris.stdout), Reader(uris.stderr)
    stdio = shim.open(uris)
    process = shim.spawn(stdio, "sh", "-c", "echo one; echo two >&2; cat /dev/stdin")
    assert process.wait(10) == 0
    assert shim.finish(stdio).wait(10)
    assert (out.all(), err.all()) == (b"one\n", b"two\n")


def test_without_uris_the_streams_are_dev_null(shim: Shim) -> None:
    stdio = shim.open(Uris())
    process = shim.spawn(
        stdio,
        "sh",
        "-c",
        "cat; test $(readlink /proc/$$/fd/1) = /dev/null",
    )
    assert process.wait(10) == 0
    assert shim.finish(stdio).wait(10)


def test_a_terminal_shows_what_is_typed(shim: Shim, tmp_path: Path) -> None:
    uris = Uris(stdin=fifo(tmp_path, "in"), stdout=fifo(tmp_path, "out"), terminal=True)
    out = Reader(uris.stdout)
    stdio = shim.open(uris)
    process = shim.on_terminal(stdio, "sh", "-c", "read line; stty size; echo got $line")
    shim.call(lambda: stdio.resize(132, 43))
    with open(uris.stdin, "wb", buffering=0) as typing:
        typing.write(b"words\n")
        assert process.wait(10) == 0
    assert shim.finish(stdio).wait(10)
    assert out.all() == b"words\r\n43 132\r\ngot words\r\n"


def test_input_comes_from_one_client_after_the_other(shim: Shim, tmp_path: Path) -> None:
    uris = Uris(stdin=fifo(tmp_path, "in"), stdout=fifo(tmp_path, "out"))
    out = Reader(uris.stdout)
    stdio = shim.open(uris)
    process = shim.spawn(stdio, "cat")
    for words in (b"first ", b"second "):
        with open(uris.stdin, "wb", buffering=0) as client:
            client.write(words)
    wait_until(lambda: out.data == b"first second ")
    with open(uris.stdin, "wb", buffering=0) as client:
        client.write(b"third")
        shim.call(stdio.close_stdin)
    assert process.wait(10) == 0
    assert shim.finish(stdio).wait(10)
    assert out.all() == b"first second third"
