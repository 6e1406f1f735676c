"""Events by way of a command: where containerd has no socket for them, it is executed for each.

containerd --address ADDRESS publish --topic /tasks/exit --namespace NAMESPACE < event
"""

from __future__ import annotations

import os

from cloche.kernel import pidfd
from cloche.shim.claims import CLAIMS
from cloche.shim.events import LIMIT
from cloche.shim.loop import READ
from cloche.wire.messages.events import TOPICS
from cloche.wire.messages.google import Any

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as signals

    from cloche.shim.loop import Loop, Timer
    from cloche.wire.protobuf import Message
else:
    import _signal as signals  # `signal` imports enum

_TIMEOUT_S = 5.0


class CommandPublisher:
    """Publishes the events of one shim, one after the other. Belongs to the loop's thread."""

    def __init__(self, loop: Loop, namespace: str, program: str, address: str) -> None:
        """program: of containerd; address: of its gRPC socket."""
        self._loop = loop
        self._words = [program, "--address", address, "publish", "--namespace", namespace, "--topic"]
        self._waiting: list[tuple[str, bytes]] = []
        self._running: tuple[int, int, Timer] | None = None

    @property
    def pending(self) -> int:
        """How many events were not yet taken."""
        return len(self._waiting) + (self._running is not None)

    def publish(self, event: Message) -> None:
        """Tell that something happened."""
        if len(self._waiting) >= LIMIT:
            del self._waiting[0]
        self._waiting.append((TOPICS[type(event)], Any.pack(event).encode()))
        if self._running is None:
            self._run_next()

    def _run_next(self) -> None:
        if not self._waiting:
            return
        topic, data = self._waiting.pop(0)
        try:
            pid = self._spawn([*self._words, topic], data)
        except OSError:
            # Nobody can be told; what happens must not wait for that.
            self._waiting.clear()
            return
        handle = pidfd.open(pid)
        timer = self._loop.call_later(_TIMEOUT_S, lambda: pidfd.send_signal(handle, signals.SIGKILL))
        self._running = (pid, handle, timer)
        self._loop.watch(handle, READ, self._ended)

    def _spawn(self, words: list[str], data: bytes) -> int:
        event = os.memfd_create("event", os.MFD_CLOEXEC)
        try:
            os.write(event, data)
            os.lseek(event, 0, os.SEEK_SET)
            pid = os.posix_spawn(words[0], words, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, event, 0)])
        finally:
            os.close(event)
        CLAIMS.claim(pid)
        return pid

    def _ended(self, _: int) -> None:
        if self._running is None:
            return
        pid, handle, timer = self._running
        timer.cancel()
        self._running = None
        self._loop.forget(handle)
        pidfd.wait(handle, block=False)
        os.close(handle)
        CLAIMS.release(pid)
        self._run_next()

    def close(self) -> None:
        """Tell nobody any more; the command that runs is left to end."""
        self._waiting.clear()
