"""This process's terminal while a container's console is joined to it."""

from __future__ import annotations

import os

from cloche.shim.clients import LocalClient

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any, Protocol

    from cloche.kernel.tty import RawMode

    class Attached(Protocol):
        """What a process in a container is steered through while it is attached."""

        def kill(self, signal: int) -> None:
            """Send a signal; one that has ended does not mind."""

        def resize(self, rows: int, columns: int) -> None:
            """Set the size of its console, where it has one."""


class LocalTerminal(LocalClient):
    """This process's standard streams as a client; with `tty`, its terminal is raw meanwhile.

    The container's console gets the terminal's size at the start and whenever it changes (in the
    main thread, where SIGWINCH can be had).
    """

    def __init__(self, stdio: tuple[int, int, int], attached: Attached, *, tty: bool) -> None:
        super().__init__(*stdio)
        self._attached = attached
        self._terminal = stdio[0] if tty and stdio[0] >= 0 and os.isatty(stdio[0]) else -1
        self._sized = next((fd for fd in (stdio[1], stdio[0]) if tty and fd >= 0 and os.isatty(fd)), -1)
        self._raw: RawMode | None = None
        self._handler: Any = None

    def __enter__(self) -> LocalTerminal:
        if self._terminal >= 0:
            from cloche.kernel.tty import RawMode

            self._raw = RawMode(self._terminal)
            self._raw.__enter__()
        if self._sized >= 0:
            self._watch()
            self._resize()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._raw is not None:
            self._raw.__exit__(kind, error, trace)
        if self._handler is not None:
            import signal

            signal.signal(signal.SIGWINCH, self._handler)

    def _watch(self) -> None:
        import signal

        try:
            self._handler = signal.signal(signal.SIGWINCH, self._changed)
        except ValueError:
            # Another thread than the main one: the size stays as it is now.
            self._handler = None

    def _changed(self, number: int, frame: object) -> None:
        self._resize()

    def _resize(self) -> None:
        try:
            size = os.get_terminal_size(self._sized)
            self._attached.resize(size.lines, size.columns)
        except OSError:
            pass


def size_of(stdio: tuple[int, int, int]) -> tuple[int, int] | None:
    """(rows, columns) of the terminal among standard streams, None where none of them is one."""
    for descriptor in (stdio[1], stdio[0]):
        try:
            size = os.get_terminal_size(descriptor)
        except OSError:
            continue
        if size.lines and size.columns:
            return size.lines, size.columns
    return None
