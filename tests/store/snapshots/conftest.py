from __future__ import annotations

from pathlib import Path

import pytest

from cloche.store.snapshots.local import LocalSnapshotter
from cloche.store.snapshots.open import NAMES, snapshotter


@pytest.fixture(params=NAMES)
def snapshots(request: pytest.FixtureRequest, tmp_path: Path) -> LocalSnapshotter:
    return snapshotter(request.param, str(tmp_path))
