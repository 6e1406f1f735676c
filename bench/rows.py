"""The comparisons: each builds what it needs on the stage and returns rows of the table."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from itertools import count

from bench import daemon, pods, runtimes, shims, volume
from bench.measure import Work, command, side_by_side
from bench.stage import Stage
from bench.table import Row
from bench.unary import measure
from tests.peers import peer


def embedded(stage: Stage, rounds: int) -> list[Row]:
    """A container from an image by one command."""
    names = count()
    ours = command(
        stage.command("cloche"), *stage.places, "run", "--rm", "--network", "none", stage.image, "/bin/true"
    )

    def theirs() -> None:
        command(*stage.containerd.ctr("run", "--rm", stage.image, f"bench-{next(names)}", "/bin/true"))()

    return [Row("cloche run --rm", "ctr run --rm", side_by_side([ours, theirs], rounds), 0.5, 0.15)]


def library(stage: Stage, rounds: int) -> list[Row]:
    """A container from a warm Python program."""
    runc_arguments = ("run", "--bundle", str(stage.bundle), "bench")
    runc = command(peer("runc"), "--root", str(stage.path / "theirs"), *runc_arguments)
    sandbox = ("--unshare-all", "--ro-bind", str(stage.rootfs), "/", "--proc", "/proc", "--dev", "/dev")
    bwrap = command(peer("bwrap"), *sandbox, "/bin/true")
    engine = stage.engine

    def ours() -> None:
        result = engine.run(stage.image, ["/bin/true"], network="none")
        if result.exit_code:
            raise RuntimeError(f"engine.run: exit code {result.exit_code}: {result.stderr!r}")

    ours_s, runc_s, bwrap_s = side_by_side([ours, runc, bwrap], rounds)
    return [
        Row("engine.run, warm", "runc run", [ours_s, runc_s], 0.6, 0.25),
        Row("engine.run, warm", "bwrap --unshare-all", [ours_s, bwrap_s], None, 1.0),
    ]


def pull(stage: Stage, rounds: int) -> list[Row]:
    """A large image from a registry of this machine, unpacked."""
    reference = stage.large_image
    root, state = stage.disk.path / "root", stage.disk.path / "state"
    containerd = stage.disk_containerd

    def clean() -> None:
        for directory in (root, state):
            shutil.rmtree(directory, ignore_errors=True)
        containerd.run("images", "rm", "--sync", reference)
        subprocess.run(["sync"], check=True)

    places = ("--root", str(root), "--state", str(state))
    ours = command(stage.command("cloche"), *places, "pull", "--quiet", reference)
    theirs = command(*containerd.ctr("images", "pull", "--plain-http", reference))
    rows = [Row("pull and unpack, 216 MB", "ctr images pull", _pulls(ours, theirs, rounds, clean), 1.0, 0.6)]
    clean()
    return rows


def _pulls(ours: Work, theirs: Work, rounds: int, clean: Work) -> list[float]:
    return side_by_side([ours, theirs], max(3, rounds // 10), between=clean)


def commands(stage: Stage, rounds: int) -> list[Row]:
    """The commands that only answer."""
    cloche = (stage.command("cloche"), *stage.places)
    version = [command(*cloche, "--version"), command(*stage.containerd.ctr("version"))]
    listing = [command(*cloche, "ps"), command(*stage.containerd.ctr("containers", "ls"))]
    return [
        Row("cloche --version", "ctr version", side_by_side(version, rounds), 3.0, 1.5),
        Row("cloche ps", "ctr containers ls", side_by_side(listing, rounds), 3.0, 1.5),
    ]


def unary(stage: Stage, rounds: int) -> list[Row]:
    """What a call costs the daemon before it does anything."""
    return measure(stage.path, rounds)


ALL: dict[str, Callable[[Stage, int], list[Row]]] = {
    "runtime": runtimes.rows,
    "embedded": embedded,
    "library": library,
    "pull": pull,
    "commands": commands,
    "unary": unary,
    "daemon": daemon.rows,
    "shim": shims.work,
    "shim-memory": shims.memory_of_some,
    "pods": pods.rows,
}
"""What is measured where no name is given."""

ON_REQUEST: dict[str, Callable[[Stage, int], list[Row]]] = {
    "shim-memory-500": shims.memory_of_many,
    "shim-probes": shims.probes,
    "pods-110": pods.crowd,
    "pods-250": pods.many,
    "daemon-memory": daemon.memory,
    "volume": volume.rows,
}
"""What takes minutes: measured where it is named."""
