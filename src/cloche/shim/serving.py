"""A shim's life: what it is told at its start, and its serving until nothing is left to serve.

begun ───▶ serves ──nothing to do──▶ rests: the worker ends, the holder stays
             ▲                         │ a call, output, an end
             └────────── woken ◀───────┘
"""

from __future__ import annotations

import _thread
import os
import time
from _socket import socket as _socket

from cloche.shim import bundle, handover
from cloche.shim.containers import Shim
from cloche.shim.events import Publisher
from cloche.shim.exits import Children
from cloche.shim.holder import MOST, Holder, Packing, Unpacking
from cloche.shim.loop import Loop
from cloche.shim.sandbox_service import SandboxService
from cloche.shim.server import Server
from cloche.shim.stream_service import StreamService
from cloche.shim.task_service import TaskService
from cloche.spec.document import dumps, loads
from cloche.spec.record import Record
from cloche.wire.services.sandbox import SANDBOX
from cloche.wire.services.streams import STREAMS
from cloche.wire.services.task import TASK_V2, TASK_V3

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable, Sequence
    from typing import Any, NoReturn

    from cloche.shim.publish_command import CommandPublisher

# How long the end waits for clients to take their last answers, and containerd its last events.
_FAREWELL_S = 3.0
_LOOK_AGAIN_S = 0.005
# When whoever has asked for the shim has its first answers.
_HOLD_S = 0.02
# How long a worker that was woken for nothing waits before it ends the shim.
_LOOK_ROUND_S = 1.0


class Settings(Record):
    """What `start` tells the process that serves.

    shim_id: the container or sandbox it was started for. address, ttrpc_address: containerd's own
    sockets; the second takes events, and is empty where nobody does. bundle: the working directory of
    `start`. socket_path: what the listener is bound to; unlinked at the end. publish_binary: who
    publishes events where ttrpc_address is empty. version: the newest task service that is offered.
    forgotten_s: a shim that has had nothing to look after for so long, twice, ends. rest_s: how long a
    worker waits for something to do, at least. guarded: whether it goes on when it is killed.
    """

    shim_id: str
    namespace: str
    address: str
    ttrpc_address: str
    bundle: str
    socket_path: str
    publish_binary: str = ""
    debug: bool = False
    version: int = 2
    forgotten_s: float = 60.0
    rest_s: float = 2.0
    guarded: bool = False

    def words(self) -> list[str]:
        """What `ps` shows of the shim."""
        return ["-namespace", self.namespace, "-id", self.shim_id, "-address", self.address]


def serve(settings: Settings, listener: socket, program: str = "") -> NoReturn:
    """Serve until Shutdown finds no container. Called after the fork; does not return.

    program: the command, which is executed as what stays when there is nothing to do; without it, or
    where it cannot be executed, this process is the whole shim.
    """
    status = 1
    try:
        serving = Serving(settings, listener)
        serving.begin(program)
        serving.run()
        status = 0
    finally:
        os._exit(status)


def serve_again(holder: Holder, descriptors: Sequence[int]) -> NoReturn:
    """Serve on where another worker has rested, or died; does not return.

    descriptors: what it had `pack`ed, ours from now on.
    """
    status = 1
    try:
        unpacking = Unpacking(descriptors)
        memory = unpacking.take(0)
        packed = loads(os.pread(memory, os.fstat(memory).st_size, 0), "a shim's state")
        os.close(memory)
        listener = _socket(fileno=unpacking.take(packed["server"]["listener"]))
        serving = Serving(Settings(*packed["settings"]), listener)
        serving.resume(holder, packed, unpacking)
        serving.run()
        status = 0
    finally:
        os._exit(status)


