"""The default configuration is runc's own, byte for byte."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from cloche.spec.default import default_config, rootless_config
from cloche.spec.validate import validate

needs_runc = pytest.mark.skipif(shutil.which("runc") is None, reason="runc is not installed")


@needs_runc
@pytest.mark.parametrize("rootless", [False, True])
def test_the_default_configuration_is_what_runc_writes(tmp_path: Path, *, rootless: bool) -> None:
    flags = ["--rootless"] if rootless else []
    subprocess.run(["runc", "spec", *flags], cwd=tmp_path, check=True)
    ours = rootless_config(os.geteuid(), os.getegid()) if rootless else default_config()
    assert json.dumps(ours, indent="\t") == (tmp_path / "config.json").read_text()


def test_the_default_configurations_are_valid_without_a_warning() -> None:
    assert validate(default_config()) == []
    assert validate(rootless_config(1000, 1000)) == []


def test_each_default_configuration_is_a_fresh_one() -> None:
    first = default_config()
    first["process"]["args"].append("changed")
    first["process"]["capabilities"]["bounding"].clear()
    assert default_config()["process"]["args"] == ["sh"]
    assert len(default_config()["process"]["capabilities"]["bounding"]) == 3
