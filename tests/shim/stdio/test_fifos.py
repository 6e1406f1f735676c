"""Fifos, as containerd's clients make and leave them."""

from __future__ import annotations

import os
import signal
import sys
import threading
import tracemalloc
from pathlib import Path

import pytest

from cloche.errors import NotFound
from cloche.shim.stdio.opening import Uris
from cloche.shim.stdio.pump import unread
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


def test_a_client_that_never_comes_holds_nobody_up(shim: Shim, tmp_path: Path) -> None:
    uris = Uris(stdin=fifo(tmp_path, "in"), stdout=fifo(tmp_path, "out"), stderr=fifo(tmp_path, "err"))
    stdio = shim.open(uris)
    process = shim.spawn(stdio, "sh", "-c", "echo out; echo err >&2")
    assert process.wait(10) == 0
    assert shim.finish(stdio).wait(2)


def test_output_that_nobody_read_is_there_for_a_late_client(shim: Shim, tmp_path: Path) -> None:
    uris = Uris(stdout=fifo(tmp_path, "out"))
    stdio = shim.open(uris)
    process = shim.spawn(stdio, "echo", "late")
    assert process.wait(10) == 0
    assert shim.finish(stdio).wait(2)
    with open(uris.stdout, "rb") as late:
        assert late.read() == b"late\n"


def test_the_streams_know_when_a_late_client_has_come(shim: Shim, tmp_path: Path) -> None:
    uris = Uris(stdout=fifo(tmp_path, "out"))
    stdio = shim.open(uris)
    assert shim.spawn(stdio, "echo", "late").wait(10) == 0
    assert shim.finish(stdio).wait(2)
    read, given_up = threading.Event(), threading.Event()
    shim.call(lambda: stdio.when_read(given_up.set, patience_s=0.05))
    assert given_up.wait(2)
    shim.call(lambda: stdio.when_read(read.set, patience_s=30))
    assert not read.is_set()
    with open(uris.stdout, "rb") as late:
        assert late.read() == b"late\n"
    assert read.wait(2)


def test_a_client_that_leaves_costs_the_program_no_sigpipe_and_the_next_one_nothing(
    shim: Shim, tmp_path: Path
) -> None:
    uris = Uris(stdin=fifo(tmp_path, "in"), stdout=fifo(tmp_path, "out"))
    stdio = shim.open(uris)
    process = shim.spawn(stdio, "sh", "-c", "echo one; read x; echo two; read x; echo three")
    with open(uris.stdin, "wb", buffering=0) as typing:
        with open(uris.stdout, "rb", buffering=0) as first:
            assert first.read(100) == b"one\n"
        typing.write(b"\n")
        wait_until(lambda: shim.call(lambda: unread_in(uris.stdout)) == 4)
        second = Reader(uris.stdout)
        assert second.opened.wait(10)
        typing.write(b"\n")
        assert process.wait(10) == 0
    assert shim.finish(stdio).wait(10)
    assert second.all() == b"two\nthree\n"


