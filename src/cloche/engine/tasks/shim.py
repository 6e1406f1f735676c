"""One shim: started, connected, asked, cleaned up after."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess

from cloche.engine.tasks.bundle import Address, parse_address
from cloche.engine.tasks.channel import TtrpcChannel
from cloche.errors import ClocheError, DeadlineExceeded, FailedPrecondition, Unavailable, Unimplemented
from cloche.shim.bootstrap import GUARDED
from cloche.spec.record import Record
from cloche.wire.messages import task as messages
from cloche.wire.services.task import TASK_V2, TASK_V3
from cloche.wire.tracing import CLIENT, span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from cloche.engine.tasks.bundle import Bundle
    from cloche.wire.messages.google import Any as Packed
    from cloche.wire.protobuf import Message
    from cloche.wire.service import Service

_log = logging.getLogger("cloche.shims")

START_TIMEOUT_S = 30.0
CLEANUP_TIMEOUT_S = 5.0
SHUTDOWN_TIMEOUT_S = 3.0
STATE_TIMEOUT_S = 2.0


class Daemon(Record):
    """What shims are told of the daemon. publisher: the program that takes events, for old shims.

    environment: variables that they have besides our own.
    """

    address: str
    ttrpc_address: str
    publisher: str = ""
    environment: Mapping[str, str] = {}


class Shim:
    """A shim that answers. Others may share it: containers of one pod."""

    def __init__(self, bundle: Bundle, address: Address, channel: TtrpcChannel) -> None:
        self.bundle = bundle
        self.address = address
        self.channel = channel
        self._tasks = TASK_V3 if address.version >= 3 else TASK_V2

    @property
    def id(self) -> str:
        """The task's id."""
        return self.bundle.id

    async def call(
        self,
        method: str,
        request: Message,
        *,
        service: Service | None = None,
        timeout_s: float | None = None,
    ) -> Any:
        """Call a service of it: of tasks where none is named. Raises what it answers, and Unavailable."""
        called = service or self._tasks
        with span(f"{called.full_name}/{method}", CLIENT) as traced:
            metadata = {"containerd-namespace-ttrpc": (self.bundle.namespace,), **traced.metadata}
            return await self.channel.unary(called, method, request, metadata=metadata, timeout_s=timeout_s)

    async def state(self, exec_id: str = "") -> messages.StateResponse:
        """One of its processes; the first without an exec id."""
        request = messages.StateRequest(id=self.id, exec_id=exec_id)
        state: messages.StateResponse = await self.call("State", request, timeout_s=STATE_TIMEOUT_S)
        return state

    async def shut_down(self) -> None:
        """Have it end, unless it is a sandbox's or has other containers; then close the connection."""
        request = messages.ShutdownRequest(id=self.id)
        try:
            if not self.bundle.in_sandbox:
                await self.call("Shutdown", request, timeout_s=SHUTDOWN_TIMEOUT_S)
        except ClocheError:
            pass  # it ends while it answers
        self.channel.close()


async def connect(bundle: Bundle) -> Shim:
    """The shim of a bundle, by the address that it left there. Raises Unavailable, OSError."""
    address = bundle.address()
    if address.protocol != "ttrpc":
        raise Unimplemented(f"task {bundle.id!r}: its shim speaks {address.protocol}, not ttrpc")
    return Shim(bundle, address, await TtrpcChannel.connect(address.path))


def start(bundle: Bundle, binary: str, daemon: Daemon, options: Packed | None) -> None:
    """Execute a shim's `start` in its bundle, and keep the address it tells. Blocks.

    Raises FailedPrecondition with what it said where it fails, DeadlineExceeded.
    """
    told = _execute(bundle, binary, daemon, "start", options.encode() if options else b"")
    bundle.keep_address(parse_address(told))


def delete(bundle: Bundle, binary: str, daemon: Daemon) -> messages.DeleteResponse:
    """Execute a shim's `delete`: it cleans up after one that died. Blocks. Raises as `start`."""
    return messages.DeleteResponse.decode(_execute(bundle, binary, daemon, "delete", b""))


def _execute(bundle: Bundle, binary: str, daemon: Daemon, action: str, stdin: bytes) -> bytes:
    words = [binary, "-namespace", bundle.namespace, "-address", daemon.address]
    words += ["-publish-binary", daemon.publisher, "-id", bundle.id]
    words += ["-bundle", bundle.path] if action == "delete" else []
    environment = {
        **os.environ,
        **daemon.environment,
        "TTRPC_ADDRESS": daemon.ttrpc_address,
        "GRPC_ADDRESS": daemon.address,
        "NAMESPACE": bundle.namespace,
        "MAX_SHIM_VERSION": "3",
        # Ours go on when they are killed: see Tasks.
        GUARDED: "1",
    }
    try:
        done = subprocess.run(
            [*words, action],
            cwd=bundle.path,
            input=stdin,
            env=environment,
            capture_output=True,
            timeout=START_TIMEOUT_S if action == "start" else CLEANUP_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise DeadlineExceeded(f"{binary} {action}: no answer in time") from None
    except OSError as error:
        raise FailedPrecondition(f"{binary} {action}: {error.strerror}") from None
    if done.returncode:
        said = (done.stderr or done.stdout).decode(errors="replace").strip()
        raise FailedPrecondition(f"{binary} {action}: {said[-2000:] or f'exit code {done.returncode}'}")
    return done.stdout


class Log:
    """The fifo `log` of a bundle, where shims of others write what they have to say; read to our log."""

    def __init__(self, bundle: Bundle) -> None:
        path = f"{bundle.path}/log"
        try:
            os.mkfifo(path, 0o700)
        except FileExistsError:
            pass
        # For both directions: it never ends, whoever opens and closes it.
        self._descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._id = bundle.id
        asyncio.get_running_loop().add_reader(self._descriptor, self._read)

    def _read(self) -> None:
        try:
            data = os.read(self._descriptor, 1 << 16)
        except BlockingIOError:
            return
        for line in data.decode(errors="replace").splitlines():
            _log.debug("%s: %s", self._id, line)

    def close(self) -> None:
        """Read no more."""
        if self._descriptor >= 0:
            asyncio.get_running_loop().remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1


def unavailable(task_id: str) -> Unavailable:
    """That a task's shim has gone."""
    return Unavailable(f"task {task_id!r}: its shim is gone")
