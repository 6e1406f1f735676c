"""Joining a container's streams: pipes and terminals, input, detaching, sizes."""

from __future__ import annotations

import os
import pty
import termios
import threading
from collections.abc import Iterator

import pytest

from cloche.engine.container import Container
from cloche.engine.engine import Engine
from cloche.engine.options import Options
from cloche.errors import FailedPrecondition
from tests.waiting import wait_until

pytestmark = pytest.mark.system


class Person:
    """Somebody at a terminal: what is shown, and what is typed."""

    def __init__(self) -> None:
        self.master, self.terminal = pty.openpty()
        termios.tcsetwinsize(self.terminal, (40, 100))
        self.shown = b""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        try:
            while data := os.read(self.master, 4096):
                self.shown += data
        except OSError:
            pass

    def type(self, data: bytes) -> None:
        os.write(self.master, data)

    def sees(self, text: bytes) -> None:
        wait_until(lambda: text in self.shown, what=f"{text!r} on the terminal, which shows {self.shown!r}")

    @property
    def stdio(self) -> tuple[int, int, int]:
        return (self.terminal, self.terminal, self.terminal)

    def leave(self) -> None:
        os.close(self.terminal)
        self._reader.join(timeout=5)
        os.close(self.master)


@pytest.fixture
def person() -> Iterator[Person]:
    made = Person()
    yield made
    made.leave()


def _attached(container: Container, person: Person, codes: list[int | None]) -> threading.Thread:
    thread = threading.Thread(target=lambda: codes.append(container.attach(stdio=person.stdio)))
    thread.start()
    return thread


def test_a_terminal_is_joined_left_and_joined_again(engine: Engine, person: Person) -> None:
    container = engine.containers.create("tools", Options(args=("sh",), tty=True, stdin_open=True))
    container.start(hold=True)
    codes: list[int | None] = []
    thread = _attached(container, person, codes)
    person.type(b"tty; stty size\n")
    person.sees(b"/dev/pts/0")
    person.sees(b"40 100")
    before = termios.tcgetattr(person.terminal)
    assert not before[3] & termios.ECHO, "the terminal is raw while it is joined"
    person.type(b"\x10\x11")
    thread.join(timeout=10)
    assert codes == [None]
    assert termios.tcgetattr(person.terminal)[3] & termios.ECHO, "and as before afterwards"
    assert container.status().running
    thread = _attached(container, person, codes)
    person.type(b"echo again-$((1+1)); exit 6\n")
    person.sees(b"again-2")
    thread.join(timeout=10)
    assert codes == [None, 6]


def test_nothing_is_missed_of_a_container_that_ends_at_once(
    engine: Engine, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    container = engine.containers.create("tools", Options(args=("sh", "-c", "echo quick; exit 3")))
    container.start(hold=True)
    assert container.attach(stdin=False) == 3
    assert capfdbinary.readouterr().out == b"quick\n"


def test_piped_input_ends_what_reads_it(engine: Engine) -> None:
    container = engine.containers.create("tools", Options(args=("cat",), stdin_open=True, stdin_once=True))
    container.start(hold=True)
    read, write = os.pipe()
    os.write(write, b"through\n")
    os.close(write)
    out_read, out_write = os.pipe()
    assert container.attach(stdio=(read, out_write, out_write)) == 0
    os.close(out_write)
    assert os.read(out_read, 100) == b"through\n"
    os.close(read)
    os.close(out_read)


def test_input_of_a_detached_container_stays_open_for_others(engine: Engine) -> None:
    container = engine.containers.create("tools", Options(args=("cat",), stdin_open=True))
    container.start()
    for text in (b"first\n", b"second\n"):
        read, write = os.pipe()
        out_read, out_write = os.pipe()
        thread = threading.Thread(
            target=container.attach,
            kwargs={"stdio": (read, out_write, out_write), "detach_keys": b"\x10\x11"},
        )
        thread.start()
        os.write(write, text)
        assert os.read(out_read, 100) == text
        os.write(write, b"\x10\x11")
        thread.join(timeout=10)
        for descriptor in (read, write, out_read, out_write):
            os.close(descriptor)
    assert container.status().running
    # Who is attached may see output a moment before it is in the log.
    wait_until(lambda: [line.data for line in container.logs()] == [b"first\n", b"second\n"])


def test_an_attached_run_has_the_terminal(engine: Engine, person: Person) -> None:
    codes: list[int] = []
    options = Options(
        args=("sh", "-c", "tty; stty size; read x; echo got-$x; exit 2"), tty=True, stdin_open=True
    )
    thread = threading.Thread(
        target=lambda: codes.append(
            engine.containers.run("tools", options.replace(auto_remove=True), stdio=person.stdio)
        )
    )
    thread.start()
    person.sees(b"40 100")
    person.type(b"word\r")
    person.sees(b"got-word")
    thread.join(timeout=10)
    assert codes == [2]


def test_a_container_that_does_not_run_cannot_be_attached_to(engine: Engine) -> None:
    container = engine.containers.create("tools", Options(args=("true",)))
    with pytest.raises(FailedPrecondition, match="not running"):
        container.attach(stdin=False)
