"""A shim with nothing to do is a small process that holds what is open; woken, it goes on."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cloche.errors import InvalidArgument
from cloche.shim.beginning import rest_of
from cloche.wire import ttrpc
from cloche.wire.messages import task
from cloche.wire.messages.types import PAUSED, RUNNING, STOPPED
from cloche.wire.services.task import TASK_V2
from tests.bundles import Bundle
from tests.shim.conftest import delete_all
from tests.shim.eventsink import EventSink
from tests.shim.resting import Resting
from tests.shim.starting import Shims, alive, parent
from tests.waiting import wait_until

Start = Callable[..., Resting]


@pytest.fixture
def shims(root: None, tmp_path: Path) -> Iterator[Shims]:
    """Shims of a state folder of the test's own."""
    with Shims(tmp_path) as starter:
        yield starter


@pytest.fixture
def start(shims: Shims, cgroup_parent: str) -> Iterator[Start]:
    """Starts shims that rest soon; their containers are deleted afterwards."""
    started: list[Resting] = []

    def begin(bundle: Bundle, **options: object) -> Resting:
        bundle.linux["cgroupsPath"] = f"{cgroup_parent}/one"
        bundle.save()
        started.append(Resting(shims, bundle, **options))  # type: ignore[arg-type]  # a test's own
        return started[-1]

    yield begin
    for shim in started:
        shim.__exit__()
        delete_all(shim)


def waiting(shim: Resting, exec_id: str = "") -> Callable[[], int]:
    """Wait for a process on a connection of its own; gives a function for its status."""
    results: list[int] = []
    client = shim.connect()

    def wait() -> None:
        request = task.WaitRequest(id="one", exec_id=exec_id)
        results.append(client.call(TASK_V2, "Wait", request).exit_status)

    thread = threading.Thread(target=wait)
    thread.start()

    def ended() -> int:
        thread.join(20)
        client.close()
        return results[0]

    return ended


def test_it_is_small_while_it_rests_and_goes_on_as_the_same_shim(start: Start, bundle: Bundle) -> None:
    shim = start(bundle.command("/bin/sleep", "1000"))
    init = shim.run(bundle)
    assert parent(init) == shim.pid
    pid = shim.call("Connect", task.ConnectRequest(id="one")).shim_pid
    shim.rest()
    assert shim.memory_kb() < 200
    assert shim.status() == RUNNING
    assert shim.call("Connect", task.ConnectRequest(id="one")).shim_pid == pid == shim.pid
    shim.add(bundle, "more", "/bin/sh", "-c", "exit 7")
    shim.start("more")
    assert shim.wait("more") == 7
    assert shim.delete("more").exit_status == 7
    shim.rest()
    shim.kill()
    assert shim.wait() == 137
    assert shim.delete().exit_status == 137
    shim.call("Shutdown", task.ShutdownRequest(id="one"))
    wait_until(lambda: not alive(shim.pid) and not shim.workers(), what="all of it to end")
    assert not Path(shim.path).exists()


def test_whoever_waits_is_told_of_an_end_that_came_while_it_rested(start: Start, bundle: Bundle) -> None:
    shim = start(bundle.command("/bin/sleep", "1000"))
    init = shim.run(bundle)
    shim.add(bundle, "more", "/bin/sleep", "1000")
    added = shim.start("more")
    first, second = waiting(shim), waiting(shim, "more")
    shim.rest()
    os.kill(added, signal.SIGTERM)
    assert second() == 143
    shim.rest()
    os.kill(init, signal.SIGKILL)
    assert first() == 137
    assert shim.status() == STOPPED


def test_streams_go_on(start: Start, bundle: Bundle, tmp_path: Path) -> None:
    """Input through a fifo, output through one and into a log; then the end of the input."""
    names = {name: str(tmp_path / name) for name in ("in", "out")}
    for name in names.values():
        os.mkfifo(name)
    log = tmp_path / "err.log"
    script = "echo early >&2; while read line; do echo $line; echo $line again >&2; done; echo over; exit 3"
    shim = start(bundle.command("/bin/sh", "-c", script))
    shim.run(bundle, stdin=names["in"], stdout=names["out"], stderr=f"json-file://{log}")
    shim.rest()
    with open(names["out"], "rb", buffering=0) as reading:
        with open(names["in"], "wb", buffering=0) as typing:
            for word in (b"one\n", b"two\n"):
                typing.write(word)
                assert reading.read(100) == word
                shim.rest()
        shim.call("CloseIO", task.CloseIORequest(id="one", stdin=True))
        assert shim.wait() == 3
        assert reading.read(100) == b"over\n"
        assert reading.read(100) == b""
    assert [line.split('"')[3] for line in log.read_text().splitlines()] == [
        "early\\n",
        "one again\\n",
        "two again\\n",
    ]


