"""The services that say what a daemon is, asked by Debian's ctr and by grpcio's reflection."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from cloche import __version__
from cloche.api.health import HealthService
from cloche.api.introspection import IntrospectionService, identity
from cloche.api.plugins import plugins
from cloche.api.reflection import ReflectionService
from cloche.api.version import VersionService
from cloche.wire.messages.health import SERVICE_UNKNOWN, SERVING, HealthCheckRequest, HealthCheckResponse
from cloche.wire.messages.reflection import REFLECTION_ALPHA
from tests.daemon.service import Server
from tests.peers import peer


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    services = server.services
    services.add(VersionService())
    services.add(IntrospectionService(str(tmp_path), plugins(str(tmp_path))))
    services.add(HealthService(lambda: {service.full_name for service in services}))
    reflection = ReflectionService(services)
    services.add(reflection)
    services.add(reflection, REFLECTION_ALPHA)
    with server:
        yield server


@pytest.fixture
def channel(server: Server) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"unix:{server.path}") as channel:
        yield channel


def test_ctr_is_told_our_version(server: Server, tmp_path: Path) -> None:
    command = [peer("ctr"), "--address", server.path, "version"]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    said = result.stdout.partition("Server:")[2].split()
    assert said == ["Version:", __version__, "Revision:", "cloche", "UUID:", identity(str(tmp_path))]


def test_the_identity_outlives_a_restart_and_a_damaged_file(tmp_path: Path) -> None:
    first = identity(str(tmp_path))
    assert identity(str(tmp_path)) == first
    (tmp_path / "io.cloche.uuid").write_text("not one")
    second = identity(str(tmp_path))
    assert second not in (first, "not one")
    assert identity(str(tmp_path)) == second


def test_health_is_known_of_the_server_and_of_each_service(channel: grpc.Channel) -> None:
    coders = (HealthCheckRequest.encode, HealthCheckResponse.decode)
    check = channel.unary_unary("/grpc.health.v1.Health/Check", *coders)
    for name in ("", "containerd.services.version.v1.Version"):
        assert check(HealthCheckRequest(service=name)).status == SERVING
    with pytest.raises(grpc.RpcError) as caught:
        check(HealthCheckRequest(service="no.Such"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    watch = channel.unary_stream("/grpc.health.v1.Health/Watch", *coders)
    for name, expected in (("", SERVING), ("no.Such", SERVICE_UNKNOWN)):
        stream = watch(HealthCheckRequest(service=name))
        assert next(stream).status == expected
        stream.cancel()


def test_reflection_describes_services_and_messages(channel: grpc.Channel) -> None:
    from google.protobuf.descriptor_pool import DescriptorPool

    database = ProtoReflectionDescriptorDatabase(channel)
    names = database.get_services()
    assert {
        "containerd.services.introspection.v1.Introspection",
        "grpc.reflection.v1.ServerReflection",
    } < set(names)
    pool = DescriptorPool(database)
    for name in names:
        assert pool.FindServiceByName(name).methods
    plugin = pool.FindMessageTypeByName("containerd.services.introspection.v1.Plugin")
    assert plugin.fields_by_name["exports"].message_type.GetOptions().map_entry
    assert plugin.fields_by_name["init_err"].message_type.full_name == "google.rpc.Status"
    server = pool.FindServiceByName("containerd.services.introspection.v1.Introspection").methods_by_name[
        "Server"
    ]
    assert server.input_type.full_name == "google.protobuf.Empty"
    with pytest.raises(KeyError):
        pool.FindMessageTypeByName("no.Such")
