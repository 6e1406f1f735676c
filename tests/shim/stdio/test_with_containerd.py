"""Debian's containerd and ctr, whose containers' streams these are; runc's shim shows what to expect."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemons import Containerd
from tests.peers import command, peer
from tests.shim.starting import NAME, Shims
from tests.shim.stdio.test_logger import KEEPING, program
from tests.waiting import wait_until


class Ctr:
    """A ctr whose containers run through one shim."""

    def __init__(self, containerd: Containerd, shim: str, rootfs: Path) -> None:
        self.containerd = containerd
        self.shim = shim
        self.rootfs = rootfs
        self._names = 0

    def words(self, *script: str, options: tuple[str, ...] = ()) -> list[str]:
        """A ctr run of a shell script in a container of a new name."""
        self._names += 1
        runtime = ("--runtime", self.shim, "--rootfs", *options)
        name = f"stdio-{os.getpid()}-{self._names}"
        return self.containerd.ctr("run", *runtime, str(self.rootfs), name, "/bin/sh", "-c", *script)

    def run(self, script: str, *options: str, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run one to its end."""
        words = self.words(script, options=("--rm", *options))
        return subprocess.run(words, input=data, capture_output=True, check=False, timeout=60)


@pytest.fixture(scope="module", params=["containerd-shim-runc-v2", NAME])
def ctr(
    request: pytest.FixtureRequest, busybox_rootfs: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Ctr]:
    """A containerd of the module's own, so that what it starts can be told from others'."""
    shim = peer(request.param) if request.param != NAME else command(NAME)
    place = tmp_path_factory.mktemp("ctr")
    with pytest.MonkeyPatch.context() as patch, Shims(place) as shims:
        patch.setenv("CLOCHE_STATE", str(shims.state))
        with Containerd(place) as containerd:
            yield Ctr(containerd, shim, busybox_rootfs)


def test_output_and_input_go_through_and_end(ctr: Ctr) -> None:
    words = ctr.words("echo ready; cat; echo error >&2; exit 3", options=("--rm",))
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        assert process.stdout is not None
        # ctr 1.6 never tells of an end of input that comes before the task is there.
        ready = process.stdout.readline()
        out, err = process.communicate(b"words\n", timeout=60)
    assert (process.returncode, ready + out, err) == (3, b"ready\nwords\n", b"error\n")


def test_input_that_is_over_before_the_process_runs_has_its_end_too(ctr: Ctr) -> None:
    if Path(ctr.shim).name != NAME:
        pytest.skip("runc's shim takes it at once, and ctr 1.6 then tells nobody of the end")
    assert ctr.run("cat", data=b"words\n").stdout == b"words\n"


def test_much_output_arrives_whole(ctr: Ctr) -> None:
    done = ctr.run("seq 1 300000; seq 1 1000 >&2")
    assert done.stdout == b"".join(b"%d\n" % n for n in range(1, 300001))
    assert done.stderr == b"".join(b"%d\n" % n for n in range(1, 1001))


def test_much_input_arrives_whole(ctr: Ctr) -> None:
    data = os.urandom(1 << 20)
    assert ctr.run("cat", data=data).stdout == data


def test_a_file_takes_both_streams(ctr: Ctr, tmp_path: Path) -> None:
    done = ctr.run("echo one; sleep 0.2; echo two >&2", "--log-uri", f"file://{tmp_path}/a/log")
    assert done.returncode == 0, done.stderr
    wait_until(lambda: (tmp_path / "a" / "log").read_text() == "one\ntwo\n")


def test_a_logging_program_takes_them(ctr: Ctr, tmp_path: Path) -> None:
    uri = f"binary://{program(tmp_path, KEEPING)}?key=value"
    done = ctr.run("echo one; echo two >&2; sleep 0.2", "--log-uri", uri)
    assert done.returncode == 0, done.stderr
    wait_until(lambda: (tmp_path / "out").read_text() + (tmp_path / "err").read_text() == "one\ntwo\n")
    assert (tmp_path / "who").read_text().split()[1] == "default"
    assert (tmp_path / "arguments").read_text() == "[key][value]"


class Person:
    """Someone at a terminal, on which ctr runs."""

    def __init__(self, words: list[str]) -> None:
        self.data = b""
        self._master, slave = os.openpty()
        self.process = subprocess.Popen(
            words, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
        )
        os.close(slave)
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        try:
            while chunk := os.read(self._master, 4096):
                self.data += chunk
        except OSError:
            pass

    def type(self, data: bytes) -> None:
        """Press keys."""
        os.write(self._master, data)

    def leave(self) -> int:
        """Wait for the end; the exit code."""
        code = self.process.wait(30)
        self._thread.join()
        os.close(self._master)
        return code


def test_a_terminal_talks_with_a_person(ctr: Ctr) -> None:
    words = ctr.words("echo ready; read x; test -t 1 && echo got $x; exit 4", options=("--rm", "--tty"))
    person = Person(words)
    wait_until(lambda: b"ready" in person.data, timeout_s=30)
    person.type(b"typed\n")
    assert person.leave() == 4
    assert b"got typed" in person.data


def test_an_exec_has_streams_of_its_own(ctr: Ctr) -> None:
    words = ctr.words("sleep 1000", options=("--detach", "--null-io"))
    name = words[-4]
    assert subprocess.run(words, capture_output=True, check=False, timeout=60).returncode == 0
    try:
        execute = ctr.containerd.ctr("tasks", "exec", "--exec-id", "e", name, "/bin/sh", "-c")
        for script, data, out in (("cat", b"in", b"in"), ("seq 1 100000", b"", _numbers(100000))):
            done = subprocess.run(
                [*execute, script], input=data, capture_output=True, check=False, timeout=60
            )
            assert (done.returncode, done.stdout) == (0, out), done.stderr
    finally:
        for action in (("tasks", "rm", "--force"), ("containers", "rm")):
            ctr.containerd.run(*action, name)


def _numbers(count: int) -> bytes:
    return b"".join(b"%d\n" % n for n in range(1, count + 1))
