from __future__ import annotations

import os
import socket
import threading
import time

from cloche.shim import frames
from cloche.shim.clients import LocalClient, SocketClient
from cloche.shim.streams import Streams


class Keeper:
    """A log that keeps everything."""

    def __init__(self) -> None:
        self.data: dict[str, bytes] = {"stdout": b"", "stderr": b""}

    def write(self, stream: str, data: bytes) -> None:
        self.data[stream] += data


def _in_ten_seconds() -> float:
    return time.monotonic() + 10


def test_output_goes_to_the_log_in_order_and_the_end_is_noticed() -> None:
    out_read, out_write = os.pipe()
    err_read, err_write = os.pipe()
    streams, log = Streams({out_read: "stdout", err_read: "stderr"}), Keeper()
    streams.keep(log)
    os.write(out_write, b"one\n")
    os.write(err_write, b"two\n")
    os.close(out_write)
    os.close(err_write)
    assert streams.run({}, deadline=_in_ten_seconds(), until_silent=True)
    assert log.data == {"stdout": b"one\n", "stderr": b"two\n"}
    streams.close()


def test_a_large_input_arrives_whole_and_is_ended() -> None:
    read, write = os.pipe()
    streams = Streams({}, write)
    sent = os.urandom(1 << 20)
    received: list[bytes] = []

    def consume() -> None:
        while data := os.read(read, 1 << 16):
            received.append(data)
        os.close(read)

    consumer = threading.Thread(target=consume)
    consumer.start()
    streams.feed(sent)
    streams.feed_end()
    streams.run({}, deadline=time.monotonic() + 0.5)
    consumer.join(timeout=10)
    assert b"".join(received) == sent
    streams.close()


def test_a_deadline_ends_the_run() -> None:
    read, write = os.pipe()
    streams = Streams({read: "stdout"})
    begin = time.monotonic()
    assert not streams.run({}, deadline=begin + 0.05, until_silent=True)
    assert 0.04 < time.monotonic() - begin < 5
    os.close(write)
    streams.close()


def test_a_reader_that_lags_stops_the_container_and_loses_nothing() -> None:
    read, write = os.pipe()
    os.set_blocking(write, False)
    ours, theirs = socket.socketpair()
    streams = Streams({read: "stdout"})
    client = SocketClient(theirs, input_ends=False)
    streams.clients.append(client)
    ours.sendall(frames.encode(frames.HELLO, bytes((frames.WANTS_OUTPUT,))))
    streams.run({}, deadline=time.monotonic() + 0.05)
    written = 0
    for _ in range(400):
        try:
            written += os.write(write, b"x" * 65536)
        except BlockingIOError:
            if client.blocked():
                break
        streams.run({}, deadline=time.monotonic() + 0.005)
    assert client.blocked()
    os.close(write)
    received = bytearray()

    def consume() -> None:
        decoder = frames.Decoder()
        while data := ours.recv(1 << 16):
            for kind, payload in decoder.feed(data):
                if kind == frames.EXIT:
                    return
                received.extend(payload)

    consumer = threading.Thread(target=consume)
    consumer.start()
    assert streams.run({}, deadline=_in_ten_seconds(), until_silent=True)
    client.exited(0)
    consumer.join(timeout=10)
    assert len(received) == written
    streams.close()
    ours.close()


def test_a_client_that_hangs_up_or_talks_nonsense_is_forgotten() -> None:
    read, write = os.pipe()
    streams = Streams({read: "stdout"})
    for farewell in (b"", b"\xff" * 64):
        ours, theirs = socket.socketpair()
        streams.clients.append(SocketClient(theirs, input_ends=False))
        ours.sendall(farewell) if farewell else ours.close()
        streams.run({}, deadline=time.monotonic() + 0.05)
        assert streams.clients == []
        ours.close()
    os.close(write)
    streams.close()


def test_a_full_disk_costs_the_log_its_lines_and_nobody_else() -> None:
    from cloche.shim.jsonlog import LogWriter

    read, write = os.pipe()
    out_read, out_write = os.pipe()
    streams = Streams({read: "stdout"})
    streams.keep(LogWriter("/dev/full"))
    streams.clients.append(LocalClient(-1, out_write, out_write))
    os.write(write, b"line\n")
    os.close(write)
    assert streams.run({}, deadline=_in_ten_seconds(), until_silent=True)
    assert os.read(out_read, 100) == b"line\n"
    streams.close()
    os.close(out_read)
    os.close(out_write)


def test_a_local_reader_that_went_away_does_not_end_the_container() -> None:
    read, write = os.pipe()
    gone_read, gone_write = os.pipe()
    os.close(gone_read)
    streams = Streams({read: "stdout"})
    streams.clients.append(LocalClient(-1, gone_write, gone_write))
    os.write(write, b"x")
    os.close(write)
    assert streams.run({}, deadline=_in_ten_seconds(), until_silent=True)
    os.close(gone_write)
    streams.close()
