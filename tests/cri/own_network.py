"""A machine's network of the tests' own, for nodes that make bridges and rules."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from cloche.kernel.syscalls import setns, unshare

_CLONE_NEWNET = 0x40000000
_OWN = "/proc/thread-self/ns/net"


class Network:
    """A network that is empty but for loopback. It is there until it is closed, and nobody is in it."""

    def __init__(self) -> None:
        before = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
        try:
            unshare(_CLONE_NEWNET)
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
            self._fd = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
        finally:
            setns(before, _CLONE_NEWNET)
            os.close(before)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """A block in which this thread, and all that it starts, is in it."""
        before = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
        setns(self._fd, _CLONE_NEWNET)
        try:
            yield
        finally:
            setns(before, _CLONE_NEWNET)
            os.close(before)

    def close(self) -> None:
        """Let go of it."""
        os.close(self._fd)
