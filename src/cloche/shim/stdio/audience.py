"""Who is attached to a running process: they see its output, and type what it reads.

Everyone gets all output from the moment they are there. Whoever is behind makes the process wait,
as a pipe would, but not for ever: a client that takes nothing for a minute is let go of.
"""

from __future__ import annotations

import os
from _socket import socket as _socket

from cloche.shim.clients import SocketClient
from cloche.shim.loop import READ, WRITE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cloche.shim.loop import Loop, Timer

STUCK_S = 60.0
# How long a client may take to be told the exit code.
_FAREWELL_S = 1.0
# When to look again whether there are descriptors for more clients.
_RETRY_S = 1.0
_INPUT_LIMIT = 1 << 16


class Audience:
    """All methods belong to the loop's thread.

    console: the pty's master, -1 for none; its size is set by those who are attached. input_closed: called
    when its input is. input_ends: whether the end of a client's input is the process's.
    """

    def __init__(self, loop: Loop, *, stuck_s: float = STUCK_S) -> None:
        self.console = -1
        self.input_closed: Callable[[], None] = _nobody
        self.pumps: list[Callable[[], None]] = []
        self._loop = loop
        self._stuck_s = stuck_s
        self._clients: dict[int, SocketClient] = {}
        self._events: dict[int, int] = {}
        self._listener: _socket | None = None
        self.input_ends = False
        self._timers: list[Timer] = []
        self._judging = False
        self._held = False
        self._input = bytearray()
        self._input_over = False
        self._stdin = -1
        self._code: int | None = None

    def serve(self, listener: _socket, *, input_ends: bool, hold_s: float) -> None:
        """See Stdio.serve_attach."""
        listener.setblocking(False)
        self._listener = listener
        self.input_ends = input_ends
        self._listen()
        if hold_s > 0:
            self._held = True
            self._timers.append(self._loop.call_later(hold_s, self.let_go))

    @property
    def is_quiet(self) -> bool:
        """Whether nobody is attached, and nothing that was typed is left."""
        return not (self._clients or self._held or self._input or (self._input_over and self._stdin >= 0))

    @property
    def listener(self) -> int:
        """Where those who attach connect; -1 for nowhere. Borrowed."""
        return self._listener.fileno() if self._listener is not None else -1

    @property
    def target(self) -> int:
        """Where what they type goes; -1 for nowhere. Borrowed."""
        return self._stdin

    def _listen(self) -> None:
        if self._listener is not None:
            self._loop.watch(self._listener.fileno(), READ, self._accept)

    def take_input_to(self, stdin: int) -> None:
        """What they type goes to this descriptor, which is owned from now on."""
        self._stdin = stdin
        os.set_blocking(stdin, False)
        self._push()

    def _accept(self, _events: int = 0) -> None:
        while self._listener is not None:
            try:
                descriptor, _ = self._listener._accept()  # type: ignore[attr-defined]  # socket.accept's core
            except BlockingIOError:
                return
            except OSError:
                # EMFILE: who waits stays in the queue, and is not to keep us busy.
                self._loop.forget(self._listener.fileno())
                self._timers.append(self._loop.call_later(_RETRY_S, self._listen))
                return
            client = SocketClient(_socket(fileno=descriptor), input_ends=self.input_ends)
            self._clients[descriptor] = client
            if self._code is not None:
                client.tell_exit(self._code)
            self._watch(descriptor, client)

    def _watch(self, descriptor: int, client: SocketClient) -> None:
        events = (READ if len(self._input) < _INPUT_LIMIT else 0) | (WRITE if client.pending() else 0)
        if self._events.get(descriptor) != events:
            self._events[descriptor] = events
            self._loop.watch(descriptor, events, lambda ready: self._handle(descriptor, client, ready))

    def _handle(self, descriptor: int, client: SocketClient, events: int) -> None:
        if events & ~WRITE:
            client.readable(self)
        if events & WRITE:
            client.writable()
        self._settle(descriptor, client)
        self._resume()

    def _settle(self, descriptor: int, client: SocketClient) -> None:
        """See what to wait for next, and whether it is over."""
        if client.gone() or (self._code is not None and not client.pending()):
            self._drop(descriptor, client)
        else:
            self._watch(descriptor, client)

    def _drop(self, descriptor: int, client: SocketClient) -> None:
        if self._clients.pop(descriptor, None) is not None:
            self._loop.forget(descriptor)
            self._events.pop(descriptor, None)
            client.finish()

    def _resume(self) -> None:
        if not self.blocked():
            for resume in self.pumps:
                resume()

    def deliver(self, stream: str, data: bytes) -> None:
        """Show output of "stdout" or "stderr" to all."""
        for descriptor, client in list(self._clients.items()):
            client.deliver(stream, data)
            self._settle(descriptor, client)
        if self.blocked() and not self._judging:
            self._judge_later()

    def blocked(self) -> bool:
        """Whether no more can be shown now."""
        return self._held or any(client.blocked() for client in self._clients.values())

    def _judge_later(self) -> None:
        self._judging = True
        behind = {each: client.behind() for each, client in self._clients.items() if client.blocked()}
        self._timers = [timer for timer in self._timers if timer.call is not None]
        self._timers.append(self._loop.call_later(self._stuck_s, lambda: self._judge(behind)))

    def _judge(self, behind: dict[int, int]) -> None:
        """Let go of those who have taken nothing since."""
        for descriptor, client in list(self._clients.items()):
            if client.blocked() and client.behind() == behind.get(descriptor):
                self._drop(descriptor, client)
        self._judging = False
        if self.blocked():
            self._judge_later()
        self._resume()

    def let_go(self) -> None:
        """Somebody is there, or nobody will be: hold nothing back."""
        if self._held:
            self._held = False
            # Not at once: the caller is in the middle of something.
            self._loop.call_soon(self._resume)

    def feed(self, data: bytes) -> None:
        """Type; it is dropped where nobody reads it."""
        if self._stdin >= 0 and not self._input_over:
            self._input += data
            self._push()

    def feed_end(self) -> None:
        """There is no more to type. A terminal stays open."""
        if self.console < 0:
            self._input_over = True
            self._push()

    def _push(self, _events: int = 0) -> None:
        """Write what was typed as far as it is taken."""
        if self._stdin < 0:
            return
        full = len(self._input) >= _INPUT_LIMIT
        try:
            while self._input:
                del self._input[: os.write(self._stdin, self._input)]
        except BlockingIOError:
            self._loop.watch(self._stdin, WRITE, self._push)
            return
        except OSError:
            # EPIPE or EIO: it reads no more.
            self._input.clear()
            self._input_over = True
        self._loop.forget(self._stdin)
        if self._input_over:
            self.close_input()
        if full:
            for descriptor, client in self._clients.items():
                self._watch(descriptor, client)

    def close_input(self) -> None:
        """Take no more input."""
        if self._stdin >= 0:
            self._loop.forget(self._stdin)
            os.close(self._stdin)
            self._stdin = -1
            self.input_closed()
        self._input.clear()

    def abandon(self) -> None:
        """Let go of those who have not taken all yet, and hold nothing back."""
        self._held = False
        for descriptor, client in list(self._clients.items()):
            if client.blocked():
                self._drop(descriptor, client)

    def tell_exit(self, code: int) -> None:
        """Tell everyone, and those who still come, as the last thing they hear."""
        self._accept()
        self._code = code
        for descriptor, client in list(self._clients.items()):
            client.tell_exit(code)
            self._settle(descriptor, client)
        self._timers.append(self._loop.call_later(_FAREWELL_S, self._drop_all))

    def _drop_all(self) -> None:
        for descriptor, client in list(self._clients.items()):
            self._drop(descriptor, client)

    def close(self) -> None:
        """Let go of everyone at once, and let nobody in any more."""
        self.close_input()
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        self.pumps.clear()
        self._drop_all()
        if self._listener is not None:
            self._loop.forget(self._listener.fileno())
            self._listener.close()
            self._listener = None


def _nobody() -> None:
    """Nobody minds."""
