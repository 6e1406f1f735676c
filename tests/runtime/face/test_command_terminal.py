"""Terminals, console sockets and descriptors through the command line."""

from __future__ import annotations

import array
import fcntl
import os
import pty
import select
import signal
import socket
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.bundles import Bundle
from tests.runtime.face.runtimes import TIMEOUT_S, Runtime, unique

SIZE = (33, 77)


class Person:
    """A command on a terminal of its own, and the other side of that terminal."""

    def __init__(self, words: list[str]) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", *SIZE, 0, 0))
        self.before = termios.tcgetattr(slave)
        self.slave = slave
        self.process = subprocess.Popen(
            words, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
        )
        self.seen = ""

    def enter(self, text: str) -> None:
        os.write(self.master, text.encode())

    def read_until(self, text: str) -> str:
        """Wait until a text was shown; returns all up to now."""
        deadline = time.monotonic() + TIMEOUT_S
        while text not in self.seen:
            left = deadline - time.monotonic()
            assert left > 0, f"{text!r} is not in {self.seen!r}"
            if select.select([self.master], [], [], left)[0]:
                self.seen += os.read(self.master, 4096).decode(errors="replace")
        return self.seen

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def default_bundle(bundle: Bundle, runtime: Runtime) -> Bundle:
    """The bundle exactly as the runtime's own `spec` writes it, around busybox."""
    (bundle.path / "config.json").unlink()
    assert runtime("spec", "--bundle", str(bundle.path)).returncode == 0
    return bundle


def test_the_default_bundle_runs_a_shell_on_a_terminal(runtime: Runtime, default_bundle: Bundle) -> None:
    with Person(runtime.words("run", "-b", str(default_bundle.path), unique("tty"))) as person:
        person.read_until("# ")
        person.enter("stty size; tty; echo got-$((1+1))\n")
        shown = person.read_until("got-2")
        assert "33 77" in shown
        assert "/dev/pts/0" in shown
        person.enter("exit 9\n")
        assert person.process.wait(TIMEOUT_S) == 9
        assert termios.tcgetattr(person.slave) == person.before


def test_a_change_of_the_terminals_size_arrives_inside(runtime: Runtime, default_bundle: Bundle) -> None:
    with Person(runtime.words("run", "-b", str(default_bundle.path), unique("tty"))) as person:
        person.read_until("# ")
        person.enter("trap 'stty size' WINCH; echo ready-$((1+1))\n")
        person.read_until("ready-2")
        fcntl.ioctl(person.master, termios.TIOCSWINSZ, struct.pack("HHHH", 21, 55, 0, 0))
        os.kill(person.process.pid, signal.SIGWINCH)
        person.enter("stty size\n")
        person.read_until("21 55")
        person.enter("exit\n")
        person.process.wait(TIMEOUT_S)


def test_keys_reach_the_process_and_not_the_runtime(runtime: Runtime, default_bundle: Bundle) -> None:
    with Person(runtime.words("run", "-b", str(default_bundle.path), unique("tty"))) as person:
        person.read_until("# ")
        person.enter(
            'sh -c \'trap "echo interrupted; exit 4" INT; echo ready-$((1+1)); '
            "while :; do sleep 0.01; done'; echo $?-end\n"
        )
        person.read_until("ready-2")
        person.enter("\x03")
        person.read_until("4-end")
        person.enter("exit\n")
        assert person.process.wait(TIMEOUT_S) in (0, 4, 130)


def test_exec_with_a_terminal(runtime: Runtime, bundle: Bundle) -> None:
    container_id = unique("tty")
    bundle.command("sleep", "300")
    assert runtime.start_detached("run", "-d", "-b", str(bundle.path), container_id) == 0
    # runc sets the size once the program runs already.
    script = "tty; until stty size 2>&1 | grep '33 77'; do sleep 0.01; done; exit 3"
    with Person(runtime.words("exec", "-t", container_id, "sh", "-c", script)) as person:
        person.read_until("33 77")
        assert person.process.wait(TIMEOUT_S) == 3


def test_the_terminals_size_is_there_before_the_program(ours: Runtime, bundle: Bundle) -> None:
    container_id = unique("tty")
    bundle.process["terminal"] = True
    bundle.command("stty", "size")
    with Person(ours.words("run", "-b", str(bundle.path), container_id)) as person:
        person.read_until("33 77")
        assert person.process.wait(TIMEOUT_S) == 0


