"""Checkpoints that podman asks cloche-runc for."""

from __future__ import annotations

import uuid

from tests.runtime.face.test_with_podman import Podman, podman
from tests.waiting import wait_until

__all__ = ["podman"]

COUNTING = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done"


def test_podman_checkpoints_and_restores_a_container(criu: str, podman: Podman) -> None:
    name = f"cloche-test-{uuid.uuid4().hex[:8]}"
    flags = ("--detach", "--name", name)
    assert podman.run("sh", "-c", COUNTING, flags=flags).returncode == 0

    def count() -> int:
        lines = podman("logs", name).stdout.split()
        return int(lines[-1]) if lines else 0

    wait_until(lambda: count() > 2, timeout_s=30)
    done = podman("container", "checkpoint", name)
    assert done.returncode == 0, done.stderr
    assert podman("inspect", "--format", "{{.State.Status}}", name).stdout == "exited\n"
    reached = count()
    done = podman("container", "restore", name)
    assert done.returncode == 0, done.stderr
    wait_until(lambda: count() > reached, timeout_s=30)
