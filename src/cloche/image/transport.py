"""HTTP to one host: reused connections, TLS as configured, redirects, retries.

urllib3 does the speaking. Redirects are followed here and not there, because credentials must not
travel to another origin (storage back ends and CDNs get signed URLs and need none).
"""

from __future__ import annotations

import ssl
import threading
from urllib.parse import urljoin, urlsplit

import urllib3
from urllib3.exceptions import (
    HTTPError,
    InsecureRequestWarning,
    LocationParseError,
    NewConnectionError,
    SSLError,
)

from cloche.errors import Cancelled, DataLoss, FailedPrecondition, Unavailable
from cloche.image.retry import RETRIED_STATUSES, Retries, retry_after_s

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Protocol

    from cloche.image.hosts import Host

    class Readable(Protocol):
        """What can be sent: a file, or something like one."""

        def read(self, size: int = -1, /) -> bytes: ...
        def seek(self, offset: int, /) -> int: ...


_ATTEMPTS = 5
_REDIRECTS = 10
_READ_TIMEOUT_S = 60.0
_CONNECTIONS = 8
_SENT_BYTES = 256 << 10
_DRAINED_BYTES = 64 << 10
_REDIRECT_STATUSES = frozenset({301, 302, 303, 307, 308})
_SECRET_HEADERS = frozenset({"authorization", "cookie", "proxy-authorization"})


class Response:
    """An answer whose body has not been read yet. Close it, or read it to its end."""

    def __init__(self, raw: urllib3.BaseHTTPResponse, url: str) -> None:
        self._raw = raw
        self.url = url
        self.status = raw.status
        self.headers = raw.headers

    def read(self, size_bytes: int) -> bytes:
        """Up to so many bytes of the body as sent; empty at its end.

        Raises Unavailable when the connection breaks before the announced end.
        """
        try:
            return self._raw.read(size_bytes, decode_content=False)
        except (HTTPError, OSError) as error:
            raise Unavailable(f"{urlsplit(self.url).netloc}: {_reason(error)}") from error

    def read_all(self, limit_bytes: int) -> bytes:
        """The whole body. Raises DataLoss where it is larger than the limit, Unavailable as `read`."""
        chunks: list[bytes] = []
        left = limit_bytes + 1
        while left > 0 and (chunk := self.read(left)):
            chunks.append(chunk)
            left -= len(chunk)
        if left <= 0:
            self.close()
            raise DataLoss(f"{self.url}: the answer is larger than {limit_bytes} bytes")
        self._raw.release_conn()
        return b"".join(chunks)

    def interrupt(self) -> None:
        """End the reading of the body, from any thread."""
        try:
            self._raw.shutdown()
        except (HTTPError, OSError, RuntimeError, ValueError):
            pass  # it was read to its end already

    def close(self) -> None:
        """Give the connection back where little of the body is left, else drop it. May be repeated."""
        left = getattr(self._raw, "length_remaining", None)
        if left is not None and left <= _DRAINED_BYTES:
            self._raw.drain_conn()
            self._raw.release_conn()
        else:
            self._raw.close()

    def __enter__(self) -> Response:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Transport:
    """Requests to a host and wherever it redirects to. Safe to use from several threads.

    has_answered: whether anything was ever heard from it.
    """

    def __init__(self, host: Host, cancelled: threading.Event) -> None:
        self.host = host
        self.cancelled = cancelled
        self.has_answered = False
        timeout = urllib3.Timeout(connect=host.connect_timeout_s, read=_READ_TIMEOUT_S)
        self._pools = urllib3.PoolManager(
            num_pools=_CONNECTIONS,
            maxsize=_CONNECTIONS,
            retries=False,
            timeout=timeout,
            blocksize=_SENT_BYTES,
            ssl_context=_tls_context(host) if host.scheme == "https" else None,
        )

    def close(self) -> None:
        """Drop the connections that are not in use."""
        self._pools.clear()

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        *,
        body: bytes | Readable | None = None,
        redirects: int = _REDIRECTS,
    ) -> Response:
        """Send one request, again where trying again may help, and follow redirects.

        body: a file is sent from its present position, with the length the headers say. Gives back
        the last answer, whatever its status; raises Unavailable when there was none.
        """
        retries = Retries(1 if body is not None else _ATTEMPTS, self.cancelled)
        while True:
            try:
                response = self._follow(method, url, headers, body, redirects)
            except (HTTPError, OSError) as error:
                # A host that never answered is more likely misspelt than busy.
                if isinstance(error, SSLError) or not self.has_answered or not retries.again():
                    raise self._unreachable(url, error) from error
                continue
            self.has_answered = True
            if response.status not in RETRIED_STATUSES:
                return response
            if not retries.again(retry_after_s(response.headers.get("Retry-After"))):
                return response
            response.close()

    def _follow(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | Readable | None,
        redirects: int,
    ) -> Response:
        sent = dict(headers)
        for _ in range(redirects + 1):
            if self.cancelled.is_set():
                raise Cancelled("the transfer was cancelled")
            raw = self._pools.request(
                method,
                url,
                headers=sent,
                body=body,  # type: ignore[arg-type]  # anything that can be read will do
                preload_content=False,
                redirect=False,
                decode_content=False,
            )
            location = raw.headers.get("Location") if raw.status in _REDIRECT_STATUSES else None
            if location is None or redirects == 0:
                return Response(raw, url)
            Response(raw, url).close()
            url, sent = self._redirected(url, location, sent)
        raise Unavailable(f"{self.host.name}: more than {redirects} redirects for one request")

    def _redirected(self, url: str, location: str, headers: dict[str, str]) -> tuple[str, dict[str, str]]:
        target = urljoin(url, location)
        old, new = urlsplit(url), urlsplit(target)
        if new.scheme not in ("http", "https") or not new.netloc:
            raise Unavailable(f"{self.host.name}: redirects to {target[:200]!r}, which is no web address")
        if (old.scheme, new.scheme) == ("https", "http") and self.host.verify:
            raise FailedPrecondition(f"{self.host.name}: redirects from HTTPS to plain HTTP ({new.netloc})")
        if (old.scheme, old.netloc) != (new.scheme, new.netloc):
            headers = {name: value for name, value in headers.items() if name.lower() not in _SECRET_HEADERS}
        return target, headers

    def _unreachable(self, url: str, error: Exception) -> Exception:
        place = urlsplit(url).netloc
        if isinstance(error, SSLError):
            return Unavailable(f"{place}: {_tls_reason(error, place)}")
        return Unavailable(f"{place}: {_reason(error)}")


