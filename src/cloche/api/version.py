"""containerd's Version service."""

from __future__ import annotations

from cloche import __version__
from cloche.wire.messages.version import VERSION, VersionResponse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.api.call import Call
    from cloche.wire.messages.google import Empty


class VersionService:
    """Says which daemon this is."""

    SERVICE = VERSION

    def version(self, call: Call, request: Empty) -> VersionResponse:
        """Our version; no revision, since what is installed does not know its source."""
        return VersionResponse(version=__version__, revision="cloche")
