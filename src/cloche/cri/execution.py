"""Further processes in containers: started with fifos for streams, waited for, cleared away."""

from __future__ import annotations

import asyncio
import os

from cloche.errors import ClocheError, DeadlineExceeded, FailedPrecondition, NotFound, ResourceExhausted
from cloche.spec.document import dumps, loads
from cloche.store import containers as store
from cloche.wire.messages import task
from cloche.wire.messages.cri.containers import RUNNING
from cloche.wire.messages.google import Any as Packed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloche.cri.host import Host
    from cloche.cri.inventory import Container
    from cloche.cri.tasks import Tasks

_PROCESS_TYPE = "types.containerd.io/opencontainers/runtime-spec/1/Process"
_SIGKILL = 9
_OUTPUT_LIMIT = 16 << 20
_CHUNK = 1 << 16
_CLEARING_S = 10.0
_KILLED_CODE = 137


class Process:
    """A process that was started for a client. See streaming.runtime.Process for what its methods do.

    stdin, stdout, stderr: descriptors that are whoever's it is handed to; None where there is none.
    """

    def __init__(self, tasks: Tasks, container_id: str, exec_id: str) -> None:
        self._tasks = tasks
        self._container_id = container_id
        self._exec_id = exec_id
        self._waiting: asyncio.Task[int] | None = None
        self.stdin: int | None = None
        self.stdout: int | None = None
        self.stderr: int | None = None

    def started(self) -> None:
        """It runs: its end is waited for from now on."""
        self._waiting = asyncio.ensure_future(self._wait())

    async def _wait(self) -> int:
        ended = await self._tasks.wait(self._container_id, self._exec_id)
        return ended.code if ended is not None else _KILLED_CODE

    async def close_stdin(self) -> None:
        """Let it read the end of its input."""
        request = task.CloseIORequest(id=self._container_id, exec_id=self._exec_id, stdin=True)
        try:
            await self._tasks.call(self._container_id, "CloseIO", request)
        except ClocheError:
            return  # it has ended

    async def resize(self, width: int, height: int) -> None:
        """Give its terminal a size."""
        request = task.ResizePtyRequest(
            id=self._container_id, exec_id=self._exec_id, width=width, height=height
        )
        try:
            await self._tasks.call(self._container_id, "ResizePty", request)
        except ClocheError:
            return  # it has ended, or has no terminal

    async def wait(self) -> int:
        """Its exit code, once it has ended."""
        assert self._waiting is not None  # noqa: S101 - nobody has it before `started`
        return await asyncio.shield(self._waiting)

    async def kill(self) -> None:
        """End it."""
        await self._tasks.kill(self._container_id, _SIGKILL, exec_id=self._exec_id)

    async def close(self) -> None:
        """End it where it still runs, and forget it."""
        if self._waiting is not None and not self._waiting.done():
            await self.kill()
            await asyncio.wait({self._waiting}, timeout=_CLEARING_S)
        request = task.DeleteRequest(id=self._container_id, exec_id=self._exec_id)
        try:
            await self._tasks.call(self._container_id, "Delete", request)
        except ClocheError:
            return  # its container has gone, and everything with it

    def close_descriptors(self) -> None:
        """Close those that nobody took."""
        for name in ("stdin", "stdout", "stderr"):
            descriptor = getattr(self, name)
            if descriptor is not None:
                os.close(descriptor)
                setattr(self, name, None)


