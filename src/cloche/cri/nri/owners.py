"""Which plugin has set what: two must not set the same thing of a container."""

from __future__ import annotations

from cloche.errors import InvalidArgument
from cloche.wire.messages.nri import adjustments as messages

_NUMBERS = {name: number for number, name in enumerate(messages.FIELDS)}


class Owners:
    """Who set what while one request goes from plugin to plugin. Fields are those of `messages.FIELDS`."""

    def __init__(self) -> None:
        self._simple: dict[str, dict[str, str]] = {}
        self._compound: dict[str, dict[str, dict[str, str]]] = {}

    def claim(self, container: str, field: str, plugin: str, *, key: str | None = None) -> None:
        """A plugin sets something. key: which of several. Raises InvalidArgument with both plugins' names."""
        if key is None:
            owned, entry, what = self._simple.setdefault(container, {}), field, field
        else:
            owned = self._compound.setdefault(container, {}).setdefault(field, {})
            entry, what = key, f"{field} {key!r}"
        first = owned.setdefault(entry, plugin)
        if first != plugin:
            raise InvalidArgument(f"NRI plugins {first!r} and {plugin!r} both set {what}: let only one do it")

    def add(self, container: str, field: str, plugin: str) -> None:
        """A plugin sets something that others may add to."""
        owned = self._simple.setdefault(container, {})
        names = [*filter(None, owned.get(field, "").split(",")), plugin]
        owned[field] = ",".join(dict.fromkeys(names))

    def clear(self, container: str, field: str, *, key: str | None = None) -> None:
        """What was set is removed: whoever removed it may set it anew."""
        if key is None:
            self._simple.get(container, {}).pop(field, None)
        else:
            self._compound.get(container, {}).get(field, {}).pop(key, None)

    def of(self, container: str, field: str) -> str:
        """Who set something; "" for nobody."""
        return self._simple.get(container, {}).get(field, "")

    def all_of(self, container: str, field: str) -> dict[str, str]:
        """Who set something that there are several of, by their keys."""
        return dict(self._compound.get(container, {}).get(field, {}))

    def told(self) -> messages.OwningPlugins:
        """As validators are told."""
        return messages.OwningPlugins(
            owners={container: self._of(container) for container in {**self._simple, **self._compound}}
        )

    def _of(self, container: str) -> messages.FieldOwners:
        compound = self._compound.get(container, {})
        return messages.FieldOwners(
            simple={_NUMBERS[name]: owner for name, owner in self._simple.get(container, {}).items()},
            compound={
                _NUMBERS[name]: messages.CompoundFieldOwners(owners=owners)
                for name, owners in compound.items()
                if owners
            },
        )
