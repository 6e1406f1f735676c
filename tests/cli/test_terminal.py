"""Containers on a terminal: raw mode, sizes, keys, detaching and attaching."""

from __future__ import annotations

import os
import signal
import termios

from tests.cli.machine import IMAGE, Machine, Terminal


def test_a_terminal_is_given_with_its_size(machine: Machine) -> None:
    with Terminal(
        machine, "run", "--rm", "-it", IMAGE, "sh", "-c", "tty; stty size; exit 3", rows=33, columns=99
    ) as t:
        t.expect(b"/dev/pts/0")
        t.expect(b"33 99")
        assert t.wait() == 3


def test_a_new_size_reaches_the_container(machine: Machine) -> None:
    script = "trap 'stty size' WINCH; echo ready; while :; do sleep 0.05; done"
    with Terminal(machine, "run", "--rm", "-it", IMAGE, "sh", "-c", script) as terminal:
        terminal.expect(b"ready")
        terminal.resize(40, 111)
        os.kill(terminal.process.pid, signal.SIGWINCH)
        terminal.expect(b"40 111")
        terminal.type(b"\x03")
        assert terminal.wait() == 130


def test_keys_are_the_containers_and_the_terminal_comes_back(machine: Machine) -> None:
    with Terminal(machine, "run", "--rm", "-it", IMAGE, "sh") as terminal:
        before = termios.tcgetattr(terminal.slave)
        terminal.expect(b"# ")
        terminal.type(b"echo a$((1+1))b\r")
        terminal.expect(b"a2b")
        assert termios.tcgetattr(terminal.slave) != before
        terminal.expect(b"# ")
        terminal.type(b"cat\r")
        terminal.type(b"typed\r")
        terminal.expect(b"typed\r\ntyped")
        terminal.type(b"\x03")
        terminal.expect(b"# ")
        terminal.type(b"exit 6\r")
        assert terminal.wait() == 6
        assert termios.tcgetattr(terminal.slave) == before


def test_detaching_leaves_it_running_and_attaching_comes_back(machine: Machine, name: str) -> None:
    with Terminal(machine, "run", "-it", "--name", name, IMAGE, "sh") as terminal:
        terminal.expect(b"# ")
        terminal.type(b"x=kept\r")
        terminal.expect(b"# ")
        terminal.type(b"\x10\x11")
        assert terminal.wait() == 0
    assert machine.status(name) == "running"
    with Terminal(machine, "attach", name) as terminal:
        terminal.type(b"echo is-$x\r")
        terminal.expect(b"is-kept")
        terminal.type(b"exit 5\r")
        assert terminal.wait() == 5
    assert machine.status(name) == "exited"


def test_other_keys_can_detach(machine: Machine, name: str) -> None:
    machine.ok("run", "-dit", "--name", name, IMAGE, "sh")
    with Terminal(machine, "attach", "--detach-keys", "ctrl-x", name) as terminal:
        terminal.type(b"echo he$((1))re\r")
        terminal.expect(b"he1re")
        terminal.type(b"\x18")
        assert terminal.wait() == 0
    assert machine.status(name) == "running"


def test_attach_without_input_only_watches(machine: Machine, name: str) -> None:
    script = "while :; do echo tick; sleep 0.05; done & read x; kill $!; echo got-$x; exit 8"
    machine.ok("run", "-di", "--name", name, IMAGE, "sh", "-c", script)
    with machine.start("attach", "--no-stdin", name) as watcher:
        assert watcher.stdout is not None
        assert watcher.stdout.readline() == b"tick\n"
        result = machine.run("attach", name, typed=b"line\n")
        out, errors = watcher.communicate(timeout=20)
    assert result.stdout.endswith(b"got-line\n")
    assert out.endswith(b"got-line\n")
    assert (errors, result.returncode, watcher.returncode) == (b"", 8, 8)


def test_attach_needs_a_running_container(machine: Machine, name: str) -> None:
    machine.ok("create", "--name", name, IMAGE, "true")
    assert "running" in machine.refused("attach", name)


def test_exec_on_a_terminal(machine: Machine, name: str) -> None:
    machine.ok("run", "-d", "--name", name, IMAGE, "sleep", "100")
    with Terminal(machine, "exec", "-it", name, "sh", rows=31, columns=71) as terminal:
        terminal.type(b"stty size; exit 9\r")
        terminal.expect(b"31 71")
        assert terminal.wait() == 9


def test_a_terminal_is_refused_where_there_is_none(machine: Machine) -> None:
    assert "not a TTY" in machine.refused("run", "--rm", "-it", IMAGE, "true", status=1)


def test_without_a_terminal_of_ours_the_container_can_still_have_one(machine: Machine) -> None:
    assert machine.ok("run", "--rm", "-t", IMAGE, "tty") == "/dev/pts/0\r\n"


def test_a_failed_start_on_a_terminal_leaves_nothing(machine: Machine) -> None:
    with Terminal(machine, "run", "--rm", "-it", IMAGE, "no-such-program") as terminal:
        terminal.expect(b"no-such-program")
        assert terminal.wait() == 127
    assert machine.ok("ps", "-aq") == ""
