"""Our tables of messages, given to Google's own implementation of Protocol Buffers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from cloche.wire.protobuf import Field, Message
from cloche.wire.protobuf_values import ENUM, INT32, MESSAGE, Kind

_LABEL = descriptor_pb2.FieldDescriptorProto
_ENUM_TYPE = ENUM.number


def reference_of(message: type[Message]) -> type[Any]:
    """Google's class for a table of ours; its messages have the same fields by the same numbers."""
    pool = descriptor_pool.DescriptorPool()
    file = descriptor_pb2.FileDescriptorProto(name="tables.proto", package="tables", syntax="proto3")
    for each in _all_of(message, []):
        _declare(file.message_type.add(), each)
    pool.Add(file)
    found: type[Any] = message_factory.GetMessageClass(
        pool.FindMessageTypeByName(f"tables.{_name_of(message)}")
    )
    return found


def _all_of(message: type[Message], found: list[type[Message]]) -> list[type[Message]]:
    if message not in found:
        found.append(message)
        for field in message.FIELDS:
            if field.kind is MESSAGE:
                _all_of(field.message, found)
    return found


def _name_of(message: type[Message]) -> str:
    return message.FULL_NAME.replace(".", "_")


def _declare(target: Any, message: type[Message]) -> None:
    target.name = _name_of(message)
    for field in message.FIELDS:
        row = target.field.add(name=field.name, number=field.number, label=_LABEL.LABEL_OPTIONAL)
        if field.key is not None:
            _declare_map(target, row, field)
            continue
        _set_type(row, field.kind, field)
        if field.repeated:
            row.label = _LABEL.LABEL_REPEATED
        elif field.optional:
            row.proto3_optional = True
            row.oneof_index = len(target.oneof_decl)
            target.oneof_decl.add(name=f"_{field.name}")


def _declare_map(target: Any, row: Any, field: Field) -> None:
    assert field.key is not None
    name = "".join(word.capitalize() for word in field.name.split("_")) + "Entry"
    entry = target.nested_type.add(name=name)
    entry.options.map_entry = True
    _set_type(entry.field.add(name="key", number=1, label=_LABEL.LABEL_OPTIONAL), field.key, field)
    _set_type(entry.field.add(name="value", number=2, label=_LABEL.LABEL_OPTIONAL), field.kind, field)
    row.label = _LABEL.LABEL_REPEATED
    row.type = MESSAGE.number
    row.type_name = f".tables.{target.name}.{name}"


def _set_type(row: Any, kind: Kind, field: Field) -> None:
    # An enumeration needs a declaration there; on the wire it is an int32.
    row.type = INT32.number if kind.number == _ENUM_TYPE else kind.number
    if kind is MESSAGE:
        row.type_name = f".tables.{_name_of(field.message)}"


def as_reference(message: Message, kind: type[Any]) -> Any:
    """The same message as one of Google's."""
    result = kind()
    for field in message.FIELDS:
        if not message.has(field.name):
            continue
        value = getattr(message, field.name)
        if value is None:
            continue
        if field.key is not None:
            _fill_map(getattr(result, field.name), field, value)
        elif field.repeated and field.kind is MESSAGE:
            for item in value:
                place = getattr(result, field.name).add()
                place.CopyFrom(as_reference(item, type(place)))
        elif field.repeated:
            getattr(result, field.name).extend(value)
        elif field.kind is MESSAGE:
            place = getattr(result, field.name)
            place.CopyFrom(as_reference(value, type(place)))
        else:
            setattr(result, field.name, value)
    return result


def _fill_map(place: Any, field: Field, value: dict[Any, Any]) -> None:
    for key, item in value.items():
        if field.kind is MESSAGE:
            place[key].CopyFrom(as_reference(item, type(place[key])))
        else:
            place[key] = item


def message_classes(*modules: object) -> Iterator[type[Message]]:
    """Every message that is declared in these modules."""
    for module in modules:
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, Message) and value is not Message:
                yield value
