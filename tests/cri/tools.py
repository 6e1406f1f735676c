"""Programs of other projects that no distribution has new enough, built from their Go modules."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.conformance.suite import Missing
from tests.peers import unavailable


class Program(NamedTuple):
    """A program of a module, in one of its folders; test: it is the compiled form of a package's tests."""

    module: str
    version: str
    test: bool = False
    folder: str = "cmd"


_CRI_TOOLS = "sigs.k8s.io/cri-tools", "v1.36.0"
_CONTAINERD = "github.com/containerd/containerd/v2", "v2.3.4"
PROGRAMS = {
    "crictl": Program(*_CRI_TOOLS),
    "critest": Program(*_CRI_TOOLS, test=True),
    "containerd": Program(*_CONTAINERD),
    "containerd-shim-runc-v2": Program(*_CONTAINERD),
    "ctr": Program(*_CONTAINERD),
    "memory-qos": Program("github.com/containers/nri-plugins", "v0.12.1", folder="cmd/plugins"),
}


def tool(name: str) -> str:
    """A program that any version will do of: the one on PATH, else one built. Raises Missing."""
    return shutil.which(name) or str(built(name))


def new_containerd() -> str:
    """The path of a built containerd, with its shim beside it. Raises Missing."""
    built("containerd-shim-runc-v2")
    return str(built("containerd"))


@contextmanager
def required() -> Iterator[None]:
    """End the test here where a program that is asked for inside cannot be had."""
    try:
        yield
    except Missing as missing:
        unavailable(str(missing))


def built(name: str) -> Path:
    """The path of a program, built once below ~/.cache (or $XDG_CACHE_HOME). Raises Missing.

    It is built inside a module that requires its version: `go install` would also ask which other
    versions there are, and not every mirror of modules says that.
    """
    program = PROGRAMS[name]
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(cache, "cloche-conformance", f"{program.module.split('/')[1]}-{program.version}")
    if not (folder / name).exists():
        _build(name, program, folder)
    return folder / name


def _build(name: str, program: Program, folder: Path) -> None:
    go = shutil.which("go")
    if go is None:
        raise Missing(f"{name} is built with Go 1.26 or newer (https://go.dev/dl)")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "go.mod").write_text(
        f"module conformance\n\ngo 1.26\n\nrequire {program.module} {program.version}\n"
    )
    environment = os.environ | {"GOFLAGS": "-mod=mod", "CGO_ENABLED": "0", "GOWORK": "off"}
    flags = f"-ldflags=-s -w -X {program.module}/pkg/version.Version={program.version}"
    target = folder / f"{name}.new"
    verb = ("test", "-c") if program.test else ("build",)
    command = [go, *verb, flags, "-o", str(target), f"{program.module}/{program.folder}/{name}"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Missing(f"{name} cannot be built:\n{done.stderr[-1000:]}")
    target.rename(folder / name)
