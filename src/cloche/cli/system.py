"""`version`, `info`, `system df`, `system prune`: the installation and its machine."""

from __future__ import annotations

import os
import sys

import cloche
from cloche.cli.arguments import Command
from cloche.cli.output import line, one_line, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cloche.cli.arguments import Parsed
    from cloche.cli.session import Session
    from cloche.engine.engine import Engine
    from cloche.engine.space import Space

_SPACE = {
    "Type": "TYPE",
    "TotalCount": "TOTAL",
    "Active": "ACTIVE",
    "Size": "SIZE",
    "Reclaimable": "RECLAIMABLE",
}
_SHARES = {"Owner": "OWNER", "What": "WHAT", "Place": "PLACE", "Size": "SIZE", "Bytes": "BYTES"}
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


def _info(session: Session, parsed: Parsed) -> int:
    document = session.engine.information()
    form = parsed.text("format")
    if form:
        from cloche.cli.table import templated_document

        line(templated_document(document, form))
        return 0
    write("".join(f"{title}: {one_line(str(value))}\n" for title, value in _information(document)))
    for warning in document["Warnings"] or ():
        write(f"WARNING: {one_line(warning)}\n", 2)
    return 0


def _information(document: dict[str, Any]) -> list[tuple[str, Any]]:
    from cloche.cli import human

    return [
        ("Client", "Cloche"),
        (" Version", cloche.__version__),
        ("\nServer", "Cloche (embedded)"),
        (" Containers", document["Containers"]),
        ("  Running", document["ContainersRunning"]),
        ("  Paused", document["ContainersPaused"]),
        ("  Stopped", document["ContainersStopped"]),
        (" Images", document["Images"]),
        (" Server Version", cloche.__version__),
        (" Storage Driver", document["Driver"]),
        (" Logging Driver", document["LoggingDriver"]),
        (" Cgroup Driver", document["CgroupDriver"]),
        (" Cgroup Version", document["CgroupVersion"]),
        (" Default Runtime", document["DefaultRuntime"]),
        (" Security Options", ", ".join(document["SecurityOptions"])),
        (" Kernel Version", document["KernelVersion"]),
        (" Operating System", document["OperatingSystem"]),
        (" OSType", document["OSType"]),
        (" Architecture", document["Architecture"]),
        (" CPUs", document["NCPU"]),
        (" Total Memory", human.binary_size(document["MemTotal"])),
        (" Name", document["Name"]),
        (" Namespace", document["Namespace"]),
        (" Root Dir", document["DockerRootDir"]),
        (" State Dir", document["StateDir"]),
    ]


def _disk(session: Session, parsed: Parsed) -> int:
    from cloche.cli import table

    if parsed.on("explain"):
        return _explain(session, parsed.text("format"))
    rows = [_space(each) for each in session.engine.space()]
    table.show(rows, _SPACE, tuple(_SPACE), form=parsed.text("format"))
    return 0


def _explain(session: Session, form: str | None) -> int:
    """Whose every byte is, and the sum of each place."""
    from cloche.cli import table
    from cloche.cli.human import size

    shares = session.engine.explained_space()
    sums: dict[str, int] = {}
    for share in shares:
        sums[share.place] = sums.get(share.place, 0) + share.size_bytes
    found = [(share.owner, share.what, share.place, share.size_bytes) for share in shares]
    if not form or form.startswith("table"):
        found += [("all", "all of it", place, total) for place, total in sums.items()]
    rows = [
        {"Owner": owner, "What": what, "Place": place, "Size": size(total), "Bytes": total}
        for owner, what, place, total in found
    ]
    table.show(rows, _SHARES, ("Owner", "What", "Place", "Size"), form=form)
    return 0


def _space(space: Space) -> dict[str, Any]:
    from cloche.cli.human import size

    percent = f" ({100 * space.reclaimable_bytes // space.size_bytes}%)" if space.size_bytes else ""
    return {
        "Type": space.kind,
        "TotalCount": str(space.total),
        "Active": str(space.active),
        "Size": size(space.size_bytes),
        "Reclaimable": size(space.reclaimable_bytes) + percent,
    }


def _prune(session: Session, parsed: Parsed) -> int:
    from cloche.cli.lifecycle import confirmed
    from cloche.cli.reclaimed import Reclaimed

    if not confirmed(parsed, "all stopped containers, unused networks and images without a name"):
        return 0
    engine = session.engine
    with Reclaimed(engine):
        _remove_unused(engine)
    return 0


def _remove_unused(engine: Engine) -> None:
    containers, networks = engine.containers.prune(), engine.networks.prune()
    images = engine.images.prune()
    for title, removed in (("Containers", containers), ("Networks", networks), ("Images", images)):
        if removed:
            write(f"Deleted {title}:\n" + "".join(f"{one_line(each)}\n" for each in removed) + "\n")


VERSION = Command("[OPTIONS]", _version, groups=_FORMAT)
INFO = Command("[OPTIONS]", _info, groups=_FORMAT)
DF = Command(
    "[OPTIONS]",
    _disk,
    groups=(
        (
            "Options",
            (
                ("explain", "", "bool", "Show whose every byte is, in all namespaces"),
                ("format", "", "string", '"table", "table TEMPLATE", "json" or a Go template'),
            ),
        ),
    ),
)
PRUNE = Command(
    "[OPTIONS]", _prune, groups=(("Options", (("force", "f", "bool", "Do not ask whether it is meant"),)),)
)
