"""What `-info` and `-v` print."""

from __future__ import annotations

import sys

from cloche import __version__
from cloche.errors import FailedPrecondition
from cloche.shim.bootstrap import find_options, packed_options
from cloche.spec.document import dumps, loads
from cloche.wire.messages.bootstrap import RuntimeInfo, RuntimeVersion
from cloche.wire.messages.google import Any

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.wire.messages.runc_options import Options

RUNTIME_NAME = "io.containerd.cloche.v1"
FEATURES_TYPE = "types.containerd.io/opencontainers/runtime-spec/1/features/Features"
"""The name under which containerd knows the features document of the runtime specification."""


def version() -> str:
    """For people."""
    python = sys.version.partition(" ")[0]
    return f"containerd-shim-cloche-v1:\n  Version:  {__version__}\n  Python version: {python}\n"


def information(data: bytes) -> RuntimeInfo:
    """data: the runtime's options as a packed message, or nothing.

    Raises InvalidArgument for options that cannot be read, NotFound where their BinaryName is not there.
    """
    packed = packed_options(data) if data else None
    features = _features(find_options([packed] if packed else []))
    return RuntimeInfo(
        name=RUNTIME_NAME,
        version=RuntimeVersion(version=__version__),
        options=packed,
        features=Any(type_url=FEATURES_TYPE, value=features) if features else None,
    )


def _features(options: Options | None) -> bytes:
    """The features document; empty where the runtime to be executed has none."""
    if options is None or options.binary_name in ("", "runc"):
        from cloche.runtime.face.feature_list import features

        return dumps(features())
    import subprocess

    try:
        done = subprocess.run([options.binary_name, "features"], capture_output=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FailedPrecondition(
            f"options.binary_name: {options.binary_name!r} does not run: {error}"
        ) from None
    if done.returncode:
        return b""  # youki up to 0.3 has no such command
    loads(done.stdout, f"{options.binary_name} features")
    return done.stdout
