"""One host of a registry: requests that carry what the host wants to see."""

from __future__ import annotations

import threading
from urllib.parse import urlencode, urljoin, urlsplit

from cloche.errors import Unavailable
from cloche.image.auth import Authenticator
from cloche.image.transport import Transport

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from cloche.image.credentials import Credentials
    from cloche.image.hosts import Host
    from cloche.image.transport import Readable, Response

_AUTHENTICATION_ROUNDS = 3
_USER_AGENT = "cloche"
_PROBE_LIMIT_BYTES = 4096


class Endpoint:
    """A host with its connections and tokens. Safe to use from several threads."""

    def __init__(self, host: Host, credentials: Credentials | None, cancelled: threading.Event) -> None:
        self._credentials = credentials
        self.has_login = credentials is not None
        self._cancelled = cancelled
        self._settled = host.scheme != ""
        self._settling = threading.Lock()
        self._open(host)

    def _open(self, host: Host) -> None:
        self.host = host
        self._transport = Transport(host, self._cancelled)
        self._authenticator = Authenticator(self._transport, self._credentials)

    @property
    def has_answered(self) -> bool:
        """Whether anything was ever heard from it."""
        return self._transport.has_answered

    @property
    def cancelled(self) -> threading.Event:
        """Set when all requests are to end with Cancelled."""
        return self._cancelled

    def cancel(self) -> None:
        """Have all requests end soon, with Cancelled."""
        self._cancelled.set()

    def close(self) -> None:
        """Drop its connections."""
        self._transport.close()

    def request(
        self,
        method: str,
        path: str,
        *,
        scope: str,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        body: bytes | Readable | None = None,
        redirects: int = 10,
    ) -> Response:
        """Send a request for `path` (below the API's prefix, or an absolute URL of this host).

        scope: what a token must allow (`repository:NAME:pull`, several with spaces between). body: a
        file is sent whole, with the Content-Length that the headers say. Challenges are answered, so that a
        status of 401 coming back is final. Raises Unavailable where the host cannot be reached.
        """
        self._settle()
        url = self.url(path, query)
        for attempt in range(_AUTHENTICATION_ROUNDS):
            sent = {"User-Agent": _USER_AGENT, **self.host.headers, **(headers or {})}
            shown = self._authenticator.header(scope)
            if shown:
                sent["Authorization"] = shown
            if body is not None and not isinstance(body, bytes):
                body.seek(0)
            response = self._transport.request(method, url, sent, body=body, redirects=redirects)
            if response.status != 401 or attempt == _AUTHENTICATION_ROUNDS - 1:
                break
            try:
                better = self._authenticator.answer(
                    response.headers.getlist("WWW-Authenticate"), scope, shown
                )
            except BaseException:
                response.close()
                raise
            if not better:
                break
            response.close()
        return response

    def url(self, path: str, query: Mapping[str, str] | None = None) -> str:
        """What a request for `path` asks for; its scheme is known after the first request."""
        url = path if "://" in path else f"{self._base()}{path}"
        named = {"ns": self.host.namespace} if self.host.namespace else {}
        if query or named:
            url += ("&" if "?" in url else "?") + urlencode({**(query or {}), **named})
        return url

    def request_elsewhere(
        self, method: str, url: str, headers: Mapping[str, str], body: Readable | None = None
    ) -> Response:
        """Send a request to another host (a foreign layer's, a storage back end) without any credentials."""
        return self._transport.request(method, url, {"User-Agent": _USER_AGENT, **headers}, body=body)

    def owns(self, url: str) -> bool:
        """Whether a URL is of this host's own origin, so that credentials may be sent there."""
        self._settle()
        parts = urlsplit(url)
        return (parts.scheme, parts.netloc) == (self.host.scheme, self.host.authority)

    def absolute(self, location: str, path: str) -> str:
        """A Location header's URL; path: of the request that it answers."""
        return urljoin(f"{self._base()}{path}", location)

    def _base(self) -> str:
        return f"{self.host.scheme}://{self.host.authority}{self.host.prefix}"

    def _settle(self) -> None:
        """Find out once whether a loopback registry speaks plain HTTP or TLS."""
        with self._settling:
            if not self._settled:
                self._probe()

    def _probe(self) -> None:
        self._open(self.host.replace(scheme="http"))
        try:
            with self._transport.request("GET", f"{self._base()}/", {"User-Agent": _USER_AGENT}) as response:
                wants_tls = response.status == 400 and b"HTTPS" in response.read_all(_PROBE_LIMIT_BYTES)
        except Unavailable as error:
            if "cannot connect" in str(error):
                raise
            wants_tls = True
        if wants_tls:
            self.close()
            self._open(self.host.replace(scheme="https"))
        self._settled = True
