"""google.protobuf's descriptions of messages and services, as far as proto3 without options needs them."""

from __future__ import annotations

from cloche.wire.protobuf import Message, boolean, enumeration, int32, message, repeated, string
from cloche.wire.protobuf_values import STRING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_PACKAGE = "google.protobuf"


class FieldDescriptorProto(Message, package=_PACKAGE):
    """One field. label: 1, or 3 where it is repeated. type_name: of a message, with a dot before it."""

    name: str = string(1)
    number: int = int32(3)
    label: int = enumeration(4)
    type: int = enumeration(5)
    type_name: str = string(6)
    oneof_index: int | None = int32(9, optional=True)
    proto3_optional: bool = boolean(17)


class OneofDescriptorProto(Message, package=_PACKAGE):
    """A choice between fields."""

    name: str = string(1)


class MessageOptions(Message, package=_PACKAGE):
    """map_entry: whether the message is what a map consists of."""

    map_entry: bool = boolean(7)


class DescriptorProto(Message, package=_PACKAGE):
    """A message."""

    name: str = string(1)
    field: Sequence[FieldDescriptorProto] = repeated(2, FieldDescriptorProto)
    nested_type: Sequence[DescriptorProto] = repeated(3)
    options: MessageOptions | None = message(7, MessageOptions)
    oneof_decl: Sequence[OneofDescriptorProto] = repeated(8, OneofDescriptorProto)


class MethodDescriptorProto(Message, package=_PACKAGE):
    """A method; the types have a dot before their names."""

    name: str = string(1)
    input_type: str = string(2)
    output_type: str = string(3)
    client_streaming: bool = boolean(5)
    server_streaming: bool = boolean(6)


class ServiceDescriptorProto(Message, package=_PACKAGE):
    """A service."""

    name: str = string(1)
    method: Sequence[MethodDescriptorProto] = repeated(2, MethodDescriptorProto)


class FileDescriptorProto(Message, package=_PACKAGE):
    """A file of definitions."""

    name: str = string(1)
    package: str = string(2)
    dependency: Sequence[str] = repeated(3, STRING)
    message_type: Sequence[DescriptorProto] = repeated(4, DescriptorProto)
    service: Sequence[ServiceDescriptorProto] = repeated(6, ServiceDescriptorProto)
    syntax: str = string(12)
