"""Typed records without the import cost of `dataclasses`.

Importing dataclasses takes longer than starting a container (it pulls in inspect and re), so the
packages that every command loads declare their values with `Record` instead: a class whose
annotations are its fields. Type checkers see an ordinary frozen dataclass.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, ClassVar, Self, TypeVar, dataclass_transform

    _Class = TypeVar("_Class")
else:

    def dataclass_transform(**_: object):
        return lambda cls: cls


@dataclass_transform(frozen_default=True)
class Record:
    """An immutable value with named fields, in the order of the class's annotations.

    Subclasses add fields after those of their base. A class attribute of the same name is the
    field's default; it is shared between instances, so it must be immutable.
    """

    _fields: ClassVar[tuple[str, ...]] = ()
    _field_types: ClassVar[Mapping[str, str]] = {}
    _required: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls) -> None:
        # Hundreds of classes are made at every start: they share what is equal, which is most.
        types = cls.__dict__.get("__annotations__", {})  # noqa: RUF063 - inspect is what must not be imported
        if any(kind.startswith("ClassVar") for kind in types.values()):
            types = {name: kind for name, kind in types.items() if not kind.startswith("ClassVar")}
        if types:
            cls._field_types = {**cls._field_types, **types} if cls._field_types else types
            cls._fields = tuple(cls._field_types)
        required = tuple(name for name in cls._fields if not hasattr(cls, name))
        if required != cls._required:
            cls._required = cls._fields if required == cls._fields else required

    def __init__(self, *values: Any, **named: Any) -> None:
        fields = self._fields
        if len(values) == len(fields) and not named:
            self.__dict__.update(zip(fields, values, strict=True))
            return
        if len(values) > len(fields):
            raise TypeError(f"{type(self).__name__} takes {len(fields)} values, not {len(values)}")
        state = self.__dict__
        state.update(zip(fields, values, strict=False))
        for name, value in named.items():
            if name in state or name not in self._field_types:
                raise TypeError(f"{type(self).__name__}: {name} is given twice or is no field")
            state[name] = value
        if len(state) < len(fields):
            for name in self._required:
                if name not in state:
                    raise TypeError(f"{type(self).__name__}: {name} is missing")

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable: {name} cannot be set")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable: {name} cannot be deleted")

    def values(self) -> tuple[Any, ...]:
        """The fields' values in order."""
        return tuple(getattr(self, name) for name in self._fields)

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed."""
        return type(self)(**{name: getattr(self, name) for name in self._fields} | changes)

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self.values() == other.values()

    def __hash__(self) -> int:
        return hash((type(self), self.values()))

    def __repr__(self) -> str:
        inner = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._fields)
        return f"{type(self).__name__}({inner})"
