"""Runtimes by name: which program is the shim."""

from __future__ import annotations

import os
import sys

from cloche.errors import InvalidArgument, NotFound

DEFAULT = "io.containerd.runc.v2"
OWN = "containerd-shim-cloche-v1"
# Names that clients ask for by habit, and that mean "the daemon's own".
_OURS = ("", "io.containerd.runc.v2", "io.containerd.runc.v1", "io.containerd.cloche.v1")


def shim_binary(runtime: str) -> str:
    """The shim's path for a runtime's name, or for a path.

    Raises InvalidArgument for what is neither, NotFound where it is not installed.
    """
    if runtime in _OURS:
        return own_shim()
    if os.path.isabs(runtime):
        if not os.access(runtime, os.X_OK):
            raise NotFound(f"runtime {runtime!r}: there is no such program")
        return runtime
    parts = runtime.split(".")
    if "/" in runtime or len(parts) < 2 or not all(parts):
        raise InvalidArgument(
            f"invalid runtime name {runtime}, correct runtime name should be either format like "
            "`io.containerd.runc.v2` or a full path to the binary"
        )
    name = f"containerd-shim-{parts[-2]}-{parts[-1]}"
    found = _in_path(name) or _beside_us(name)
    if not found:
        raise NotFound(f"runtime {runtime!r} binary not installed: {name!r} is not in PATH")
    return found


def own_shim() -> str:
    """Cloche's shim, installed beside the daemon. Raises NotFound."""
    found = _beside_us(OWN) or _in_path(OWN)
    if not found:
        raise NotFound(f"{OWN} is not installed beside this program, nor in PATH")
    return found


def _in_path(name: str) -> str:
    for directory in os.environ.get("PATH", os.defpath).split(":"):
        if directory and os.access(f"{directory}/{name}", os.X_OK):
            return f"{directory}/{name}"
    return ""


def _beside_us(name: str) -> str:
    for directory in (os.path.dirname(os.path.realpath(sys.argv[0])), f"{sys.prefix}/bin"):
        path = f"{directory}/{name}"
        if os.access(path, os.X_OK):
            return path
    return ""
