"""exec and attach: a program's descriptors joined to a client's channels.

error    how it ended        stdout, stderr   what it wrote
stdin    what it is to read  resize           the sizes of the client's terminal, as JSON documents
"""

from __future__ import annotations

import asyncio
import json
import logging

from cloche.cri.streaming import status
from cloche.cri.streaming.channel import ChannelGone
from cloche.cri.streaming.descriptor import Descriptor
from cloche.cri.streaming.runtime import ExecRequest
from cloche.errors import ClocheError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.cri.streaming.channel import Channel
    from cloche.cri.streaming.runtime import AttachRequest, Process, StreamingRuntime
    from cloche.cri.streaming.spdy import SpdyCarrier
    from cloche.cri.streaming.status import Status
    from cloche.cri.streaming.websocket import WebSocketCarrier

PROTOCOLS = {
    "v4.channel.k8s.io": 4,
    "v3.channel.k8s.io": 3,
    "v2.channel.k8s.io": 2,
    "channel.k8s.io": 1,
}
"""Over SPDY, with their versions."""
WEBSOCKET_PROTOCOLS = {
    "v5.channel.k8s.io": 5,
    "v4.channel.k8s.io": 4,
    "v4.base64.channel.k8s.io": 4,
    "channel.k8s.io": 1,
    "base64.channel.k8s.io": 1,
}
_NUMBERS = {"stdin": 0, "stdout": 1, "stderr": 2, "error": 3, "resize": 4}
_RESIZE_LIMIT = 4096
_LARGEST_SIZE = (1 << 16) - 1

_log = logging.getLogger("cloche.cri")


async def over_spdy(
    runtime: StreamingRuntime, request: AttachRequest, carrier: SpdyCarrier, version: int, patience_s: float
) -> None:
    """A session over SPDY. patience_s: how long the client may take to open its channels."""
    try:
        async with asyncio.timeout(patience_s):
            channels = await _gather(request, carrier, version)
    except TimeoutError:
        _log.warning("%s: the client has not opened all channels in %g s", request.container, patience_s)
    else:
        if channels:
            await _serve(runtime, request, channels, version)
    await carrier.finish()


async def over_websocket(
    runtime: StreamingRuntime, request: AttachRequest, carrier: WebSocketCarrier, version: int
) -> None:
    """A session over WebSocket, whose channels are known by number."""
    names = [*_wanted(request), "error", "resize"]
    channels = {name: carrier.channel(_NUMBERS[name]) for name in names}
    # An empty message tells the client that the connection stands.
    first = next(name for name in ("stdout", "stderr", "error") if name in channels)
    await channels[first].write(b"")
    await _serve(runtime, request, channels, version)
    await carrier.finish()


def _wanted(request: AttachRequest) -> list[str]:
    return [name for name in ("stdin", "stdout", "stderr") if getattr(request, name)]


async def _gather(request: AttachRequest, carrier: SpdyCarrier, version: int) -> dict[str, Channel]:
    """The channels that the client opens, once they are as many as were asked for; none where it goes."""
    expected = {*_wanted(request), "error"}
    if request.terminal and version >= 3:
        expected.add("resize")
    channels: dict[str, Channel] = {}
    while not expected <= channels.keys():
        channel = await carrier.opened.get()
        if channel is None:
            return {}
        name = channel.headers.get("streamtype", "")
        if name not in _NUMBERS or name in channels:
            channel.reset()
            continue
        carrier.accept(channel)
        if name in expected:
            channels[name] = channel
        else:  # clients open one for their stdin whether or not they asked for it
            channel.ignore()
            channel.end()
    carrier.complete()
    if version == 1 and "stdin" in channels:
        channels["stdin"].end()  # as the first version has it
    return channels


async def _serve(
    runtime: StreamingRuntime, request: AttachRequest, channels: dict[str, Channel], version: int
) -> None:
    """Run what was asked for, and say how it ended."""
    said = await _run(runtime, request, channels)
    error = channels["error"]
    try:
        if data := said.encoded(version):
            await error.write(data)
    except ChannelGone:
        _log.info("%s: the client does not want to know how it ended", request.container)
    for channel in channels.values():
        channel.end()


