"""A certificate authority of the tests' own."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path


def make_authority(directory: Path) -> Path:
    """Put ca.pem and, issued by it, server.pem for 127.0.0.1 into a directory, each with its .key."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True)

    new = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")
    key_usage = "keyUsage=critical,keyCertSign,cRLSign"
    openssl(*new, "-subj", "/CN=Test CA", "-addext", key_usage, "-keyout", "ca.key", "-out", "ca.pem")
    issued = ("-CA", "ca.pem", "-CAkey", "ca.key", "-addext", "subjectAltName=IP:127.0.0.1")
    leaf = ("-addext", "basicConstraints=critical,CA:FALSE")
    openssl(*new, *issued, *leaf, "-subj", "/CN=127.0.0.1", "-keyout", "server.key", "-out", "server.pem")
    return directory


def server_context(authority: Path, *, asks_for_client: bool = False) -> ssl.SSLContext:
    """For a server with an authority's certificate; with `asks_for_client`, its clients need one too."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority / "server.pem", authority / "server.key")
    if asks_for_client:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(authority / "ca.pem")
    return context
