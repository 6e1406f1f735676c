"""The two services of CRI, at one endpoint or at two, connected when they are first asked."""

from __future__ import annotations

from cloche.daemon.blocking_client import BlockingChannel
from cloche.errors import InvalidArgument, Unavailable
from cloche.wire.services.cri import IMAGES, RUNTIME

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from cloche.cli.crictl.settings import Settings
    from cloche.wire.protobuf import Message


class Client:
    """Calls by name; each raises what the daemon answers, or Unavailable."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._channels: dict[str, BlockingChannel] = {}

    def runtime(self, name: str, request: Message, *, timeout_s: float | None = None) -> Any:
        """A call of RuntimeService. timeout_s: None waits for as long as it takes."""
        return self._of_runtime().unary(RUNTIME, name, request, timeout_s=timeout_s or None)

    def images(self, name: str, request: Message, *, timeout_s: float | None = None) -> Any:
        """A call of ImageService."""
        endpoint = self.settings.image_endpoint
        channel = self._connected(endpoint) if endpoint else self._of_runtime()
        return channel.unary(IMAGES, name, request, timeout_s=timeout_s or None)

    def events(self, name: str, request: Message) -> Iterator[Any]:
        """The answers of a call of RuntimeService that has many."""
        with self._of_runtime().call(RUNTIME, name) as call:
            call.send(request, end=True)
            yield from call

    def close(self) -> None:
        """Hang up."""
        for channel in self._channels.values():
            channel.close()
        self._channels.clear()

    def _of_runtime(self) -> BlockingChannel:
        failures = []
        for endpoint in self.settings.endpoints:
            try:
                return self._connected(endpoint)
            except Unavailable as error:
                failures.append(str(error))
        raise Unavailable(f"no daemon answers: {'; '.join(failures)}")

    def _connected(self, endpoint: str) -> BlockingChannel:
        if endpoint not in self._channels:
            path = endpoint.removeprefix("unix://")
            if not path.startswith("/"):
                raise InvalidArgument(f"endpoint {endpoint!r}: must be unix:///PATH")
            self._channels[endpoint] = BlockingChannel(path, timeout_s=self.settings.timeout_s)
        return self._channels[endpoint]
