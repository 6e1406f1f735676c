"""Descriptors that run out, at any moment of opening."""

from __future__ import annotations

import errno
import os
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cloche.errors import ClocheError
from cloche.shim.stdio.opening import Stdio, Uris
from tests.shim.stdio.harness import Shim, fifo
from tests.shim.stdio.test_audience import Client, listen
from tests.waiting import wait_until


def used() -> set[int]:
    """The descriptors of this process."""
    return {int(name) for name in os.listdir("/proc/self/fd")}


@contextmanager
def room_for(count: int) -> Iterator[None]:
    """Only so many more descriptors can be opened."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = used()
    free = [number for number in range(max(taken) + count + 2) if number not in taken]
    resource.setrlimit(resource.RLIMIT_NOFILE, (free[count], hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def open_with(shim: Shim, uris: Uris, count: int) -> Stdio | None:
    """Open with so few descriptors left; None where they were too few, and nothing is left then."""
    before = used()
    try:
        with room_for(count):
            return shim.open(uris)
    except ClocheError:
        pass
    except OSError as error:
        if error.errno != errno.EMFILE:
            raise
    wait_until(lambda: used() <= before, what="descriptors to be closed")
    return None


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("kind", ["fifo", "file", "json-file", "binary"])
def test_whatever_was_opened_is_closed_when_the_rest_cannot_be(
    shim: Shim, tmp_path: Path, kind: str, *, terminal: bool
) -> None:
    program = tmp_path / "logger"
    program.write_text("#!/bin/sh\nexec 5>&-\ncat <&3 >/dev/null\n")
    program.chmod(0o755)
    out = {"fifo": fifo(tmp_path, "out"), "binary": f"binary://{program}"}.get(
        kind, f"{kind}://{tmp_path}/log"
    )
    uris = Uris(stdin=fifo(tmp_path, "in"), stdout=out, stderr=out, terminal=terminal)
    for count in range(40):
        if (stdio := open_with(shim, uris, count)) is not None:
            break
    else:
        pytest.fail("it never succeeded")
    assert count >= 2
    assert max(stdio.child) >= 0


def test_a_client_waits_for_a_descriptor_and_is_served_then(shim: Shim, tmp_path: Path) -> None:
    stdio = shim.open(Uris(stdin="attach://", stdout="attach://"))
    listen(shim, stdio, tmp_path / "sock")
    process = shim.spawn(stdio, "cat")
    waiting = socket.socket(socket.AF_UNIX)
    with room_for(0):
        waiting.connect(str(tmp_path / "sock"))
        wait_until(lambda: len(shim.call(lambda: stdio.audience._timers)) > 0)
    waiting.close()
    client = Client(tmp_path / "sock")
    client.send(17, b"")
    client.send(2, b"typed")
    wait_until(lambda: client.out == b"typed")
    process.kill()
    process.wait()
    assert shim.finish(stdio).wait(10)
    shim.call(lambda: stdio.tell_exit(137))
    assert client.ended() == 137