def unread_in(path: str) -> int:
    """How much waits in a fifo."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        return unread(descriptor)
    finally:
        os.close(descriptor)


def test_a_full_fifo_holds_the_program_back_and_loses_nothing(shim: Shim, tmp_path: Path) -> None:
    uris = Uris(stdout=fifo(tmp_path, "out"))
    stdio = shim.open(uris)
    script = "import os\nfor n in range(100): os.write(1, b'%06d' % n * 1000)\n"
    process = shim.spawn(stdio, sys.executable, "-c", script)
    wait_until(lambda: unread_in(uris.stdout) > 1 << 15)
    assert process.poll() is None
    reader = Reader(uris.stdout)
    assert process.wait(10) == 0
    assert shim.finish(stdio).wait(10)
    assert reader.all() == b"".join(b"%06d" % n * 1000 for n in range(100))


def test_the_end_waits_for_no_reader_and_what_a_process_left_stays_whole(shim: Shim, tmp_path: Path) -> None:
    uris = Uris(stdout=fifo(tmp_path, "out"))
    stdio = shim.open(uris)
    # As much as the fifo and the pipe hold together, and the program is gone before anyone reads.
    process = shim.spawn(stdio, sys.executable, "-c", f"import os; os.write(1, bytes({2 << 16}))")
    assert process.wait(10) == 0
    assert shim.finish(stdio).wait(2)
    with open(uris.stdout, "rb") as reader:
        assert reader.read() == bytes(2 << 16)


def test_a_descendant_that_keeps_the_output_open_is_waited_for_but_not_for_ever(
    shim: Shim, tmp_path: Path
) -> None:
    (tmp_path / "pid").touch()
    uris = Uris(stdout=fifo(tmp_path, "out"), stderr=str(tmp_path / "pid"))
    reader = Reader(uris.stdout)
    stdio = shim.open(uris, drain_s=0.5)
    process = shim.spawn(
        stdio, "sh", "-c", "(sleep 0.2; echo rest; exec sleep 100) & echo $! >&2; echo first"
    )
    assert process.wait(10) == 0
    done = shim.finish(stdio)
    assert not done.wait(0.1)
    assert done.wait(5)
    assert reader.all() == b"first\nrest\n"
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)


def test_output_keeps_its_order_through_a_slow_reader(shim: Shim, tmp_path: Path) -> None:
    uris = Uris(stdout=fifo(tmp_path, "out"))
    stdio = shim.open(uris)
    process = shim.spawn(stdio, "seq", "1", "200000")
    with open(uris.stdout, "rb", buffering=0) as slow:
        data = b""
        while len(data) < 1 << 16:
            data += slow.read(777)
        rest = Reader(uris.stdout)
        assert rest.opened.wait(10)
        process.wait(10)
    assert shim.finish(stdio).wait(10)
    assert data + rest.all() == b"".join(b"%d\n" % n for n in range(1, 200001))


def test_a_process_that_does_not_read_its_input_can_end(shim: Shim, tmp_path: Path) -> None:
    uris = Uris(stdin=fifo(tmp_path, "in"), stdout=fifo(tmp_path, "out"))
    stdio = shim.open(uris)
    process = shim.spawn(stdio, "sleep", "100")
    client = os.open(uris.stdin, os.O_WRONLY)
    os.set_blocking(client, False)
    rest = 1 << 17  # a pipe and a fifo

    def all_written() -> bool:
        nonlocal rest
        try:
            rest -= os.write(client, bytes(rest))
        except BlockingIOError:
            pass
        return rest == 0

    wait_until(all_written)
    process.kill()
    process.wait()
    assert shim.finish(stdio).wait(2)
    with pytest.raises(BrokenPipeError):
        os.write(client, b"x")
    os.close(client)


def test_a_process_that_closed_its_input_goes_on(shim: Shim, tmp_path: Path) -> None:
    uris = Uris(stdin=fifo(tmp_path, "in"), stdout=fifo(tmp_path, "out"))
    reader = Reader(uris.stdout)
    stdio = shim.open(uris)
    process = shim.spawn(stdio, "sh", "-c", "exec 0<&-; echo closed; sleep 0.2; echo more")
    with open(uris.stdin, "wb", buffering=0) as typing:
        wait_until(lambda: reader.data)
        typing.write(b"nobody reads this")
        assert process.wait(10) == 0
    assert shim.finish(stdio).wait(10)
    assert reader.all() == b"closed\nmore\n"


def test_close_io_ends_the_input_behind_what_was_written_even_if_the_client_stays(
    shim: Shim, tmp_path: Path
) -> None:
    uris = Uris(stdin=fifo(tmp_path, "in"), stdout=fifo(tmp_path, "out"))
    reader = Reader(uris.stdout)
    stdio = shim.open(uris)
    process = shim.spawn(stdio, "cat")
    with open(uris.stdin, "wb", buffering=0) as typing:
        typing.write(b"all")
        shim.call(stdio.close_stdin)
        assert process.wait(10) == 0
    assert shim.finish(stdio).wait(10)
    assert reader.all() == b"all"


def test_close_io_on_a_terminal_is_an_end_of_file_behind_what_was_typed(shim: Shim, tmp_path: Path) -> None:
    uris = Uris(stdin=fifo(tmp_path, "in"), stdout=fifo(tmp_path, "out"), terminal=True)
    reader = Reader(uris.stdout)
    stdio = shim.open(uris)
    process = shim.on_terminal(stdio, "sh", "-c", "stty -echo; echo ready; cat; echo at the end")
    wait_until(lambda: reader.data == b"ready\r\n")
    with open(uris.stdin, "wb", buffering=0) as typing:
        typing.write(b"typed\n")
    shim.call(stdio.close_stdin)
    assert process.wait(10) == 0
    assert shim.finish(stdio).wait(10)
    assert reader.all() == b"ready\r\ntyped\r\nat the end\r\n"


def test_a_terminal_without_input_is_hung_up(shim: Shim, tmp_path: Path) -> None:
    uris = Uris(stdin=fifo(tmp_path, "in"), stdout=fifo(tmp_path, "out"), terminal=True)
    reader = Reader(uris.stdout)
    stdio = shim.open(uris)
    process = shim.on_terminal(stdio, "sh", "-c", "stty raw; echo ready; exec sleep 100")
    wait_until(lambda: b"ready" in reader.data)
    shim.call(stdio.close_stdin)
    # A session's leader whose terminal is hung up gets SIGHUP; this one has no controlling terminal.
    assert reader.all() == b"ready\n"
    process.kill()
    process.wait()
    assert shim.finish(stdio).wait(2)


def test_the_pipes_belong_to_whom_the_options_say(shim: Shim, tmp_path: Path, root: None) -> None:
    uris = Uris(stdin=fifo(tmp_path, "in"), stdout=fifo(tmp_path, "out"), stderr=fifo(tmp_path, "err"))
    stdio = shim.open(uris, owner=(1234, 4321))
    owners = {(os.fstat(each).st_uid, os.fstat(each).st_gid) for each in stdio.child}
    assert owners == {(1234, 4321)}


@pytest.mark.parametrize("stream", ["stdin", "stdout", "stderr"])
def test_a_fifo_that_is_not_there_is_the_clients_fault(shim: Shim, tmp_path: Path, stream: str) -> None:
    streams = ("stdin", "stdout", "stderr")
    paths = [str(tmp_path / "missing") if name == stream else fifo(tmp_path, name) for name in streams]
    with pytest.raises(NotFound, match="there is no such file"):
        shim.open(Uris(stdin=paths[0], stdout=paths[1], stderr=paths[2]))


def test_other_files_than_fifos_will_do(shim: Shim, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("from a file")
    (tmp_path / "out").write_text("before ")
    stdio = shim.open(Uris(stdin=str(tmp_path / "in"), stdout=str(tmp_path / "out"), stderr="/dev/null"))
    process = shim.spawn(stdio, "sh", "-c", "cat; echo gone >&2")
    assert process.wait(10) == 0
    assert shim.finish(stdio).wait(10)
    assert (tmp_path / "out").read_text() == "before from a file"


def test_closing_at_once_leaves_nobody_waiting(shim: Shim, tmp_path: Path) -> None:
    uris = Uris(stdin=fifo(tmp_path, "in"), stdout=fifo(tmp_path, "out"))
    reader = Reader(uris.stdout)
    stdio = shim.open(uris)
    process = shim.spawn(stdio, "cat")
    shim.call(stdio.close)
    assert reader.all() == b""
    assert process.wait(10) == 0


def test_a_large_input_goes_through_a_raw_terminal_whole(shim: Shim, tmp_path: Path) -> None:
    uris = Uris(stdin=fifo(tmp_path, "in"), stdout=fifo(tmp_path, "out"), terminal=True)
    reader = Reader(uris.stdout)
    stdio = shim.open(uris)
    data = os.urandom(1 << 20)
    process = shim.on_terminal(stdio, "sh", "-c", f"stty raw -echo; echo ready; head -c {len(data)}")
    wait_until(lambda: reader.data == b"ready\n")
    Path(uris.stdin).write_bytes(data)
    assert process.wait(30) == 0
    assert shim.finish(stdio).wait(10)
    assert reader.all() == b"ready\n" + data


def test_what_a_slow_reader_has_not_read_takes_no_memory_of_ours(shim: Shim, tmp_path: Path) -> None:
    uris = Uris(stdout=fifo(tmp_path, "out"))
    stdio = shim.open(uris)
    size = 256 << 20
    process = shim.spawn(stdio, "head", "-c", str(size), "/dev/zero")
    tracemalloc.start()
    try:
        with open(uris.stdout, "rb", buffering=0) as reader:
            left = size
            while left > 0:
                # Every hundredth byte, and the rest goes to nobody: reading all of it is not the point.
                left -= os.splice(reader.fileno(), shim.nowhere, 10000)
                left -= len(reader.read(100))
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    assert process.wait(10) == 0
    assert shim.finish(stdio).wait(10)
