"""containerd's hosts.toml: which hosts stand for a registry, and how each is spoken to."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from cloche.errors import InvalidArgument
from cloche.image import hosts as registries
from cloche.image.hosts import EVERYTHING, Host
from cloche.spec import duration
from cloche.spec.fields import Fields

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_TIMEOUT_LIMIT_S = 3600.0
_KEYS = frozenset(("capabilities", "ca", "client", "dial_timeout", "header", "override_path", "skip_verify"))


def parse(data: bytes, domain: str, path: str) -> tuple[Host, ...]:
    """The hosts of a registry in the order in which they are asked, the registry itself last.

    domain: a reference's domain, which the file is about. path: of the file, for messages and for
    the relative paths in it. Raises InvalidArgument, naming file and key: what a file means for
    security must not depend on how much of it could be read.
    """
    import tomllib

    try:
        text = data.decode()
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"{path}: is no TOML: {str(error)[:200]}") from None
    reader = _Reader(domain, path, text.splitlines())
    whole = Fields(document, path)
    found = [
        reader.mirror(url, Fields.of(table, f"{path}: host.{url[:200]!r}"))
        for url, table in (whole.nested("host") or {}).items()
    ]
    server = reader.server(whole)
    return (*found, server.replace(ignored=_unknown(whole, _KEYS | {"host", "server"})))


class _Reader:
    """Makes hosts of one file's tables."""

    def __init__(self, domain: str, path: str, lines: list[str]) -> None:
        self._domain = domain
        self._path = path
        self._lines = lines

    def mirror(self, url: str, table: Fields) -> Host:
        """The host of a [host."URL"] table."""
        host = self._host(url, table, self._place(f'"{url}"', f"'{url}'", start="[host"))
        return host.replace(is_mirror=bool(host.namespace), ignored=_unknown(table, _KEYS))

    def server(self, table: Fields) -> Host:
        """The host that the file's first keys are about: `server`, or the registry by its own name."""
        url = table.string("server")
        if url:
            return self._host(url, table, self._place(start="server"))
        own = self._tls(table)
        # Without `server`, containerd looks at nothing else here: the registry itself can everything.
        host = registries.of_domain(self._domain, skip_verify=own.pop("verify", True) is False, **own)
        return host.replace(headers=_headers(table), origin=self._path, **_timeout(table))

    def _host(self, url: str, table: Fields, origin: str) -> Host:
        name = f"{self._path}: {url[:200]!r}"
        try:
            parts = urlsplit(url if "://" in url else f"https://{url}")
            parts.port  # noqa: B018 - it is only looked at here, and raises
        except ValueError as error:
            raise InvalidArgument(f"{name}: is no web address: {error}") from None
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.netloc.endswith(":"):
            raise InvalidArgument(f"{name}: must be http[s]://HOST[:PORT][/PATH]")
        if "@" in parts.netloc:
            raise InvalidArgument(f"{self._path}: a login in an address is not used; docker login stores it")
        if not parts.netloc.isascii() or not parts.path.isascii() or not url.isprintable() or " " in url:
            raise InvalidArgument(f"{name}: must be of printable ASCII characters")
        own = parts.netloc in (self._domain, registries.authority(self._domain))
        return Host(
            parts.netloc,
            parts.scheme,
            prefix=_prefix(parts.path, is_whole=_boolean(table, "override_path") or False),
            capabilities=_capabilities(table),
            headers=_headers(table),
            namespace="" if own else self._domain,
            origin=origin,
            **self._tls(table),
            **_timeout(table),
        )

    def _tls(self, table: Fields) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if authorities := _strings(table, "ca"):
            found["ca"] = tuple(self._beside(each) for each in authorities)
        if pairs := _client(table):
            found["client_certificates"] = tuple(
                (self._beside(certificate), self._beside(key) if key else "") for certificate, key in pairs
            )
        if _boolean(table, "skip_verify"):
            found["verify"] = False
        return found

    def _beside(self, path: str) -> str:
        return os.path.join(os.path.dirname(self._path), path)

    def _place(self, *quoted: str, start: str) -> str:
        """FILE:LINE of the line that begins a table or a key, FILE where it is written otherwise."""
        for number, line in enumerate(self._lines, 1):
            beginning = line.strip()
            if beginning.startswith(start) and (not quoted or any(each in line for each in quoted)):
                return f"{self._path}:{number}"
        return self._path


def _unknown(table: Fields, known: frozenset[str]) -> tuple[str, ...]:
    """Keys with spelling mistakes, or below the wrong table: a `server` after a [host] is that host's."""
    return tuple(sorted(set(table.value) - known))


def _prefix(path: str, *, is_whole: bool) -> str:
    """The API's path; registries that keep it elsewhere say so (override_path)."""
    path = os.path.normpath(path).replace("//", "/").rstrip("/") if path else ""
    return path if is_whole or path.endswith("/v2") else f"{path}/v2"


def _capabilities(table: Fields) -> frozenset[str]:
    words = frozenset(word.lower() for word in table.strings("capabilities"))
    # Newer ones know `referrers`, which nothing here asks for.
    if unknown := sorted(words - EVERYTHING - {"referrers"}):
        raise InvalidArgument(f"{table.name}.capabilities: {unknown[0][:50]!r} must be pull, resolve or push")
    return words & EVERYTHING if words else EVERYTHING


def _headers(table: Fields) -> dict[str, str]:
    given = Fields(table.nested("header") or {}, f"{table.name}.header")
    found = {name: ", ".join(_strings(given, name)) for name in given.value}
    for name, value in found.items():
        if not name.isascii() or not name.replace("-", "").replace("_", "").isalnum():
            raise InvalidArgument(f"{given.name}: {name[:50]!r} is no header's name")
        if not value.isprintable() or not value.isascii():
            raise InvalidArgument(f"{given.name}.{name}: must be of printable ASCII characters")
    return found


def _client(table: Fields) -> list[tuple[str, str]]:
    """(certificate, key) of one file with both, of several such, or of pairs of files."""
    if not isinstance(table.value.get("client"), list):
        return [(path, "") for path in _strings(table, "client")]
    found = []
    for number, each in enumerate(table.array("client")):
        pair = [each, ""] if isinstance(each, str) else each
        if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(path, str) for path in pair)):
            raise InvalidArgument(f"{table.name}.client[{number}]: must be FILE or [CERTIFICATE, KEY]")
        found.append((pair[0], pair[1]))
    return found


def _strings(table: Fields, key: str) -> tuple[str, ...]:
    """A string or a list of them."""
    value = table.value.get(key)
    return (value,) if isinstance(value, str) else table.strings(key)


def _boolean(table: Fields, key: str) -> bool | None:
    value = table.value.get(key)
    if value is not None and not isinstance(value, bool):
        raise InvalidArgument(f"{table.name}.{key}: must be true or false")
    return value


def _timeout(table: Fields) -> dict[str, Any]:
    text = table.string("dial_timeout")
    if not text:
        return {}
    try:
        timeout_s = duration.seconds(text)
    except InvalidArgument as error:
        raise InvalidArgument(f"{table.name}.dial_timeout: {error}") from None
    if not 0 < timeout_s <= _TIMEOUT_LIMIT_S:
        raise InvalidArgument(f"{table.name}.dial_timeout: must be above 0 and at most an hour")
    return {"connect_timeout_s": timeout_s}
