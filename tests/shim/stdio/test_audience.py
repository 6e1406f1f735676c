"""Several clients attached to one process at the same time, through `cloche.shim.frames`."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
from pathlib import Path

import pytest

from cloche.errors import FailedPrecondition
from cloche.shim import frames
from cloche.shim.stdio.opening import Stdio, Uris
from tests.shim.stdio.harness import Shim, fifo
from tests.waiting import wait_until

OUTPUT, INPUT = frames.WANTS_OUTPUT, frames.WANTS_INPUT


class Client:
    """Someone attached; reads in a thread until the connection ends."""

    def __init__(self, path: Path, wants: int = OUTPUT | INPUT, *, reads: bool = True) -> None:
        self.connection = socket.socket(socket.AF_UNIX)
        self.connection.connect(str(path))
        self.data = {frames.STDOUT: b"", frames.STDERR: b""}
        self.code: int | None = None
        self.send(frames.HELLO, bytes((wants,)))
        self._thread = threading.Thread(target=self._read, daemon=True)
        if reads:
            self.read()

    def read(self) -> None:
        """Begin to read."""
        self._thread.start()

    def send(self, kind: int, payload: bytes = b"") -> None:
        """Send one frame."""
        self.connection.sendall(frames.encode(kind, payload))

    def _read(self) -> None:
        decoder = frames.Decoder()
        while data := self.connection.recv(1 << 16):
            for kind, payload in decoder.feed(data):
                if kind == frames.EXIT:
                    self.code = int.from_bytes(payload, "big")
                else:
                    self.data[kind] += payload

    @property
    def out(self) -> bytes:
        """What it saw of stdout."""
        return self.data[frames.STDOUT]

    def ended(self) -> int | None:
        """The exit code that it was told, once the connection is over."""
        self._thread.join(20)
        assert not self._thread.is_alive()
        self.connection.close()
        return self.code


def listen(shim: Shim, stdio: Stdio, path: Path, *, input_ends: bool = False, hold_s: float = 0) -> None:
    """Let clients attach."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(16)
    shim.call(lambda: stdio.serve_attach(listener, input_ends=input_ends, hold_s=hold_s))


def end(shim: Shim, stdio: Stdio, process: subprocess.Popen[bytes]) -> None:
    """Wait for the process, finish its streams and tell everyone."""
    code = process.wait(20)
    assert shim.finish(stdio).wait(15)
    shim.call(lambda: stdio.tell_exit(code))


def logged(path: Path) -> str:
    """What a Docker log says."""
    return "".join(json.loads(line)["log"] for line in path.read_text().splitlines())


def test_everyone_sees_everything_and_the_log_has_it_too(shim: Shim, tmp_path: Path) -> None:
    log, place = tmp_path / "log", tmp_path / "sock"
    uri = f"json-file://{log}"
    stdio = shim.open(Uris(stdin="attach://", stdout=uri, stderr=uri))
    listen(shim, stdio, place, input_ends=True)
    process = shim.spawn(
        stdio, "sh", "-c", "read a; read b; read c; echo got $a $b $c; echo error >&2; cat; exit 7"
    )
    clients = [Client(place) for _ in range(3)]
    for client in clients:
        # Who has typed is there: a connection alone may be taken after the first output.
        client.send(frames.STDIN, b"it\n")
    wait_until(lambda: all(client.out == b"got it it it\n" for client in clients))
    clients[0].send(frames.STDIN, b"more\n")
    wait_until(lambda: all(client.out == b"got it it it\nmore\n" for client in clients))
    clients[1].send(frames.EOF)
    end(shim, stdio, process)
    assert [client.ended() for client in clients] == [7, 7, 7]
    assert [client.out for client in clients] == [b"got it it it\nmore\n"] * 3
    assert [client.data[frames.STDERR] for client in clients] == [b"error\n"] * 3
    assert sorted(logged(log).splitlines()) == ["error", "got it it it", "more"]


def test_a_prompt_is_shown_before_its_line_ends(shim: Shim, tmp_path: Path) -> None:
    stdio = shim.open(Uris(stdin="attach://", stdout=f"cri://{tmp_path}/log"))
    listen(shim, stdio, tmp_path / "sock", hold_s=10)
    process = shim.spawn(stdio, "sh", "-c", "printf 'name: '; read x; printf 'hello %s' $x")
    client = Client(tmp_path / "sock")
    wait_until(lambda: client.out == b"name: ", timeout_s=5)
    client.send(frames.STDIN, b"you\n")
    end(shim, stdio, process)
    assert client.ended() == 0
    assert client.out == b"name: hello you"


def test_output_is_held_until_somebody_is_there(shim: Shim, tmp_path: Path) -> None:
    stdio = shim.open(Uris(stdout="attach://"))
    listen(shim, stdio, tmp_path / "sock", hold_s=30)
    process = shim.spawn(stdio, "seq", "1", "1000")
    process.wait(10)
    client = Client(tmp_path / "sock")
    end(shim, stdio, process)
    assert client.ended() == 0
    assert client.out == b"".join(b"%d\n" % n for n in range(1, 1001))


