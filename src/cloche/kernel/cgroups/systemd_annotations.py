"""`org.systemd.property.*`: properties that a configuration's annotations give the container's unit."""

from __future__ import annotations

from cloche.errors import InvalidArgument
from cloche.wire.dbus_text import parse
from cloche.wire.dbus_values import Variant

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from cloche.kernel.cgroups.systemd_properties import Property

PREFIX = "org.systemd.property."
_SHORTEST = 3
_LARGEST = (1 << 64) - 1


def annotated_properties(annotations: Mapping[str, str]) -> Iterator[Property]:
    """The properties in the order of the annotations. Raises InvalidArgument naming the annotation."""
    for key, text in annotations.items():
        name = key.removeprefix(PREFIX)
        if name == key:
            continue
        place = f"config.json: annotations[{key}]"
        if len(name) < _SHORTEST or not (name.isascii() and name.isalpha()):
            raise InvalidArgument(f"{place}: {name!r} is not the name of a unit's property")
        try:
            value = parse(text)
        except ValueError as error:
            raise InvalidArgument(f"{place}: {text!r}: {error}") from None
        yield _in_microseconds(name, value, place)


def _in_microseconds(name: str, value: Variant, place: str) -> Property:
    """Over D-Bus TimeoutStopSec is TimeoutStopUSec, a number of microseconds."""
    stem = name.removesuffix("Sec")
    if stem == name or not stem[-1:].islower():
        return name, value
    if value.signature not in {*"ynqiuxtd"}:
        raise InvalidArgument(f"{place}: is a number of seconds")
    try:
        microseconds = int(value.value * 1_000_000)
    except (OverflowError, ValueError):
        microseconds = -1
    if not 0 <= microseconds <= _LARGEST:
        raise InvalidArgument(f"{place}: {value.value} is not a number of seconds that can be")
    return f"{stem}USec", Variant("t", microseconds)
