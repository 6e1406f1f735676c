"""cloched beside containerd: the same ctr asks both for the same things."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count

from bench.accounts import account
from bench.measure import Work, command, in_turn, pss_bytes, side_by_side
from bench.shims import REST_S
from bench.stage import Stage
from bench.table import Row
from tests.daemons import Cloched, Containerd, Ctrd

NAMES = count()
MANY_IMAGES = 500
CLIENTS, CONTAINERS = 8, 100


def rows(stage: Stage, rounds: int) -> list[Row]:
    """What a client of the API waits for."""
    both = (stage.cloched, stage.containerd)
    runs = [_run(each, stage) for each in both]
    return [
        Row("ctr run --rm, cloched", "containerd", side_by_side(runs, rounds), 0.7, 0.4),
        _create(stage, rounds),
        _exec(stage, rounds),
        _clients(stage, rounds),
        _list(stage, rounds),
    ]


def memory(stage: Stage, _: int) -> list[Row]:
    """Daemon and shims together, with many containers that do nothing."""
    return [_memory(stage, number) for number in (100, 500)]


def _memory(stage: Stage, number: int) -> Row:
    taken = []
    for kind in (Cloched, Containerd):
        with account(os.getpid()) as used, kind(stage.directory(f"{kind.__name__}-{number}")) as daemon:
            daemon.ok("images", "import", str(stage.archive))
            names = [f"bench-{next(NAMES)}" for _ in range(number)]
            try:
                for name in names:
                    daemon.ok("run", "-d", stage.image, name, "/bin/sleep", "100000")
                time.sleep(REST_S)
                taken.append(sum(map(pss_bytes, used.others())))
            finally:
                for name in names:
                    daemon.run("tasks", "rm", "--force", name)
                daemon.run("containers", "rm", *names)
    return Row(f"memory of {number} idle containers, cloched", "containerd", taken, 0.6, 0.3, "KB")


def _run(daemon: Ctrd, stage: Stage) -> Work:
    def once() -> None:
        command(*daemon.ctr("run", "--rm", stage.image, f"bench-{next(NAMES)}", "/bin/true"))()

    return once


def _create(stage: Stage, rounds: int) -> Row:
    def creating(daemon: Ctrd) -> Work:
        return lambda: command(*daemon.ctr("containers", "create", stage.image, f"bench-{next(NAMES)}"))()

    daemons = (stage.cloched, stage.containerd)
    times = side_by_side([creating(daemon) for daemon in daemons], rounds)
    for daemon in daemons:
        daemon.ok("containers", "rm", *daemon.ok("containers", "ls", "-q").split())
    return Row("ctr containers create, cloched", "containerd", times, 1.0, 0.7)


def _exec(stage: Stage, rounds: int) -> Row:
    works: list[Work] = []
    for daemon in (stage.cloched, stage.containerd):
        daemon.ok("run", "-d", stage.image, "bench-exec", "sleep", "6000")
        works.append(_executing(daemon))
    times = side_by_side(works, rounds)
    for daemon in (stage.cloched, stage.containerd):
        daemon.run("tasks", "rm", "--force", "bench-exec")
        daemon.ok("containers", "rm", "bench-exec")
    return Row("ctr task exec, cloched", "containerd", times, 0.6, 0.3)


def _executing(daemon: Ctrd) -> Work:
    def once() -> None:
        command(*daemon.ctr("tasks", "exec", "--exec-id", f"e{next(NAMES)}", "bench-exec", "/bin/true"))()

    return once


def _clients(stage: Stage, rounds: int) -> Row:
    def starting(daemon: Ctrd) -> Work:
        def once() -> None:
            with ThreadPoolExecutor(CLIENTS) as clients:
                list(clients.map(lambda _: _run(daemon, stage)(), range(CONTAINERS)))

        return once

    works = [starting(daemon) for daemon in (stage.cloched, stage.containerd)]
    times = side_by_side(works, max(2, rounds // 15))
    return Row(f"{CONTAINERS} containers by {CLIENTS} clients", "containerd", times, 1.0, 0.6)


def _list(stage: Stage, rounds: int) -> Row:
    daemons = (stage.cloched, stage.containerd)
    names = [f"bench.example/image:{number}" for number in range(MANY_IMAGES)]
    for daemon in daemons:
        in_turn([command(*daemon.ctr("images", "tag", stage.image, name)) for name in names])()
    works = [command(*daemon.ctr("images", "ls")) for daemon in daemons]
    times = side_by_side(works, max(3, rounds // 3))
    for daemon in daemons:
        daemon.ok("images", "rm", *names)
    return Row(f"ctr images ls, {MANY_IMAGES} images", "containerd", times, 1.0, 0.7)
