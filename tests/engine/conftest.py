"""An engine on a root of the session's own, with one small image made of the host's programs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cloche.engine.engine import Engine
from cloche.engine.images import Image
from tests import peers

PROGRAMS = (
    *(
        "/bin/sh",
        "/bin/cat",
        "/bin/true",
        "/bin/ls",
        "/bin/sleep",
        "/bin/hostname",
        "/bin/mkdir",
        "/bin/touch",
    ),
    *(
        "/usr/bin/id",
        "/usr/bin/env",
        "/usr/bin/head",
        "/usr/bin/stat",
        "/bin/rm",
        "/usr/bin/tty",
        "/usr/bin/stty",
    ),
    *("/bin/chmod", "/bin/grep", "/usr/bin/unshare", "/bin/mount", "/usr/bin/printf", "/bin/readlink"),
)


@pytest.fixture(scope="session")
def places(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """(root, state) of the session's engine, with the image `tools` in it."""
    peers.require_root()
    directory: Path = tmp_path_factory.mktemp("e")
    root, state = str(directory / "root"), str(directory / "state")
    with Engine(root, state) as engine:
        engine.images.from_host("tools", PROGRAMS)
    return root, state


@pytest.fixture
def engine(places: tuple[str, str]) -> Iterator[Engine]:
    """The engine; a test's containers are removed after it, and what else it leaves is an error."""
    with Engine(*places) as made:
        yield made
        for container in made.containers.list(all=True):
            container.remove(force=True, volumes=True)
        left = [path.name for path in Path(places[1], "default").glob("[!@]*")]
        assert not left, f"runtime state left: {left}"


@pytest.fixture
def tools(engine: Engine) -> Image:
    """The image."""
    return engine.images.get("tools")
