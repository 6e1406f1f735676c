"""A shim of the installed command whose workers come and go quickly."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

from cloche.shim.client import Client
from tests.bundles import Bundle
from tests.shim.served import Served
from tests.shim.starting import ADDRESS, Shims, alive, workers
from tests.waiting import wait_until

REST_S = 0.2


class Resting(Served):
    """See the module. Its bundle is that of the container `one`, too."""

    def __init__(self, shims: Shims, bundle: Bundle, *, events: str = "", rest_s: float = REST_S) -> None:
        self.bundle = bundle
        self.state = shims.directory / "runtime"
        self.log = bundle.path / "no-log"
        self.id = bundle.path.name
        self.shims = shims
        environment = shims.environment(CLOCHE_SHIM_REST=str(rest_s), TTRPC_ADDRESS=events)
        words = [shims.program, "-namespace", "tests", "-address", ADDRESS, "-id", self.id, "start"]
        done = subprocess.run(
            words, cwd=bundle.path, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=True
        )
        self.path = done.stdout.decode().removeprefix("unix://")
        self.client = Client(self.path)
        wait_until((bundle.path / "shim.pid").exists)
        shims.started.append(self.pid)

    @property
    def pid(self) -> int:
        """What stays."""
        return int((self.bundle.path / "shim.pid").read_text())

    def workers(self) -> list[int]:
        """Who works now: one or none."""
        return workers(self.id)

    def rest(self) -> None:
        """Wait until it rests."""
        wait_until(lambda: not self.workers(), what="the shim to rest")
        assert alive(self.pid)

    def worker(self) -> int:
        """Who works, woken by somebody else who comes."""
        self.connect().close()
        (found,) = wait_until(self.workers, what="a worker")
        return found

    def kill_worker(self) -> int:
        """kill -9; it may have to be woken for that. Who it was."""
        worker = (self.workers() or [self.worker()])[0]
        os.kill(worker, 9)
        wait_until(lambda: worker not in self.workers())
        return worker

    def reconnect(self) -> None:
        """A worker that was killed has taken its connections with it."""
        self.client.close()
        self.client = Client(self.path)

    def memory_kb(self) -> int:
        """What stays, with its part of what it shares."""
        lines = Path(f"/proc/{self.pid}/smaps_rollup").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))

    def said(self) -> str:
        """Nobody has looked."""
        return ""

    def __exit__(self, *_: Any) -> None:
        self.client.close()
        self.shims.kill(*filter(alive, [self.pid]))
        wait_until(lambda: not self.workers())
        Path(self.path).unlink(missing_ok=True)
