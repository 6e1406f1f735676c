"""What tests of a shim that serves begin with."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloche.errors import ClocheError
from tests.bundles import Bundle
from tests.shim.eventsink import EventSink
from tests.shim.served import Served


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[EventSink]:
    """Somebody who takes events, as containerd does."""
    with EventSink(str(tmp_path / "e")) as running:
        yield running


@pytest.fixture
def shim(cgroup_parent: str, tmp_path: Path, sink: EventSink) -> Iterator[Served]:
    """A shim that serves; its containers are deleted afterwards."""
    with Served(tmp_path, events=sink.path) as running:
        yield running
        delete_all(running)
        assert not running.said()
    shutil.rmtree(running.state, ignore_errors=True)


def delete_all(running: Served) -> None:
    """Kill and delete what a shim has made."""
    from cloche.runtime.container import containers

    for container in containers(f"{running.state}/tests"):
        try:
            container.kill(9, everyone=True)
        except ClocheError:
            pass
        container.delete(force=True)


@pytest.fixture
def sleeper(bundle: Bundle, cgroup_parent: str) -> Bundle:
    """A bundle whose program sleeps, in a cgroup of the test's."""
    bundle.linux["cgroupsPath"] = f"{cgroup_parent}/one"
    return bundle.command("/bin/sleep", "1000")
