"""h2spec's 145 cases of HTTP/2 and HPACK against our server."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from cloche.wire.http2_limits import Limits
from tests.daemon.service import Server
from tests.peers import unavailable

PACKAGE, VERSION = "github.com/summerwind/h2spec/cmd/h2spec", "v2.2.1+incompatible"
PLACE = Path(__file__).parents[2] / "build" / "h2spec" / VERSION


@pytest.fixture(scope="module")
def h2spec() -> str:
    """The program, built once with Go."""
    program = PLACE / "h2spec"
    if program.exists():
        return str(program)
    go = shutil.which("go")
    if go is None:
        unavailable("needs Go 1.21 or newer to build h2spec: https://go.dev/dl")
    environment = os.environ | {"GOBIN": str(PLACE), "GOFLAGS": "-mod=mod", "CGO_ENABLED": "0"}
    command = [go, "install", f"{PACKAGE}@{VERSION}"]
    built = subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, check=False)
    if built.returncode:
        unavailable(f"h2spec cannot be built: {built.stderr[-500:]}")
    return str(program)


def test_h2spec_passes(root: None, tmp_path: Path, h2spec: str) -> None:
    """As root like all that needs other programs. One case opens as many streams as the limit says."""
    with Server(tmp_path, limits=Limits(streams=100)) as server:
        command = [h2spec, "--host", "127.0.0.1", "--port", str(server.port), "--timeout", "10"]
        result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
    assert result.returncode == 0, result.stdout[-6000:]
    assert "145 tests, 145 passed" in result.stdout
