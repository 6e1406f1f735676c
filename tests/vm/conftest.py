"""The guest, booted once for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.vm.machine import Guest, boot


@pytest.fixture(scope="session")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    """A running machine with cgroup2 alone."""
    running = boot(tmp_path_factory.mktemp("vm"))
    yield running
    running.close()
