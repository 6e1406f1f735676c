"""grpc.health.v1: whether a server, or one of its services, answers."""

from __future__ import annotations

from cloche.wire.protobuf import Message, enumeration, string
from cloche.wire.service import Method, Service

_PACKAGE = "grpc.health.v1"

UNKNOWN, SERVING, NOT_SERVING, SERVICE_UNKNOWN = range(4)


class HealthCheckRequest(Message, package=_PACKAGE):
    """service: a full name; "" for the server as a whole."""

    service: str = string(1)


class HealthCheckResponse(Message, package=_PACKAGE):
    """status: one of the numbers above."""

    status: int = enumeration(1)


HEALTH = Service(
    f"{_PACKAGE}.Health",
    Method("Check", HealthCheckRequest, HealthCheckResponse),
    Method("Watch", HealthCheckRequest, HealthCheckResponse, server_streaming=True, lasting=True),
)
