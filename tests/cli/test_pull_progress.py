"""What a pull shows, as lines and as bars."""

from __future__ import annotations

import os
import pty

import pytest

from cloche.cli.pull_progress import Bars, Lines
from cloche.image.progress import DONE, DOWNLOADING, EXISTS, EXTRACTING, WAITING, BlobStatus

DIGEST = "sha256:" + "0123456789ab" + "c" * 52


def layer(status: str, offset: int = 0, kind: str = "layer") -> BlobStatus:
    return BlobStatus(DIGEST, kind, status, offset, 1000)


def test_lines_tell_each_step_of_a_layer_once(capfd: pytest.CaptureFixture[str]) -> None:
    lines = Lines(1)
    for status in (WAITING, DOWNLOADING, DOWNLOADING, EXTRACTING, EXTRACTING, DONE, DONE):
        lines.update(layer(status))
    lines.update(layer(DONE, kind="config"))
    lines.close()
    assert capfd.readouterr().out == (
        "0123456789ab: Pulling fs layer\n0123456789ab: Download complete\n0123456789ab: Pull complete\n"
    )


def test_a_layer_that_is_here_is_told_once(capfd: pytest.CaptureFixture[str]) -> None:
    lines = Lines(2)
    for status in (EXISTS, EXTRACTING, DONE):
        lines.update(layer(status))
    assert capfd.readouterr().err == "0123456789ab: Already exists\n"


def test_bars_are_drawn_on_a_terminal() -> None:
    pid, master = pty.fork()
    if pid == 0:
        bars = Bars(1)
        for offset in (0, 500, 1000):
            bars.update(layer(DOWNLOADING, offset))
        bars.update(layer(DONE))
        bars.close()
        os._exit(0)
    shown = b""
    try:
        while data := os.read(master, 65536):
            shown += data
    except OSError:
        pass
    os.close(master)
    assert os.waitpid(pid, 0)[1] == 0
    assert b"0123456789ab: Pull complete" in shown
    assert b"1.0/1.0 kB" in shown
