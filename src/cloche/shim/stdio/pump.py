"""Bytes moved from a descriptor to a sink, as far as both are ready, and never kept in between.

A pump waits for one side at a time:

    for the source ──readable──> move ──moved──> for the source
                                  │ nothing there, or no room
                                  └──> for the sink ──writable──> move ──...

What cannot be handed on stays in the kernel, where the death of this process does not lose it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
from _struct import unpack

from cloche.shim.loop import READ, WRITE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from cloche.shim.loop import Loop

    class Sink(Protocol):
        """Where bytes go.

        descriptor: what to wait for when there is no room; -1 where the sink calls resume instead,
        which is set to `Pump.resume`. partial: whether bytes may be left in the source, to be looked
        at again with more.
        """

        descriptor: int
        partial: bool
        resume: Callable[[], None]

        def take(self, source: int) -> int:
            """Take some from a readable descriptor; returns how much, 0 at its end.

            Raises BlockingIOError when there is nothing to take or no room, other OSErrors when the
            sink can take no more for ever.
            """

        def make_room(self, source: int) -> bool:
            """Whether all that the source holds could be made to fit: its writer has ended."""

        def end(self) -> None:
            """No more comes: tell the reader."""

        def close(self) -> None:
            """Let go of everything; may be called more than once."""


_FIONREAD = 0x541B
_EDGE = select.EPOLLET
# How often to move in a row before others have their turn.
_ROUNDS = 16


def nobody() -> None:
    """What a sink's resume is until a pump is there."""


def unread(descriptor: int) -> int:
    """How many bytes a pipe or a terminal holds for its reader."""
    count: int = unpack("i", fcntl.ioctl(descriptor, _FIONREAD, bytes(4)))[0]
    return count


def hung_up(descriptor: int) -> bool:
    """Whether nobody has a pipe's other end open any more; it may still hold something."""
    poll = select.poll()
    poll.register(descriptor, 0)
    return any(events & (select.POLLHUP | select.POLLERR) for _, events in poll.poll(0))


class Pump:
    """One direction. Owns source and sink; all methods belong to the loop's thread."""

    def __init__(
        self,
        loop: Loop,
        source: int,
        sink: Sink,
        *,
        instead: Callable[[], Sink] | None = None,
        ended: Callable[[], None] | None = None,
    ) -> None:
        """source: made non-blocking. instead: gives the sink that follows one that has broken; without
        it a broken sink ends the pump. ended: called once, when source and sink are closed or ending.
        """
        self.source = source
        self.sink = sink
        self.over = False
        self._loop = loop
        self._instead = instead
        self._ended = ended
        self._watched = -1
        os.set_blocking(source, False)

    def start(self) -> None:
        """Begin to move."""
        if not self.over:
            self._wait_for_source()

    def pause(self) -> None:
        """Move nothing until `start`."""
        self._watch(-1, 0)

    def _wait_for_source(self) -> None:
        self._watch(self.source, READ | _EDGE if self.sink.partial else READ)

    def _watch(self, descriptor: int, events: int) -> None:
        if self._watched >= 0 and self._watched != descriptor:
            self._loop.forget(self._watched)
        if descriptor >= 0 and self._watched != descriptor:
            self._loop.watch(descriptor, events, self._ready)
        self._watched = descriptor

    def _ready(self, _events: int = 0) -> None:
        # A sink that looks at its bytes takes its time; others want to be served between.
        for _ in range(1 if self.sink.partial else _ROUNDS):
            if not self._move():
                return
        if self.sink.partial:
            # An edge is told once only: what is left must be remembered here.
            self._loop.call_soon(self.resume)

    def resume(self) -> None:
        """Look again: a sink without a descriptor has room again."""
        if self._watched >= 0:
            self._ready()

    def _move(self) -> bool:
        """Whether some bytes were moved, and there may be more."""
        if self.over:
            return False
        try:
            moved = self.sink.take(self.source)
        except BlockingIOError:
            self._turn()
            return False
        except OSError as error:
            # EIO from a pty's master: no process has the terminal open any more.
            if error.errno == errno.EIO and os.isatty(self.source):
                moved = 0
            else:
                self._broken()
                return False
        if moved == 0:
            self.end()
        return moved > 0 and not self.over

    def _turn(self) -> None:
        """Wait for the other side."""
        if self._watched == self.source and self.sink.descriptor >= 0:
            self._watch(self.sink.descriptor, WRITE)
        elif self._watched >= 0 and self._watched == self.sink.descriptor:
            self._wait_for_source()

    def _broken(self) -> None:
        if self._instead is None:
            self.end()
            return
        waiting = self._watched >= 0
        self.pause()
        self.sink.close()
        self.sink, self._instead = self._instead(), None
        if waiting:
            self._wait_for_source()

    def drain(self) -> bool:
        """Move what is there, since the writer has ended; whether that was all that can come.

        Otherwise somebody else has the writing end, or the sink takes no more.
        """
        while not self.over:
            if not self._move() and not self._retry():
                break
        return self.over

    def _retry(self) -> bool:
        """Whether it was the sink that was full, and is not any more."""
        if self.over:
            return False
        if unread(self.source):
            return self.sink.make_room(self.source)
        if hung_up(self.source):
            # A full pipe is told before an empty one that has ended.
            self.end()
        return False

    def end(self) -> None:
        """Close the source, and tell the sink that no more comes."""
        if not self.over:
            self._stop()
            self.sink.end()
            if self._ended is not None:
                self._ended()

    def _stop(self) -> None:
        self.over = True
        self.pause()
        os.close(self.source)

    def close(self) -> None:
        """Let go of everything at once."""
        if not self.over:
            self._stop()
        self.sink.close()
