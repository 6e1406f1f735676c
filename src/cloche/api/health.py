"""grpc.health.v1: a server that answers is well."""

from __future__ import annotations

import asyncio

from cloche.errors import NotFound
from cloche.wire.messages.health import (
    HEALTH,
    SERVICE_UNKNOWN,
    SERVING,
    HealthCheckRequest,
    HealthCheckResponse,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from cloche.api.call import Call


class HealthService:
    """names: the full names of the services that are served."""

    SERVICE = HEALTH

    def __init__(self, names: Callable[[], set[str]]) -> None:
        self._names = names

    def check(self, call: Call, request: HealthCheckRequest) -> HealthCheckResponse:
        """Raises NotFound for a service that nobody knows."""
        if request.service and request.service not in self._names():
            raise NotFound(f"unknown service {request.service[:200]}")
        return HealthCheckResponse(status=SERVING)

    async def watch(self, call: Call, request: HealthCheckRequest) -> AsyncIterator[HealthCheckResponse]:
        """The state now, and from then on when it changes, which it does not while we run."""
        known = not request.service or request.service in self._names()
        yield HealthCheckResponse(status=SERVING if known else SERVICE_UNKNOWN)
        await asyncio.get_running_loop().create_future()
