"""The Kubernetes client of Python: its exec and port-forward, over WebSocket with v4.channel.k8s.io."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from kubernetes.client import Configuration
from kubernetes.stream import ws_client

from cloche.cri.streaming.runtime import ForwardRequest
from tests.cri_streaming.local import POD, LocalServer
from tests.waiting import wait_until


class Stream(ws_client.WSClient):  # type: ignore[misc]  # the package has no types
    """What `kubernetes.stream.stream` returns, without the API server that it would ask for the URL."""

    def __init__(self, url: str, **options: bool) -> None:
        place = ws_client.get_websocket_url(url, [])
        super().__init__(Configuration(), place, {}, True, **options)

    def finish(self) -> None:
        """Take everything until the end."""
        self.run_forever(timeout=10)
        self.sock.shutdown()  # its close leaves the socket open once the server has said goodbye


def test_output_errors_and_the_exit_code_arrive(server: LocalServer) -> None:
    client = Stream(server.exec("sh", "-c", "echo out; echo err >&2; exit 3"))
    client.finish()
    assert client.read_stdout() == "out\n"
    assert client.read_stderr() == "err\n"
    assert client.returncode == 3


def test_success_is_told(server: LocalServer) -> None:
    client = Stream(server.exec("true"))
    client.finish()
    assert client.returncode == 0


def test_a_program_is_talked_to(server: LocalServer) -> None:
    client = Stream(server.exec("sh", "-c", "read name; echo hello $name", stdin=True))
    client.write_stdin("you\n")
    client.finish()
    assert client.read_stdout() == "hello you\n"
    assert client.returncode == 0


def test_a_terminal_has_the_size_of_the_clients(server: LocalServer) -> None:
    client = Stream(server.exec("sh", "-c", "read line; stty size", stdin=True, terminal=True))
    client.write_channel(ws_client.RESIZE_CHANNEL, '{"Width":100,"Height":31}')
    client.write_stdin("\n")
    client.finish()
    assert "31 100" in client.read_stdout()


def test_bytes_are_not_changed(server: LocalServer) -> None:
    data = os.urandom(300_000)
    client = Stream(server.exec("head", "-c", str(len(data)), stdin=True), binary=True)
    for start in range(0, len(data), 10_000):
        client.write_stdin(data[start : start + 10_000])
    client.finish()
    assert client.read_stdout() == data


def test_a_program_that_does_not_exist_is_an_error_with_its_name(server: LocalServer) -> None:
    client = Stream(server.exec("no-such-program"))
    client.finish()
    assert "'no-such-program': executable file not found" in client.read_channel(ws_client.ERROR_CHANNEL)


@contextmanager
def echoing() -> Iterator[int]:
    """A port that answers with what it was sent, once the other side has ended."""

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.sendall(b"hello " + connection.recv(100))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_a_port_is_forwarded(server: LocalServer) -> None:
    with echoing() as port:
        url = ws_client.get_websocket_url(server.url(ForwardRequest(POD, (port, 1))), [])
        channel = ws_client.create_websocket(Configuration(), url, {})
        forward = ws_client.PortForward(channel, [port, 1])
        connection = forward.socket(port)
        connection.sendall(b"you")
        connection.settimeout(10)
        assert connection.recv(100) == b"hello you"
        forward.close()
        wait_until(lambda: not forward.connected)
        channel.shutdown()
        for place in forward.local_ports.values():
            place.python.close()
        assert forward.error(port) is None
        assert f"error forwarding port 1 to pod {POD}" in forward.error(1)
