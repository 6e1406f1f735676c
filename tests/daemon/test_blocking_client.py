"""The client that blocks, against our server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cloche.daemon.blocking_client import BlockingChannel
from cloche.errors import DeadlineExceeded, NotFound, ResourceExhausted, Unavailable
from tests.daemon.service import ECHO, Note, Server
from tests.waiting import wait_until


@pytest.fixture
def channel(server: Server) -> Iterator[BlockingChannel]:
    with BlockingChannel(server.path) as channel:
        yield channel


@pytest.mark.parametrize("size", [0, 70_000, 10 << 20])
def test_calls_are_made_one_after_the_other(channel: BlockingChannel, size: int) -> None:
    for number in range(3):
        note = Note(number=number, data=bytes(size))
        assert channel.unary(ECHO, "Say", note) == note


def test_errors_come_back_as_what_they_were(channel: BlockingChannel) -> None:
    with pytest.raises(NotFound, match="nobody"):
        channel.unary(ECHO, "Fail", Note(text="nobody"))
    metadata = {"containerd-namespace": ["default"]}
    assert channel.unary(ECHO, "Where", Note(), metadata=metadata).text == "default "


def test_streams_of_every_kind(channel: BlockingChannel) -> None:
    with channel.call(ECHO, "Count") as call:
        call.send(Note(number=100, data=bytes(50_000)), end=True)
        assert [note.number for note in call] == list(range(100))
    with channel.call(ECHO, "Sum") as call:
        for number in range(100):
            call.send(Note(number=number, data=bytes(50_000)))
        call.end()
        assert call.receive().number == 4950
    with channel.call(ECHO, "Chat") as call:
        for word in ("one", "two"):
            call.send(Note(text=word))
            assert call.receive().text == word.upper()


def test_much_may_go_both_ways_at_once(channel: BlockingChannel) -> None:
    with channel.call(ECHO, "Chat") as call:
        call.send(Note(data=bytes(3 << 20)))
        for _ in range(10):
            call.send(Note(data=bytes(3 << 20)))
            assert len(call.receive().data) == 3 << 20


def test_a_server_that_fails_early_ends_the_sending(channel: BlockingChannel) -> None:
    with channel.call(ECHO, "Sum") as call:
        for _ in range(100):
            call.send(Note(text="enough", data=bytes(100_000)))
        call.end()
        with pytest.raises(ResourceExhausted):
            call.receive()
    assert channel.unary(ECHO, "Say", Note(number=1)).number == 1


def test_a_deadline_is_held_and_the_server_told(server: Server, channel: BlockingChannel) -> None:
    with pytest.raises(DeadlineExceeded):
        channel.unary(ECHO, "Hang", Note(), timeout_s=0.2)
    wait_until(lambda: server.echo.ended == server.echo.hanging)
    assert channel.unary(ECHO, "Say", Note(number=1)).number == 1


def test_a_stream_that_is_left_is_cancelled(server: Server, channel: BlockingChannel) -> None:
    with channel.call(ECHO, "Forever") as call:
        call.send(Note(), end=True)
        call.receive()
    wait_until(lambda: server.echo.ended == 1)


def test_a_server_that_stops_ends_the_call(server: Server, channel: BlockingChannel) -> None:
    channel.unary(ECHO, "Say", Note())
    server.begin_stop(0)
    with pytest.raises(Unavailable):
        channel.unary(ECHO, "Hang", Note())
    with pytest.raises(Unavailable):
        channel.unary(ECHO, "Say", Note())


def test_nobody_at_the_socket_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="No such file"):
        BlockingChannel(str(tmp_path / "nobody"))
