"""The networks of pods."""

from __future__ import annotations

from cloche.errors import Unimplemented

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cloche.cri.host import Host


class PodNetwork:
    """Connects pods."""

    def __init__(self, host: Host) -> None:
        self._host = host

    async def trouble(self) -> str:
        """Why pods cannot be connected; "" where they can."""
        return ""

    def configuration(self) -> dict[str, Any]:
        """What there is, for who looks closely."""
        settings = self._host.settings
        return {"confDir": settings.network_config, "binDirs": list(settings.network_plugins)}

    async def configure(self, pod_cidr: str) -> None:
        """The node's pods may have these addresses. Raises Unimplemented where a template would need it."""
        if self._host.settings.network_template:
            raise Unimplemented(f"the network's template cannot be filled in with {pod_cidr}")
