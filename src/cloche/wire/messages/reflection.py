"""grpc.reflection.v1: a server that says what it serves. v1alpha is the same under another name."""

from __future__ import annotations

from cloche.wire.protobuf import Message, int32, message, repeated, string
from cloche.wire.protobuf_values import BYTES, INT32
from cloche.wire.service import Method, Service

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_PACKAGE = "grpc.reflection.v1"


class ExtensionRequest(Message, package=_PACKAGE):
    """An extension of a message."""

    containing_type: str = string(1)
    extension_number: int = int32(2)


class ServerReflectionRequest(Message, package=_PACKAGE):
    """One question: the field that is there says which. list_services: its text means nothing."""

    host: str = string(1)
    file_by_filename: str | None = string(3, optional=True)
    file_containing_symbol: str | None = string(4, optional=True)
    file_containing_extension: ExtensionRequest | None = message(5, ExtensionRequest)
    all_extension_numbers_of_type: str | None = string(6, optional=True)
    list_services: str | None = string(7, optional=True)


class FileDescriptorResponse(Message, package=_PACKAGE):
    """A file and all it depends on, each as an encoded FileDescriptorProto."""

    file_descriptor_proto: Sequence[bytes] = repeated(1, BYTES)


class ExtensionNumberResponse(Message, package=_PACKAGE):
    """The extensions of a message."""

    base_type_name: str = string(1)
    extension_number: Sequence[int] = repeated(2, INT32)


class ServiceResponse(Message, package=_PACKAGE):
    """A service's full name."""

    name: str = string(1)


class ListServiceResponse(Message, package=_PACKAGE):
    """All services."""

    service: Sequence[ServiceResponse] = repeated(1, ServiceResponse)


class ErrorResponse(Message, package=_PACKAGE):
    """error_code: as gRPC numbers them."""

    error_code: int = int32(1)
    error_message: str = string(2)


class ServerReflectionResponse(Message, package=_PACKAGE):
    """One answer, with the question."""

    valid_host: str = string(1)
    original_request: ServerReflectionRequest | None = message(2, ServerReflectionRequest)
    file_descriptor_response: FileDescriptorResponse | None = message(4, FileDescriptorResponse)
    all_extension_numbers_response: ExtensionNumberResponse | None = message(5, ExtensionNumberResponse)
    list_services_response: ListServiceResponse | None = message(6, ListServiceResponse)
    error_response: ErrorResponse | None = message(7, ErrorResponse)


def _service(package: str) -> Service:
    method = Method(
        "ServerReflectionInfo",
        ServerReflectionRequest,
        ServerReflectionResponse,
        client_streaming=True,
        server_streaming=True,
    )
    return Service(f"{package}.ServerReflection", method)


REFLECTION = _service(_PACKAGE)
REFLECTION_ALPHA = _service("grpc.reflection.v1alpha")
