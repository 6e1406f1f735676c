"""What `--version` prints: the first line and `spec:` are parsed by those who drive the runtime."""

from __future__ import annotations

import sys

from cloche import __version__

SPEC_VERSION = "1.3.0"


def version_text() -> str:
    """Name and version, then a line for each part that matters."""
    python = ".".join(map(str, sys.version_info[:3]))
    return f"cloche-runc version {__version__}\nspec: {SPEC_VERSION}\npython: {python}\n"
