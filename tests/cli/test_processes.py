"""The list of processes by the host's ps."""

from __future__ import annotations

import os

import pytest

from cloche.cli import processes
from cloche.errors import InvalidArgument


def test_options_are_those_of_the_hosts_ps() -> None:
    titles, rows = processes.by_ps([str(os.getpid())], ["-eo", "pid,comm"])
    assert titles == ["PID", "COMMAND"]
    assert [row[0] for row in rows] == [str(os.getpid())]


@pytest.mark.parametrize("options", [["--bogus"], ["-eo", "comm"]])
def test_options_that_ps_refuses_or_that_hide_the_pid_are_refused(options: list[str]) -> None:
    with pytest.raises(InvalidArgument, match="ps:"):
        processes.by_ps(["1"], options)
