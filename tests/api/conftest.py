"""cloched, with an image of busybox, for the real ctr."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import leftovers, peers
from tests.daemons import Cloched
from tests.layouts import Layout, tar_directory

IMAGE = "test.example/busybox:latest"


@pytest.fixture(scope="session")
def archive(busybox_rootfs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An OCI archive with an image of busybox called IMAGE."""
    place = tmp_path_factory.mktemp("image")
    layout = Layout(place / "layout")
    layout.image(IMAGE, [tar_directory(busybox_rootfs)])
    return layout.archive(place / "image.tar")


@pytest.fixture(scope="package")
def place() -> Iterator[Path]:
    """A directory with a short name, which is empty afterwards but for what can be deleted."""
    directory = tempfile.mkdtemp(prefix="d-")
    yield Path(directory)
    leftovers.remove_tree(directory)


@pytest.fixture(scope="package")
def running(place: Path, archive: Path) -> Iterator[Cloched]:
    """cloched with the image, shared by the tests of this package."""
    peers.require_root()
    with Cloched(place) as daemon:
        daemon.ok("images", "import", str(archive))
        yield daemon


@pytest.fixture
def cloched(running: Cloched) -> Cloched:
    """The same; what a test left of tasks and containers is an error."""
    return running


@pytest.fixture(params=["ctr", "cloche ctr"])
def either_ctr(running: Cloched, request: pytest.FixtureRequest) -> Iterator[None]:
    """Runs a test once with the real ctr, and once with ours."""
    if request.param == "cloche ctr":
        running.client = (peers.command("cloche"), "--state", f"{running.directory}/state", "ctr")
    yield
    running.client = ()


@pytest.fixture
def name() -> str:
    """An id that no other test has."""
    return f"c-{uuid.uuid4().hex[:8]}"
