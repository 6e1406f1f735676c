"""Messages of CRI as JSON: as protobuf's own mapping has it, as Go's structs have it, and read back.

protobuf's mapping is what `crictl -o json` prints: names in camel case, every field, 64-bit numbers as
texts, words for enumerations. Configurations of pods and containers are written with the names of the
protocol, and both are read.
"""

from __future__ import annotations

import base64
import binascii

from cloche.errors import InvalidArgument
from cloche.wire.messages.cri import enumerations
from cloche.wire.protobuf_values import BOOL, BYTES, DOUBLE, ENUM, INT64, MESSAGE, STRING, UINT64

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar

    from cloche.wire.protobuf import Field, Message

    _M = TypeVar("_M", bound=Message)


def camel(name: str) -> str:
    """`image_ref` as `imageRef`."""
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def document(message: Message) -> dict[str, Any]:
    """A message in protobuf's mapping, with the fields that are not set; without messages that are not."""
    found: dict[str, Any] = {}
    for field in message.FIELDS:
        value = getattr(message, field.name)
        if value is None:
            continue
        name = camel(field.name)
        if field.key is not None:
            found[name] = {str(key): _value(message, field, each) for key, each in sorted(value.items())}
        elif field.repeated:
            found[name] = [_value(message, field, each) for each in value]
        else:
            found[name] = _value(message, field, value)
    return found


def _value(message: Message, field: Field, value: Any) -> Any:
    if field.kind is MESSAGE:
        return document(value)
    if field.kind in (INT64, UINT64):
        return str(value)
    if field.kind is BYTES:
        return base64.b64encode(value).decode()
    if field.kind is ENUM:
        return enumerations.word(type(message), field.name, value)
    return value


def complete(message: Message) -> dict[str, Any]:
    """The same with None for messages that are not set: what inspection shows at the top."""
    return {camel(field.name): None for field in message.FIELDS} | document(message)


def plain(message: Message) -> dict[str, Any]:
    """A message as Go's own encoder writes it: names of the protocol, without what is not set."""
    found = {}
    for field in message.FIELDS:
        value = getattr(message, field.name)
        if value:
            found[field.name] = plain(value) if field.kind is MESSAGE and not field.repeated else value
    return found


def read(kind: type[_M], value: Any, place: str) -> _M:
    """A message from a document that a person wrote. Raises InvalidArgument with the place."""
    if not isinstance(value, dict):
        raise InvalidArgument(f"{place}: must be a mapping")
    names = {field.name.replace("_", "").lower(): field for field in kind.FIELDS}
    message = kind()
    for name, each in value.items():
        field = names.get(str(name).replace("_", "").lower())
        # Files for other versions and systems have more than this one knows, as with crictl.
        if field is not None and each is not None:
            setattr(message, field.name, _read_field(kind, field, each, f"{place}.{name}"))
    return message


def _read_field(kind: type[Message], field: Field, value: Any, place: str) -> Any:
    if field.key is not None:
        if not isinstance(value, dict):
            raise InvalidArgument(f"{place}: must be a mapping")
        return {str(key): _read_value(kind, field, each, f"{place}.{key}") for key, each in value.items()}
    if field.repeated:
        if not isinstance(value, list):
            raise InvalidArgument(f"{place}: must be a list")
        return [_read_value(kind, field, each, f"{place}[{at}]") for at, each in enumerate(value)]
    return _read_value(kind, field, value, place)


def _read_value(kind: type[Message], field: Field, value: Any, place: str) -> Any:
    if field.kind is MESSAGE:
        return read(field.message, value, place)
    if field.kind is STRING:
        return _typed(value, str, "a text", place)
    if field.kind is BOOL:
        return _typed(value, bool, "true or false", place)
    if field.kind is DOUBLE:
        return float(_typed(value, int | float, "a number", place))
    if field.kind is BYTES:
        try:
            return base64.b64decode(_typed(value, str, "a text in base64", place), validate=True)
        except binascii.Error:
            raise InvalidArgument(f"{place}: must be base64") from None
    if field.kind is ENUM and isinstance(value, str):
        number = enumerations.number(kind, field.name, value)
        if number is None:
            raise InvalidArgument(f"{place}: {value!r} is none of its values")
        return number
    return _whole(field, value, place)


def _whole(field: Field, value: Any, place: str) -> int:
    number: int = _typed(value, int, "a whole number", place)
    unsigned = field.kind.name.startswith("u")
    bits = 64 if field.kind.name.endswith("64") else 32
    least, most = (0, 2**bits - 1) if unsigned else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    if isinstance(value, bool) or not least <= number <= most:
        raise InvalidArgument(f"{place}: must be a whole number from {least} to {most}")
    return number


def _typed(value: Any, kind: Any, what: str, place: str) -> Any:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise InvalidArgument(f"{place}: must be {what}")
    return value
