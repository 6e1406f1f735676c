"""`version`, `info`, `system df`, `system prune`: the installation and its machine."""

from __future__ import annotations

import os
import sys

import cloche
from cloche.cli.arguments import Command
from cloche.cli.output import line, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cloche.cli.arguments import Parsed
    from cloche.cli.session import Session

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_FORMAT = (("Options", (("format", "f", "string", 'Print "json", or fill in a Go template'),)),)


def version_line() -> str:
    """What `cloche --version` prints."""
    return f"Cloche version {cloche.__version__}"


def _version(session: Session, parsed: Parsed) -> int:
    side = _about()
    form = parsed.text("format")
    if form:
        from cloche.cli.table import templated_document

        line(templated_document({"Client": side, "Server": side}, form))
        return 0
    # Without a daemon the client carries the engine in itself, so that both are one.
    write(
        f"Client: Cloche\n Version:           {side['Version']}\n"
        f" Python version:    {side['PythonVersion']}\n OS/Arch:           {side['Os']}/{side['Arch']}\n\n"
        f"Server: Cloche (embedded)\n Version:           {side['Version']}\n"
        f" Kernel version:    {side['KernelVersion']}\n"
    )
    return 0


def _about() -> dict[str, Any]:
    uname = os.uname()
    return {
        "Version": cloche.__version__,
        "PythonVersion": ".".join(str(number) for number in sys.version_info[:3]),
        "Os": "linux",
        "Arch": _ARCHITECTURES.get(uname.machine, uname.machine),
        "KernelVersion": uname.release,
    }


VERSION = Command("[OPTIONS]", _version, groups=_FORMAT)
