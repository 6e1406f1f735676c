"""What one unary gRPC call costs a server in CPU time: ours beside grpcio's, asked by the same client.

`python -m bench.unary SERVER SOCKET` is the server.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc

from bench.table import Row
from cloche.api.version import VersionService
from cloche.daemon import sockets
from cloche.daemon.connections import Connections
from cloche.daemon.services import Services
from cloche.daemon.transport import GrpcProtocol
from cloche.wire.messages.google import Empty
from cloche.wire.messages.version import VERSION, VersionResponse
from tests.waiting import wait_until

CALLS_A_ROUND = 100
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def serve_ours(path: str) -> None:
    """Our transport, one service."""

    async def serve() -> None:
        services = Services()
        services.add(VersionService())
        Connections(services).serve(sockets.bind(path).socket, GrpcProtocol)
        await asyncio.get_running_loop().create_future()

    asyncio.run(serve())


def serve_grpcio(path: str) -> None:
    """The same service by grpcio, with as few threads as it takes."""
    answer = VersionResponse(version="0", revision="0")
    handler = grpc.unary_unary_rpc_method_handler(
        lambda request, context: answer, Empty.decode, VersionResponse.encode
    )
    server = grpc.server(ThreadPoolExecutor(1))
    service = grpc.method_handlers_generic_handler(VERSION.full_name, {"Version": handler})
    server.add_generic_rpc_handlers((service,))
    server.add_insecure_port(f"unix:{path}")
    server.start()
    threading.Event().wait()


SERVERS: dict[str, Callable[[str], None]] = {"ours": serve_ours, "grpcio": serve_grpcio}


class Measured:
    """A server of its own process, and how much CPU time it has used."""

    def __init__(self, kind: str, directory: Path) -> None:
        path = directory / f"{kind}.sock"
        self.process = subprocess.Popen([sys.executable, "-m", "bench.unary", kind, str(path)])
        wait_until(path.exists)
        self._channel = grpc.insecure_channel(f"unix:{path}")
        self._call = self._channel.unary_unary(f"/{VERSION.full_name}/Version")
        self._call(b"", wait_for_ready=True)

    def calls(self, number: int) -> None:
        """Make so many calls, one after the other, as ctr would."""
        for _ in range(number):
            self._call(b"", metadata=(("containerd-namespace", "default"),))

    def cpu_s(self) -> float:
        """Seconds of CPU time since its start, the kernel's for it among them."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * _TICK_S

    def stop(self) -> None:
        """End it."""
        self._channel.close()
        self.process.kill()
        self.process.wait()


def measure(directory: Path, rounds: int) -> list[Row]:
    """The row. directory: for sockets."""
    servers = [Measured(kind, directory) for kind in SERVERS]
    try:
        for server in servers:
            server.calls(CALLS_A_ROUND)
        before = [server.cpu_s() for server in servers]
        for _ in range(rounds):
            for server in servers:
                server.calls(CALLS_A_ROUND)
        calls = rounds * CALLS_A_ROUND
        spent = [(server.cpu_s() - start) / calls for server, start in zip(servers, before, strict=True)]
    finally:
        for server in servers:
            server.stop()
    return [Row("CPU of a unary call, server", "grpcio", spent, 0.5, 0.3, unit="µs")]


if __name__ == "__main__":
    SERVERS[sys.argv[1]](sys.argv[2])
