from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloche.kernel import pidfd
from cloche.kernel.streams import Flow, pump


class Pipe:
    """A pipe whose ends are closed once."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()

    def close(self, *ends: str) -> None:
        for end in ends or ("reader", "writer"):
            descriptor = getattr(self, end)
            if descriptor >= 0:
                os.close(descriptor)
                setattr(self, end, -1)


@pytest.fixture
def pipes() -> Iterator[list[Pipe]]:
    made = [Pipe() for _ in range(3)]
    yield made
    for pipe in made:
        pipe.close()


def drained(descriptor: int) -> bytes:
    parts = []
    while part := os.read(descriptor, 65536):
        parts.append(part)
    return b"".join(parts)


def test_everything_is_collected_until_the_end() -> None:
    out: list[bytes] = []
    error: list[bytes] = []
    script = "import os; os.write(1, b'x' * 1000000); os.write(2, b'y' * 300000)"
    process = subprocess.Popen([sys.executable, "-I", "-S", "-c", script], stdout=-1, stderr=-1)
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        flows = [
            Flow(process.stdout.fileno(), out.append, output=True),
            Flow(process.stderr.fileno(), error.append, output=True),
        ]
        assert pump(flows)
    assert b"".join(out) == b"x" * 1000000
    assert b"".join(error) == b"y" * 300000


def test_input_from_memory_is_fed_while_output_is_read() -> None:
    out: list[bytes] = []
    data = os.urandom(1 << 20)
    with subprocess.Popen(["cat"], stdin=-1, stdout=-1) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        stdin, stdout = process.stdin, process.stdout
        pump(
            [
                Flow(None, stdin.fileno(), data=data, on_end=stdin.close),
                Flow(stdout.fileno(), out.append, output=True),
            ]
        )
    assert b"".join(out) == data


def test_no_input_ends_at_once() -> None:
    ended: list[int] = []
    pump([Flow(None, 1, on_end=lambda: ended.append(1))])
    assert ended == [1]


def test_a_reader_that_left_does_not_hold_the_writer_up(pipes: list[Pipe]) -> None:
    source, sink, _ = pipes
    sink.close("reader")

    def write() -> None:
        os.write(source.writer, b"z" * 500000)
        source.close("writer")

    thread = threading.Thread(target=write)
    thread.start()
    assert pump([Flow(source.reader, sink.writer, output=True)], timeout_s=10)
    thread.join()


def test_input_nobody_reads_is_dropped_without_an_error(pipes: list[Pipe]) -> None:
    source, sink, output = pipes
    sink.close("reader")
    os.write(source.writer, b"typed")
    os.write(output.writer, b"printed")
    output.close("writer")
    out: list[bytes] = []
    pump([Flow(output.reader, out.append, output=True), Flow(source.reader, sink.writer)])
    assert out == [b"printed"]


def test_the_end_of_a_process_ends_the_pump_though_its_pipe_stays_open(pipes: list[Pipe]) -> None:
    pipe = pipes[0]
    pid = os.posix_spawnp(
        "sh", ["sh", "-c", "echo before"], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, pipe.writer, 1)]
    )
    descriptor = pidfd.open(pid)
    out: list[bytes] = []
    assert pump([Flow(pipe.reader, out.append, output=True)], until=descriptor, timeout_s=10)
    assert out == [b"before\n"]
    pidfd.wait(descriptor)
    os.close(descriptor)


def test_what_a_slow_reader_has_not_got_yet_is_not_lost(pipes: list[Pipe]) -> None:
    source, sink, ends = pipes
    data = os.urandom(60000)
    ends.close("writer")  # readable from the start: it is over
    os.write(source.writer, data)

    def move() -> None:
        pump([Flow(source.reader, sink.writer, output=True)], until=ends.reader)
        sink.close("writer")

    mover = threading.Thread(target=move)
    mover.start()
    received = drained(sink.reader)
    mover.join(10)
    assert received == data


def test_it_gives_up_when_time_is_over(pipes: list[Pipe]) -> None:
    assert not pump([Flow(pipes[0].reader, lambda data: None, output=True)], timeout_s=0.01)


def test_what_is_read_can_be_changed_on_its_way(pipes: list[Pipe]) -> None:
    out: list[bytes] = []
    os.write(pipes[0].writer, b"abc")
    pipes[0].close("writer")
    pump([Flow(pipes[0].reader, out.append, output=True, change=bytes.upper)])
    assert out == [b"ABC"]


def test_files_are_streams_too(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"q" * 100000)
    with open(tmp_path / "in", "rb") as source, open(tmp_path / "out", "wb") as sink:
        pump([Flow(source.fileno(), sink.fileno(), output=True)])
    assert (tmp_path / "out").read_bytes() == b"q" * 100000


def test_nobody_is_made_non_blocking(pipes: list[Pipe]) -> None:
    os.write(pipes[0].writer, b"x")
    pipes[0].close("writer")
    pump([Flow(pipes[0].reader, pipes[1].writer, output=True)])
    assert os.get_blocking(pipes[0].reader)
    assert os.get_blocking(pipes[1].writer)


def test_watched_descriptors_are_reported_meanwhile(pipes: list[Pipe]) -> None:
    source, watched, _ = pipes
    os.write(watched.writer, b"!")
    seen: list[bytes] = []

    def react() -> None:
        seen.append(os.read(watched.reader, 10))
        source.close("writer")

    pump([Flow(source.reader, lambda data: None, output=True)], watch={watched.reader: react})
    assert seen == [b"!"]
