"""What /proc tells of waiting threads: parsers of its files, and real processes."""

from __future__ import annotations

import os
import subprocess
import threading
import time

from hypothesis import given
from hypothesis import strategies as st

from cloche.kernel import file_locks, open_files, threads
from tests.waiting import wait_until

LOCKS = b"""1: POSIX  ADVISORY  WRITE 4711 fe:01:1234 0 EOF
2: FLOCK  ADVISORY  WRITE 99 00:2a:77 0 EOF
2:  -> FLOCK  ADVISORY  READ 100 00:2a:77 0 EOF
2:   -> FLOCK  ADVISORY  WRITE 101 00:2a:77 0 EOF
3: OFDLCK ADVISORY  READ -1 fe:01:5 0 10
"""


def test_locks_are_listed_with_those_who_wait() -> None:
    first, second, third = file_locks.parse(LOCKS)
    assert (first.kind, first.pid, first.device, first.inode, first.waiting) == (
        "POSIX",
        4711,
        (0xFE, 1),
        1234,
        (),
    )
    assert (second.exclusive, second.waiting) == (True, (100, 101))
    assert (third.kind, third.pid, third.exclusive) == ("OFDLCK", -1, False)


@given(st.binary())
def test_any_bytes_are_locks_or_a_value_error(text: bytes) -> None:
    try:
        list(file_locks.parse(text))
    except ValueError:
        pass


@given(st.binary())
def test_any_bytes_can_stand_in_status_stack_and_syscall(text: bytes) -> None:
    threads.parse_status(text)
    threads.parse_stack(text)
    try:
        threads.parse_syscall(text)
    except ValueError:
        pass


@given(st.binary())
def test_any_bytes_are_a_descriptor_or_a_value_error(text: bytes) -> None:
    try:
        open_files.parse_fdinfo(1, 2, "x", text)
    except ValueError:
        pass


def test_a_stack_is_a_list_of_functions() -> None:
    text = b"[<0>] pipe_read+0x30/0x4 [module]\n[<0>] vfs_read+0xbb/0x360\n"
    assert threads.parse_stack(text) == ("pipe_read", "vfs_read")


def test_a_process_that_runs_is_in_no_system_call() -> None:
    assert threads.parse_syscall(b"running\n") == ("", ())
    assert threads.parse_syscall(b"-1 0x7ffd 0x7f89\n") == ("", ())
    assert threads.parse_syscall(b"999 0x1 0x2 0x3 0x4 0x5 0x6 0x7 0x8\n") == (
        "syscall 999",
        (1, 2, 3, 4, 5, 6),
    )


def test_descriptors_are_c_ints() -> None:
    found = threads.thread(os.getpid())
    assert found is not None
    assert found.replace(arguments=(0xFFFFFF9C,)).argument(0) == -100
    assert found.replace(arguments=()).argument(0) == -1


def test_a_reader_is_seen_in_read_with_the_descriptor_it_reads() -> None:
    reading, writing = os.pipe()
    with subprocess.Popen(["cat"], stdin=reading) as process:
        os.close(reading)
        wait_until(lambda: (one := threads.thread(process.pid)) is not None and one.call == "read")
        found = threads.thread(process.pid)
        assert found is not None
        assert found.argument(0) == 0
        assert found.state == "S"
        one = open_files.opened(process.pid, 0)
        assert one is not None
        assert one.reads
        assert not one.writes
        assert {(other.pid, other.writes) for other in open_files.others(one)} == {
            (process.pid, False),
            (os.getpid(), True),
        }
        os.close(writing)


def test_a_process_that_is_gone_is_none() -> None:
    with subprocess.Popen(["true"]) as process:
        pass
    assert threads.thread(process.pid) is None
    assert threads.threads(process.pid) == []
    assert open_files.opened(process.pid, 0) is None
    assert threads.command_line(process.pid, "true") == "[true]"


def test_memory_is_read_as_text_and_as_numbers() -> None:
    import ctypes

    text = ctypes.create_string_buffer(b"/a/path")
    number = ctypes.c_uint32(4711)
    assert threads.text_at(os.getpid(), ctypes.addressof(text)) == "/a/path"
    assert threads.word_at(os.getpid(), ctypes.addressof(number)) == 4711
    assert threads.text_at(os.getpid(), 8) == ""
    assert threads.word_at(os.getpid(), (1 << 64) - 8) is None


def test_patience_with_a_look_that_blocks_ends() -> None:
    release = threading.Event()

    def look() -> bytes:
        release.wait()
        return b""

    began = time.monotonic()
    assert threads.patiently(look, 0.05) is None
    assert time.monotonic() - began < 1
    release.set()
