"""Logs on a filesystem that does not answer: they hold up nobody but the process that is logged."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloche.shim.stdio.beside import may_hang
from cloche.shim.stdio.opening import Uris
from tests.shim.stdio.harness import Reader, Shim, fifo
from tests.shim.stdio.stuckfs import StuckFilesystem
from tests.waiting import wait_until


@pytest.fixture
def stuck(tmp_path: Path, root: None) -> Iterator[StuckFilesystem]:
    """A filesystem that answers until it is told not to."""
    if not os.path.exists("/dev/fuse"):
        pytest.skip("needs FUSE in the kernel")
    with StuckFilesystem(tmp_path) as filesystem:
        yield filesystem


def lines(data: bytes, scheme: str) -> bytes:
    """What the process wrote, of a log's content."""
    if scheme == "file":
        return bytes(data)
    return "".join(json.loads(line)["log"] for line in data.splitlines()).encode()


def numbers(count: int) -> bytes:
    """What seq prints."""
    return b"".join(b"%d\n" % n for n in range(1, count + 1))


def test_local_filesystems_are_told_from_others(stuck: StuckFilesystem, tmp_path: Path) -> None:
    for place, expected in ((tmp_path, False), (Path("/dev/shm"), False), (stuck.place, True)):
        descriptor = os.open(place, os.O_RDONLY)
        assert may_hang(descriptor) is expected
        os.close(descriptor)


@pytest.mark.parametrize("scheme", ["file", "json-file"])
@pytest.mark.parametrize("terminal", [False, True])
def test_everything_arrives_when_it_answers_again(
    stuck: StuckFilesystem, shim: Shim, tmp_path: Path, scheme: str, *, terminal: bool
) -> None:
    stdio = shim.open(Uris(stdout=f"{scheme}://{stuck.place}/log", terminal=terminal))
    stuck.hang()
    script = ("sh", "-c", "seq 1 20000; printf end")
    process = (shim.on_terminal if terminal else shim.spawn)(stdio, *script)
    wait_until(stuck.hanging)
    assert shim.call(lambda: "the loop answers") == "the loop answers"
    stuck.answer()
    assert process.wait(20) == 0
    assert shim.finish(stdio).wait(10)
    wait_until(lambda: lines(stuck.data, scheme).endswith(b"end"))
    assert lines(stuck.data, scheme).replace(b"\r", b"") == numbers(20000) + b"end"


@pytest.mark.parametrize("scheme", ["file", "json-file"])
def test_other_processes_go_on_and_the_end_is_bounded(
    stuck: StuckFilesystem, shim: Shim, tmp_path: Path, scheme: str
) -> None:
    uri = f"{scheme}://{stuck.place}/log"
    stdio = shim.open(Uris(stdout=uri, stderr=uri), drain_s=0.5)
    other = shim.open(Uris(stdout=fifo(tmp_path, "out")))
    reader = Reader(str(tmp_path / "out"))
    stuck.hang()
    # First: whoever is started while a write hangs waits for it, in closing its copy of the file.
    talking = shim.spawn(other, "sh", "-c", "read go < $0; seq 1 100000", fifo(tmp_path, "go"))
    process = shim.spawn(stdio, "seq", "1", "200000")
    wait_until(stuck.hanging)
    (tmp_path / "go").write_text("\n")
    assert talking.wait(10) == 0
    assert shim.finish(other).wait(10)
    assert reader.all() == numbers(100000)
    process.kill()
    process.wait()
    before = time.monotonic()
    assert shim.finish(stdio).wait(5)
    assert time.monotonic() - before < 3
    shim.call(stdio.close)
    # What hangs in the kernel holds its descriptors until it is let go.
    stuck.answer()
    wait_until(lambda: not any(target == "log" for target in opened()))


def opened() -> list[str]:
    """What this process's descriptors are."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            found.append(os.path.basename(os.readlink(f"/proc/self/fd/{name}")))
        except FileNotFoundError:
            continue
    return found