class ConsoleReceiver:
    """Listens on a unix socket for one pty."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._listener.settimeout(TIMEOUT_S)

    def receive(self) -> tuple[bytes, int]:
        """The payload and the descriptor; the connection ends after them."""
        connection, _ = self._listener.accept()
        with connection:
            payload, ancillary, _, _ = connection.recvmsg(4096, socket.CMSG_SPACE(64))
            ((level, kind, data),) = ancillary
            assert (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
            (descriptor,) = array.array("i", data)
            assert connection.recv(1) == b""
        return payload, descriptor

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsoleReceiver]:
    receiver = ConsoleReceiver(tmp_path_factory.mktemp("c") / "s")
    yield receiver
    receiver.close()


def read_all(master: int, until: bytes) -> bytes:
    seen = b""
    while until not in seen:
        assert select.select([master], [], [], TIMEOUT_S)[0], seen
        seen += os.read(master, 4096)
    return seen


def test_the_console_socket_is_sent_the_master(
    runtime: Runtime, default_bundle: Bundle, console: ConsoleReceiver
) -> None:
    container_id = unique("tty")
    flags = ("--console-socket", str(console.path), "-b", str(default_bundle.path))
    assert runtime.start_detached("create", *flags, container_id) == 0
    payload, master = console.receive()
    assert payload == b"/dev/ptmx"
    assert runtime("start", container_id).returncode == 0
    os.write(master, b"tty\n")
    read_all(master, b"/dev/pts/0")
    os.close(master)
    assert runtime("delete", "--force", container_id).returncode == 0


def test_a_detached_exec_sends_its_console_too(
    runtime: Runtime, bundle: Bundle, console: ConsoleReceiver
) -> None:
    container_id = unique("tty")
    bundle.command("sleep", "300")
    assert runtime.start_detached("run", "-d", "-b", str(bundle.path), container_id) == 0
    flags = ("--tty", "--detach", "--console-socket", str(console.path))
    assert runtime.start_detached("exec", *flags, container_id, "tty") == 0
    _, master = console.receive()
    read_all(master, b"/dev/pts/0")
    os.close(master)
    assert runtime("delete", "--force", container_id).returncode == 0


def test_preserved_descriptors_are_there_and_no_others(
    runtime: Runtime, bundle: Bundle, tmp_path: Path
) -> None:
    text = tmp_path / "text"
    text.write_text("passed\n")
    bundle.command("sh", "-c", "cat <&3; ls /proc/self/fd | tr '\\n' ' '")
    words = runtime.words("run", "--preserve-fds", "1", "-b", str(bundle.path), unique("fds"))
    script = 'exec 3<"$0" 4<"$0" 5<"$0"; exec "$@"'
    result = subprocess.run(
        ["sh", "-c", script, str(text), *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
        timeout=TIMEOUT_S,
    )
    # ls itself has one more open.
    assert result.stdout == "passed\n0 1 2 3 4 "


def test_sockets_of_a_service_manager_are_passed_on(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("socket\n")
    bundle.command("sh", "-c", "cat <&3; cat <&4; echo $LISTEN_FDS $LISTEN_PID")
    words = runtime.words("run", "--preserve-fds", "1", "-b", str(bundle.path), unique("fds"))
    script = 'exec 3<"$0" 4<"$0"; LISTEN_FDS=1 LISTEN_PID=$$ exec "$@"'
    result = subprocess.run(
        ["sh", "-c", script, str(text), *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
        timeout=TIMEOUT_S,
    )
    assert result.stdout == "socket\nsocket\n1 1\n"


REOPENING = "cat /dev/stdin; echo out > /dev/stdout; echo err > /dev/stderr; id -u"


@pytest.mark.parametrize("command", ["run", "exec"])
def test_the_callers_files_stay_the_callers(
    runtime: Runtime, bundle: Bundle, tmp_path: Path, command: str
) -> None:
    typed, printed = tmp_path / "typed", tmp_path / "printed"
    typed.write_text("typed\n")
    printed.write_text("kept\n")
    bundle.process["user"] = {"uid": 1000, "gid": 1000}
    container_id = unique("files")
    words = runtime.words("run", "-b", str(bundle.path), container_id)
    bundle.command("sh", "-c", REOPENING)
    if command == "exec":
        bundle.command("sleep", "300")
        assert runtime.start_detached("run", "-d", "-b", str(bundle.path), container_id) == 0
        words = runtime.words("exec", container_id, "sh", "-c", REOPENING)
    with typed.open() as stdin, printed.open("a") as stdout:
        subprocess.run(words, stdin=stdin, stdout=stdout, stderr=stdout, check=True, timeout=TIMEOUT_S)
    kept, *lines = printed.read_text().splitlines()
    assert kept == "kept"
    assert sorted(lines) == ["1000", "err", "out", "typed"]
    assert typed.stat().st_uid == printed.stat().st_uid == os.geteuid()


def test_the_callers_terminal_does_not_go_inside(runtime: Runtime, bundle: Bundle) -> None:
    bundle.command("sh", "-c", "for i in 0 1 2; do test -t $i && echo is-$i; done; echo done-$((1+1))")
    with Person(runtime.words("run", "-b", str(bundle.path), unique("inside"))) as person:
        assert "is-" not in person.read_until("done-2")
        assert person.process.wait(TIMEOUT_S) == 0


def test_much_output_arrives_whole(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    bundle.command("sh", "-c", "yes 0123456789 | head -c 5000000")
    printed = tmp_path / "printed"
    words = runtime.words("run", "-b", str(bundle.path), unique("much"))
    with printed.open("w") as stdout:
        subprocess.run(words, stdin=subprocess.DEVNULL, stdout=stdout, check=True, timeout=TIMEOUT_S)
    assert printed.stat().st_size == 5_000_000


def test_sockets_meant_for_another_process_are_not_passed_on(runtime: Runtime, bundle: Bundle) -> None:
    bundle.command("sh", "-c", "echo [$LISTEN_FDS]")
    environment = os.environ | {"LISTEN_FDS": "1", "LISTEN_PID": "1"}
    arguments = ("run", "-b", str(bundle.path), unique("fds"))
    assert runtime(*arguments, environment=environment).stdout == "[]\n"
