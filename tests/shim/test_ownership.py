from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cloche.errors import FailedPrecondition
from cloche.shim import ownership
from cloche.shim.ownership import Ownership


def test_one_process_at_a_time_is_the_parent(tmp_path: Path) -> None:
    directory = str(tmp_path / "run")
    assert not ownership.held(directory)
    with Ownership(directory):
        assert ownership.held(directory)
        with pytest.raises(FailedPrecondition, match="running already"):
            Ownership(directory)
    assert not ownership.held(directory)
    Ownership(directory).release()


def test_a_waiter_goes_on_when_the_parent_ends(tmp_path: Path) -> None:
    directory = str(tmp_path)
    owner = Ownership(directory)
    waiter = threading.Thread(target=ownership.wait, args=(directory,))
    waiter.start()
    owner.release()
    waiter.join(timeout=10)
    assert not waiter.is_alive()


def test_waiting_for_nobody_returns_at_once(tmp_path: Path) -> None:
    ownership.wait(str(tmp_path / "nowhere"))
    ownership.wait(str(tmp_path))


def test_a_killed_parent_is_no_parent_any_more(tmp_path: Path) -> None:
    program = (
        "import sys; from cloche.shim.ownership import Ownership; o = Ownership(sys.argv[1]); "
        "print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": "src"},
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        assert ownership.held(str(tmp_path))
        child.kill()
    assert not ownership.held(str(tmp_path))


def test_a_waiter_that_is_just_leaving_does_not_keep_the_next_parent_out(tmp_path: Path) -> None:
    directory = str(tmp_path)
    Ownership(directory).release()
    failures: list[BaseException] = []
    over = threading.Event()

    def wait_often() -> None:
        while not over.is_set():
            ownership.wait(directory)

    waiters = [threading.Thread(target=wait_often) for _ in range(3)]
    for waiter in waiters:
        waiter.start()
    try:
        for _ in range(300):
            Ownership(directory).release()
    except FailedPrecondition as error:
        failures.append(error)
    finally:
        over.set()
        for waiter in waiters:
            waiter.join()
    assert not failures
