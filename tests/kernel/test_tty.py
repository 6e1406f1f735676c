from __future__ import annotations

import os
import signal
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator

import pytest

from cloche.kernel import pidfd, tty
from tests.waiting import wait_until

# Stands in for `cloche run -it`: joins its own terminal to a new pty on which a program runs.
JOINER = """
import os, sys
from cloche.kernel import pidfd, tty
master, slave = os.openpty()
pid = os.posix_spawnp(
    "setsid", ["setsid", "--ctty", *sys.argv[1:]], os.environ,
    file_actions=[(os.POSIX_SPAWN_DUP2, slave, n) for n in (0, 1, 2)],
)
os.close(slave)
child = pidfd.open(pid)
tty.join(master, until=child)
os._exit(pidfd.wait(child).status)
"""


class Terminal:
    """A person's terminal: a pty whose master the test holds."""

    def __init__(self) -> None:
        self.master, self.slave = os.openpty()
        self.said = b""

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-c", JOINER, *command],
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
            start_new_session=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )

    def read_until(self, text: bytes) -> bytes:
        while text not in self.said:
            self.said += os.read(self.master, 65536)
        return self.said

    def local_flags(self) -> int:
        flags: int = termios.tcgetattr(self.slave)[3]
        return flags


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    one = Terminal()
    yield one
    os.close(one.master)
    os.close(one.slave)


def test_a_size_is_set_and_read(terminal: Terminal) -> None:
    tty.set_window_size(terminal.master, 33, 111)
    assert tty.window_size(terminal.slave) == (33, 111)
    tty.set_window_size(terminal.master, -5, 1 << 20)
    assert tty.window_size(terminal.slave) == (0, 65535)


def test_what_is_no_terminal_has_no_size() -> None:
    with open(os.devnull) as null:
        assert tty.window_size(null.fileno()) == (0, 0)
        with tty.RawMode(null.fileno()):
            pass


def test_raw_mode_is_undone_at_the_end(terminal: Terminal) -> None:
    before = termios.tcgetattr(terminal.slave)
    with tty.RawMode(terminal.slave):
        assert not terminal.local_flags() & (termios.ECHO | termios.ICANON | termios.ISIG)
    assert termios.tcgetattr(terminal.slave) == before


def test_raw_is_what_cfmakeraw_makes(terminal: Terminal) -> None:
    import tty as standard

    standard.setraw(terminal.slave)
    theirs = termios.tcgetattr(terminal.slave)
    with tty.RawMode(terminal.slave):
        assert termios.tcgetattr(terminal.slave) == theirs


def test_keys_and_output_pass_and_the_exit_code_comes_back(terminal: Terminal) -> None:
    process = terminal.start("sh", "-c", "read line; echo got $line; exit 3")
    wait_until(lambda: not terminal.local_flags() & termios.ICANON, what="raw mode")
    os.write(terminal.master, b"hello\r")
    assert b"got hello" in terminal.read_until(b"got hello\r\n")
    assert process.wait() == 3
    assert terminal.local_flags() & termios.ICANON


def test_an_interrupt_key_is_for_the_program_inside(terminal: Terminal) -> None:
    process = terminal.start(
        "sh", "-c", "trap 'echo caught; exit 5' INT; echo ready; while :; do sleep 0.05; done"
    )
    terminal.read_until(b"ready")
    os.write(terminal.master, b"\x03")
    terminal.read_until(b"caught")
    assert process.wait() == 5


def test_the_size_follows_the_terminals(terminal: Terminal) -> None:
    tty.set_window_size(terminal.master, 24, 80)
    script = "trap 'stty size' WINCH; stty size; while :; do sleep 0.05; done"
    process = terminal.start("sh", "-c", script)
    terminal.read_until(b"24 80")
    tty.set_window_size(terminal.master, 50, 132)
    # The kernel signals a foreground process group only; the test's joiner has no controlling terminal.
    process.send_signal(signal.SIGWINCH)
    terminal.read_until(b"50 132")
    process.kill()
    process.wait()


def test_much_output_arrives_whole_though_the_program_has_ended(terminal: Terminal) -> None:
    process = terminal.start("seq", "1", "20000")
    said = terminal.read_until(b"\r\n20000\r\n")
    assert process.wait() == 0
    assert said.split() == [b"%d" % number for number in range(1, 20001)]


def test_in_another_thread_there_are_no_resizes_and_no_error() -> None:
    master, slave = os.openpty()
    reader, writer = os.pipe()
    pid = os.posix_spawnp("echo", ["echo", "hi"], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, slave, 1)])
    os.close(slave)
    child = pidfd.open(pid)
    thread = threading.Thread(target=lambda: tty.join(master, stdin=None, stdout=writer, until=child))
    thread.start()
    thread.join(10)
    assert os.read(reader, 100) == b"hi\r\n"
    assert pidfd.wait(child) == pidfd.Exit(0, 0)
    for descriptor in (master, reader, writer, child):
        os.close(descriptor)


def test_the_handler_of_the_program_is_put_back() -> None:
    before = signal.getsignal(signal.SIGWINCH)
    with tty.Resizes() as resizes:
        os.kill(os.getpid(), signal.SIGWINCH)
        assert os.read(resizes.descriptor, 10)
        resizes.take()
    assert signal.getsignal(signal.SIGWINCH) == before
    assert signal.set_wakeup_fd(-1) == -1
