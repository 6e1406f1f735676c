"""Bytes moved between descriptors by one thread: from a terminal to a console, from pipes to memory.

Descriptors that came from outside (a user's terminal, a shell's pipe) share their file status
flags with other programs, so nothing here makes them non-blocking. They are read and written only
when poll(2) says so, and never with more than what a writable pipe is sure to take.
"""

from __future__ import annotations

import errno
import select
import time

from cloche import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

CHUNK_BYTES = 65536
PIPE_BYTES = 4096  # PIPE_BUF: a writable pipe has room for so much
HIGH_WATER_BYTES = 1 << 18
_GONE = (errno.EPIPE, errno.EIO, errno.EBADF, errno.ECONNRESET)
_READABLE = select.POLLIN | select.POLLHUP | select.POLLERR | select.POLLNVAL
_WRITABLE = select.POLLOUT | select.POLLHUP | select.POLLERR | select.POLLNVAL


class Flow:
    """One direction: everything that can be read from `source` goes to `sink`.

    source: a descriptor, or None when `data` is all there is. sink: a descriptor, or a function
        that takes bytes.
    output: the pump goes on until this flow has ended. When its reader is gone, what still comes is
        thrown away, so that a writer is not held up by it; any other flow just ends.
    on_end: called once after the last byte was written, say to close the sink.
    change: sees what was read and gives back what is to be written.
    """

    def __init__(
        self,
        source: int | None,
        sink: int | Callable[[bytes], object],
        *,
        data: bytes = b"",
        output: bool = False,
        on_end: Callable[[], object] | None = None,
        change: Callable[[bytes], bytes] | None = None,
    ) -> None:
        self.source = source
        self.output = output
        self.ended = False
        self._sink = None if callable(sink) else sink
        self._take = sink if callable(sink) else None
        self.pending = bytearray(data)
        self._on_end = on_end
        self._change = change
        self._at_end = source is None
        self._discarding = False

    def interest(self) -> Iterable[tuple[int, int]]:
        """(descriptor, poll events) this flow waits for now."""
        if self.pending and self._sink is not None:
            yield self._sink, select.POLLOUT
        if self.source is not None and not self._at_end and len(self.pending) < HIGH_WATER_BYTES:
            yield self.source, select.POLLIN

    def handle(self, events: Mapping[int, int]) -> None:
        """Do what these poll results allow."""
        if self.pending and self._sink is not None and events.get(self._sink, 0) & _WRITABLE:
            self._write(self._sink)
        if self.source is not None and not self._at_end and events.get(self.source, 0) & _READABLE:
            self._read(self.source)
        if self._at_end and not self.pending:
            self.end()

    def end(self) -> None:
        """Nothing more comes or goes."""
        if not self.ended:
            self.ended = True
            if self._on_end is not None:
                self._on_end()

    def _read(self, source: int) -> None:
        try:
            data = os.read(source, CHUNK_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            # A pty's master reads EIO when the last slave was closed: its end of file.
            if error.errno not in _GONE:
                raise
            data = b""
        if not data:
            self._at_end = True
            return
        if self._change is not None:
            data = self._change(data)
        if self._take is not None:
            self._take(data)
        elif not self._discarding:
            self.pending += data

    def _write(self, sink: int) -> None:
        try:
            written = os.write(sink, self.pending[:PIPE_BYTES])
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno not in _GONE:
                raise
            self.pending.clear()
            self._discarding = True
            self._at_end = self._at_end or not self.output
            return
        del self.pending[:written]


def pump(
    flows: Iterable[Flow],
    *,
    until: int | None = None,
    watch: Mapping[int, Callable[[], object]] | None = None,
    timeout_s: float | None = None,
) -> bool:
    """Run the flows until every output has ended; input that was not wanted is left alone.

    until: a descriptor; once it is readable (a pidfd: the process ended) what the outputs hold
        already is still moved, and then it is over, whoever keeps them open.
    watch: functions to call while their descriptor is readable.
    timeout_s: seconds after which to give up. Returns False only then.
    """
    flows = list(flows)
    watch = watch or {}
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    stopping = False
    for flow in flows:
        flow.handle({})
    while any(flow.output and not flow.ended for flow in flows) or (until is not None and not stopping):
        if deadline is not None and time.monotonic() >= deadline:
            return False
        if stopping:
            flows = [flow for flow in flows if flow.output]
        others = () if stopping else (*watch, *(() if until is None else (until,)))
        # Once it is over, only what was read already may take its time to be written.
        hurry = stopping and not any(flow.pending for flow in flows)
        events = _poll(flows, others, 0 if hurry else _left_ms(deadline))
        if hurry and not events:
            break
        for descriptor, react in watch.items():
            if events.get(descriptor):
                react()
        for flow in flows:
            if not flow.ended:
                flow.handle(events)
        stopping = stopping or bool(until is not None and events.get(until))
    for flow in flows:
        flow.end()
    return True


def _left_ms(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, (deadline - time.monotonic()) * 1000 + 1)


def _poll(flows: Iterable[Flow], others: Iterable[int], timeout_ms: float | None) -> dict[int, int]:
    """Wait for what the flows want and for others to be readable; returns descriptor: events."""
    wanted: dict[int, int] = dict.fromkeys(others, select.POLLIN)
    for flow in flows:
        if not flow.ended:
            for descriptor, events in flow.interest():
                wanted[descriptor] = wanted.get(descriptor, 0) | events
    poll = select.poll()
    for descriptor, events in wanted.items():
        poll.register(descriptor, events)
    return dict(poll.poll(timeout_ms))