async def _run(runtime: StreamingRuntime, request: AttachRequest, channels: dict[str, Channel]) -> Status:
    executing = isinstance(request, ExecRequest)
    doing = "error executing command in container" if executing else "error attaching to container"
    try:
        process = await (
            runtime.exec(request) if isinstance(request, ExecRequest) else runtime.attach(request)
        )
        code = await _Session(process, channels).run()
    except ClocheError as error:
        return status.failed(doing, error)
    except OSError as error:
        _log.exception("%s: %s", request.container, doing)
        return status.failed(doing, error)
    return status.exited(request.command, code) if isinstance(request, ExecRequest) else status.SUCCESS


class _Session:
    """A process and its client, until the process has ended and its output is with the client."""

    def __init__(self, process: Process, channels: dict[str, Channel]) -> None:
        self._process = process
        self._channels = channels
        self._descriptors = {
            name: Descriptor(number)
            for name in ("stdin", "stdout", "stderr")
            if (number := getattr(process, name)) is not None
        }

    async def run(self) -> int:
        """The exit code."""
        for name, channel in self._channels.items():
            if name not in ("stdin", "resize"):
                channel.ignore()
        loop = asyncio.get_running_loop()
        listening = [loop.create_task(self._feed()), loop.create_task(self._follow_sizes())]
        output = [loop.create_task(self._drain(name)) for name in ("stdout", "stderr")]
        try:
            code = await self._process.wait()
            await asyncio.gather(*output)
            return code
        finally:
            for task in (*listening, *output):
                task.cancel()
            await asyncio.gather(*listening, *output, return_exceptions=True)
            for descriptor in self._descriptors.values():
                descriptor.close()
            await self._process.close()

    async def _drain(self, name: str) -> None:
        """Bring what the program writes to the client, or nowhere once the client does not want it."""
        source = self._descriptors.get(name)
        channel = self._channels.get(name)
        if source is not None:
            while data := await source.read():
                try:
                    if channel is not None:
                        await channel.write(data)
                except ChannelGone:
                    channel = None
            source.close()
        if channel is not None:
            channel.end()

    async def _feed(self) -> None:
        """Bring what the client sends to the program, as long as it reads."""
        target, channel = self._descriptors.get("stdin"), self._channels.get("stdin")
        if channel is None:
            return
        if target is not None:
            try:
                while data := await channel.read():
                    await target.write(data)
            except ChannelGone:
                pass
            except OSError as error:
                _log.debug("stdin: %s", error)
            finally:
                target.close()
            await self._process.close_stdin()
        channel.ignore()

    async def _follow_sizes(self) -> None:
        """Tell the terminal what size the client's has."""
        channel = self._channels.get("resize")
        if channel is None:
            return
        text = ""
        try:
            while data := await channel.read():
                text += data.decode("utf-8", "replace")
                sizes, text = _sizes(text)
                if sizes:
                    await self._process.resize(*sizes[-1])
        except ChannelGone:
            return
        except (ValueError, ClocheError) as error:
            _log.info("a terminal keeps its size: %s", error)
        channel.ignore()


def _sizes(text: str) -> tuple[list[tuple[int, int]], str]:
    """The sizes in a text, as width and height, and what is no whole document yet. Raises ValueError."""
    found = []
    text = text.lstrip()
    while text:
        try:
            document, end = json.JSONDecoder().raw_decode(text)
        except json.JSONDecodeError:
            if len(text) > _RESIZE_LIMIT or not text.startswith("{"):
                raise
            break
        text = text[end:].lstrip()
        if not isinstance(document, dict):
            raise ValueError("a terminal's size is a JSON object")
        values = {key.lower(): value for key, value in document.items()}
        size = (values.get("width", 0), values.get("height", 0))
        if not all(isinstance(value, int) and 0 <= value <= _LARGEST_SIZE for value in size):
            raise ValueError(f"a terminal of size {document}")
        found.append(size)
    return found, text
