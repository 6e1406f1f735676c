"""A streaming server for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cri_streaming.local import LocalServer


@pytest.fixture
def server() -> Iterator[LocalServer]:
    running = LocalServer()
    try:
        yield running
    finally:
        running.close()
