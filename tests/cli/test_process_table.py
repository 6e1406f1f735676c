"""The list of processes, compared with what ps says."""

from __future__ import annotations

import os
import subprocess

import pytest

from cloche.cli import process_table
from cloche.errors import InvalidArgument


def test_a_process_is_listed_as_ps_lists_it() -> None:
    sleeper = subprocess.Popen(["sleep", "1000"])
    try:
        (row,) = process_table.rows([sleeper.pid])
        line = subprocess.run(
            ["ps", "-f", "-p", str(sleeper.pid)], capture_output=True, text=True, check=True
        ).stdout.splitlines()
    finally:
        sleeper.kill()
        sleeper.wait()
    assert tuple(line[0].split()) == process_table.TITLES
    assert row == line[1].split(None, len(row) - 1)


def test_a_process_that_is_gone_is_left_out() -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    assert process_table.rows([ended.pid]) == []


def test_options_are_those_of_the_hosts_ps() -> None:
    titles, rows = process_table.by_ps([os.getpid()], ["-eo", "pid,comm"])
    assert titles == ["PID", "COMMAND"]
    assert [row[0] for row in rows] == [str(os.getpid())]


@pytest.mark.parametrize("options", [["--bogus"], ["-eo", "comm"]])
def test_options_that_ps_refuses_or_that_hide_the_pid_are_refused(options: list[str]) -> None:
    with pytest.raises(InvalidArgument, match="ps:"):
        process_table.by_ps([1], options)