def _tls_context(host: Host) -> ssl.SSLContext:
    context = ssl.create_default_context()
    try:
        for path in host.ca:
            context.load_verify_locations(cafile=path)
    except (OSError, ssl.SSLError) as error:
        raise FailedPrecondition(f"{host.name}: certificates of {path}: {error}") from None
    for certificate, key in host.client_certificates:
        try:
            context.load_cert_chain(certificate, key or None)
        except (OSError, ssl.SSLError) as error:
            raise FailedPrecondition(f"{host.name}: client certificate {certificate}: {error}") from None
    if not host.verify:
        # The user asked for it, and has no use for a warning on every request.
        urllib3.disable_warnings(InsecureRequestWarning)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _tls_reason(error: SSLError, place: str) -> str:
    text = str(error)
    if "WRONG_VERSION_NUMBER" in text or "record layer failure" in text.lower():
        return "does not speak TLS; if plain HTTP is meant, allow it with --plain-http"
    if "CERTIFICATE_VERIFY_FAILED" in text:
        cause = text.partition("certificate verify failed: ")[2].partition(" (_ssl")[0]
        remedy = f"trust its CA with --tlscacert, or put it at /etc/docker/certs.d/{place}/ca.crt"
        return f"its certificate is not trusted ({cause or 'unknown issuer'}); {remedy}"
    return f"TLS failed: {text[:200]}"


def _reason(error: Exception) -> str:
    """The innermost cause in words, without urllib3's wrapping."""
    if isinstance(error, LocationParseError):
        return "is not a host"
    cause: BaseException = error
    while (inner := cause.__cause__ or cause.__context__) is not None and not isinstance(cause, OSError):
        cause = inner
    if isinstance(cause, OSError) and cause.strerror:
        prefix = "cannot connect: " if isinstance(error, NewConnectionError) else "the connection broke: "
        return prefix + cause.strerror.lower()
    if isinstance(cause, TimeoutError) or "timed out" in str(error):
        return "does not answer in time"
    return f"the connection broke: {str(error)[:200]}"
