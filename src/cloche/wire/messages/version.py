"""containerd.services.version.v1: which daemon this is."""

from __future__ import annotations

from cloche.wire.messages.google import Empty
from cloche.wire.protobuf import Message, string
from cloche.wire.service import Method, Service

_PACKAGE = "containerd.services.version.v1"


class VersionResponse(Message, package=_PACKAGE):
    """revision: of the source it was built from."""

    version: str = string(1)
    revision: str = string(2)


VERSION = Service(f"{_PACKAGE}.Version", Method("Version", Empty, VersionResponse))
