"""Many containers one after the other: nothing may add up."""

from __future__ import annotations

import os
from pathlib import Path

from tests.bundles import Bundle
from tests.runtime.containers import Runtime

ROUNDS = 100


def held() -> tuple[int, int, int]:
    """Descriptors and children of this process, and mounts it sees."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    return len(os.listdir("/proc/self/fd")), len(children), len(mounts)


def test_rounds_of_create_start_and_delete_leave_nothing(runtime: Runtime, bundle: Bundle) -> None:
    bundle.command("true")

    def round_() -> None:
        container, process = runtime.create(bundle)
        with process:
            container.start()
            assert process.wait() == 0
        container.delete()

    round_()
    before = held()
    for _ in range(ROUNDS):
        round_()
    assert held() == before
    assert os.listdir(runtime.root) in ([], ["@filters"])
