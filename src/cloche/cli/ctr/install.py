"""`ctr install`: programs and libraries out of an image, into a folder of this machine."""

from __future__ import annotations

import os
import tarfile

from cloche.cli.ctr import blobs
from cloche.cli.ctr.command import CtrCommand, Invocation
from cloche.cli.ctr.image_content import Documents, get, platform_of
from cloche.errors import AlreadyExists, FailedPrecondition
from cloche.image import compression
from cloche.wire.messages.introspection import INTROSPECTION, PluginsRequest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


class _Reader:
    """Pieces as a file to read from."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._held = b""

    def read(self, size: int = -1, /) -> bytes:
        """Up to so many bytes; none at the end."""
        data = self._held or next(self._pieces, b"")
        if size < 0:
            size = len(data)
        self._held = data[size:]
        return data[:size]


def _install(invocation: Invocation) -> None:
    daemon = invocation.daemon
    image = get(daemon, invocation.argument(0))
    target = invocation.text("path") or _managed(invocation)
    wanted = ("bin", "lib") if invocation.on("libs") else ("bin",)
    for layer in Documents(daemon).choose(image, platform_of("")).manifest.layers:
        plain = compression.opened(_Reader(blobs.pieces(daemon, layer.digest)), name=layer.digest)
        with tarfile.open(fileobj=plain, mode="r|") as archive:  # type: ignore[call-overload]  # it only reads
            for entry in archive:
                name = os.path.normpath(entry.name)
                if entry.isdir() or os.path.dirname(name) not in wanted:
                    continue
                if os.path.lexists(f"{target}/{name}") and not invocation.on("replace"):
                    raise AlreadyExists(f"{target}/{name}: is there already; --replace writes over it")
                # Its filter keeps links and names inside the folder.
                archive.extract(entry, target, filter="tar")


def _managed(invocation: Invocation) -> str:
    """The folder that the daemon is configured with."""
    request = PluginsRequest(filters=["id==opt"])
    found = invocation.daemon.ask(INTROSPECTION, "Plugins", request).plugins
    path: str = found[0].exports.get("path", "") if found else ""
    if not path:
        raise FailedPrecondition("the daemon has no folder for programs: say --path")
    return path


INSTALL = CtrCommand(
    "[OPTIONS] IMAGE",
    _install,
    groups=(
        (
            "Options",
            (
                ("libs", "l", "bool", "Libraries too"),
                ("path", "", "string", "Folder to install into, instead of the daemon's"),
                ("replace", "r", "bool", "Write over what is there"),
            ),
        ),
    ),
    minimum=1,
    maximum=1,
)
