"""Watching a file for changes (inotify(7))."""

from __future__ import annotations

import os

from cloche.kernel.syscalls import call

IN_MODIFY, IN_CREATE, IN_MOVED_TO = 0x2, 0x100, 0x80
_IN_CLOEXEC, _IN_NONBLOCK = 0o2000000, 0o4000


class Watch:
    """A descriptor that is readable when something below the watched paths changed."""

    def __init__(self) -> None:
        self.descriptor = call("inotify_init1", _IN_CLOEXEC | _IN_NONBLOCK)

    def add(self, path: str, events: int) -> None:
        """Watch a file or a directory too. Raises OSError."""
        call("inotify_add_watch", self.descriptor, os.fsencode(path), events, path=path)

    def fileno(self) -> int:
        """For select and its kin."""
        return self.descriptor

    def drain(self) -> bytes:
        """Take what is there, as inotify_event structures; empty when nothing changed."""
        try:
            return os.read(self.descriptor, 1 << 16)
        except BlockingIOError:
            return b""

    def close(self) -> None:
        """Watch no longer."""
        os.close(self.descriptor)
