"""Fixtures of the tests of the runtime's command line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import peers
from tests.runtime.face.runtimes import Runtime


@pytest.fixture
def ours(root: None, cloche_runc: str, tmp_path: Path) -> Iterator[Runtime]:
    """cloche-runc with a state root of the test's own."""
    with Runtime(cloche_runc, tmp_path / "ours") as runtime:
        yield runtime


@pytest.fixture
def theirs(root: None, tmp_path: Path) -> Iterator[Runtime]:
    """Debian's runc, likewise."""
    with Runtime(peers.peer("runc"), tmp_path / "theirs") as runtime:
        yield runtime


@pytest.fixture(params=["cloche-runc", "runc"])
def runtime(root: None, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Runtime]:
    """Each in turn: what the reference does not pass is no test."""
    name = request.param
    program = peers.peer(name) if name == "runc" else peers.command(name)
    with Runtime(program, tmp_path / "state") as running:
        yield running
