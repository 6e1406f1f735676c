"""Our shim beside containerd's own, under the same containerd."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from bench.accounts import account
from bench.measure import Work, command, pss_bytes, side_by_side
from bench.stage import Stage
from bench.table import Row
from cloche.shim.client import Client
from cloche.wire.messages import task
from cloche.wire.messages.google import Any
from cloche.wire.services.task import TASK_V2
from tests.leftovers import speaking_of

OURS, THEIRS = "io.containerd.cloche.v1", "io.containerd.runc.v2"
SHIM = "containerd-shim-cloche-v1"
NAMES = count()
NAMESPACE = "default"

START_LIMIT_S = 0.005
OUTPUT_BYTES = 1_000_000
# After so long our workers have ended, and what they are forked of.
REST_S = 25.0


def work(stage: Stage, rounds: int) -> list[Row]:
    """What users wait for."""
    return [*run(stage, rounds), *execute(stage, rounds), *start(stage, rounds)]


def run(stage: Stage, rounds: int) -> list[Row]:
    """One container from beginning to end."""

    def running(runtime: str) -> Work:
        def once() -> None:
            words = ("run", "--rm", "--runtime", runtime, stage.image, f"bench-{next(NAMES)}", "/bin/true")
            command(*stage.containerd.ctr(*words))()

        return once

    times = side_by_side([running(OURS), running(THEIRS)], rounds)
    return [Row("ctr run --rm, our shim", "containerd-shim-runc-v2", times, 0.8, 0.5)]


def execute(stage: Stage, rounds: int) -> list[Row]:
    """One more process in a container, as a probe of Kubernetes is."""

    def executing(name: str) -> Work:
        def once() -> None:
            words = ("task", "exec", "--exec-id", f"e{next(NAMES)}", name, "/bin/true")
            command(*stage.containerd.ctr(*words))()

        return once

    with containers(stage, OURS, 1) as ours, containers(stage, THEIRS, 1) as theirs:
        times = side_by_side([executing(ours[0]), executing(theirs[0])], rounds)
    return [Row("ctr task exec, our shim", "containerd-shim-runc-v2", times, 0.6, 0.3)]


def start(stage: Stage, rounds: int) -> list[Row]:
    """From the warm parent to a shim that answers a call, without containerd."""
    bundle = stage.directory("start")
    (bundle / "config.json").write_text("{}")
    environment = {**os.environ, "CLOCHE_STATE": str(stage.path / "shims")}
    taken = [_start(stage.command(SHIM), bundle, environment) for _ in range(rounds + 1)]
    median = statistics.median(taken[1:])
    return [Row("warm parent to answering shim", "its limit", [median, START_LIMIT_S], 1.0, 0.6)]


def _start(program: str, bundle: Path, environment: dict[str, str]) -> float:
    words = [program, "-namespace", "bench", "-address", f"/{next(NAMES)}", "-id", "start", "start"]
    reading, writing = os.pipe()
    null = os.open(os.devnull, os.O_RDONLY)
    os.chdir(bundle)
    before = time.perf_counter()
    actions = [(os.POSIX_SPAWN_DUP2, null, 0), (os.POSIX_SPAWN_DUP2, writing, 1)]
    pid = os.posix_spawn(program, words, environment, file_actions=actions)
    os.close(writing)
    os.close(null)
    address = os.read(reading, 4096).decode()
    client = Client(address.removeprefix("unix://"))
    client.call(TASK_V2, "Connect", task.ConnectRequest(id="start"))
    taken = time.perf_counter() - before
    client.call(TASK_V2, "Shutdown", task.ShutdownRequest(id="start"))
    client.close()
    os.waitpid(pid, 0)
    os.close(reading)
    return taken


def memory_of_some(stage: Stage, _: int) -> list[Row]:
    """With one container, and with a hundred."""
    return [*memory(stage, 1), *memory(stage, 100)]


def memory_of_many(stage: Stage, _: int) -> list[Row]:
    """With five hundred."""
    return memory(stage, 500)


def memory(stage: Stage, number: int) -> list[Row]:
    """What the shims take for each container, all that is theirs counted, once they have done some work.

    Right after the last of them has done it; and when they have had nothing to do for a while.
    """
    busy, resting = [], []
    for runtime in (OURS, THEIRS):
        with containers(stage, runtime, number) as names:
            for name in names:
                _touch(stage, name)
            busy.append(_memory_bytes(stage, runtime) / number)
            time.sleep(REST_S)
            resting.append(_memory_bytes(stage, runtime) / number)
    theirs = "containerd-shim-runc-v2"
    return [
        Row(f"memory a container, of {number}", theirs, resting, 0.6, 0.3, "KB"),
        Row(f"memory a container, of {number}, at work", theirs, busy, None, None, "KB"),
    ]


def _memory_bytes(stage: Stage, runtime: str) -> float:
    return sum(map(pss_bytes, _processes(stage, runtime)))


def probes(stage: Stage, _: int) -> list[Row]:
    """The processors' time of a probe of each of a hundred containers: a second, or ten, after the last.

    All that is theirs counted, what has ended, too. With a probe a second each, ten times as many
    milliseconds are the percentage of one processor.
    """
    number = 100
    often: list[float] = []
    seldom: list[float] = []
    for runtime in (OURS, THEIRS):
        with account(stage.containerd.process.pid) as used, containers(stage, runtime, number) as names:
            for pause_s, taken in ((1.0, often), (10.0, seldom)):
                _probe_all(stage, names, pause_s)
                before = used.used_s()
                for _ in range(2):
                    _probe_all(stage, names, pause_s)
                taken.append((used.used_s() - before) / number / 2)
    return [
        Row(f"CPU of a probe every {what}, {number} containers", "containerd-shim-runc-v2", taken, 0.6, 0.3)
        for what, taken in (("second", often), ("ten seconds", seldom))
    ]


def _probe_all(stage: Stage, names: Sequence[str], pause_s: float) -> None:
    """And wait for the next turn."""
    begun = time.monotonic()
    for name in names:
        _touch(stage, name)
    time.sleep(max(0.0, begun + pause_s - time.monotonic()))


@contextmanager
def containers(stage: Stage, runtime: str, number: int) -> Iterator[list[str]]:
    """Containers that have written their output and sleep."""
    logs = stage.path / "logs"
    logs.mkdir(exist_ok=True)
    script = f"head -c {OUTPUT_BYTES} /dev/zero; exec sleep 100000"
    names = [f"bench-{next(NAMES)}" for _ in range(number)]
    for name in names:
        log = ("--log-uri", f"file://{logs}/{name}")
        _ctr(stage, "run", "--detach", "--runtime", runtime, *log, stage.image, name, "/bin/sh", "-c", script)
    try:
        yield names
    finally:
        for name in names:
            _ctr(stage, "task", "kill", "--signal", "SIGKILL", name)
            _ctr(stage, "task", "rm", "--force", name)
            _ctr(stage, "containers", "rm", name)


def _ctr(stage: Stage, *words: str) -> None:
    done = stage.containerd.run(*words)
    if done.returncode and "task rm" not in " ".join(words):
        raise RuntimeError(done.stderr)


def _touch(stage: Stage, name: str) -> None:
    """One exec and one Stats, said to the shim itself: a ctr for each would measure ctr."""
    bundle = stage.containerd.directory / "state" / "io.containerd.runtime.v2.task" / NAMESPACE / name
    client = Client((bundle / "address").read_text().removeprefix("unix://"))
    exec_id = f"probe-{next(NAMES)}"
    process = b'{"args": ["/bin/true"], "cwd": "/", "user": {"uid": 0, "gid": 0}}'
    spec = Any(type_url="types.containerd.io/opencontainers/runtime-spec/1/Process", value=process)
    client.call(TASK_V2, "Exec", task.ExecProcessRequest(id=name, exec_id=exec_id, spec=spec))
    client.call(TASK_V2, "Start", task.StartRequest(id=name, exec_id=exec_id))
    client.call(TASK_V2, "Wait", task.WaitRequest(id=name, exec_id=exec_id))
    client.call(TASK_V2, "Delete", task.DeleteRequest(id=name, exec_id=exec_id))
    client.call(TASK_V2, "Stats", task.StatsRequest(id=name))
    client.close()


def _processes(stage: Stage, runtime: str) -> list[int]:
    """The shims of our containerd, and with ours the warm parent."""
    shims = speaking_of(f"-address\0{stage.containerd.address}")
    if runtime == OURS:
        shims += [pid for pid in speaking_of("warm parent") if _founded_here(stage, pid)]
    return shims


def _founded_here(stage: Stage, pid: int) -> bool:
    return f"CLOCHE_STATE={stage.path}/shims".encode() in Path(f"/proc/{pid}/environ").read_bytes()
