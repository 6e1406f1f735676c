"""Malformed frames, protobufs and absurd lengths on the socket end the connection they came by, at most."""

from __future__ import annotations

import os
import random
import socket
import struct
from pathlib import Path

import pytest

from cloche.wire import ttrpc
from cloche.wire.messages import task
from cloche.wire.messages.types import RUNNING
from tests.bundles import Bundle
from tests.shim.served import Served
from tests.waiting import wait_until

SERVICE = "containerd.task.v2.Task"


def raw(shim: Served) -> socket.socket:
    """A connection without a client's manners."""
    made = socket.socket(socket.AF_UNIX)
    made.connect(shim.path)  # with a time-out it would not wait while the queue is full
    made.settimeout(10)
    return made


def request(method: str, payload: bytes, service: str = SERVICE) -> bytes:
    return ttrpc.Request(service=service, method=method, payload=payload).encode()


def answer(connection: socket.socket) -> ttrpc.Response | None:
    """The first response; None where the shim has hung up."""
    decoder = ttrpc.Decoder()
    while True:
        try:
            data = connection.recv(1 << 16)
        except ConnectionResetError:
            return None
        if not data:
            return None
        for frame in decoder.feed(data):
            return ttrpc.Response.decode(frame.payload)


def resident(shim: Served) -> int:
    """Bytes of memory that the shim has."""
    return int(Path(f"/proc/{shim.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("length", [(4 << 20) + 1, (1 << 24) - 1, 0x7FFFFFFF, 0xFFFFFFFF])
def test_an_absurd_length_takes_no_memory_and_ends_its_connection(shim: Served, length: int) -> None:
    shim.call("Connect", task.ConnectRequest(id="one"))
    before = resident(shim)
    with raw(shim) as connection:
        connection.sendall(struct.pack(">IIBB", length, 1, 1, 0) + b"x" * 1000)
        found = answer(connection)
        assert found is None or found.status is not None
    assert resident(shim) - before < 8 << 20
    assert shim.call("Connect", task.ConnectRequest(id="one")).shim_pid == shim.process.pid


@pytest.mark.parametrize(
    "payload",
    [
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",  # a tag that does not end
        b"\x0a\xff\xff\xff\xff\x0f",  # a field longer than the message
        b"\x0b",  # a group that does not end
        b"\x0a\x01\xff",  # text that is not UTF-8
        b"\x00",  # field number 0
    ],
)
def test_a_malformed_message_is_refused_on_its_own_stream(shim: Served, payload: bytes) -> None:
    with raw(shim) as connection:
        connection.sendall(ttrpc.encode(1, ttrpc.REQUEST, request("State", payload)))
        found = answer(connection)
        assert found is None or (found.status is not None and found.status.code)
    assert shim.call("Connect", task.ConnectRequest(id="one")).shim_pid == shim.process.pid


@pytest.mark.parametrize(
    ("service", "method"),
    [("", ""), ("no.such.Service", "State"), (SERVICE, "NoSuch"), (SERVICE, "x" * 10000)],
)
def test_what_is_not_offered_is_refused_and_the_connection_goes_on(
    shim: Served, service: str, method: str
) -> None:
    with raw(shim) as connection:
        connection.sendall(ttrpc.encode(1, ttrpc.REQUEST, request(method, b"", service)))
        found = answer(connection)
        assert found is not None
        assert found.status is not None
        good = task.ConnectRequest(id="x").encode()
        connection.sendall(ttrpc.encode(3, ttrpc.REQUEST, request("Connect", good)))
        again = answer(connection)
        assert again is not None
        assert task.ConnectResponse.decode(again.payload).shim_pid == shim.process.pid


def test_noise_from_many_connections_harms_no_container(shim: Served, sleeper: Bundle) -> None:
    shim.run(sleeper)
    before = shim.descriptors()
    generator = random.Random(4)
    for _ in range(200):
        with raw(shim) as connection:
            noise = generator.randbytes(generator.randrange(1, 400))
            if generator.random() < 0.5:
                noise = (
                    struct.pack(">IIBB", len(noise), generator.randrange(9), generator.randrange(5), 0)
                    + noise
                )
            connection.sendall(noise)
    wait_until(lambda: shim.descriptors() <= before, what="connections to be closed")
    assert shim.status() == RUNNING
    assert shim.threads() <= 2
    shim.kill()
    assert shim.wait() == 137


def test_a_client_that_goes_away_in_the_middle_costs_nothing(shim: Served, sleeper: Bundle) -> None:
    shim.run(sleeper)
    before = shim.descriptors()
    whole = ttrpc.encode(1, ttrpc.REQUEST, request("Wait", task.WaitRequest(id="one").encode()))
    for cut in (1, 5, 9, 10, 11, len(whole) - 1, len(whole)):
        with raw(shim) as connection:
            connection.sendall(whole[:cut])
    wait_until(lambda: shim.descriptors() <= before)
    assert shim.status() == RUNNING


def test_a_client_that_does_not_read_does_not_fill_the_memory(shim: Served, sleeper: Bundle) -> None:
    shim.run(sleeper)
    before = resident(shim)
    with raw(shim) as connection:
        connection.setblocking(False)
        state = task.StateRequest(id="one").encode()
        stream = 1
        try:
            while stream < 400_000:
                stream += 2
                connection.send(ttrpc.encode(stream, ttrpc.REQUEST, request("State", state)))
        except BlockingIOError:
            pass
        assert shim.status() == RUNNING
        assert resident(shim) - before < 32 << 20
