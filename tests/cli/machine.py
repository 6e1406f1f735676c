"""The installed `cloche` command on stores of its own, with an image to run."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import time
from pathlib import Path
from typing import Any

from tests.waiting import wait_until

_PROGRAMS = """
    sh cat chmod chown dd echo env false grep head hostname id kill ln ls mkdir mknod mount nproc ps
    readlink rm seq sleep sort stat stty tail test touch true tty wc yes
"""
PROGRAMS = _PROGRAMS.split()
IMAGE = "tools"
TIMEOUT_S = 60


class Machine:
    """One root and state folder, and the command that works on them."""

    def __init__(self, command: str, place: Path) -> None:
        self.command = command
        self.place = place
        self.environment = os.environ | {
            "CLOCHE_ROOT": str(place / "root"),
            "CLOCHE_STATE": str(place / "state"),
        }

    def run(self, *words: str, typed: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run `cloche` with these words and input, whatever comes of it."""
        return subprocess.run(
            [self.command, *words],
            input=typed,
            capture_output=True,
            timeout=TIMEOUT_S,
            check=False,
            env=self.environment,
        )

    def ok(self, *words: str, typed: bytes = b"") -> str:
        """The output of a command that must succeed and say nothing on stderr."""
        result = self.run(*words, typed=typed)
        assert (result.returncode, result.stderr) == (0, b""), (words, result)
        return result.stdout.decode()

    def refused(self, *words: str, status: int = 1) -> str:
        """The one line of a command that must fail, without its prefix."""
        result = self.run(*words)
        assert result.returncode == status, (words, result)
        line = result.stderr.decode()
        assert line.startswith("cloche: "), line
        assert line.count("\n") == 1, line
        return line.removeprefix("cloche: ").rstrip("\n")

    def start(self, *words: str, **more: Any) -> subprocess.Popen[bytes]:
        """Start `cloche` with pipes for what is not given."""
        options: dict[str, Any] = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
        }
        return subprocess.Popen([self.command, *words], env=self.environment, **(options | more))

    def inspect(self, name: str) -> dict[str, Any]:
        """The document of one container."""
        (document,) = json.loads(self.ok("container", "inspect", name))
        assert isinstance(document, dict)
        return document

    def status(self, name: str) -> str:
        """created, running, paused or exited."""
        return str(self.inspect(name)["State"]["Status"])

    def wait_for_status(self, name: str, status: str) -> None:
        """Wait until a container has this status."""
        wait_until(lambda: self.status(name) == status, what=f"{name} {status}")

    def wait_for_log(self, name: str, text: str) -> None:
        """Wait until a container has written this."""
        wait_until(lambda: text.encode() in self.run("logs", name).stdout, what=f"{text!r} of {name}")

    def clean(self) -> None:
        """Remove every container."""
        names = self.ok("ps", "-aq").split()
        if names:
            self.run("rm", "-f", *names)


class Terminal:
    """A command on a terminal of its own, as a person has it."""

    def __init__(self, machine: Machine, *words: str, rows: int = 24, columns: int = 80) -> None:
        self.master, slave = pty.openpty()
        self.resize(rows, columns)
        self.output = b""
        self.process = machine.start(
            *words, stdin=slave, stdout=slave, stderr=slave, start_new_session=True, preexec_fn=_take_terminal
        )
        self.slave = slave

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)
        os.close(self.slave)

    def resize(self, rows: int, columns: int) -> None:
        """Change the size of the terminal; the kernel tells the foreground with SIGWINCH."""
        import fcntl
        import struct
        import termios

        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text: bytes) -> None:
        """Type on the keyboard."""
        os.write(self.master, text)

    def expect(self, text: bytes) -> bytes:
        """Wait until the screen shows this, and return all shown up to there."""
        deadline = time.monotonic() + 15
        while text not in self.output:
            assert time.monotonic() < deadline, (text, self.output)
            assert self._read() or self.process.poll() is None, (text, self.output)
        shown, _, self.output = self.output.partition(text)
        return shown

    def wait(self) -> int:
        """Wait for the command to end; its exit code."""
        wait_until(lambda: (self._read(), self.process.poll() is not None)[1], timeout_s=15, what="the end")
        while self._read():
            pass
        return self.process.returncode

    def _read(self) -> bool:
        if not select.select([self.master], [], [], 0.01)[0]:
            return False
        try:
            data = os.read(self.master, 65536)
        except OSError:
            return False
        self.output += data
        return bool(data)


def _take_terminal() -> None:
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
