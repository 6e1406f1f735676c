"""gRPC server reflection: tools such as grpcurl call services that they learn about here."""

from __future__ import annotations

from cloche.wire import status
from cloche.wire.descriptors import Descriptors
from cloche.wire.messages.reflection import (
    REFLECTION,
    ErrorResponse,
    FileDescriptorResponse,
    ListServiceResponse,
    ServerReflectionRequest,
    ServerReflectionResponse,
    ServiceResponse,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from cloche.api.call import Call
    from cloche.wire.service import Service


class ReflectionService:
    """services: all that are served, this one too; looked at when somebody asks first."""

    SERVICE = REFLECTION

    def __init__(self, services: Iterable[Service]) -> None:
        self._services = services
        self._descriptors: Descriptors | None = None

    async def server_reflection_info(self, call: Call) -> AsyncIterator[ServerReflectionResponse]:
        """An answer to each question."""
        if self._descriptors is None:
            self._descriptors = Descriptors(self._services)
        async for request in call:
            response = self._answer(self._descriptors, request)
            response.valid_host = request.host
            response.original_request = request
            yield response

    def _answer(self, known: Descriptors, request: ServerReflectionRequest) -> ServerReflectionResponse:
        if request.list_services is not None:
            names = [ServiceResponse(name=service.full_name) for service in self._services]
            return ServerReflectionResponse(list_services_response=ListServiceResponse(service=names))
        name = request.file_by_filename
        if request.file_containing_symbol is not None:
            name = known.symbols.get(request.file_containing_symbol.removeprefix("."))
        if name is None or name not in known.files:
            error = ErrorResponse(error_code=status.NOT_FOUND, error_message="not found")
            return ServerReflectionResponse(error_response=error)
        files = [file.encode() for file in known.with_dependencies(name)]
        response = FileDescriptorResponse(file_descriptor_proto=files)
        return ServerReflectionResponse(file_descriptor_response=response)
