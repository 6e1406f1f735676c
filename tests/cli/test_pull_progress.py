"""What a pull shows, as lines and as bars."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

from cloche.cli.pull_progress import Lines
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


def test_a_layer_that_nothing_more_was_heard_of_was_here(capfd: pytest.CaptureFixture[str]) -> None:
    lines = Lines(1)
    lines.update(layer(WAITING))
    lines.finish()
    assert capfd.readouterr().out.splitlines()[-1] == "0123456789ab: Already exists"


def test_bars_are_drawn_on_a_terminal() -> None:
    script = (
        "from cloche.cli.pull_progress import Bars\n"
        "from cloche.image.progress import BlobStatus\n"
        "bars = Bars(1)\n"
        "for status, offset in (('downloading', 0), ('downloading', 500), ('done', 1000)):\n"
        f"    bars.update(BlobStatus({DIGEST!r}, 'layer', status, offset, 1000))\n"
        "bars.close()\n"
    )
    master, slave = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "120", "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", script], stdout=slave, env=environment, check=True, timeout=60)
    os.close(slave)
    shown = b""
    try:
        while data := os.read(master, 65536):
            shown += data
    except OSError:
        pass
    os.close(master)
    assert b"0123456789ab: Pull complete" in shown
    assert b"1.0/1.0 kB" in shown
