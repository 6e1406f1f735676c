"""docs/runtime.md names tests: each of them exists, and so does each program of the conformance suite."""

from __future__ import annotations

import re
from pathlib import Path

from tests.repository.test_checks import ROOT

TABLE = ROOT / "docs" / "runtime.md"


def test_every_named_test_is_there() -> None:
    named = re.findall(r"`([\w/]+)::(test_\w+)`", TABLE.read_text())
    assert len(named) > 70
    for module, name in named:
        source = Path(ROOT, "tests", f"{module}.py").read_text()
        assert f"def {name}(" in source, f"{module}::{name}"
