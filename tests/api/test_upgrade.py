"""Another build takes over while containers run."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import installations, leftovers, peers
from tests.api.conftest import IMAGE
from tests.api.test_tasks import column
from tests.daemons import Cloched
from tests.waiting import wait_until

NEWER = "99.0.0"


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory of this test's own daemon."""
    directory = tempfile.mkdtemp(prefix="d-")
    yield Path(directory)
    leftovers.remove_tree(directory)


@pytest.fixture
def newer(tmp_path: Path) -> Path:
    """The daemon's command in a second installation, of a version of its own."""
    there = tmp_path / "newer"
    door = installations.beside(there, copied=True) / "cloche" / "__init__.py"
    lines = door.read_text().splitlines()
    said = [f'__version__ = "{NEWER}"' if line.startswith("__version__") else line for line in lines]
    door.write_text("\n".join(said) + "\n")
    return there / "bin" / "cloched"


@pytest.mark.parametrize("crash", [False, True], ids=["stopped", "killed"])
def test_what_runs_goes_on_under_a_newer_build(
    place: Path, newer: Path, archive: Path, name: str, crash: bool
) -> None:
    peers.require_root()
    with Cloched(place) as daemon:
        daemon.ok("images", "import", str(archive))
        daemon.ok("run", "-d", IMAGE, name, "sh", "-c", "trap 'exit 6' TERM; while :; do sleep 0.1; done")
        pid = column(daemon.ok("tasks", "ls"), name, 1)
        if crash:
            daemon.kill()
        else:
            daemon.stop()
        assert Path("/proc", pid).exists()
        daemon.start(program=str(newer))
        assert NEWER in daemon.ok("version")
        assert column(daemon.ok("tasks", "ls"), name, 1) == pid
        executed = daemon.run("tasks", "exec", "--exec-id", "after", name, "echo", "still")
        assert executed.stdout == "still\n", executed.stderr
        assert daemon.run("run", "--rm", IMAGE, f"{name}-new", "echo", "new").stdout == "new\n"
        daemon.ok("tasks", "kill", name)
        wait_until(lambda: column(daemon.ok("tasks", "ls"), name, 2) == "STOPPED")
        # How it ended is what its own shim, of the older build, says.
        assert "exit code 6" in daemon.run("tasks", "rm", name).stderr
        daemon.ok("containers", "rm", name)
