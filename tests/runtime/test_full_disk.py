"""The disk that holds the state is full at the worst moment: nothing is left running."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloche.runtime.sealed import sealed_init
from tests.bundles import Bundle
from tests.leftovers import children
from tests.runtime.containers import Runtime


@pytest.fixture
def small(tmp_path: Path, cgroup_parent: str) -> Iterator[Runtime]:
    """A runtime whose state is on a file system of a few pages."""
    runtime = Runtime(tmp_path / "state", cgroup_parent)
    (tmp_path / "state").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", runtime.root], check=True)
    yield runtime
    subprocess.run(["umount", runtime.root], check=True)


def fill(folder: str) -> None:
    place = f"{os.path.dirname(folder)}/@filters"
    full = subprocess.run(["dd", "if=/dev/zero", f"of={place}", "bs=4k"], capture_output=True, check=False)
    assert b"No space left" in full.stderr


def test_a_container_whose_pid_cannot_be_written_down_is_gone(small: Runtime, bundle: Bundle) -> None:
    bundle.command("sleep", "1000")
    sealed_init()  # stays open, once it is
    before = os.listdir("/proc/self/fd"), children()
    with pytest.raises(OSError, match="No space left"):
        small.create(bundle, prepare=fill)
    assert (os.listdir("/proc/self/fd"), children()) == before
    assert os.listdir(small.root) == ["@filters"]
    assert not Path("/sys/fs/cgroup/pids", small.cgroup_parent.strip("/"), "c1").exists()