class Execution:
    """Starts them."""

    def __init__(self, host: Host, tasks: Tasks) -> None:
        self._host = host
        self._tasks = tasks

    async def start(
        self,
        container: Container,
        command: Sequence[str],
        *,
        stdin: bool = False,
        stdout: bool = True,
        stderr: bool = True,
        terminal: bool = False,
    ) -> Process:
        """Start a program in a container. Raises FailedPrecondition where that does not run."""
        if container.state != RUNNING:
            raise FailedPrecondition(f"container {container.id}: is not running")
        exec_id = os.urandom(16).hex()
        spec = await self._host.run(self._process, container, list(command), terminal)
        folder = f"{self._host.settings.state}/cri/exec/{exec_id}"
        process = Process(self._tasks, container.id, exec_id)
        wanted = {"stdin": stdin, "stdout": stdout, "stderr": stderr and not terminal}
        try:
            paths = await self._host.run(_open, folder, process, wanted)
            request = task.ExecProcessRequest(
                id=container.id,
                exec_id=exec_id,
                terminal=terminal,
                spec=Packed(type_url=_PROCESS_TYPE, value=spec),
                **paths,
            )
            await self._tasks.call(container.id, "Exec", request)
            try:
                await self._tasks.start(container.id, exec_id)
            except BaseException:
                await asyncio.shield(process.close())
                raise
            if stdin:
                process.stdin = _writable(paths["stdin"])
        except BaseException:
            process.close_descriptors()
            raise
        finally:
            await asyncio.shield(self._host.run(_remove, folder))
        process.started()
        return process

    def _process(self, container: Container, command: list[str], terminal: bool) -> bytes:  # noqa: FBT001 - see start
        context = self._host.context
        with context.metadata.read() as tx:
            row = store.get(tx, context.namespace, container.id)
        if row is None:
            raise NotFound(f"container {container.id!r}: not found")
        process = loads(row.spec, "config.json")["process"]
        process |= {"args": command, "terminal": terminal}
        if terminal and not any(entry.startswith("TERM=") for entry in process["env"]):
            process["env"] = [*process["env"], "TERM=xterm"]
        return dumps(process)

    async def run(
        self, container: Container, command: Sequence[str], timeout_s: float | None
    ) -> tuple[bytes, bytes, int]:
        """Run a program to its end: what it said to both streams, and its exit code.

        Raises DeadlineExceeded where it had to be killed, ResourceExhausted where it said too much.
        """
        process = await self.start(container, command)
        outputs = [_Output(process.stdout), _Output(process.stderr)]
        process.stdout = process.stderr = None
        try:
            try:
                async with asyncio.timeout(timeout_s):
                    code = await process.wait()
            except TimeoutError:
                await process.kill()
                raise DeadlineExceeded(
                    f"timeout: the command did not end within {timeout_s:g} s, and was killed"
                ) from None
            drain_s = self._host.settings.exec_drain_s or None
            # What it left behind may hold the streams open; how long to wait for that can be configured.
            await asyncio.wait([output.ended for output in outputs], timeout=drain_s)
            if any(output.overflowed for output in outputs):
                raise ResourceExhausted(f"the command said more than {_OUTPUT_LIMIT} bytes")
            return bytes(outputs[0].data), bytes(outputs[1].data), code
        finally:
            for output in outputs:
                output.close()
            await asyncio.shield(process.close())


class _Output:
    """Collects what comes from a descriptor, which it owns. What is too much is read and dropped."""

    def __init__(self, descriptor: int | None) -> None:
        assert descriptor is not None  # noqa: S101 - both were asked for
        self._descriptor = descriptor
        self._loop = asyncio.get_running_loop()
        self.data = bytearray()
        self.overflowed = False
        self.ended: asyncio.Future[None] = self._loop.create_future()
        self._loop.add_reader(descriptor, self._read)

    def _read(self) -> None:
        try:
            data = os.read(self._descriptor, _CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
        elif len(self.data) + len(data) > _OUTPUT_LIMIT:
            self.overflowed = True
        else:
            self.data += data

    def close(self) -> None:
        """Read no more."""
        if self._descriptor >= 0:
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1
        if not self.ended.done():
            self.ended.set_result(None)


def _open(folder: str, process: Process, wanted: dict[str, bool]) -> dict[str, str]:
    """Make the fifos that are wanted and open the ends that we read; their paths by stream."""
    os.makedirs(folder, 0o700)
    paths: dict[str, str] = {}
    for stream, is_wanted in wanted.items():
        if not is_wanted:
            continue
        paths[stream] = f"{folder}/{stream}"
        os.mkfifo(paths[stream], 0o600)
        if stream != "stdin":
            setattr(process, stream, os.open(paths[stream], os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    return paths


def _writable(path: str) -> int:
    """The end of a fifo that we write to, whose other the shim has; nobody's where it has closed it."""
    try:
        return os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)


def _remove(folder: str) -> None:
    """The names are not needed once both sides have opened what they stand for."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return
    for name in names:
        os.unlink(f"{folder}/{name}")
    os.rmdir(folder)
