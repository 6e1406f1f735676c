"""What the daemon serves: methods by name, whatever transport they are called over."""

from __future__ import annotations

from cloche.wire.service import Method, Service

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any


class Route:
    """A method and who carries it out.

    handler: called with the call and, unless the client streams, the request. It returns the
    response, or a coroutine that does; where the server streams a tuple of the responses, an
    asynchronous generator of them, or a coroutine that sends them itself.
    """

    __slots__ = ("handler", "method", "service")

    def __init__(self, service: Service, method: Method, handler: Callable[..., Any]) -> None:
        self.service = service
        self.method = method
        self.handler = handler


class Services:
    """A registry, filled once at the start."""

    def __init__(self) -> None:
        self._services: dict[str, Service] = {}
        self._routes: dict[tuple[str, str], Route] = {}

    def add(self, implementation: object, service: Service | None = None) -> None:
        """Serve a service.

        implementation: has a method for each call it knows, named in snake case. A plain method
            runs on the event loop to its end: for what takes microseconds.
        service: which one; its `SERVICE` where that is not said.
        """
        service = service or implementation.SERVICE  # type: ignore[attr-defined]  # that is the convention
        self._services[service.full_name] = service
        for method in service.methods.values():
            handler = getattr(implementation, snake_case(method.name), None)
            if handler is not None:
                self._routes[service.full_name, method.name] = Route(service, method, handler)

    def __iter__(self) -> Iterator[Service]:
        return iter(self._services.values())

    def find(self, service: str, method: str) -> Route | None:
        """The route of a method; None where nobody carries it out."""
        return self._routes.get((service, method))

    def missing(self, service: str, method: str) -> str:
        """Why there is no route."""
        if service not in self._services:
            return f"unknown service {service[:200]}"
        return f"unknown method {method[:200]} for service {service}"


def snake_case(name: str) -> str:
    """ListStream as list_stream; CloseIO as close_io."""
    out = []
    for position, letter in enumerate(name):
        after_small = position > 0 and name[position - 1].islower()
        before_small = position > 0 and name[position + 1 : position + 2].islower()
        begins = letter.isupper() and (after_small or before_small)
        out.append("_" + letter.lower() if begins else letter.lower())
    return "".join(out)
