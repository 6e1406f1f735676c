from __future__ import annotations

import os
import select
import signal
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.kernel import pidfd
from tests.waiting import wait_until


def child(*command: str) -> tuple[int, int]:
    pid = os.posix_spawnp(command[0], command, os.environ)
    return pid, pidfd.open(pid)


def test_an_exit_code_is_read_once() -> None:
    _, descriptor = child("sh", "-c", "exit 7")
    assert pidfd.wait(descriptor) == pidfd.Exit(7, 0)
    with pytest.raises(ChildProcessError):
        pidfd.wait(descriptor)
    os.close(descriptor)


def test_a_signal_that_killed_is_128_and_its_number() -> None:
    _, descriptor = child("sleep", "60")
    pidfd.send_signal(descriptor, signal.SIGTERM)
    ended = pidfd.wait(descriptor)
    assert ended == pidfd.Exit(0, 15)
    assert ended.status == 143
    with pytest.raises(ProcessLookupError):
        pidfd.send_signal(descriptor, signal.SIGTERM)
    os.close(descriptor)


def test_asking_without_waiting() -> None:
    pid, descriptor = child("sleep", "60")
    assert pidfd.wait(descriptor, block=False) is None
    assert not pidfd.ended(pid)
    pidfd.send_signal(descriptor, signal.SIGKILL)
    select.select([descriptor], [], [])
    assert pidfd.ended(pid)
    assert pidfd.wait(descriptor, block=False) == pidfd.Exit(0, 9)
    os.close(descriptor)


def test_a_child_that_sends_no_sigchld_is_waited_for() -> None:
    code = """
import ctypes, os
from cloche.kernel import pidfd
pid = ctypes.CDLL(None).syscall(56, 0, 0, 0, 0, 0) if os.uname().machine == "x86_64" else os.fork()
if pid == 0:
    os._exit(5)
print(pidfd.wait(pidfd.open(pid)).status)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        check=True,
        capture_output=True,
    )
    assert done.stdout == b"5\n"


def test_nobody_is_no_process() -> None:
    with pytest.raises(ProcessLookupError):
        pidfd.open(2**22 + 1)
    with pytest.raises(ProcessLookupError):
        pidfd.start_time(2**22 + 1)
    assert pidfd.ended(2**22 + 1)


def test_a_start_time_tells_processes_apart() -> None:
    mine = pidfd.start_time(os.getpid())
    assert mine == pidfd.start_time(os.getpid())
    assert mine > pidfd.start_time(1)


def test_a_name_with_brackets_confuses_nobody() -> None:
    code = "import sys; open('/proc/self/comm', 'w').write('a) R 1 (b'); print(flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1) as process:
        assert process.stdout is not None
        process.stdout.readline()
        wait_until(lambda: not pidfd.ended(process.pid))
        assert pidfd.start_time(process.pid) > pidfd.start_time(1)
        process.communicate()


@given(name=st.binary(max_size=15), start=st.integers(0, 2**63))
def test_stat_files_are_read_whatever_the_name(name: bytes, start: int) -> None:
    fields = b" ".join([b"S", *[b"0"] * 18, b"%d" % start, *[b"0"] * 30])
    assert pidfd.parse_stat(b"12 (" + name + b") " + fields) == ("S", start)


@given(st.binary())
def test_what_is_no_stat_file_is_a_value_error(text: bytes) -> None:
    try:
        pidfd.parse_stat(text)
    except ValueError:
        pass


def test_the_boot_id_is_the_kernels() -> None:
    with open("/proc/sys/kernel/random/boot_id") as file:
        assert pidfd.boot_id() == file.read().strip()
