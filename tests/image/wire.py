"""Registries that misbehave, on real sockets: an HTTP server with faults, and a proxy that cuts."""

from __future__ import annotations

import hashlib
import json
import socket
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, NamedTuple, Self

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def descriptor(data: bytes, media_type: str, **more: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest_of(data), "size": len(data), **more}


class Asked(NamedTuple):
    """One request that a server got."""

    method: str
    path: str
    headers: dict[str, str]


class Answer(NamedTuple):
    """What a fault answers instead. cut: close the connection after so many bytes of the body."""

    status: int
    headers: dict[str, str] = {}
    body: bytes = b""
    cut: int | None = None
    announce: int | None = None
    """The Content-Length to send; the body's by default, none at all for -1."""


Fault = Callable[[Asked], Answer | None]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: StubRegistry._Server

    def do_GET(self) -> None:
        stub = self.server.stub
        length = int(self.headers.get("Content-Length") or 0)
        asked = Asked(self.command, self.path, dict(self.headers.items()))
        body = self.rfile.read(length)
        with stub.lock:
            stub.asked.append(asked)
            stub.bodies.append(body)
            answer = next((found for fault in stub.faults if (found := fault(asked)) is not None), None)
        self._send(answer or stub.answer(asked))

    do_HEAD = do_POST = do_PUT = do_PATCH = do_GET  # noqa: N815 - the names that http.server calls

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        length = len(answer.body) if answer.announce is None else answer.announce
        if length >= 0:
            self.send_header("Content-Length", str(length))
        else:
            self.close_connection = True
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body if answer.cut is None else answer.body[: answer.cut])
        if answer.cut is not None:
            self.wfile.flush()
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass


class StubRegistry:
    """A small registry of one's own making; `address` is "127.0.0.1:PORT".

    manifests: (content, media type) by tag and digest. blobs: by digest. faults: asked in turn for
    every request; the first answer that one gives is sent. asked: every request so far.
    """

    class _Server(ThreadingHTTPServer):
        daemon_threads = True
        stub: StubRegistry

        def handle_error(self, request: object, client_address: object) -> None:
            """Clients that hang up are part of the tests."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.manifests: dict[str, tuple[bytes, str]] = {}
        self.blobs: dict[str, bytes] = {}
        self.faults: list[Fault] = []
        self.asked: list[Asked] = []
        self.bodies: list[bytes] = []
        self.lock = threading.Lock()
        self._server = self._Server(("127.0.0.1", 0), _Handler)
        self._server.stub = self
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.port: int = self._server.server_address[1]
        self.address = f"127.0.0.1:{self.port}"
        self.scheme = "https" if tls else "http"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    def answer(self, asked: Asked) -> Answer:
        """What a registry in good health says."""
        path = asked.path.partition("?")[0]
        if "/manifests/" in path:
            found = self.manifests.get(path.rpartition("/")[2])
            if found is None:
                return self.error(404, "MANIFEST_UNKNOWN", "manifest unknown")
            data, media_type = found
            return Answer(200, {"Content-Type": media_type, "Docker-Content-Digest": digest_of(data)}, data)
        if "/blobs/" in path:
            data = self.blobs.get(path.rpartition("/")[2], b"")
            if not data:
                return self.error(404, "BLOB_UNKNOWN", "blob unknown")
            return self.ranged(asked, data)
        return Answer(200, {}, b"{}")

    @staticmethod
    def ranged(asked: Asked, data: bytes) -> Answer:
        """The whole, or what the Range header asks for."""
        wanted = asked.headers.get("Range")
        if wanted is None:
            return Answer(200, {}, data)
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        start, end = int(first), int(last or len(data) - 1)
        return Answer(206, {"Content-Range": f"bytes {start}-{end}/{len(data)}"}, data[start : end + 1])

    @staticmethod
    def error(status: int, code: str, message: str, **headers: str) -> Answer:
        body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return Answer(status, {"Content-Type": "application/json", **named}, body)

    def add_blob(self, data: bytes) -> str:
        self.blobs[digest_of(data)] = data
        return digest_of(data)

    def add_manifest(self, document: object, tag: str | None = None, media_type: str = MANIFEST) -> bytes:
        data = document if isinstance(document, bytes) else json.dumps(document).encode()
        for name in (tag, digest_of(data)):
            if name is not None:
                self.manifests[name] = (data, media_type)
        return data

    def add_image(
        self,
        tag: str | None,
        layers: list[tuple[bytes, str]],
        architecture: str = "",
        **settings: Any,
    ) -> bytes:
        """An image of compressed layers, each with its diff id; returns the manifest."""
        config = {
            "os": "linux",
            "architecture": architecture,
            "config": settings,
            "rootfs": {"type": "layers", "diff_ids": [diff_id for _, diff_id in layers]},
        }
        config_data = json.dumps(config).encode()
        for data in (config_data, *(data for data, _ in layers)):
            self.add_blob(data)
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": descriptor(config_data, CONFIG),
            "layers": [descriptor(data, LAYER) for data, _ in layers],
        }
        return self.add_manifest(manifest, tag)

    def requests(self, method: str, part: str = "") -> list[Asked]:
        """The requests so far of a method, with this in their path."""
        return [asked for asked in self.asked if asked.method == method and part in asked.path]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def times(count: int, part: str, answer: Answer) -> Fault:
    """The same answer to the first so many requests with this in their path."""
    left = [count]

    def fault(asked: Asked) -> Answer | None:
        if part not in asked.path or not left[0]:
            return None
        left[0] -= 1
        return answer

    return fault


class CuttingProxy:
    """A TCP proxy that breaks connections off; `address` is "127.0.0.1:PORT".

    limits: for each connection in turn, after how many bytes from upstream it is cut; those
    after the last are left alone.
    """

    def __init__(self, upstream: str, limits: list[int]) -> None:
        host, _, port = upstream.rpartition(":")
        self._upstream = (host, int(port))
        self._limits = list(limits)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.cuts = 0
        self._thread = threading.Thread(target=self._accept)
        self._open: list[socket.socket] = []

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            upstream = socket.create_connection(self._upstream)
            self._open += [client, upstream]
            limit = self._limits.pop(0) if self._limits else None
            threading.Thread(target=self._copy, args=(client, upstream, None), daemon=True).start()
            threading.Thread(target=self._copy, args=(upstream, client, limit), daemon=True).start()

    def _copy(self, source: socket.socket, target: socket.socket, limit: int | None) -> None:
        try:
            while (limit is None or limit > 0) and (data := source.recv(min(65536, limit or 65536))):
                target.sendall(data)
                limit = None if limit is None else limit - len(data)
            if limit is not None and limit <= 0:
                self.cuts += 1
        except OSError:
            pass
        for side in (source, target):
            try:
                side.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        for side in self._open:
            side.close()
