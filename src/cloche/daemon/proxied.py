"""Services of which other programs answer some calls: those of `[proxy_plugins.NAME]` in config.toml."""

from __future__ import annotations

from abc import ABC, abstractmethod

from cloche.daemon.client import Channel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, ClassVar

    from cloche.api.call import Call
    from cloche.api.host import Host


class Proxied(ABC):
    """Base of such a service: calls that name somebody else's go to `_pass_on`, the others to our own.

    local: who answers the others. addresses: the others' sockets, by name. Subclasses say which FIELD of
    their requests has the name.
    """

    FIELD: ClassVar[str]

    def __init__(self, host: Host, local: object, addresses: Mapping[str, str]) -> None:
        self._host = host
        self._local = local
        self._addresses = addresses
        self._channels: dict[str, Channel] = {}

    def __getattr__(self, handler: str) -> Callable[[Call, Any], Any]:
        """The handler of a method, as the local service names it."""
        ours = getattr(self._local, handler)
        method = "".join(word.capitalize() for word in handler.split("_"))

        def handle(call: Call, request: Any) -> Any:
            if getattr(request, self.FIELD) in self._addresses:
                return self._pass_on(call, method, request)
            return ours(call, request)

        return handle

    @abstractmethod
    def _pass_on(self, call: Call, method: str, request: Any) -> Any:
        """What a handler gives: an answer to await, or answers."""

    async def _channel(self, name: str) -> Channel:
        found = self._channels.get(name)
        if found is None or not found.alive:
            path = self._addresses[name].removeprefix("unix://")
            found = self._channels[name] = await Channel.connect(path)
        return found


def metadata_of(namespace: str) -> dict[str, tuple[str, ...]]:
    """The namespace; a lease is ours, and nobody there knows it."""
    return {"containerd-namespace": (namespace,)}