def test_output_is_not_held_for_ever(shim: Shim, tmp_path: Path) -> None:
    stdio = shim.open(Uris(stdout=f"json-file://{tmp_path}/log"))
    listen(shim, stdio, tmp_path / "sock", hold_s=0.1)
    process = shim.spawn(stdio, "sh", "-c", "seq 1 50000")
    end(shim, stdio, process)
    assert logged(tmp_path / "log").endswith("\n50000\n")


def test_the_end_waits_for_no_hold(shim: Shim, tmp_path: Path) -> None:
    stdio = shim.open(Uris(stdout=f"json-file://{tmp_path}/log"), drain_s=0.2)
    listen(shim, stdio, tmp_path / "sock", hold_s=100)
    process = shim.spawn(stdio, "echo", "kept")
    end(shim, stdio, process)
    assert logged(tmp_path / "log") == "kept\n"


def test_who_comes_after_the_end_is_told_of_it(shim: Shim, tmp_path: Path) -> None:
    stdio = shim.open(Uris(stdout=f"json-file://{tmp_path}/log"))
    listen(shim, stdio, tmp_path / "sock")
    end(shim, stdio, shim.spawn(stdio, "sh", "-c", "exit 3"))
    assert Client(tmp_path / "sock").ended() == 3


def test_a_slow_client_slows_the_process_down_and_misses_nothing(shim: Shim, tmp_path: Path) -> None:
    stdio = shim.open(Uris(stdout=f"json-file://{tmp_path}/log"))
    listen(shim, stdio, tmp_path / "sock", hold_s=10)
    process = shim.spawn(stdio, "head", "-c", "8000000", "/dev/zero")
    client = Client(tmp_path / "sock", reads=False)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)
    client.read()
    end(shim, stdio, process)
    assert client.ended() == 0
    assert len(client.out) == 8000000


def test_a_client_that_is_stuck_is_let_go_of(shim: Shim, tmp_path: Path) -> None:
    stdio = shim.open(Uris(stdout=f"json-file://{tmp_path}/log"))
    shim.call(lambda: setattr(stdio.audience, "_stuck_s", 0.3))
    listen(shim, stdio, tmp_path / "sock", hold_s=10)
    process = shim.spawn(stdio, "head", "-c", "4000000", "/dev/zero")
    stuck = Client(tmp_path / "sock", reads=False)
    end(shim, stdio, process)
    assert len(logged(tmp_path / "log")) == 4000000
    stuck.connection.close()


def test_a_client_that_leaves_or_talks_nonsense_does_not_matter(shim: Shim, tmp_path: Path) -> None:
    stdio = shim.open(Uris(stdin="attach://", stdout=f"json-file://{tmp_path}/log"))
    listen(shim, stdio, tmp_path / "sock")
    process = shim.spawn(stdio, "cat")
    leaving, mad, staying = (Client(tmp_path / "sock") for _ in range(3))
    mad.connection.sendall(b"\xff" * 100)
    mad.ended()
    leaving.connection.shutdown(socket.SHUT_RDWR)
    leaving.ended()
    staying.send(frames.STDIN, b"still here\n")
    wait_until(lambda: staying.out == b"still here\n")
    shim.call(stdio.close_stdin)
    end(shim, stdio, process)
    assert staying.ended() == 0


def test_a_large_input_arrives_whole(shim: Shim, tmp_path: Path) -> None:
    stdio = shim.open(Uris(stdin="attach://", stdout="attach://"))
    listen(shim, stdio, tmp_path / "sock", input_ends=True, hold_s=10)
    process = shim.spawn(stdio, "cat")
    client, data = Client(tmp_path / "sock"), os.urandom(3 << 20)
    for start in range(0, len(data), 1 << 16):
        client.send(frames.STDIN, data[start : start + (1 << 16)])
    client.send(frames.EOF)
    end(shim, stdio, process)
    assert client.ended() == 0
    assert client.out == data


def test_a_terminal_is_shared_and_resized(shim: Shim, tmp_path: Path) -> None:
    stdio = shim.open(Uris(stdin="attach://", stdout=f"json-file://{tmp_path}/log", terminal=True))
    listen(shim, stdio, tmp_path / "sock", hold_s=10)
    process = shim.on_terminal(stdio, "sh", "-c", "stty -echo; echo ready; read x; stty size; echo $x")
    first, second = Client(tmp_path / "sock"), Client(tmp_path / "sock")
    wait_until(lambda: b"ready" in first.out)
    first.send(*_frame(frames.resize(50, 120)))
    first.send(frames.STDIN, b"typed\n")
    end(shim, stdio, process)
    assert (first.ended(), second.ended()) == (0, 0)
    assert first.out.endswith(b"50 120\r\ntyped\r\n")


def _frame(encoded: bytes) -> tuple[int, bytes]:
    ((kind, payload),) = frames.Decoder().feed(encoded)
    return kind, payload


def test_fifos_have_no_audience(shim: Shim, tmp_path: Path) -> None:
    stdio = shim.open(Uris(stdout=fifo(tmp_path, "out")))
    with pytest.raises(FailedPrecondition, match="nobody can attach"):
        listen(shim, stdio, tmp_path / "sock")
