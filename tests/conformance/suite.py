"""The validation suite: 58 programs of github.com/opencontainers/runtime-tools, built by module path."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

MODULE = "github.com/opencontainers/runtime-tools"
# The newest commit that the module proxy has; its only tag is of 2019 and does not compile any more.
VERSION = "v0.9.1-0.20260316125833-8a4db579f5c8"
HELPER = "runtimetest"
ROOTFS = "rootfs-amd64.tar.gz"


class Missing(Exception):
    """Something the suite needs is not on this machine; the message says what to install."""


def built(folder: Path) -> Path:
    """The folder of the built programs, below `folder`. Built once for each version of the suite."""
    go = shutil.which("go")
    if go is None:
        raise Missing("the validation suite is built with Go: install 1.21 or newer (https://go.dev/dl)")
    programs = folder / VERSION
    if not (programs / "complete").exists():
        _build(go, programs)
        (programs / "complete").touch()
    return programs


def names(programs: Path) -> list[str]:
    """The programs, sorted; not the helper that runs inside containers."""
    apart = (HELPER, ROOTFS, "complete")
    return sorted(path.name for path in programs.iterdir() if path.name not in apart)


def _build(go: str, programs: Path) -> None:
    programs.mkdir(parents=True, exist_ok=True)
    # Static: the helper runs in a root filesystem that has no libraries.
    environment = os.environ | {"GOBIN": str(programs.resolve()), "CGO_ENABLED": "0", "GOFLAGS": ""}
    packages = [f"{MODULE}/validation/...@{VERSION}", f"{MODULE}/cmd/{HELPER}@{VERSION}"]
    for package in packages:
        command = [go, "install", "-ldflags=-s -w", package]
        if subprocess.run(command, env=environment, cwd="/", check=False).returncode:
            raise Missing(f"the validation suite cannot be built: go install {package}")
    modules = subprocess.run([go, "env", "GOMODCACHE"], capture_output=True, text=True, check=True)
    shutil.copy(Path(modules.stdout.strip(), f"{MODULE}@{VERSION}", ROOTFS), programs / ROOTFS)
