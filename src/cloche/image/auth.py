"""Proving to a registry who asks: basic authentication and bearer tokens (distribution's token spec)."""

from __future__ import annotations

import threading
import time
from urllib.parse import urlencode, urlsplit

from cloche.errors import PermissionDenied, Unavailable
from cloche.image import challenge as challenges
from cloche.image.credentials import Credentials, encode_basic
from cloche.spec.document import loads
from cloche.spec.fields import Fields

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from cloche.image.transport import Response, Transport

_ANSWER_LIMIT_BYTES = 1 << 20
_DEFAULT_LIFE_S = 60.0
_MARGIN_S = 10.0
_CLIENT_ID = "cloche"


class Authenticator:
    """Answers one host's challenges and remembers tokens for each scope. Safe across threads."""

    def __init__(self, transport: Transport, credentials: Credentials | None) -> None:
        self._transport = transport
        self._credentials = credentials or Credentials()
        self._lock = threading.Lock()
        self._basic = ""
        self._tokens: dict[str, tuple[str, float]] = {}

    def header(self, scope: str) -> str:
        """The Authorization header for a request of this scope as far as is known; else empty."""
        if self._credentials.registry_token:
            return f"Bearer {self._credentials.registry_token}"
        token, expires = self._tokens.get(scope, ("", 0.0))
        return token if token and time.monotonic() < expires else self._basic

    def answer(self, headers: Iterable[str], scope: str, shown: str) -> bool:
        """Try to find a better header than `shown`, which was refused with these challenges.

        False when there is none: the credentials are missing or wrong. Raises PermissionDenied where
        the token server refuses, Unavailable where it cannot be asked.
        """
        offered = challenges.parse(headers)
        with self._lock:
            current = self.header(scope)
            if current != shown:
                return True  # another thread has answered in the meantime
            if self._credentials.registry_token:
                return False
            for offer in offered:
                if offer.scheme == "bearer" and offer.parameters.get("realm"):
                    before = self._tokens.pop(scope, None)
                    self._tokens[scope] = self._fetch(offer, scope)
                    return before is None or self._tokens[scope][0] != before[0]
                if offer.scheme == "basic" and self._credentials.username and not self._basic:
                    self._basic = encode_basic(self._credentials)
                    return True
        return False

    def _fetch(self, offer: challenges.Challenge, scope: str) -> tuple[str, float]:
        """Ask the token server; the header's value and the monotonic time it is good until."""
        realm = offer.parameters["realm"]
        scopes = (
            list(dict.fromkeys((scope, *challenges.scopes(offer)))) if scope else challenges.scopes(offer)
        )
        query = [("scope", each) for each in scopes]
        if service := offer.parameters.get("service"):
            query.append(("service", service))
        asked = time.monotonic()
        with self._ask(realm, query) as response:
            body = response.read_all(_ANSWER_LIMIT_BYTES)
            if response.status != 200:
                raise self._refusal(response, realm)
        answer = Fields.of(loads(body, realm), realm)
        token = answer.string("token") or answer.string("access_token")
        if not token or "\n" in token or "\r" in token or not token.isascii():
            raise Unavailable(f"{realm}: the token server's answer holds no usable token")
        life_s = answer.value.get("expires_in")
        if not isinstance(life_s, int | float) or life_s <= 0:
            life_s = _DEFAULT_LIFE_S
        return f"Bearer {token}", asked + max(life_s - _MARGIN_S, life_s / 2)

    def _ask(self, realm: str, query: list[tuple[str, str]]) -> Response:
        parts = urlsplit(realm)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise Unavailable(
                f"{self._transport.host.name}: names a token server that is no web address: {realm[:200]!r}"
            )
        credentials = self._credentials
        secret = bool(credentials.username or credentials.identity_token)
        if (
            secret
            and parts.scheme == "http"
            and self._transport.host.scheme == "https"
            and self._transport.host.verify
        ):
            raise PermissionDenied(
                f"{self._transport.host.name}: wants credentials sent over plain HTTP to {parts.netloc}"
            )
        if credentials.identity_token:
            form = [
                ("grant_type", "refresh_token"),
                ("refresh_token", credentials.identity_token),
                ("client_id", _CLIENT_ID),
                *((name, value) for name, value in query if name == "service"),
                ("scope", " ".join(value for name, value in query if name == "scope")),
            ]
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            return self._transport.request("POST", realm, headers, body=urlencode(form).encode(), redirects=0)
        headers = {}
        if credentials.username:
            headers["Authorization"] = encode_basic(credentials)
            query = [*query, ("account", credentials.username)]
        url = f"{realm}{'&' if parts.query else '?'}{urlencode(query)}"
        return self._transport.request("GET", url, headers)

    def _refusal(self, response: Response, realm: str) -> Exception:
        place = urlsplit(realm).netloc
        if response.status in (400, 401, 403):
            if self._credentials.username or self._credentials.identity_token:
                return PermissionDenied(
                    f"{place}: does not accept the user name or password ({response.status})"
                )
            return PermissionDenied(f"{place}: gives no token without a login ({response.status})")
        return Unavailable(f"{place}: the token server answers {response.status}")
