"""A shim's life: what it is told at its start, and its serving until nothing is left to serve."""

from __future__ import annotations

import os

from cloche.shim.containers import Shim
from cloche.shim.events import Publisher
from cloche.shim.exits import Children
from cloche.shim.loop import Loop
from cloche.shim.sandbox_service import SandboxService
from cloche.shim.server import Server
from cloche.shim.stream_service import StreamService
from cloche.shim.task_service import TaskService
from cloche.spec.record import Record
from cloche.wire.services.sandbox import SANDBOX
from cloche.wire.services.streams import STREAMS
from cloche.wire.services.task import TASK_V2, TASK_V3

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from typing import NoReturn

    from cloche.shim.publish_command import CommandPublisher

# How long the end waits for clients to take their last answers, and containerd its last events.
_FAREWELL_S = 3.0
_LOOK_AGAIN_S = 0.005


class Settings(Record):
    """What `start` tells the process that serves.

    shim_id: the container or sandbox it was started for. address, ttrpc_address: containerd's own
    sockets; the second takes events, and is empty where nobody does. bundle: the working directory of
    `start`. socket_path: what the listener is bound to; unlinked at the end. publish_binary: who
    publishes events where ttrpc_address is empty. version: the newest task service that is offered.
    forgotten_s: a shim that has had nothing to look after for so long, twice, ends.
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


def serve(settings: Settings, listener: socket) -> NoReturn:
    """Serve until Shutdown finds no container. Called after the fork; does not return."""
    status = 1
    try:
        Serving(settings, listener).run()
        status = 0
    finally:
        os._exit(status)


class Serving:
    """The parts of one shim, put together."""

    def __init__(self, settings: Settings, listener: socket) -> None:
        self._settings = settings
        self._loop = Loop()
        self._loop.report = self._report
        children = Children(self._loop)
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
        self._loop.call_later(settings.forgotten_s, self._look_for_use)
        self._ending = False
        self._patience = _FAREWELL_S

    def run(self) -> None:
        """Serve to the end."""
        try:
            self._loop.run()
        finally:
            # Once unlinked the name may be the next shim's, of the same task made again at once. Until then
            # it is ours for as long as we listen: so this comes first, and once.
            if not self._ending:
                _unlink(self._settings.socket_path)
            self._server.close()

    def _look_for_use(self) -> None:
        """A containerd that was killed after it started us, and before it created a container, forgets us."""
        idle = self._shim.is_empty and not self._sandbox.exists
        if idle and self._was_idle:
            self._end()
        else:
            self._was_idle = idle
            self._loop.call_later(self._settings.forgotten_s, self._look_for_use)

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
