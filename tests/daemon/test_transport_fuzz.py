"""Frames in any order to a server with calls in progress: that client may suffer, and nobody else."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloche.daemon.blocking_client import BlockingChannel
from cloche.wire import grpc, ttrpc
from cloche.wire import http2_frames as frames
from cloche.wire.grpc_client import request_block
from tests.daemon.service import ECHO, Note, Server

METHODS = st.sampled_from(["Say", "Slow", "Sum", "Chat", "Count", "Fail", "Missing", "Where"])
NOTES = st.sampled_from([Note().encode(), Note(text="bye", number=3).encode(), b"\xff"])
STREAMS = st.sampled_from([1, 3, 5, 7, 0, 2])
FLAGS = st.sampled_from([0, 1, 4, 5, 8])

HEADS = st.builds(
    lambda method, stream, flags: frames.frame(
        frames.HEADERS, flags, stream, request_block(f"/{ECHO.full_name}/{method}", None, None)
    ),
    METHODS,
    STREAMS,
    st.sampled_from([4, 4, 4, 5, 0]),
)
CONTENT = st.builds(
    lambda note, stream, flags: frames.frame(frames.DATA, flags, stream, grpc.frame(note)),
    NOTES,
    STREAMS,
    FLAGS,
)
OTHERS = st.builds(
    frames.frame,
    st.integers(0, 10),
    FLAGS,
    STREAMS,
    st.sampled_from([b"", bytes(4), bytes(5), bytes(8), b"\1" * 4]),
)
TTRPC = st.builds(
    lambda method, stream, kind, flags, note: ttrpc.encode(
        stream,
        kind,
        ttrpc.Request(service=ECHO.full_name, method=method, payload=note).encode() if kind == 1 else note,
        flags=flags,
    ),
    METHODS,
    STREAMS,
    st.sampled_from([1, 1, 2, 3, 3, 9]),
    st.integers(0, 7),
    NOTES,
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all examples. What goes wrong inside it is logged."""
    with Server(tmp_path_factory.mktemp("fuzz")) as running:
        yield running


class Failures(logging.Handler):
    """Remembers what is logged as an error."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.seen.append(record.getMessage())


def send(path: str, data: bytes) -> None:
    """Send bytes and read until the server hangs up."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(20)
        client.connect(path)
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        try:
            while client.recv(65536):
                pass
        except ConnectionResetError:
            pass


def survives(server: Server, path: str, data: bytes) -> None:
    failures = Failures()
    logger = logging.getLogger("asyncio")
    logger.addHandler(failures)
    try:
        send(path, data)
        with BlockingChannel(server.path) as channel:
            assert channel.unary(ECHO, "Say", Note(number=1), timeout_s=20).number == 1
    finally:
        logger.removeHandler(failures)
    assert not failures.seen


@settings(max_examples=60)
@given(received=st.lists(st.one_of(HEADS, CONTENT, OTHERS), max_size=12))
def test_no_frames_of_http2_upset_the_server(shared: Server, received: list[bytes]) -> None:
    survives(shared, shared.path, frames.PREFACE + frames.settings(()) + b"".join(received))


@settings(max_examples=60)
@given(received=st.lists(TTRPC, max_size=12))
def test_no_frames_of_ttrpc_upset_the_server(shared: Server, received: list[bytes]) -> None:
    survives(shared, shared.ttrpc_path, b"".join(received))


def test_garbage_of_any_size_is_hung_up_on(shared: Server, tmp_path: Path) -> None:
    for data in (b"\0" * 100_000, b"\xff" * 100_000, frames.PREFACE + b"\xff" * 100_000):
        survives(shared, shared.path, data)
        survives(shared, shared.ttrpc_path, data)
