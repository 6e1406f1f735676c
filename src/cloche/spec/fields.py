"""Typed reading of a parsed JSON object, with the place of a wrong field in the error."""

from __future__ import annotations

from cloche.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_KINDS = {str: "a string", int: "an integer", dict: "an object", list: "an array"}


class Fields:
    """An object of a document, read field by field.

    null counts as absent, as Go's decoder has it. Absent strings read as "", lists as empty.
    """

    __slots__ = ("name", "value")

    def __init__(self, value: dict[str, Any], name: str) -> None:
        self.value = value
        self.name = name

    @classmethod
    def of(cls, value: object, name: str) -> Fields:
        """name: where in the document this object is. Raises InvalidArgument where it is none."""
        if not isinstance(value, dict):
            raise InvalidArgument(f"{name}: must be an object")
        return cls(value, name)

    def __contains__(self, key: str) -> bool:
        return self.value.get(key) is not None

    def string(self, key: str, *, required: bool = False) -> str:
        """Raises InvalidArgument where it is no string, or absent and required."""
        value = self._get(key, str, required=required)
        return "" if value is None else str(value)

    def integer(self, key: str, *, required: bool = False) -> int:
        """0 where absent."""
        value = self._get(key, int, required=required)
        return 0 if value is None else int(value)

    def nested(self, key: str) -> dict[str, Any] | None:
        """None where absent."""
        value: dict[str, Any] | None = self._get(key, dict)
        return value

    def array(self, key: str) -> list[Any]:
        """Its elements are not looked at."""
        value: list[Any] | None = self._get(key, list)
        return [] if value is None else value

    def strings(self, key: str) -> tuple[str, ...]:
        """A list of strings."""
        values = self.array(key)
        for number, value in enumerate(values):
            if not isinstance(value, str):
                raise InvalidArgument(f"{self.name}.{key}[{number}]: must be a string")
        return tuple(values)

    def string_map(self, key: str) -> Mapping[str, str]:
        """An object whose values are strings."""
        mapping = self.nested(key) or {}
        for name, value in mapping.items():
            if not isinstance(value, str):
                raise InvalidArgument(f"{self.name}.{key}[{name[:100]!r}]: must be a string")
        return mapping

    def _get(self, key: str, kind: type, *, required: bool = False) -> Any:
        value = self.value.get(key)
        if value is None:
            if required:
                raise InvalidArgument(f"{self.name}.{key}: is missing")
        elif not isinstance(value, kind) or isinstance(value, bool):
            raise InvalidArgument(f"{self.name}.{key}: must be {_KINDS[kind]}")
        return value
