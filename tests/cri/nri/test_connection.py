"""A plugin's connection on a socket pair: noise closes it, and questions that make no sense are answered."""

from __future__ import annotations

import asyncio
import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloche.cri.nri.connection import Connection
from cloche.errors import FailedPrecondition
from cloche.wire import nri_mux, status, ttrpc
from cloche.wire.messages.nri.plugin import RegisterPluginRequest
from cloche.wire.messages.nri.values import Empty
from cloche.wire.protobuf import Message
from cloche.wire.services.nri import RUNTIME


async def answer(name: str, request: Message) -> Message:
    """Answers registration, and refuses the rest."""
    if isinstance(request, RegisterPluginRequest):
        return Empty()
    raise FailedPrecondition(f"{name}: not now")


async def converse(data: bytes) -> bytes:
    """What is answered to these bytes of a plugin that then hangs up."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    connection = Connection(answer)
    lost = asyncio.Event()
    connection.on_lost = lost.set
    loop = asyncio.get_running_loop()
    await loop.connect_accepted_socket(lambda: connection, ours)
    theirs.sendall(data)
    await asyncio.sleep(0.01)
    theirs.shutdown(socket.SHUT_WR)
    await asyncio.wait_for(lost.wait(), 5)
    received = b""
    with theirs:
        while portion := _receive(theirs):
            received += portion
    return received


def _receive(peer: socket.socket) -> bytes:
    try:
        return peer.recv(1 << 16)
    except ConnectionResetError:
        return b""


def call(method: str, payload: bytes, service: str = RUNTIME.full_name) -> bytes:
    """A call as a plugin sends it."""
    words = ttrpc.Request(service=service, method=method, payload=payload).encode()
    return nri_mux.encode(nri_mux.RUNTIME, ttrpc.encode(1, ttrpc.REQUEST, words))


@settings(max_examples=30, deadline=None)
@given(st.binary(max_size=80), st.sampled_from((nri_mux.PLUGIN, nri_mux.RUNTIME, 7)), st.booleans())
def test_noise_is_taken_without_a_sound(noise: bytes, connection: int, inside: bool) -> None:
    asyncio.run(converse(nri_mux.encode(connection, noise) if inside else noise))


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (call("RegisterPlugin", RegisterPluginRequest(plugin_idx="10").encode()), status.OK),
        (call("UpdateContainers", b""), status.FAILED_PRECONDITION),
        (call("UpdateContainers", b"\xff"), status.INVALID_ARGUMENT),
        (call("Nothing", b""), status.UNIMPLEMENTED),
        (call("RegisterPlugin", b"", "other.Service"), status.UNIMPLEMENTED),
    ],
    ids=["registered", "refused", "malformed", "no method", "no service"],
)
def test_each_question_has_its_answer(data: bytes, code: int) -> None:
    ((number, frame),) = nri_mux.Decoder().feed(asyncio.run(converse(data)))
    (response,) = ttrpc.Decoder().feed(frame)
    found = ttrpc.Response.decode(response.payload).status
    assert (number, response.stream, found.code if found else 0) == (nri_mux.RUNTIME, 1, code)
