"""Which hosts serve a registry's name, and how they are spoken to."""

from __future__ import annotations

import ipaddress

from cloche.spec.record import Record
from cloche.spec.reference import DEFAULT_DOMAIN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

PULL, RESOLVE, PUSH = "pull", "resolve", "push"
EVERYTHING = frozenset({PULL, RESOLVE, PUSH})
_DOCKER_HUB = "registry-1.docker.io"


class Host(Record):
    """One server that is asked for a registry's content.

    authority: host[:port], as in a URL. scheme: "https", "http", or "" to find out: plain HTTP is
    tried and given up where the server turns out to speak TLS (loopback addresses only).
    prefix: path under which the API lives. verify: whether TLS certificates are checked. ca: paths
    of PEM files trusted beside the system's. client_certificates: paths of certificates and keys;
    an empty key is in the certificate's file. headers: sent with every request. namespace: the
    registry that another host stands for, which it learns from the query `ns=`; empty for the
    registry itself. is_mirror: whether logins for the registry are none of its business. origin:
    what says so, as FILE:LINE; empty for what holds without configuration. ignored: keys there that
    mean nothing.
    """

    authority: str
    scheme: str = "https"
    prefix: str = "/v2"
    capabilities: frozenset[str] = EVERYTHING
    verify: bool = True
    ca: tuple[str, ...] = ()
    client_certificates: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = {}
    namespace: str = ""
    connect_timeout_s: float = 15.0
    is_mirror: bool = False
    origin: str = ""
    ignored: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What messages call it: without the scheme's usual port."""
        host, colon, port = self.authority.rpartition(":")
        return host if colon and port == {"https": "443", "http": "80"}.get(self.scheme) else self.authority


def of_domain(
    domain: str,
    *,
    plain_http: bool | None = None,
    skip_verify: bool = False,
    ca: tuple[str, ...] = (),
    client_certificates: tuple[tuple[str, str], ...] = (),
) -> Host:
    """The host that a reference's domain names.

    plain_http: True forces HTTP and False HTTPS; None means HTTPS, except on loopback addresses,
    where registries are usually without certificates, as Docker and containerd have it. Asking for
    anything of TLS (`skip_verify`, `ca`, a client certificate) means HTTPS there too.
    """
    scheme = "https"
    if plain_http:
        scheme = "http"
    elif plain_http is None and is_loopback(domain) and not (skip_verify or ca or client_certificates):
        scheme = "https" if domain.endswith(":443") else ""
    return Host(
        authority(domain), scheme, verify=not skip_verify, ca=ca, client_certificates=client_certificates
    )


def authority(domain: str) -> str:
    """host[:port] of the server that a reference's domain names: Docker Hub's has another name."""
    return _DOCKER_HUB if domain == DEFAULT_DOMAIN else domain


def is_loopback(authority: str) -> bool:
    """Whether host[:port] is this very machine by its name or address; nothing is resolved."""
    host = authority
    if host.startswith("["):
        host = host[1:].partition("]")[0]
    elif host.count(":") == 1:
        host = host.partition(":")[0]
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
