"""`Engine.run`: what it gives, what it refuses, and what it leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import cloche
from cloche.engine.engine import Engine
from cloche.engine.images import Image
from cloche.engine.options import MountOption, Options
from cloche.errors import DeadlineExceeded, InvalidArgument, NotFound, ResourceExhausted
from cloche.runtime.container import ExecFailed
from tests.leftovers import children
from tests.waiting import wait_until

pytestmark = pytest.mark.system


def _out(
    engine: Engine, image: Image | str, script: str, options: Options | None = None, **settings: object
) -> str:
    result = engine.run(image, ["sh", "-c", script], options=options, timeout_s=20, **settings)  # type: ignore[arg-type]  # handed through as it is
    assert result.exit_code == 0, result
    return result.stdout.decode()


def _descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def test_the_readmes_example(places: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOCHE_ROOT", places[0])
    monkeypatch.setenv("CLOCHE_STATE", places[1])
    with cloche.Engine() as engine:
        image = engine.images.from_host("readme", ["/bin/sh", "/bin/cat"])
        result = engine.run(
            image, ["sh", "-c", "echo hello; exit 3"], memory="64m", network="none", timeout_s=5
        )
        assert (result.exit_code, result.stdout) == (3, b"hello\n")


def test_input_is_given_and_output_kept_apart(engine: Engine, tools: Image) -> None:
    sent = os.urandom(300_000)
    result = engine.run(tools, ["sh", "-c", "cat; echo error >&2"], stdin=sent, timeout_s=20)
    assert result == cloche.engine.run.Result(0, sent, b"error\n")
    assert engine.run(tools, ["cat"], timeout_s=20).stdout == b""


def test_settings_reach_the_container(engine: Engine, tools: Image) -> None:
    script = (
        "id -u; id -g; echo $A; cat /proc/self/cgroup | head -c0; stat -c %n /in; touch /x || echo read-only"
    )
    result = engine.run(
        tools,
        ["sh", "-c", script],
        user="1000:100",
        env={"A": "b"},
        workdir="/tmp",
        read_only=True,
        mounts=[MountOption("bind", "/in", "/usr", read_only=True)],
        timeout_s=20,
    )
    assert result.stdout.decode().split() == ["1000", "100", "b", "/in", "read-only"]


def test_a_timeout_kills_and_gives_what_was_written(engine: Engine, tools: Image) -> None:
    begin = time.monotonic()
    with pytest.raises(DeadlineExceeded) as caught:
        engine.run(tools, ["sh", "-c", "echo part; sleep 100"], timeout_s=0.3)
    assert time.monotonic() - begin < 5
    assert caught.value.result.stdout == b"part\n"  # type: ignore[attr-defined]  # what pytest caught has it
    assert caught.value.result.exit_code == 137  # type: ignore[attr-defined]  # what pytest caught has it


def test_too_much_output_kills_and_gives_what_fits(engine: Engine, tools: Image) -> None:
    with pytest.raises(ResourceExhausted) as caught:
        engine.run(
            tools, ["sh", "-c", "while :; do echo 0123456789; done"], output_limit_bytes=100_000, timeout_s=20
        )
    assert len(caught.value.result.stdout) == 100_000  # type: ignore[attr-defined]  # what pytest caught has it


def test_a_program_that_outgrows_its_memory_is_killed(engine: Engine, tools: Image) -> None:
    hog = 'a=0123456789; while :; do a="$a$a"; done'
    result = engine.run(tools, ["sh", "-c", hog], memory="16m", timeout_s=30)
    assert result.exit_code == 137


def test_a_fork_bomb_ends_at_the_pids_limit(engine: Engine, tools: Image) -> None:
    result = engine.run(
        tools, ["sh", "-c", "for i in 1 2 3 4 5 6 7 8 9; do sleep 5 & done; wait"], pids_limit=5, timeout_s=20
    )
    assert result.exit_code != 0
    assert b"fork" in result.stderr.lower()


def test_a_missing_program_and_one_that_cannot_run_are_told_apart(engine: Engine, tools: Image) -> None:
    for program, errno in (("nowhere", 2), ("/etc", 13)):
        with pytest.raises(ExecFailed) as caught:
            engine.run(tools, [program], timeout_s=20)
        assert caught.value.errno == errno


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"memory": "1k"}, InvalidArgument),
        ({"memory": "lots"}, InvalidArgument),
        ({"network": "no-such-network"}, NotFound),
        ({"user": "nobody-here"}, NotFound),
        ({"workdir": "relative"}, InvalidArgument),
        ({"mounts": [MountOption("bind", "/x", "/nowhere/at/all")]}, NotFound),
        ({"env": {"A": "\0"}}, InvalidArgument),
        ({"options": Options(cap_add=("NOTHING",))}, InvalidArgument),
    ],
)
def test_wrong_settings_are_refused_and_leave_nothing(
    engine: Engine, tools: Image, settings: dict[str, object], error: type[Exception]
) -> None:
    engine.run(tools, ["true"], timeout_s=20)
    before = _descriptors()
    with pytest.raises(error):
        engine.run(tools, ["true"], timeout_s=20, **settings)  # type: ignore[arg-type]  # handed through as it is
    assert _descriptors() == before
    base = engine._ephemeral._base  # type: ignore[union-attr]  # it is there, or the test fails
    assert len(os.listdir(f"{base}/default")) <= 1, "but for the stage that waits for the next run"


def test_an_unknown_image_is_not_found(engine: Engine) -> None:
    with pytest.raises(NotFound, match="no such image: nowhere"):
        engine.run("nowhere", ["true"])


def test_runs_leave_no_descriptor_directory_or_child_behind(engine: Engine, tools: Image) -> None:
    engine.run(tools, ["true"], timeout_s=20)
    before, children_before = _descriptors(), children()
    for _ in range(5):
        engine.run(tools, ["touch", "/made"], timeout_s=20)
        engine.run(tools, ["true"], timeout_s=20)
    assert _descriptors() == before
    base = engine._ephemeral._base  # type: ignore[union-attr]  # it is there, or the test fails
    assert len(os.listdir(f"{base}/default")) <= 1, "but for the stage that waits for the next run"
    assert children() == children_before


def test_nothing_is_shared_between_runs(engine: Engine, tools: Image) -> None:
    spoil = "touch /mine; rm /bin/cat; for f in hosts hostname resolv.conf; do echo spoilt > /etc/$f; done"
    engine.run(tools, ["sh", "-c", spoil], timeout_s=20)
    assert "spoilt" not in _out(engine, tools, "cat /etc/hosts /etc/hostname /etc/resolv.conf")
    assert _out(engine, tools, "ls /mine 2>/dev/null || echo gone; echo here | cat") == "gone\nhere\n"


def test_many_threads_may_run_at_once(engine: Engine, tools: Image) -> None:
    def one(number: int) -> bytes:
        return engine.run(tools, ["sh", "-c", f"echo {number}; cat"], stdin=b"x", timeout_s=60).stdout

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(one, range(18))) == [b"%d\nx" % number for number in range(18)]


def test_the_host_program_is_left_alone(engine: Engine, tools: Image) -> None:
    handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
    engine.run(tools, ["true"], timeout_s=20)
    assert handlers == {number: signal.getsignal(number) for number in signal.valid_signals()}
    with open("/proc/self/status", encoding="ascii") as file:
        assert "Threads:\t" in file.read()
    assert threading.active_count() >= 1


def test_an_image_volume_is_the_runs_own_and_begins_with_the_images_files(
    engine: Engine, tools: Image
) -> None:
    options = Options(mounts=(MountOption("volume", "/etc"),))
    script = "ls /etc/passwd && touch /etc/new && ls /etc/new"
    assert _out(engine, tools, script, options) == "/etc/passwd\n/etc/new\n"


_VICTIM = """
import os, sys, threading, time
from cloche.engine.engine import Engine
engine = Engine(sys.argv[1], sys.argv[2])
threading.Thread(target=engine.run, args=("tools", ["sh", "-c", "echo; sleep 1000"]), daemon=True).start()
state = sys.argv[2] + "/default"
os.makedirs(state, exist_ok=True)
while not any(os.path.exists(f"{state}/{name}/state.json") for name in os.listdir(state)):
    time.sleep(0.01)
print("running", flush=True)
sys.stdin.read()
"""


def test_what_a_killed_process_leaves_is_removed_by_the_next_engine(places: tuple[str, str]) -> None:
    root, state = places
    with subprocess.Popen(
        [sys.executable, "-c", _VICTIM, root, state],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": "src"},
    ) as victim:
        assert victim.stdout is not None
        assert victim.stdout.readline() == b"running\n"
        victim.kill()
    (container_id,) = [name for name in os.listdir(f"{state}/default") if not name.startswith("@")]
    with Engine(root, state) as engine:
        assert engine.run("tools", ["true"], timeout_s=20).exit_code == 0
        assert not os.path.exists(f"{state}/default/{container_id}")
        assert not list(Path("/sys/fs/cgroup").glob(f"*/cloche-{container_id}"))
        owners = os.listdir(f"{root}/ephemeral")
        assert len(owners) == 1, owners
        with engine._context.metadata.read() as tx:
            assert len(tx.execute("SELECT * FROM leases")) == 1
    assert os.listdir(f"{root}/ephemeral") == []
    wait_until(lambda: not os.path.exists(f"{state}/default/{container_id}"))