def test_what_nobody_reads_stays_for_a_reader_that_comes_later(
    start: Start, bundle: Bundle, tmp_path: Path
) -> None:
    """A fifo that is full: no output is lost, and no reader needed for it to rest."""
    out = tmp_path / "out"
    os.mkfifo(out)
    shim = start(bundle.command("/bin/sh", "-c", "yes | head -c 300000"))
    shim.run(bundle, stdout=str(out))
    shim.rest()
    with out.open("rb") as reading:
        assert len(reading.read()) == 300000
    assert shim.wait() == 0


def test_a_terminal_goes_on(start: Start, bundle: Bundle, tmp_path: Path) -> None:
    typed, shown = str(tmp_path / "in"), str(tmp_path / "out")
    for name in (typed, shown):
        os.mkfifo(name)
    bundle.process["terminal"] = True
    shim = start(
        bundle.command("/bin/sh", "-c", "stty -echo; read line; stty size; read line; echo got $line")
    )
    shim.run(bundle, stdin=typed, stdout=shown, terminal=True)
    with open(typed, "r+b", buffering=0) as typing, open(shown, "r+b", buffering=0) as showing:
        shim.rest()
        shim.call("ResizePty", task.ResizePtyRequest(id="one", width=77, height=33))
        typing.write(b"\n")
        assert b"33 77" in showing.read(100)
        shim.rest()
        typing.write(b"word\n")
        assert showing.read(100) == b"got word\r\n"
        assert shim.wait() == 0


LOGGER = """#!/bin/sh
exec 5>&-
cat <&3 >"$1"
"""


def test_a_logging_program_goes_on_and_is_reaped(start: Start, bundle: Bundle, tmp_path: Path) -> None:
    program, log = tmp_path / "logger", tmp_path / "logged"
    program.write_text(LOGGER)
    program.chmod(0o755)
    shim = start(bundle.command("/bin/sh", "-c", "echo one; sleep 2; echo two"))
    shim.run(bundle, stdout=f"binary://{program}?{log}=")
    shim.rest()
    assert shim.wait() == 0
    wait_until(lambda: log.exists() and log.read_text() == "one\ntwo\n")
    shim.delete()
    children = Path(f"/proc/{shim.pid}/task/{shim.pid}/children")
    wait_until(lambda: not children.read_text(), what="the program to be reaped")


def test_states_between_go_on(start: Start, bundle: Bundle) -> None:
    """Created and not started; an exec likewise; paused."""
    shim = start(bundle.command("/bin/sleep", "1000"))
    shim.create(bundle)
    shim.rest()
    shim.start()
    shim.add(bundle, "later", "/bin/sh", "-c", "exit 5")
    shim.call("Pause", task.PauseRequest(id="one"))
    shim.rest()
    assert shim.status() == PAUSED
    shim.call("Resume", task.ResumeRequest(id="one"))
    assert shim.status() == RUNNING
    shim.start("later")
    assert shim.wait("later") == 5


def test_orphans_are_reaped_and_a_killed_container_is_noticed(start: Start, bundle: Bundle) -> None:
    bundle.linux["namespaces"] = [each for each in bundle.linux["namespaces"] if each["type"] != "pid"]
    shim = start(bundle.command("/bin/sh", "-c", "(sleep 0.6 &) ; sleep 1000"))
    shim.run(bundle)
    shim.rest()
    children = Path(f"/proc/{shim.pid}/task/{shim.pid}/children")
    wait_until(lambda: len(children.read_text().split()) == 1, what="the orphan to be reaped")
    shim.rest()


def test_events_are_told_after_a_rest(start: Start, bundle: Bundle, sink: EventSink) -> None:
    shim = start(bundle.command("/bin/sleep", "1000"), events=sink.path)
    init = shim.run(bundle)
    shim.rest()
    os.kill(init, signal.SIGKILL)
    sink.wait_for("create", "start", "exit")


