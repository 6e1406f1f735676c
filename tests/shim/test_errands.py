"""Errands: calls that forks carry out, and what comes back."""

from __future__ import annotations

import _thread
import functools
import os
import signal
import threading
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from cloche import errors
from cloche.kernel import pidfd
from cloche.runtime.failures import ExecFailed
from cloche.shim.driver import Created, Spawned
from cloche.shim.errands import ErrandLane
from cloche.shim.exits import Children
from cloche.shim.loop import Loop
from cloche.wire.messages.google import Any as Packed
from cloche.wire.status import StatusError
from tests.waiting import wait_until


def in_a_process(body: Callable[[], None]) -> Callable[[], None]:
    """Run a test in a fork: signals, and being a subreaper, are a whole process's."""

    @functools.wraps(body)
    def run() -> None:
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            said = ""
            try:
                body()
            except BaseException:
                said = traceback.format_exc()
            os.write(writing, said.encode())
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            said = pipe.read().decode()
        os.waitpid(child, 0)
        assert not said, said

    return run


class Lane:
    """A lane in a loop of its own; the process is the test's."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.children = Children(self.loop)
        self.lane = ErrandLane(self.loop, self.children)

    def ask(self, work: Callable[[], Any], keep: tuple[int, ...] = (), *, brief: bool = False) -> Any:
        """What one call gives or raises."""
        found: list[Any] = []

        def done(result: Any, error: BaseException | None) -> None:
            found.append((result, error))
            self.loop.stop()

        self.loop.call_soon(lambda: self.lane.run(work, done, keep=keep, brief=brief))
        self.loop.run()
        result, error = found[0]
        if error is not None:
            raise error
        return result


def _spawn() -> Spawned:
    pid = os.fork()
    if not pid:
        os._exit(7)
    return Spawned(pid, pidfd.open(pid), os.open("/dev/null", os.O_RDONLY))


def raising(error: BaseException) -> Callable[[], None]:
    def work() -> None:
        raise error

    return work


@in_a_process
def test_what_comes_back_is_what_was_made() -> None:
    lane = Lane()
    assert lane.ask(lambda: None) is None
    assert lane.ask(lambda: [1, 2, 3]) == [1, 2, 3]
    packed = Packed(type_url="a", value=bytes(range(256)) * 2000)
    assert lane.ask(lambda: packed) == packed
    assert lane.ask(os.getpid) != os.getpid()


@in_a_process
def test_a_process_that_a_fork_has_started_is_ours_when_we_hear_of_it() -> None:
    lane = Lane()
    created = lane.ask(lambda: Created(_spawn(), True, {"pids": "/x"}))
    assert (created.shares_pids, created.cgroup_paths) == (True, {"pids": "/x"})
    spawned = created.spawned
    assert os.readlink(f"/proc/self/fd/{spawned.console}") == "/dev/null"
    ended = pidfd.wait(spawned.pidfd)
    assert ended
    assert ended.status == 7


@in_a_process
def test_errors_come_back_as_what_they_are() -> None:
    lane = Lane()
    for kind in (errors.NotFound, errors.FailedPrecondition, errors.Unimplemented):
        with pytest.raises(kind, match="words"):
            lane.ask(raising(kind("words")))
    with pytest.raises(ExecFailed) as failed:
        lane.ask(raising(ExecFailed("no program", 2)))
    assert failed.value.errno == 2
    lane = Lane()
    with pytest.raises(StatusError) as status:
        lane.ask(raising(StatusError(2, "unknown")))
    assert status.value.code == 2
    with pytest.raises(OSError, match="No such file") as missing:
        lane.ask(lambda: os.stat("/no/such"))
    assert missing.value.errno == 2
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        lane.ask(lambda: 1 // 0)


@in_a_process
def test_a_fork_that_dies_is_an_answer() -> None:
    with pytest.raises(errors.Unavailable, match="ended with status 137"):
        Lane().ask(lambda: os.kill(os.getpid(), signal.SIGKILL))


@in_a_process
def test_a_fork_has_the_descriptors_that_it_needs_and_no_others() -> None:
    lane = Lane()
    kept, other = os.open("/dev/null", os.O_RDONLY), os.open("/dev/null", os.O_RDONLY)
    found = lane.ask(lambda: [int(name) for name in os.listdir("/proc/self/fd")], keep=(kept,))
    assert kept in found
    assert other not in found


@in_a_process
def test_what_touches_little_is_done_by_a_thread_that_ends_at_once() -> None:
    lane = Lane()
    for _ in range(10):
        assert lane.ask(os.getpid, brief=True) == os.getpid()
        wait_until(lambda: threading.active_count() == 1 and not _thread._count())
        assert lane.ask(os.getpid) != os.getpid()
        lane.lane._recent = 0


@in_a_process
def test_who_calls_often_is_served_by_a_thread() -> None:
    lane = Lane()
    assert os.getpid() not in {lane.ask(os.getpid) for _ in range(4)}
    assert lane.ask(os.getpid) == os.getpid()
    assert threading.current_thread() is threading.main_thread()
