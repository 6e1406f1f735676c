"""A criu that works on this machine, first on the PATH."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.peers import peer
from tests.runtime.containers import runtime

__all__ = ["runtime"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what a guest has to run: it has no podman."""
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        if "criu" in fixtures and "podman" not in fixtures:
            item.add_marker(pytest.mark.criu)


@pytest.fixture
def criu(root: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """criu, or the one that CLOCHE_TEST_CRIU names; the test ends here where it cannot read the kernel.

    That is no failure in CI either: a guest with a kernel that Debian's criu can read runs these too.
    """
    program = os.environ.get("CLOCHE_TEST_CRIU") or peer("criu")
    checked = subprocess.run([program, "check"], capture_output=True, text=True)
    if checked.returncode:
        said = checked.stderr.strip().splitlines()[:1]
        pytest.skip(f"{program} does not work on this kernel: {said}: name another with CLOCHE_TEST_CRIU")
    place = tmp_path / "criu-program"
    place.mkdir()
    (place / "criu").symlink_to(program)
    monkeypatch.setenv("PATH", f"{place}:{os.environ['PATH']}")
    return program
