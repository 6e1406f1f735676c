"""Fixtures of the daemon's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon.service import Server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server with the test's service."""
    with Server(tmp_path) as running:
        yield running
