"""A shim that is killed: the next one goes on where it was, and no output is lost."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cloche.shim.stdio.adopting import adopt_stdio
from cloche.shim.stdio.opening import Stdio, Uris
from cloche.shim.stdio.process import Kept
from tests.shim.stdio.harness import Reader, Shim, fifo
from tests.shim.stdio.test_logger import KEEPING, program
from tests.waiting import wait_until

ROOT = Path(__file__).parents[3]


class Dying:
    """A shim in a process of its own, and what is kept of its streams here, as the warm parent does."""

    def __init__(self, uris: Uris, script: str) -> None:
        self.uris = uris
        ours, theirs = socket.socketpair()
        words = [uris.stdin, uris.stdout, uris.stderr, "terminal" * uris.terminal, script]
        with theirs:
            self.shim = subprocess.Popen(
                [sys.executable, "-m", "tests.shim.stdio.dying", str(theirs.fileno()), *words],
                pass_fds=[theirs.fileno()],
                cwd=ROOT,
                env=os.environ | {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
            )
        with ours:
            present, descriptors, _, _ = socket.recv_fds(ours, 100, 10)
        *ends, self.pidfd = descriptors
        left = iter(ends)
        self.kept = Kept(*(next(left) if there else -1 for there in present[:5]))
        self.pid = int.from_bytes(present[5:], "big")

    def kill(self) -> None:
        """kill -9."""
        self.shim.kill()
        self.shim.wait()

    def adopt(self, shim: Shim) -> Stdio:
        """Go on in another shim."""
        stdio = adopt_stdio(shim.loop, self.uris, self.kept, container_id="c1", namespace="n1")
        shim.opened.append(stdio)
        self.kept = Kept()
        return stdio

    def close(self) -> None:
        """End all of it."""
        self.kill()
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        for descriptor in (*self.kept.values(), self.pidfd):
            if descriptor >= 0:
                os.close(descriptor)


@pytest.fixture
def dying(shim: Shim) -> Iterator[Callable[[Uris, str], Dying]]:
    """Starts shims that will be killed."""
    started: list[Dying] = []

    def start(uris: Uris, script: str) -> Dying:
        started.append(Dying(uris, script))
        return started[-1]

    yield start
    for one in started:
        one.close()


def finish(shim: Shim, stdio: Stdio, dead: Dying) -> None:
    """Wait for the process, and for the end of its streams."""
    wait_until(lambda: not os.path.exists(f"/proc/{dead.pid}"), timeout_s=30)
    assert shim.finish(stdio).wait(10)


def numbers(count: int) -> bytes:
    """What seq prints."""
    return b"".join(b"%d\n" % n for n in range(1, count + 1))


def test_a_client_misses_nothing_of_what_goes_through_its_fifo(
    shim: Shim, tmp_path: Path, dying: Callable[[Uris, str], Dying]
) -> None:
    uris = Uris(stdin=fifo(tmp_path, "in"), stdout=fifo(tmp_path, "out"), stderr=fifo(tmp_path, "err"))
    out, err = Reader(uris.stdout), Reader(uris.stderr)
    # Until somebody else writes them the client's ends of file would come with the shim's death.
    holding = [os.open(path, os.O_RDWR) for path in (uris.stdout, uris.stderr)]
    dead = dying(uris, "seq 1 300000; read x; echo $x; seq 1 300000 >&2")
    wait_until(lambda: len(out.data) > 100000)
    dead.kill()
    stdio = dead.adopt(shim)
    for descriptor in holding:
        os.close(descriptor)
    Path(uris.stdin).write_bytes(b"typed\n")
    finish(shim, stdio, dead)
    assert out.all() == numbers(300000) + b"typed\n"
    assert err.all() == numbers(300000)


@pytest.mark.parametrize("terminal", [False, True])
def test_a_log_misses_nothing_and_has_hardly_anything_twice(
    shim: Shim, tmp_path: Path, dying: Callable[[Uris, str], Dying], *, terminal: bool
) -> None:
    log = tmp_path / "log"
    uri = f"json-file://{log}"
    uris = Uris("attach://", uri, uri, terminal)
    dead = dying(uris, "seq 1 100000; printf begun; sleep 0.5; echo ' and ended'")
    wait_until(lambda: log.stat().st_size > 1000000)
    dead.kill()
    finish(shim, dead.adopt(shim), dead)
    entries = [json.loads(line)["log"] for line in log.read_text().splitlines()]
    found = "".join(entries).replace("\r", "").split("\n")
    assert found[-2:] == ["begun and ended", ""]
    assert set(found[:-2]) == {str(n) for n in range(1, 100001)}
    # At worst what was read at once: a pipe's worth.
    assert sum(len(text) + 1 for text in found) <= len(numbers(100000)) + 17 + (1 << 16)


@pytest.mark.parametrize("half", ['{"log":"2030', '{"log":"1\\n","stream":"stdout","time":"now"}'])
def test_the_half_of_an_entry_that_a_killed_shim_wrote_is_cut_off(
    shim: Shim, tmp_path: Path, dying: Callable[[Uris, str], Dying], half: str
) -> None:
    log = tmp_path / "log"
    uri = f"json-file://{log}"
    dead = dying(
        Uris("", uri, uri, False),
        "echo before; read x < fifo; echo after".replace("fifo", fifo(tmp_path, "go")),
    )
    wait_until(lambda: "before" in log.read_text())
    dead.kill()
    with log.open("a") as file:
        file.write(half)
    stdio = dead.adopt(shim)
    (tmp_path / "go").write_text("go\n")
    finish(shim, stdio, dead)
    assert [json.loads(line)["log"] for line in log.read_text().splitlines()] == ["before\n", "after\n"]


def test_closed_input_stays_closed_and_open_input_stays_open(
    shim: Shim, tmp_path: Path, dying: Callable[[Uris, str], Dying]
) -> None:
    uris = Uris(fifo(tmp_path, "in"), f"cri://{tmp_path}/log", "", False)
    dead = dying(uris, "cat; echo over")
    dead.kill()
    stdio = dead.adopt(shim)
    Path(uris.stdin).write_bytes(b"after\n")
    wait_until(lambda: b"after" in (tmp_path / "log").read_bytes())
    shim.call(stdio.close_stdin)
    finish(shim, stdio, dead)
    assert (tmp_path / "log").read_bytes().endswith(b"F over\n")


def test_a_terminal_goes_on(shim: Shim, tmp_path: Path, dying: Callable[[Uris, str], Dying]) -> None:
    uris = Uris(fifo(tmp_path, "in"), fifo(tmp_path, "out"), "", True)
    reader = Reader(uris.stdout)
    holding = os.open(uris.stdout, os.O_RDWR)
    dead = dying(uris, "stty -echo; echo ready; read x; stty size; echo $x")
    wait_until(lambda: reader.data == b"ready\r\n")
    dead.kill()
    stdio = dead.adopt(shim)
    wait_until(lambda: shim.call(lambda: stdio.kept.console) >= 0)
    os.close(holding)
    shim.call(lambda: stdio.resize(80, 25))
    Path(uris.stdin).write_bytes(b"typed\n")
    finish(shim, stdio, dead)
    assert reader.all() == b"ready\r\n25 80\r\ntyped\r\n"


def test_a_client_that_took_its_fifos_away_is_no_error(
    shim: Shim, tmp_path: Path, dying: Callable[[Uris, str], Dying]
) -> None:
    uris = Uris(fifo(tmp_path, "in"), fifo(tmp_path, "out"), "", False)
    dead = dying(uris, "seq 1 100000; sleep 100; :")
    dead.kill()
    for path in (uris.stdin, uris.stdout):
        os.unlink(path)
    stdio = dead.adopt(shim)
    wait_until(lambda: os.path.exists(f"/proc/{dead.pid}/exe") and "sleep" in children_of(dead.pid))
    os.killpg(dead.pid, signal.SIGKILL)
    finish(shim, stdio, dead)


def children_of(pid: int) -> str:
    """The names of a process's children."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return " ".join(Path(f"/proc/{child}/comm").read_text() for child in found)


def test_a_logging_program_goes_on(shim: Shim, tmp_path: Path, dying: Callable[[Uris, str], Dying]) -> None:
    uri = f"binary://{program(tmp_path, KEEPING)}"
    dead = dying(Uris(stdout=uri, stderr=uri), "seq 1 100000; sleep 0.3; seq 1 10 >&2")
    dead.kill()
    finish(shim, dead.adopt(shim), dead)
    wait_until(lambda: (tmp_path / "who").read_text().endswith("ended\n"))
    assert (tmp_path / "out").read_bytes() == numbers(100000)
    assert (tmp_path / "err").read_bytes() == numbers(10)
