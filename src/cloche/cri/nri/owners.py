"""Which plugin has set what: two must not set the same thing of a container."""

from __future__ import annotations

from cloche.errors import InvalidArgument
from cloche.wire.messages.nri import adjustments as messages
from cloche.wire.messages.nri.values import REMOVAL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_NUMBERS = {name: number for number, name in enumerate(messages.FIELDS)}


class Owners:
    """Who set what while one request goes from plugin to plugin. Fields are those of `messages.FIELDS`."""

    def __init__(self) -> None:
        self._simple: dict[str, dict[str, str]] = {}
        self._compound: dict[str, dict[str, dict[str, str]]] = {}

    def _owned(self, container: str, field: str, key: str | None) -> tuple[dict[str, str], str]:
        """Where it is noted, and under which name there."""
        if key is None:
            return self._simple.setdefault(container, {}), field
        return self._compound.setdefault(container, {}).setdefault(field, {}), key

    def check(self, container: str, field: str, plugin: str, *, key: str | None = None) -> None:
        """Whether a plugin may set something. Raises InvalidArgument with both plugins' names."""
        owned, entry = self._owned(container, field, key)
        first = owned.get(entry, plugin).removeprefix(REMOVAL)
        if first != plugin:
            what = field if key is None else f"{field} {key!r}"
            raise InvalidArgument(f"NRI plugins {first!r} and {plugin!r} both set {what}: let only one do it")

    def claim(self, container: str, field: str, plugin: str, *, key: str | None = None) -> None:
        """A plugin sets something. key: which of several. Raises InvalidArgument as `check` does."""
        self.check(container, field, plugin, key=key)
        owned, entry = self._owned(container, field, key)
        owned[entry] = plugin

    def add(self, container: str, field: str, plugin: str) -> None:
        """A plugin sets something that others may add to."""
        owned = self._simple.setdefault(container, {})
        names = [*filter(None, owned.get(field, "").split(",")), plugin]
        owned[field] = ",".join(dict.fromkeys(names))

    def clear(self, container: str, field: str, plugin: str, *, key: str | None = None) -> None:
        """A plugin removes what has been set: it may set it anew, and others must remove it first."""
        owned, entry = self._owned(container, field, key)
        if entry in owned:
            owned[entry] = REMOVAL + plugin

    def all_of(self, container: str, field: str) -> dict[str, str]:
        """Who set something that there are several of, by their keys."""
        return dict(self._compound.get(container, {}).get(field, {}))

    def told(self) -> messages.OwningPlugins:
        """As validators are told: who set what is there still."""
        return messages.OwningPlugins(
            owners={container: self._of(container) for container in {**self._simple, **self._compound}}
        )

    def _of(self, container: str) -> messages.FieldOwners:
        compound = self._compound.get(container, {})
        return messages.FieldOwners(
            simple={_NUMBERS[name]: owner for name, owner in _set(self._simple.get(container, {})).items()},
            compound={
                _NUMBERS[name]: messages.CompoundFieldOwners(owners=owners)
                for name, noted in compound.items()
                if (owners := _set(noted))
            },
        )


def _set(owned: Mapping[str, str]) -> dict[str, str]:
    """Without what was removed again."""
    return {entry: owner for entry, owner in owned.items() if not owner.startswith(REMOVAL)}
