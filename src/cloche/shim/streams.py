"""The streams of one container, moved by one thread: output to a log and to clients, input to it.

Nothing is read from the container while a client cannot take more: a slow reader slows the
container down, as a pipe would, and no output is dropped. A client that goes away does not matter.
"""

from __future__ import annotations

import os
import select
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    class Client(Protocol):
        """Someone who reads the container's output, or writes its input, or both.

        `read_descriptor` and `write_descriptor` are watched where they are not negative; the first
        only while the container takes input. ends_run: when it is gone, the run is over.
        """

        read_descriptor: int
        write_descriptor: int
        ends_run: bool

        def deliver(self, stream: str, data: bytes) -> None:
            """Take output of "stdout" or "stderr"."""

        def refuses(self, stream: str) -> bool:
            """Whether nobody will ever read that stream, and its writer shall know."""

        def blocked(self) -> bool:
            """Whether it can take no more for now."""

        def pending(self) -> bool:
            """Whether it waits to write; then its write_descriptor is watched."""

        def readable(self, streams: Streams) -> None:
            """Its read_descriptor has something."""

        def writable(self) -> None:
            """Its write_descriptor takes something."""

        def gone(self) -> bool:
            """Whether to forget it."""

        def finish(self) -> None:
            """It is over: let go of what it owns."""

    class Log(Protocol):
        """Where output is kept."""

        def write(self, stream: str, data: bytes) -> None:
            """Take output."""


_CHUNK = 1 << 16
_INPUT_LIMIT = 1 << 16
_HANG_UP = select.POLLHUP | select.POLLERR | select.POLLNVAL


class Streams:
    """Owns the parent's ends of a container's streams and closes them.

    outputs: descriptor -> "stdout" or "stderr"; stdin: the writing end, -1 for none. With a console
    both are the pty's master.
    """

    def __init__(self, outputs: dict[int, str], stdin: int = -1, *, console: int = -1) -> None:
        self.clients: list[Client] = []
        self.console = console
        self._outputs = dict(outputs)
        self._stdin = stdin
        self._input = bytearray()
        self._input_over = False
        self._log: Log | None = None
        if console >= 0:
            self._outputs, self._stdin = {console: "stdout"}, console
        if self._stdin >= 0:
            os.set_blocking(self._stdin, False)

    def keep(self, log: Log) -> None:
        """Give all output to a log too."""
        self._log = log

    def let_go(self) -> None:
        """A client is there that wants the output, of which nothing was held back."""

    def feed(self, data: bytes) -> None:
        """Queue input for the container; it is dropped where the container takes none."""
        if self._stdin >= 0 and not self._input_over:
            self._input += data
            self._push()

    def feed_end(self) -> None:
        """Close the container's stdin once it has taken what is queued. A console stays open."""
        self._input_over = self.console < 0
        self._push()

    def run(
        self,
        watched: dict[int, Callable[[], bool]],
        *,
        deadline: float | None = None,
        until_silent: bool = False,
    ) -> bool:
        """Move data until a callback says so; False when the deadline passed first.

        watched: descriptor -> what to call when it is readable; a true result ends the run.
        deadline: in time.monotonic() seconds. until_silent: end also when all output is over.
        """
        while not (until_silent and not self._outputs):
            ready = self._poll(watched, deadline)
            if ready is None:
                return False
            over = False
            for descriptor, events in ready:
                if descriptor in watched:
                    over = watched[descriptor]() or over
                else:
                    self._handle(descriptor, events)
            over = self._forget_clients() or over
            if over:
                return True
        return True

    def _poll(
        self, watched: dict[int, Callable[[], bool]], deadline: float | None
    ) -> list[tuple[int, int]] | None:
        wait_ms = None
        if deadline is not None:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return None
            wait_ms = left_s * 1000 + 1
        poll = select.poll()
        for descriptor in watched:
            poll.register(descriptor, select.POLLIN)
        if not any(client.blocked() for client in self.clients):
            for descriptor in self._outputs:
                if descriptor != self.console:
                    poll.register(descriptor, select.POLLIN)
            if self.console in self._outputs:
                poll.register(self.console, select.POLLIN | (select.POLLOUT if self._input else 0))
        if self._input and self._stdin not in self._outputs:
            poll.register(self._stdin, select.POLLOUT)
        for client in self.clients:
            events = self._wanted(client)
            for descriptor, mask in events.items():
                poll.register(descriptor, mask)
        return poll.poll(wait_ms)

    def _wanted(self, client: Client) -> dict[int, int]:
        events: dict[int, int] = {}
        if client.read_descriptor >= 0 and len(self._input) < _INPUT_LIMIT:
            events[client.read_descriptor] = select.POLLIN
        if client.write_descriptor >= 0 and client.pending():
            events[client.write_descriptor] = events.get(client.write_descriptor, 0) | select.POLLOUT
        return events

    def _handle(self, descriptor: int, events: int) -> None:
        if descriptor in self._outputs:
            if events & (select.POLLIN | _HANG_UP):
                self._take(descriptor)
            if events & select.POLLOUT:
                self._push()
        elif descriptor == self._stdin:
            self._push()
        for client in list(self.clients):
            if descriptor == client.read_descriptor and events & (select.POLLIN | _HANG_UP):
                client.readable(self)
            if descriptor == client.write_descriptor and events & (select.POLLOUT | _HANG_UP):
                client.writable()

    def _take(self, descriptor: int) -> None:
        """Read once from the container and hand it on."""
        try:
            data = os.read(descriptor, _CHUNK)
        except BlockingIOError:
            return
        except OSError:
            # EIO: no process has the pty open any more.
            data = b""
        stream = self._outputs[descriptor]
        if data:
            self._keep(stream, data)
        for client in self.clients if data else ():
            client.deliver(stream, data)
        # Without a reader the container's program gets SIGPIPE, as in any pipeline (`… | head`).
        refused = descriptor != self.console and any(client.refuses(stream) for client in self.clients)
        if not data or refused:
            del self._outputs[descriptor]
            if descriptor != self.console:
                os.close(descriptor)

    def _keep(self, stream: str, data: bytes) -> None:
        """Give output to the log. A full disk costs the log these lines, not the container its life."""
        if self._log is not None:
            try:
                self._log.write(stream, data)
            except OSError:
                pass

    def _push(self) -> None:
        """Write queued input as far as the container takes it."""
        if self._stdin < 0:
            return
        try:
            while self._input:
                del self._input[: os.write(self._stdin, self._input)]
        except BlockingIOError:
            return
        except OSError:
            # EPIPE or EIO: it reads no more.
            self._input.clear()
            self._input_over = self.console < 0
        if self._input_over and self._stdin != self.console:
            os.close(self._stdin)
            self._stdin = -1

    def abandon(self) -> None:
        """Let go of every client, also of those that did not take all yet."""
        for client in self.clients:
            client.finish()
        self.clients.clear()

    def _forget_clients(self) -> bool:
        """Whether one of those that went ends the run with it."""
        ends = False
        for client in [each for each in self.clients if each.gone()]:
            self.clients.remove(client)
            client.finish()
            ends = ends or client.ends_run
        return ends

    def close(self) -> None:
        """Close every descriptor and let go of the clients."""
        for descriptor in {*self._outputs, self._stdin, self.console} - {-1}:
            os.close(descriptor)
        self._outputs, self._stdin, self.console = {}, -1, -1
        self.abandon()
