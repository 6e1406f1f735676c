"""gRPC over TCP with certificates, made by openssl and shown by grpcio's client."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from cloche.daemon import tcp
from cloche.daemon.connections import Connections
from cloche.daemon.services import Services
from cloche.daemon.tcp import Tcp
from cloche.errors import InvalidArgument
from tests.daemon.service import ECHO, Echo, Note, run
from tests.daemons import free_port
from tests.peers import peer


class Certificates:
    """An authority, a server's certificate for 127.0.0.1, and clients' of two names."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.authority = self._make("authority", "-x509")
        for name in ("server", "alice", "mallory"):
            self._make(name, "-x509", "-CA", self.authority, "-CAkey", str(directory / "authority.key"))
        self.stranger = self._make("stranger", "-x509")

    def _make(self, name: str, *options: str) -> str:
        certificate = str(self.directory / f"{name}.crt")
        subject = ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        files = ["-keyout", str(self.directory / f"{name}.key"), "-out", certificate]
        command = [peer("openssl"), "req", *options, *key, *files, *subject]
        subprocess.run(command, check=True, capture_output=True)
        return certificate

    def settings(self, port: int, *, common_name: str = "") -> Tcp:
        server = str(self.directory / "server")
        return Tcp(f"127.0.0.1:{port}", f"{server}.crt", f"{server}.key", self.authority, common_name)

    def credentials(self, name: str) -> grpc.ChannelCredentials:
        def read(file: str) -> bytes:
            return (self.directory / file).read_bytes()

        return grpc.ssl_channel_credentials(read("authority.crt"), read(f"{name}.key"), read(f"{name}.crt"))


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture(params=["", "alice"])
def port(request: pytest.FixtureRequest, certificates: Certificates) -> Iterator[int]:
    """The port of a server that takes what the authority has signed; with a parameter, Alice's alone."""
    port, started, stop = free_port(), threading.Event(), asyncio.Event()

    async def serve() -> None:
        services = Services()
        services.add(Echo())
        connections = Connections(services)
        tcp.serve(connections, certificates.settings(port, common_name=request.param))
        loops.append(asyncio.get_running_loop())
        started.set()
        await stop.wait()
        await connections.stop(0)

    loops: list[asyncio.AbstractEventLoop] = []
    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert started.wait(10)
    yield port
    loops[0].call_soon_threadsafe(stop.set)
    thread.join(10)


def say(port: int, credentials: grpc.ChannelCredentials) -> Note:
    with grpc.secure_channel(f"127.0.0.1:{port}", credentials) as channel:
        call = channel.unary_unary(f"/{ECHO.full_name}/Say", Note.encode, Note.decode)
        answer: Note = call(Note(number=1, data=bytes(100_000)), timeout=10)
        return answer


def test_who_has_the_right_certificate_is_answered(port: int, certificates: Certificates) -> None:
    assert say(port, certificates.credentials("alice")).number == 1


def test_who_has_another_is_not(
    port: int, certificates: Certificates, request: pytest.FixtureRequest
) -> None:
    wrong = ["stranger", "mallory"] if "alice" in request.node.name else ["stranger"]
    for name in wrong:
        with pytest.raises(grpc.RpcError) as caught:
            say(port, certificates.credentials(name))
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_who_does_not_speak_tls_is_hung_up_on(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as stranger:
        stranger.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        assert b"\0\0" not in stranger.recv(1000)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Tcp("0.0.0.0:1"), "would be root"),
        (Tcp("[::]:1"), "would be root"),
        (Tcp("0.0.0.0:1", "c", "k"), "would be root"),
        (Tcp("somewhere:1"), "IP:PORT"),
        (Tcp("127.0.0.1"), "IP:PORT"),
        (Tcp("127.0.0.1:0", "", "", "ca"), "need tls_cert"),
        (Tcp("127.0.0.1:0", "/no/such", "/no/such"), "No such file"),
        (Tcp("127.0.0.1:0", "/no/such", "/no/such", "", "alice"), "needs tls_ca"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(settings: Tcp, message: str) -> None:
    async def serve() -> None:
        tcp.serve(Connections(Services()), settings)

    with pytest.raises(InvalidArgument, match=message):
        run(serve())
