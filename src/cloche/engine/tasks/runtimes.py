"""Runtimes by name: which program is the shim."""

from __future__ import annotations

import os
import sys

from cloche.errors import InvalidArgument, NotFound, Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Runtime(Protocol):
        """What an entry point of the group `cloche.runtimes` is, or a class of them.

        The entry point's name is the runtime's, such as io.example.hello.v1; programs in PATH go before it.
        `capabilities` and `exports`, where it has them, are listed.
        """

        def shim(self) -> str:
            """The path of a program that speaks the shim protocol, version 2 or 3."""


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
    found = _in_path(name) or _beside_us(name) or _brought(runtime)
    if not found:
        raise NotFound(f"runtime {runtime!r} binary not installed: {name!r} is not in PATH")
    return found


def _brought(runtime: str) -> str:
    """The shim that an installed package has for a runtime's name; "" for none. Raises Unavailable."""
    from cloche.store import entry_points

    if entry_points.part(entry_points.RUNTIMES, runtime) is None:
        return ""
    found: Runtime = entry_points.made(entry_points.RUNTIMES, runtime, ("shim",))
    path = str(found.shim())
    if not os.path.isabs(path) or not os.access(path, os.X_OK):
        raise Unavailable(
            f"runtime {runtime!r}: its package says that the shim is {path!r}, which cannot be executed"
        )
    return path


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