def test_a_frame_that_is_half_there_keeps_it_awake(start: Start, bundle: Bundle) -> None:
    shim = start(bundle.command("/bin/sleep", "1000"))
    shim.run(bundle)
    request = ttrpc.Request(
        service=TASK_V2.full_name, method="State", payload=task.StateRequest(id="one").encode()
    )
    frame = ttrpc.encode(1, ttrpc.REQUEST, request.encode(), flags=ttrpc.REMOTE_CLOSED)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(shim.path)
        client.sendall(frame[:15])
        worker = shim.worker()
        with pytest.raises(TimeoutError):
            wait_until(lambda: shim.workers() != [worker], timeout_s=1)
        client.sendall(frame[15:])
        (answer,) = ttrpc.Decoder().feed(client.recv(4096))
        assert answer.stream == 1
        shim.rest()
        # The same connection, after a rest.
        client.sendall(ttrpc.encode(3, ttrpc.REQUEST, request.encode(), flags=ttrpc.REMOTE_CLOSED))
        (answer,) = ttrpc.Decoder().feed(client.recv(4096))
        assert answer.stream == 3


def test_without_a_warm_parent_it_is_woken_all_the_same_and_founds_one(
    start: Start, shims: Shims, bundle: Bundle
) -> None:
    shim = start(bundle.command("/bin/sleep", "1000"))
    shim.run(bundle)
    shim.rest()
    shims.kill(*shims.warm_parents())
    assert shim.status() == RUNNING
    assert len(shims.warm_parents()) == 1
    shim.rest()
    assert shim.status() == RUNNING
    assert len(shims.warm_parents()) == 1


def test_a_worker_that_is_killed_is_followed_by_one_that_goes_on(
    start: Start, bundle: Bundle, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    script = "i=0; while [ $i -lt 700 ]; do echo line $i; i=$((i+1)); sleep 0.005; done; exit 6"
    shim = start(bundle.command("/bin/sh", "-c", script))
    shim.run(bundle, stdout=f"file://{log}")
    shim.add(bundle, "more", "/bin/sh", "-c", "sleep 1.5; exit 4")
    shim.start("more")
    for _ in range(3):
        shim.kill_worker()
        shim.reconnect()
        assert shim.status() == RUNNING
    assert shim.wait("more") == 4
    assert shim.wait() == 6
    assert log.read_text() == "".join(f"line {number}\n" for number in range(700))
    assert shim.delete().exit_status == 6


def test_ends_are_known_though_the_worker_that_reaped_them_is_killed(start: Start, bundle: Bundle) -> None:
    shim = start(bundle.command("/bin/sh", "-c", "sleep 1000"))
    init = shim.run(bundle)
    shim.add(bundle, "more", "/bin/sh", "-c", "exit 9")
    shim.start("more")
    assert shim.wait("more") == 9
    shim.kill_worker()
    shim.reconnect()
    assert shim.wait("more") == 9
    worker = shim.worker()
    os.kill(worker, signal.SIGSTOP)
    os.kill(init, signal.SIGTERM)
    os.kill(init, signal.SIGKILL)
    os.kill(worker, signal.SIGKILL)
    shim.reconnect()
    assert shim.wait() == 137


def test_who_asks_a_shim_to_end_is_heard_while_it_rests(start: Start, bundle: Bundle) -> None:
    shim = start(bundle.command("/bin/true"))
    shim.rest()
    os.kill(shim.pid, signal.SIGTERM)
    wait_until(lambda: not alive(shim.pid) and not shim.workers())
    assert not Path(shim.path).exists()


def test_a_holder_that_is_killed_takes_its_worker_with_it(start: Start, bundle: Bundle) -> None:
    """containerd has to notice, and cleans up."""
    shim = start(bundle.command("/bin/sleep", "1000"))
    shim.run(bundle)
    shim.worker()
    os.kill(shim.pid, signal.SIGKILL)
    wait_until(lambda: not shim.workers())


@pytest.mark.parametrize("text", ["soon", "0", "-1", "nan", "1e9"])
def test_a_rest_that_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="CLOCHE_SHIM_REST"):
        rest_of({"CLOCHE_SHIM_REST": text})
