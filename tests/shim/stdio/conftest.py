from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.shim.stdio.harness import Shim


@pytest.fixture
def shim() -> Iterator[Shim]:
    """A running loop; what it opens is closed at the end, and no descriptor is left."""
    import os

    before = set(os.listdir("/proc/self/fd"))
    one = Shim()
    yield one
    one.close()
    assert set(os.listdir("/proc/self/fd")) <= before