class Serving:
    """The parts of one shim, put together."""

    def __init__(self, settings: Settings, listener: socket) -> None:
        self._settings = settings
        self._holder: Holder | None = None
        self._loop = Loop()
        self._loop.report = self._report
        self._children = children = Children(self._loop)
        children.terminated = self._end
        self._publisher = _publisher(settings, self._loop)
        self._shim = shim = Shim(self._loop, children, self._publisher, settings.namespace)
        self._server = Server(self._loop, listener, self._report)
        shim.end = self._end
        tasks = TaskService(shim, self._end).handlers()
        self._server.offer(TASK_V2, tasks)
        self._server.offer(TASK_V3, tasks)
        self._sandbox = SandboxService(shim, self._end)
        self._server.offer(SANDBOX, self._sandbox.handlers())
        self._server.offer(STREAMS, StreamService(shim).handlers())
        self._was_idle = False
        self._forgotten = self._loop.call_later(settings.forgotten_s, self._look_for_use)
        self._ending = False
        self._patience = _FAREWELL_S
        self._keeping = False

    def begin(self, program: str) -> None:
        """Have what stays started a moment after the first answer, or before there is a container."""
        hold = self._shim.hold = _once(lambda: self._hold(program))
        self._loop.call_later(_HOLD_S, hold)

    def _hold(self, program: str) -> None:
        holder = None
        if program:
            try:
                holder = Holder.start(program, self._settings.words(), guarded=self._settings.guarded)
            except OSError:
                holder = None
        self._belong_to(holder)
        self._changed()
        self._write_pid()

    def _write_pid(self) -> None:
        try:
            bundle.write(self._settings.bundle, bundle.SHIM_PID, b"%d" % self._shim.pid)
        except OSError:
            # The bundle is gone already, and whoever made it asks for the end.
            return

    def _belong_to(self, holder: Holder | None) -> None:
        self._children.belong_to(holder)
        if holder is not None:
            self._holder = holder
            self._shim.pid = holder.pid
            self._shim.changed, self._shim.keep = self._changed, self._keep
            # It hangs up when it is killed, and then nobody is the parent of the containers any more.
            self._loop.watch(holder.fileno(), 0, lambda _: os._exit(1))
            self._loop.call_later(self._settings.rest_s, self._look_for_work)

    def run(self) -> None:
        """Serve to the end."""
        try:
            self._loop.run()
        finally:
            # Once unlinked the name may be the next shim's, of the same task made again at once. Until then
            # it is ours for as long as we listen: so this comes first, and once.
            if not self._ending:
                _unlink(self._settings.socket_path)
            if self._holder is not None:
                self._holder.end()
            self._server.close()

    def resume(self, holder: Holder, packed: dict[str, Any], unpacking: Unpacking) -> None:
        """Take over what another worker has packed."""
        self._belong_to(holder)
        if bundle.pid_in(self._settings.bundle, bundle.SHIM_PID) != holder.pid:
            self._write_pid()  # of the one that has taken the place of one that was killed
        connections = self._server.unpack(packed["server"]["connections"], unpacking)
        self._sandbox.unpack(packed["sandbox"], connections)
        handover.unpack(self._shim, packed["containers"], unpacking, connections)
        unpacking.close()
        self._was_idle = packed["was_idle"]
        if self._is_unused:
            self._forgotten.cancel()
            self._forgotten = self._loop.call_later(_LOOK_ROUND_S, self._look_for_use)
        self._loop.call_soon(self._children.reap_orphans)
        # Before a connection is read from: what another worker had half read nobody could go on with.
        self._loop.catch_up()
        self._keep()

    def _pack(self, packing: Packing) -> list[int]:
        packed = {
            "settings": self._settings.values(),
            "was_idle": self._is_unused,
            "server": self._server.pack(packing),
            "sandbox": self._sandbox.pack(everything=packing.everything),
            "containers": handover.pack(self._shim, packing),
        }
        memory = os.memfd_create("state", os.MFD_CLOEXEC)
        os.write(memory, dumps(packed))
        packing.descriptors[0] = memory
        return packing.descriptors

    def _changed(self) -> None:
        if not self._keeping:
            self._keeping = True
            self._loop.call_soon(self._keep)

    def _keep(self) -> None:
        """Have the holder know what a worker would need that followed if this one died."""
        self._keeping = False
        if self._holder is not None and not self._ending:
            descriptors = self._pack(Packing(self._loop, everything=False))
            if len(descriptors) <= MOST:
                self._holder.keep(descriptors)
            os.close(descriptors[0])

    def _look_for_work(self) -> None:
        """Rest when nothing has happened for a while, and nothing is half done."""
        rest_s = self._settings.rest_s
        left_s = self._loop.busy_at + rest_s - time.monotonic()
        if left_s <= 0 and self._is_resting():
            self._rest()
        self._loop.call_later(left_s if left_s > 0 else rest_s, self._look_for_work)

    def _is_resting(self) -> bool:
        calls = handover.waits(self._shim) + self._sandbox.waits
        return (
            not self._ending
            and not _thread._count()
            and not self._publisher.pending
            and not self._loop.is_expecting(self._forgotten)
            and self._server.is_quiet(calls=calls)
            and handover.is_resting(self._shim)
        )

    def _rest(self) -> None:
        packing = Packing(self._loop, everything=True)
        descriptors = self._pack(packing)
        if self._holder is None or len(descriptors) > MOST:
            os.close(descriptors[0])
            return
        pause_ms = int(self._settings.forgotten_s * 1000) if self._is_unused else -1
        if self._holder.rest(descriptors, packing.events, pause_ms):
            os._exit(0)
        os.close(descriptors[0])
        self._changed()

    @property
    def _is_unused(self) -> bool:
        return self._shim.is_empty and not self._sandbox.exists

    def _look_for_use(self) -> None:
        """A containerd that was killed after it started us, and before it created a container, forgets us."""
        idle = self._is_unused
        if idle and self._was_idle:
            self._end()
        else:
            self._was_idle = idle
            self._forgotten = self._loop.call_later(self._settings.forgotten_s, self._look_for_use)

    def _end(self) -> None:
        """No new client; those that are here get their answers, and containerd its events."""
        if not self._ending:
            self._ending = True
            _unlink(self._settings.socket_path)
            self._loop.call_later(0, self._leave)

    def _leave(self) -> None:
        self._patience -= _LOOK_AGAIN_S
        if self._patience > 0 and (self._server.unsent or self._publisher.pending):
            self._loop.call_later(_LOOK_AGAIN_S, self._leave)
        else:
            self._loop.stop()

    def _report(self, error: BaseException) -> None:
        """An error that nobody foresaw, for whoever reads the shim's log."""
        import traceback

        text = "".join(traceback.format_exception(error))
        try:
            os.write(2, text.encode(errors="backslashreplace"))
        except OSError:
            # Nobody holds the other end any more.
            return


def _once(call: Callable[[], None]) -> Callable[[], None]:
    left = [call]

    def first() -> None:
        while left:
            left.pop()()

    return first


def _publisher(settings: Settings, loop: Loop) -> Publisher | CommandPublisher:
    """Who tells containerd what happens: its ttrpc socket, or else its command."""
    if settings.ttrpc_address or not settings.publish_binary:
        return Publisher(loop, settings.namespace, settings.ttrpc_address)
    from cloche.shim.publish_command import CommandPublisher

    return CommandPublisher(loop, settings.namespace, settings.publish_binary, settings.address)


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        # Somebody was faster, or has made a new one where we may not.
        return
