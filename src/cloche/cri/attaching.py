"""Being connected with the streams of a container's first process, which its shim shows to many."""

from __future__ import annotations

import asyncio
import os
import socket

from cloche.errors import FailedPrecondition, Unavailable
from cloche.shim import frames
from cloche.shim.attachment import connect
from cloche.wire.messages.cri.containers import RUNNING
from cloche.wire.messages.shim_streams import ServeAttachRequest
from cloche.wire.services.streams import STREAMS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.cri.inventory import Container
    from cloche.cri.streaming.runtime import AttachRequest
    from cloche.cri.tasks import Tasks

_CHUNK = 1 << 16


class Attached:
    """One client's connection with a container. See streaming.runtime.Process for its methods."""

    def __init__(self, container: Container) -> None:
        self._container = container
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter
        self._outputs: dict[int, asyncio.StreamWriter] = {}
        self._work: list[asyncio.Task[None]] = []
        self._code: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.stdin: int | None = None
        self.stdout: int | None = None
        self.stderr: int | None = None

    async def begin(self, connection: socket.socket, request: AttachRequest) -> None:
        """Join the streams that are wanted."""
        self._reader, self._writer = await asyncio.open_unix_connection(sock=connection)
        wants = (frames.WANTS_OUTPUT if request.stdout or request.stderr else 0) | (
            frames.WANTS_INPUT if request.stdin else 0
        )
        self._writer.write(frames.encode(frames.HELLO, bytes((wants,))))
        if request.stdout:
            self.stdout = await self._output(frames.STDOUT)
        if request.stderr and not self._container.config.tty:
            self.stderr = await self._output(frames.STDERR)
        self._work = [asyncio.ensure_future(self._show())]
        if request.stdin:
            theirs, self.stdin = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            self._work.append(asyncio.ensure_future(self._type(theirs)))

    async def _output(self, kind: int) -> int:
        """A pipe that one stream comes out of."""
        reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.connect_write_pipe(
            lambda: asyncio.streams.FlowControlMixin(loop=loop), os.fdopen(writing, "wb", 0)
        )
        self._outputs[kind] = asyncio.StreamWriter(transport, protocol, None, loop)
        return reading

    async def _show(self) -> None:
        """Output, as far as the client takes it, to the end or until the shim goes."""
        decoder = frames.Decoder()
        try:
            while data := await self._reader.read(_CHUNK):
                for kind, payload in decoder.feed(data):
                    if kind == frames.EXIT:
                        self._tell(int.from_bytes(payload, "big"))
                    elif (output := self._outputs.get(kind)) is not None:
                        output.write(payload)
                        await output.drain()
        except (OSError, ValueError):
            pass  # the shim or the client has gone: that is the end, too
        finally:
            for output in self._outputs.values():
                output.close()
            self._tell(self._container.kept.exit_code)

    def _tell(self, code: int) -> None:
        if not self._code.done():
            self._code.set_result(code)

    async def _type(self, theirs: int) -> None:
        """Input, to its end."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(theirs, "rb", 0)
        )
        try:
            while data := await reader.read(_CHUNK):
                self._writer.write(frames.encode(frames.STDIN, data))
                await self._writer.drain()
            self._writer.write(frames.encode(frames.EOF))
        except OSError:
            return  # the shim has gone
        finally:
            transport.close()

    async def close_stdin(self) -> None:
        """The end of our pipe says it."""

    async def resize(self, width: int, height: int) -> None:
        """Give the container's terminal a size."""
        self._writer.write(frames.resize(min(height, 0xFFFF), min(width, 0xFFFF)))

    async def wait(self) -> int:
        """The container's exit code, once it has ended."""
        return await asyncio.shield(self._code)

    async def close(self) -> None:
        """Leave; the container goes on."""
        for work in self._work:
            work.cancel()
        self._writer.close()


async def attach(tasks: Tasks, container: Container, request: AttachRequest) -> Attached:
    """Join a container's streams. Raises FailedPrecondition where it does not run."""
    if container.state != RUNNING:
        raise FailedPrecondition(f"container {container.id}: is not running")
    shim = await tasks.shim(container.id)
    asked = ServeAttachRequest(id=container.id, input_ends=container.config.stdin_once)
    await shim.call("ServeAttach", asked, service=STREAMS)
    try:
        connection = connect(tasks.bundle(container.id))
    except Unavailable:
        raise FailedPrecondition(f"container {container.id}: has ended") from None
    attached = Attached(container)
    # The socket's descriptor is the new object's from here on.
    await attached.begin(socket.socket(fileno=connection.detach()), request)
    return attached
