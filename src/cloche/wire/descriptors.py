"""Descriptions of services for those who ask at run time, made from the tables that serve them.

There is one file of each package, named after it, but for the messages of Protocol Buffers
themselves: clients know the files of these by name.
"""

from __future__ import annotations

from cloche.wire import protobuf_values as values
from cloche.wire.messages.descriptor import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    MessageOptions,
    MethodDescriptorProto,
    OneofDescriptorProto,
    ServiceDescriptorProto,
)
from cloche.wire.protobuf_values import Kind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from cloche.wire.protobuf import Field, Message
    from cloche.wire.service import Service

_WRAPPERS = "google/protobuf/wrappers.proto"
_KNOWN_FILES = {
    "google.protobuf.Any": "google/protobuf/any.proto",
    "google.protobuf.Duration": "google/protobuf/duration.proto",
    "google.protobuf.Empty": "google/protobuf/empty.proto",
    "google.protobuf.FieldMask": "google/protobuf/field_mask.proto",
    "google.protobuf.Timestamp": "google/protobuf/timestamp.proto",
    "google.rpc.Status": "google/rpc/status.proto",
    **{
        f"google.protobuf.{kind}Value": _WRAPPERS
        for kind in ("Double", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String")
    },
}


class Descriptors:
    """files: by name. symbols: which file has a message or a service, by its full name."""

    def __init__(self, services: Iterable[Service]) -> None:
        self.files: dict[str, FileDescriptorProto] = {}
        self.symbols: dict[str, str] = {}
        for service in services:
            self._add_service(service)

    def with_dependencies(self, name: str) -> list[FileDescriptorProto]:
        """A file and all that it needs, directly or not. Raises KeyError."""
        found = {name: self.files[name]}
        open_names = [name]
        while open_names:
            for needed in self.files[open_names.pop()].dependency:
                if needed not in found:
                    found[needed] = self.files[needed]
                    open_names.append(needed)
        return list(found.values())

    def _file(self, name: str, package: str) -> FileDescriptorProto:
        if name not in self.files:
            self.files[name] = FileDescriptorProto(
                name=name, package=package, syntax="proto3", dependency=[], message_type=[], service=[]
            )
        return self.files[name]

    def _add_service(self, service: Service) -> None:
        package, _, name = service.full_name.rpartition(".")
        file = self._file(_file_name(package), package)
        methods = []
        for method in service.methods.values():
            for message in (method.request, method.response):
                self._depend(file, self._add_message(message))
            methods.append(
                MethodDescriptorProto(
                    name=method.name,
                    input_type="." + method.request.FULL_NAME,
                    output_type="." + method.response.FULL_NAME,
                    client_streaming=method.client_streaming,
                    server_streaming=method.server_streaming,
                )
            )
            self.symbols[f"{service.full_name}.{method.name}"] = file.name
        file.service = [*file.service, ServiceDescriptorProto(name=name, method=methods)]
        self.symbols[service.full_name] = file.name

    @staticmethod
    def _depend(file: FileDescriptorProto, needed: str) -> None:
        if needed != file.name and needed not in file.dependency:
            file.dependency = [*file.dependency, needed]

    def _add_message(self, message: type[Message]) -> str:
        """Describe a message and what is in it; returns its file's name."""
        full_name = message.FULL_NAME
        if full_name in self.symbols:
            return self.symbols[full_name]
        package, names = split(full_name)
        name = _KNOWN_FILES.get(full_name) or _file_name(package)
        self.symbols[full_name] = name
        file = self._file(name, package)
        described = self._place(file, names)
        for field in message.FIELDS:
            if field.kind is values.MESSAGE:
                self._depend(file, self._add_message(field.message))
            _describe(described, full_name, field)
        return name

    @staticmethod
    def _place(file: FileDescriptorProto, names: list[str]) -> DescriptorProto:
        """The empty description of a message, inside those whose names are before its own."""
        siblings = list(file.message_type)
        owner: DescriptorProto | None = None
        for name in names:
            found = next((one for one in siblings if one.name == name), None)
            if found is None:
                found = DescriptorProto(name=name, field=[], nested_type=[], oneof_decl=[])
                if owner is None:
                    file.message_type = [*siblings, found]
                else:
                    owner.nested_type = [*siblings, found]
            owner, siblings = found, list(found.nested_type)
        return owner or DescriptorProto()


def split(full_name: str) -> tuple[str, list[str]]:
    """A message's package, and its name with those of the messages it is in."""
    parts = full_name.split(".")
    first = next((position for position, part in enumerate(parts) if part[:1].isupper()), len(parts) - 1)
    return ".".join(parts[:first]), parts[first:]


def _file_name(package: str) -> str:
    return package.replace(".", "/") + ".proto"


def _describe(owner: DescriptorProto, full_name: str, field: Field) -> None:
    described = _field(field.name, field.number, field.kind, field.message)
    if field.key is not None:
        entry = "".join(part.capitalize() for part in field.name.split("_")) + "Entry"
        inner = [_field("key", 1, field.key, None), _field("value", 2, field.kind, field.message)]
        nested = DescriptorProto(name=entry, field=inner, options=MessageOptions(map_entry=True))
        owner.nested_type = [*owner.nested_type, nested]
        described = FieldDescriptorProto(
            name=field.name,
            number=field.number,
            type=values.MESSAGE.number,
            type_name=f".{full_name}.{entry}",
        )
    described.label = 3 if field.repeated or field.key is not None else 1
    if field.optional:
        described.oneof_index = len(owner.oneof_decl)
        described.proto3_optional = True
        owner.oneof_decl = [*owner.oneof_decl, OneofDescriptorProto(name=f"_{field.name}")]
    owner.field = [*owner.field, described]


def _field(name: str, number: int, kind: Kind, message: type[Message] | None) -> FieldDescriptorProto:
    # Of an enumeration the tables know the numbers alone: they travel like an int32.
    known = values.INT32 if kind is values.ENUM else kind
    described = FieldDescriptorProto(name=name, number=number, label=1, type=known.number)
    if kind is values.MESSAGE and message is not None:
        described.type_name = "." + message.FULL_NAME
    return described
