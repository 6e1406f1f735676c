"""Our gRPC client, against our server and against grpcio's."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from cloche.daemon.client import Channel
from cloche.errors import Cancelled, DeadlineExceeded, NotFound, ResourceExhausted, Unavailable, Unimplemented
from tests.daemon.service import ECHO, Note, Server, run
from tests.waiting import wait_until

MEGABYTE = 1 << 20


async def connected(path: str, work: Any) -> Any:
    channel = await Channel.connect(path)
    try:
        return await work(channel)
    finally:
        channel.close()


def over(path: str, work: Any) -> Any:
    """Run a coroutine function with a channel to a server."""
    return run(connected(path, work))


@pytest.fixture(scope="module")
def grpcio_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """grpcio's server of the test's service; its socket."""

    def fail(request: Note, context: grpc.ServicerContext) -> Note:
        context.abort(grpc.StatusCode.NOT_FOUND, request.text)
        return request

    def chat(requests: Iterator[Note], context: grpc.ServicerContext) -> Iterator[Note]:
        for request in requests:
            yield Note(text=request.text.upper(), data=request.data)

    def hang(request: Note, context: grpc.ServicerContext) -> Note:
        over = threading.Event()
        context.add_callback(over.set)
        over.wait(10)
        return request

    def count(request: Note, context: grpc.ServicerContext) -> Iterator[Note]:
        return (Note(number=number, data=request.data) for number in range(request.number))

    def total(requests: Iterator[Note], context: grpc.ServicerContext) -> Note:
        return Note(number=sum(request.number for request in requests))

    def where(request: Note, context: grpc.ServicerContext) -> Note:
        sent = dict(context.invocation_metadata())
        return Note(text=f"{sent['containerd-namespace']} {sent['x-word']}")

    coders = {"request_deserializer": Note.decode, "response_serializer": Note.encode}
    handlers = {
        "Say": grpc.unary_unary_rpc_method_handler(lambda request, context: request, **coders),
        "Fail": grpc.unary_unary_rpc_method_handler(fail, **coders),
        "Hang": grpc.unary_unary_rpc_method_handler(hang, **coders),
        "Where": grpc.unary_unary_rpc_method_handler(where, **coders),
        "Count": grpc.unary_stream_rpc_method_handler(count, **coders),
        "Sum": grpc.stream_unary_rpc_method_handler(total, **coders),
        "Chat": grpc.stream_stream_rpc_method_handler(chat, **coders),
    }
    limits = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    with ThreadPoolExecutor(4) as pool:
        server = grpc.server(pool, options=limits)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(ECHO.full_name, handlers),))
        path = str(tmp_path_factory.mktemp("grpcio") / "s")
        server.add_insecure_port(f"unix:{path}")
        server.start()
        yield path
        server.stop(0).wait()


@pytest.fixture(params=["ours", "grpcio"])
def path(request: pytest.FixtureRequest) -> str:
    """The socket of each of the servers."""
    if request.param == "ours":
        server: Server = request.getfixturevalue("server")
        return server.path
    other: str = request.getfixturevalue("grpcio_server")
    return other


@pytest.mark.parametrize("size", [0, 100, 70_000, 10 * MEGABYTE])
def test_a_call_is_made(path: str, size: int) -> None:
    note = Note(text="hello", data=bytes(size))
    assert over(path, lambda channel: channel.unary(ECHO, "Say", note)) == note


def test_metadata_is_sent(path: str) -> None:
    metadata = {"containerd-namespace": ["default"], "x-word": ["hi"]}
    answer = over(path, lambda channel: channel.unary(ECHO, "Where", Note(), metadata=metadata, timeout_s=9))
    assert answer.text == "default hi"


def test_errors_come_back_as_what_they_were(path: str) -> None:
    with pytest.raises(NotFound, match=r"^nobody, 100 % sure: ä$"):
        over(path, lambda channel: channel.unary(ECHO, "Fail", Note(text="nobody, 100 % sure: ä")))
    with pytest.raises(Unimplemented):
        over(path, lambda channel: channel.unary(ECHO, "Missing", Note()))


def test_a_deadline_is_held(path: str) -> None:
    with pytest.raises(DeadlineExceeded):
        over(path, lambda channel: channel.unary(ECHO, "Hang", Note(), timeout_s=0.1))


def test_a_server_that_streams_is_read_to_its_end(path: str) -> None:
    async def read(channel: Channel) -> list[int]:
        async with channel.call(ECHO, "Count") as call:
            await call.send(Note(number=300, data=bytes(30_000)))
            call.end()
            return [note.number async for note in call]

    assert over(path, read) == list(range(300))


def test_a_client_streams(path: str) -> None:
    async def add(channel: Channel) -> int:
        async with channel.call(ECHO, "Sum") as call:
            for number in range(100):
                await call.send(Note(number=number, data=bytes(50_000)))
            call.end()
            return int((await call.receive()).number)

    assert over(path, add) == 4950


def test_both_sides_stream(path: str) -> None:
    async def talk(channel: Channel) -> list[str]:
        heard = []
        async with channel.call(ECHO, "Chat") as call:
            for word in ("one", "two", "three"):
                await call.send(Note(text=word))
                heard.append((await call.receive()).text)
            call.end()
            assert await call.receive() is None
        return heard

    assert over(path, talk) == ["ONE", "TWO", "THREE"]


def test_calls_share_a_connection(path: str) -> None:
    async def many(channel: Channel) -> list[int]:
        calls = [channel.unary(ECHO, "Say", Note(number=number)) for number in range(200)]
        return [note.number for note in await asyncio.gather(*calls)]

    assert over(path, many) == list(range(200))


def test_a_stream_that_is_left_is_cancelled_at_the_server(server: Server) -> None:
    async def leave(channel: Channel) -> None:
        async with channel.call(ECHO, "Forever") as call:
            await call.send(Note())
            call.end()
            await call.receive()
        wait_until(lambda: server.echo.ended == 1)

    over(server.path, leave)


def test_a_reader_that_is_slow_gets_everything(server: Server) -> None:
    async def slow(channel: Channel) -> int:
        size = 0
        async with channel.call(ECHO, "Count") as call:
            await call.send(Note(number=100, data=bytes(100_000)))
            call.end()
            async for note in call:
                size += len(note.data)
                if note.number % 10 == 0:
                    await channel.unary(ECHO, "Say", Note())
        return size

    assert over(server.path, slow) == 10_000_000


def test_a_server_that_fails_early_ends_the_sending(server: Server) -> None:
    async def add(channel: Channel) -> None:
        async with channel.call(ECHO, "Sum") as call:
            for _ in range(1000):
                await call.send(Note(text="enough", data=bytes(100_000)))
            await call.receive()

    with pytest.raises(ResourceExhausted, match="enough"):
        over(server.path, add)


def test_a_channel_to_a_server_that_does_not_read_can_be_closed(tmp_path: Path) -> None:
    class Watched(Channel):
        lost = False

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            self.lost = True

    async def fill(path: str) -> None:
        channel = await Watched.connect(path)
        while not channel.paused:
            call = channel.call(ECHO, "Say")
            sending = asyncio.ensure_future(call.send(Note(data=bytes(60_000))))
            await asyncio.sleep(0)
            sending.cancel()
        channel.close()
        async with asyncio.timeout(5):
            while not channel.lost:
                await asyncio.sleep(0)

    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(tmp_path / "deaf"))
        deaf.listen()
        run(fill(str(tmp_path / "deaf")))


def test_a_server_that_stops_ends_the_calls(server: Server) -> None:
    async def wait(channel: Channel) -> None:
        call = asyncio.ensure_future(channel.unary(ECHO, "Hang", Note()))
        await asyncio.sleep(0)
        await channel.unary(ECHO, "Say", Note())
        server.begin_stop(0)
        with pytest.raises(Unavailable):
            await call
        while channel.alive:
            await asyncio.sleep(0.01)
        with pytest.raises(Unavailable):
            await channel.unary(ECHO, "Say", Note())

    over(server.path, wait)


def test_a_call_that_is_cancelled_says_so(server: Server) -> None:
    async def cancel(channel: Channel) -> None:
        call = channel.call(ECHO, "Hang")
        call.cancel()
        with pytest.raises(Cancelled):
            await call.receive()

    over(server.path, cancel)


def test_nobody_at_the_socket_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="No such file"):
        over(str(tmp_path / "nobody"), lambda channel: channel)
