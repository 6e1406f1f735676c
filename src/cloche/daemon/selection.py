"""Which parts of the daemon the configuration wants, by the names that containerd has for them."""

from __future__ import annotations

from cloche.errors import FailedPrecondition
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cloche.wire.messages.introspection import Plugin

_GRPC = "io.containerd.grpc.v1"
_SERVICE = "io.containerd.service.v1"
# The plug-in that serves each gRPC service; the others are the last word but one of its package.
_SERVED_BY = {
    "containerd.services.sandbox.v1.Controller": "sandbox-controllers",
    "containerd.services.sandbox.v1.Store": "sandboxes",
    "grpc.health.v1.Health": "healthcheck",
}


class Selection(Record):
    """disabled, required: full names of plug-ins, TYPE.ID."""

    disabled: frozenset[str] = frozenset()
    required: tuple[str, ...] = ()

    def serves(self, service: str) -> bool:
        """Whether a gRPC service, by its full name, is wanted."""
        name = _SERVED_BY.get(service)
        if name is None:
            words = service.split(".")
            if words[:2] != ["containerd", "services"]:
                return True
            name = words[2]
        return not {f"{_GRPC}.{name}", f"{_SERVICE}.{name}-service"} & self.disabled

    def wanted(self, plugins: Iterable[Plugin]) -> tuple[Plugin, ...]:
        """Those of some plug-ins that are not disabled."""
        return tuple(each for each in plugins if f"{each.type}.{each.id}" not in self.disabled)

    def chosen(
        self, plugins: Iterable[Plugin], more: Callable[[], Iterable[Plugin]] = tuple
    ) -> tuple[Plugin, ...]:
        """The plug-ins that are wanted. Raises FailedPrecondition where a required one is not there.

        more: gives others, which are asked for only where one of them may be required.
        """
        found = self.wanted(plugins)
        names = {f"{each.type}.{each.id}" for each in found}
        if set(self.required) - names:
            names |= {f"{each.type}.{each.id}" for each in self.wanted(more()) if each.init_err is None}
        for name in self.required:
            if name not in names:
                why = "is disabled as well" if name in self.disabled else "is not there"
                raise FailedPrecondition(f"required_plugins: {name} {why}")
        return found
