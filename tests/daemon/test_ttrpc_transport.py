"""The same services over ttrpc, with our own client: there is no other that is not Go's."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.engine.tasks.channel import TtrpcChannel
from cloche.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    NotFound,
    ResourceExhausted,
    Unavailable,
    Unimplemented,
)
from cloche.wire import ttrpc
from tests.daemon.service import ECHO, Note, Server, run
from tests.waiting import wait_until


def over(server: Server, work: Any) -> Any:
    """Run a coroutine function with a channel to the server."""

    async def connected() -> Any:
        channel = await TtrpcChannel.connect(server.ttrpc_path)
        try:
            return await work(channel)
        finally:
            channel.close()

    return run(connected())


def test_a_call_is_answered(server: Server) -> None:
    note = Note(text="hello", data=bytes(100_000))
    assert over(server, lambda channel: channel.unary(ECHO, "Say", note)) == note
    assert over(server, lambda channel: channel.unary(ECHO, "Slow", note)) == note
    assert server.echo.peers == [os.getpid()]


def test_the_namespace_is_that_of_the_metadata(server: Server) -> None:
    metadata = {"containerd-namespace-ttrpc": ["moby"], "x-word": ["hi"]}
    answer = over(server, lambda c: c.unary(ECHO, "Where", Note(), metadata=metadata, timeout_s=9))
    assert answer.text == "moby hi"
    assert 7 <= answer.number <= 9
    with pytest.raises(FailedPrecondition):
        over(server, lambda channel: channel.unary(ECHO, "Where", Note()))


def test_errors_come_back_as_what_they_were(server: Server) -> None:
    with pytest.raises(NotFound, match=r"^nobody$"):
        over(server, lambda channel: channel.unary(ECHO, "Fail", Note(text="nobody")))
    with pytest.raises(Unimplemented, match="unknown method Missing"):
        over(server, lambda channel: channel.unary(ECHO, "Missing", Note()))


def test_a_response_above_the_limit_is_refused(server: Server) -> None:
    with pytest.raises(ResourceExhausted):
        over(server, lambda channel: channel.unary(ECHO, "Big", Note(number=4 << 20)))


def test_a_deadline_ends_the_handler(server: Server) -> None:
    with pytest.raises(DeadlineExceeded):
        over(server, lambda channel: channel.unary(ECHO, "Hang", Note(), timeout_s=0.2))
    wait_until(lambda: server.echo.ended == server.echo.hanging)


def test_a_client_that_is_gone_ends_its_handlers(server: Server) -> None:
    async def leave(channel: TtrpcChannel) -> None:
        call = asyncio.ensure_future(channel.unary(ECHO, "Hang", Note()))
        while not server.echo.hanging:
            await asyncio.sleep(0.01)
        channel.close()
        with pytest.raises(Unavailable):
            await call

    over(server, leave)
    wait_until(lambda: server.echo.ended == 1)


def test_either_side_or_both_may_stream(server: Server) -> None:
    async def work(channel: TtrpcChannel) -> None:
        counted = [note.number async for note in channel.stream(ECHO, "Count", Note(number=50))]
        assert counted == list(range(50))
        async with channel.stream(ECHO, "Sum") as call:
            for number in range(100):
                call.send(Note(number=number, data=bytes(200_000)))
            call.end()
            assert (await call.receive()).number == 4950
        async with channel.stream(ECHO, "Chat") as call:
            call.send(Note(text="one"))
            assert (await call.receive()).text == "ONE"
            call.send(Note(text="bye"))
            assert [note.text async for note in call] == ["BYE"]

    over(server, work)


def test_stopping_ends_what_is_in_progress(server: Server) -> None:
    async def wait(channel: TtrpcChannel) -> None:
        call = asyncio.ensure_future(channel.unary(ECHO, "Hang", Note()))
        await asyncio.sleep(0)
        await channel.unary(ECHO, "Say", Note())
        server.begin_stop(0)
        with pytest.raises(Unavailable):
            await call

    over(server, wait)


@given(st.binary(max_size=200))
def test_garbage_hurts_nobody_else(data: bytes) -> None:
    """The decoder alone: either frames or an error of the protocol."""
    try:
        frames = ttrpc.Decoder().feed(data)
    except ttrpc.ProtocolError:
        return
    assert all(len(frame.payload) <= len(data) for frame in frames)


def test_a_stranger_is_hung_up_on(server: Server) -> None:
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.connect(server.ttrpc_path)
        stranger.sendall(b"\xff" * 100)
        assert stranger.recv(100) == b""
    assert over(server, lambda channel: channel.unary(ECHO, "Say", Note(number=1))).number == 1
