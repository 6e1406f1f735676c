"""Port forwarding: connections to ports in a pod, each as a channel for data and one for what went wrong."""

from __future__ import annotations

import asyncio
import logging
import socket

from cloche.cri.streaming.channel import ChannelGone
from cloche.cri.streaming.descriptor import CHUNK
from cloche.errors import ClocheError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.cri.streaming.channel import Channel
    from cloche.cri.streaming.runtime import ForwardRequest, StreamingRuntime
    from cloche.cri.streaming.spdy import SpdyCarrier
    from cloche.cri.streaming.websocket import WebSocketCarrier

PROTOCOL = "portforward.k8s.io"
TUNNEL = "SPDY/3.1+portforward.k8s.io"
WEBSOCKET_PROTOCOLS = ("v4.channel.k8s.io", "v4.base64.channel.k8s.io")

_log = logging.getLogger("cloche.cri")


async def over_spdy(
    runtime: StreamingRuntime, request: ForwardRequest, carrier: SpdyCarrier, patience_s: float
) -> None:
    """Forward over SPDY, until the client goes. patience_s: between a pair's two channels."""
    pairs = _Pairs(carrier, patience_s)
    forwarding: set[asyncio.Task[None]] = set()
    try:
        while (channel := await carrier.opened.get()) is not None:
            pair = pairs.add(channel)
            if pair is not None:
                task = asyncio.get_running_loop().create_task(_forward(runtime, request.sandbox, *pair))
                forwarding.add(task)
                task.add_done_callback(forwarding.discard)
    finally:
        pairs.forget()
        for task in forwarding:
            task.cancel()
        await asyncio.gather(*forwarding, return_exceptions=True)
    await carrier.finish()


async def over_websocket(
    runtime: StreamingRuntime, request: ForwardRequest, carrier: WebSocketCarrier
) -> None:
    """Forward over WebSocket: two channels for each port, each of which begins with the port's number."""
    forwarding = []
    for index, port in enumerate(request.ports):
        data, error = carrier.channel(2 * index), carrier.channel(2 * index + 1)
        error.ignore()
        for channel in (data, error):
            await channel.write(port.to_bytes(2, "little"))
        forwarding.append(_forward(runtime, request.sandbox, port, data, error))
    await asyncio.gather(*forwarding)
    await carrier.finish()


class _Pairs:
    """The channels that wait for the other one of their request."""

    def __init__(self, carrier: SpdyCarrier, patience_s: float) -> None:
        self._carrier = carrier
        self._patience_s = patience_s
        self._halves: dict[str, tuple[Channel, asyncio.TimerHandle]] = {}

    def add(self, channel: Channel) -> tuple[int, Channel, Channel] | None:
        """The port, data and error channel of the request that this makes complete, if it does."""
        headers = channel.headers
        kind, port = headers.get("streamtype", ""), _port(headers.get("port", ""))
        if port is None or kind not in ("data", "error"):
            _log.info("a channel for port %.100r and %.100r is refused", headers.get("port", ""), kind)
            channel.reset()
            return None
        # Old clients say no request, and open the channel for errors right before the one for data.
        before = channel.number if kind == "error" else channel.number - 2
        request = headers.get("requestid") or f"#{before}"
        other, timer = self._halves.get(request, (None, None))
        if other is not None and other.headers.get("streamtype") == kind:
            channel.reset()
            return None
        self._carrier.accept(channel)
        if other is None or timer is None:
            loop = asyncio.get_running_loop()
            self._halves[request] = (channel, loop.call_later(self._patience_s, self._expire, request))
            return None
        timer.cancel()
        del self._halves[request]
        data, error = (channel, other) if kind == "data" else (other, channel)
        return port, data, error

    def _expire(self, request: str) -> None:
        channel, _ = self._halves.pop(request)
        channel.reset()

    def forget(self) -> None:
        """The client is gone."""
        for _, timer in self._halves.values():
            timer.cancel()
        self._halves.clear()


def _port(text: str) -> int | None:
    if not (text.isascii() and text.isdigit() and len(text) <= 5):
        return None
    number = int(text)
    return number if 0 < number < 1 << 16 else None


async def _forward(runtime: StreamingRuntime, sandbox: str, port: int, data: Channel, error: Channel) -> None:
    """One connection, until the pod's side ends it or the client gives it up."""
    error.ignore()
    try:
        with await runtime.connect(sandbox, port) as connection:
            await _join(connection, data)
    except (ClocheError, OSError) as failure:
        text = f"error forwarding port {port} to pod {sandbox}, uid : {failure}"
        _log.info("%s", text)
        await _tell(error, text)
        data.reset()
    except ChannelGone:
        _log.debug("port %d of %s: the client gave the connection up", port, sandbox)
    data.ignore()
    data.end()
    error.end()


async def _tell(error: Channel, text: str) -> None:
    try:
        await error.write(text.encode())
    except ChannelGone:
        _log.debug("the client does not want to know")


async def _join(connection: socket.socket, data: Channel) -> None:
    """Carry bytes both ways. What the client ends, the pod may still answer; what the pod ends is over."""
    loop = asyncio.get_running_loop()
    sending = loop.create_task(_send(connection, data))
    receiving = loop.create_task(_receive(connection, data))
    try:
        done, _ = await asyncio.wait((sending, receiving), return_when=asyncio.FIRST_COMPLETED)
        if receiving not in done:
            await sending
        await receiving
    finally:
        for task in (sending, receiving):
            task.cancel()
        await asyncio.gather(sending, receiving, return_exceptions=True)


async def _send(connection: socket.socket, data: Channel) -> None:
    loop = asyncio.get_running_loop()
    try:
        while received := await data.read():
            await loop.sock_sendall(connection, received)
        connection.shutdown(socket.SHUT_WR)
    except OSError as error:  # the pod reads no more, but may have something to say
        _log.debug("a port takes no more: %s", error)
        data.ignore()


async def _receive(connection: socket.socket, data: Channel) -> None:
    loop = asyncio.get_running_loop()
    while received := await loop.sock_recv(connection, CHUNK):
        await data.write(received)
        await asyncio.sleep(0)  # as in Descriptor.read
