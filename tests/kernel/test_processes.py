from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.kernel import processes


def test_this_process_is_described_as_ps_does(peer: Callable[[str], str]) -> None:
    (mine,) = processes.describe([os.getpid()])
    columns = "ppid=,uid=,gid=,nice=,nlwp=,comm="
    shown = subprocess.run(
        [peer("ps"), "-o", columns, "-p", str(os.getpid())], check=True, capture_output=True, text=True
    ).stdout.split()
    ours = [mine.parent, mine.uid, mine.gid, mine.nice, mine.threads, mine.name]
    assert shown == [str(value) for value in ours]
    with open("/proc/self/cmdline", "rb") as file:
        assert mine.arguments == tuple(word.decode() for word in file.read().rstrip(b"\0").split(b"\0"))
    assert 0 < mine.started <= time.time() + 1
    assert mine.cpu_s > 0
    assert 0 < mine.resident_bytes < mine.virtual_bytes


def test_who_is_gone_is_left_out() -> None:
    assert [each.pid for each in processes.describe([2**22 + 1, os.getpid()])] == [os.getpid()]


def test_a_kernel_thread_or_zombie_shows_its_name_in_brackets() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        (zombie,) = processes.describe([process.pid])
        assert zombie.state == "Z"
        assert zombie.command == f"[{zombie.name}]"


@pytest.mark.parametrize(
    ("device", "name"),
    [
        (0, "?"),
        (os.makedev(136, 5), "pts/5"),
        (os.makedev(137, 1), "pts/257"),
        (os.makedev(4, 1), "tty1"),
        (os.makedev(4, 64), "ttyS0"),
        (os.makedev(5, 1), "console"),
    ],
)
def test_terminals_have_the_names_of_ps(device: int, name: str) -> None:
    assert processes.tty_name(device) == name


@given(name=st.binary(max_size=15), numbers=st.lists(st.integers(0, 2**40), min_size=21, max_size=49))
def test_any_name_is_read(name: bytes, numbers: list[int]) -> None:
    stat = b"7 (" + name + b") R " + b" ".join(b"%d" % number for number in numbers)
    found = processes.parse(7, stat, b"", 100, (1, 2))
    assert found.name == name.decode(errors="replace")
    assert found.parent == numbers[0]


@given(st.binary(), st.binary())
def test_what_is_no_stat_file_is_a_value_error(stat: bytes, arguments: bytes) -> None:
    try:
        processes.parse(1, stat, arguments, 0, (0, 0))
    except ValueError:
        pass
