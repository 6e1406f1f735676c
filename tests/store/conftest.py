from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cloche.store.metadata import Metadata


@pytest.fixture
def metadata(tmp_path: Path) -> Iterator[Metadata]:
    with Metadata(str(tmp_path / "meta.db")) as opened:
        yield opened
