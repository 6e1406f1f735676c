"""A gigabyte of output through a slow reader: nothing is lost, and the shim's memory does not grow."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from tests.bundles import Bundle
from tests.shim.served import Served

_TOTAL = 1 << 30
_CHUNK = 1 << 20


def resident(pid: int) -> int:
    """Bytes of memory that a process has."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_gigabyte_goes_through_a_slow_reader_in_bounded_memory(shim: Served, sleeper: Bundle) -> None:
    fifo = sleeper.path / "fifo"
    os.mkfifo(fifo)
    sleeper.command("/bin/dd", "if=/dev/zero", f"bs={_CHUNK}", f"count={_TOTAL // _CHUNK}")
    expected = bytes(_CHUNK)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        shim.run(sleeper, stdout=str(fifo))
        os.set_blocking(reader, True)
        fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, _CHUNK)
        before = resident(shim.process.pid)
        read = most = rounds = 0
        while data := os.read(reader, _CHUNK):
            assert data == expected[: len(data)], f"at byte {read}"
            read += len(data)
            rounds += 1
            if rounds % 50 == 0:
                time.sleep(0.001)
                most = max(most, resident(shim.process.pid))
    finally:
        os.close(reader)
    assert read == _TOTAL
    assert most - before < 8 << 20
    assert shim.wait() == 0
    shim.delete()
