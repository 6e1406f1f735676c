"""What `--version` prints: the first line and `spec:` are parsed by those who drive the runtime."""

from __future__ import annotations

SPEC_VERSION = "1.3.0"


def _own_version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("cloche")
    except PackageNotFoundError:
        return "unknown"


def version_text() -> str:
    """Name and version, then a line for each part that matters."""
    import sys

    python = ".".join(map(str, sys.version_info[:3]))
    return f"cloche-runc version {_own_version()}\nspec: {SPEC_VERSION}\npython: {python}\n"
