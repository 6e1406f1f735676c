"""Fixtures of the command line's tests."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from tests import peers
from tests.cli.machine import IMAGE, PROGRAMS, Machine


@pytest.fixture(scope="session")
def stores(cloche: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """Stores that all tests of the command line share, with the image `tools` in them."""
    peers.require_root()
    machine = Machine(cloche, tmp_path_factory.mktemp("cli"))
    machine.ok("image", "from-host", IMAGE, *PROGRAMS)
    yield machine
    machine.clean()


@pytest.fixture
def machine(stores: Machine) -> Iterator[Machine]:
    """The stores, without containers."""
    yield stores
    stores.clean()


@pytest.fixture
def name() -> str:
    """A name for a container of the test's own."""
    return f"test-{uuid.uuid4().hex[:8]}"
