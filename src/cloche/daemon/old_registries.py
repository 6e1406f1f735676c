"""Registries as containerd 1.x has them in config.toml, made hosts.toml files of our own.

    registry.mirrors.HOST.endpoint     who is asked before the registry itself; "*" is for all others
    registry.configs.HOST.tls          certificates, by the host that is connected to
    registry.configs.HOST.auth         logins (registry.auths has them by URL), for those that bring none
    registry.headers                   sent with every request

All of it is deprecated, as there: `config_path` is what came after, and is refused beside it.
"""

from __future__ import annotations

import os
import shutil
from urllib.parse import urlsplit

from cloche.daemon.toml_text import dumps
from cloche.errors import InvalidArgument
from cloche.image import credentials as stored
from cloche.image.credentials import encode_basic
from cloche.image.hosts import authority
from cloche.spec.fields import Fields
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from cloche.image.credentials import Credentials

_OTHERS = "*"
_ASKED = ["pull", "resolve"]


class OldRegistries(Record):
    """files: hosts.toml of each domain, as trees. logins: by host.

    deprecated: what is to be said of the words that are used, by containerd's names of such warnings.
    """

    files: Mapping[str, Mapping[str, Any]] = {}
    logins: Mapping[str, Credentials] = {}
    deprecated: Mapping[str, str] = {}

    def write(self, folder: str) -> None:
        """Have the files be all that is in a folder; no folder where there are none."""
        shutil.rmtree(folder, ignore_errors=True)
        for domain, tree in self.files.items():
            os.makedirs(f"{folder}/{domain}", mode=0o700)
            with open(f"{folder}/{domain}/hosts.toml", "w", encoding="utf-8") as file:
                file.write(dumps(tree))


def of_registry(table: Mapping[str, Any], place: str) -> OldRegistries:
    """What a `registry` table says in the old words. place: of the table, for messages.

    Raises InvalidArgument for what cannot be used.
    """
    words = [name for name in ("mirrors", "configs", "auths", "headers") if table[name]]
    if not words:
        return OldRegistries()
    reader = _Reader(table, place)
    needs_files = table["mirrors"] or table["headers"] or any(reader.tls(host) for host in table["configs"])
    if table["config_path"] and needs_files:
        raise InvalidArgument(
            f"{place}: mirrors, headers and configs.*.tls cannot be beside config_path: "
            "say it in hosts.toml files there"
        )
    deprecated = {
        f"io.containerd.deprecation/cri-registry-{name}": f"{place}.{name} is deprecated: "
        "use config_path with hosts.toml files"
        for name in words
    }
    return OldRegistries(reader.files() if needs_files else {}, reader.logins, deprecated)


class _Reader:
    def __init__(self, table: Mapping[str, Any], place: str) -> None:
        self._mirrors: Mapping[str, Mapping[str, Any]] = table["mirrors"]
        self._headers = {name: list(values) for name, values in table["headers"].items()}
        self._place = place
        self._configs = {
            host: Fields.of(value, f"{place}.configs.{host}") for host, value in table["configs"].items()
        }
        self.logins = {
            _host(url): self._login(value, f"auths.{url}") for url, value in table["auths"].items()
        }
        for host, config in self._configs.items():
            if "auth" in config:
                self.logins[host] = self._login(config.nested("auth"), f"configs.{host}.auth")

    def _login(self, value: object, name: str) -> Credentials:
        found = stored.from_document(value, f"{self._place}.{name}")
        if found is None:
            raise InvalidArgument(
                f"{self._place}.{name}: username and password, auth or identitytoken is needed"
            )
        return found

    def files(self) -> dict[str, dict[str, Any]]:
        """hosts.toml of every domain that there are words about."""
        found = {}
        named = dict.fromkeys([*self._mirrors, *(host for host in self._configs if self.tls(host))])
        for domain in (*named, *([_OTHERS] if self._headers else [])):
            if domain != _OTHERS and ("/" in domain or domain in ("", ".", "..")):
                raise InvalidArgument(f"{self._place}: {domain[:100]!r} is no host")
            found["_default" if domain == _OTHERS else domain] = self._file(domain)
        return found

    def _file(self, domain: str) -> dict[str, Any]:
        endpoints = self._mirrors.get(domain, self._mirrors.get(_OTHERS, {})).get("endpoint", ())
        own = self.tls(domain) or self.tls(authority(domain))
        hosts = {url: self._endpoint(domain, url) for url in endpoints}
        return own | self._header({}) | ({"host": hosts} if hosts else {})

    def _endpoint(self, domain: str, url: str) -> dict[str, Any]:
        try:
            parts = urlsplit(url)
            is_address = parts.scheme in ("http", "https") and bool(parts.hostname)
        except ValueError:
            is_address = False
        if not is_address:
            raise InvalidArgument(
                f"{self._place}.mirrors.{domain}.endpoint: {url[:200]!r}: must be http[s]://HOST[:PORT][/PATH]"
            )
        login = self.logins.get(parts.netloc)
        shown = {"Authorization": [encode_basic(login)]} if login and login.username else {}
        path = {"override_path": True} if parts.path else {}
        return {"capabilities": _ASKED} | path | self.tls(parts.netloc) | self._header(shown)

    def tls(self, host: str) -> dict[str, Any]:
        """What hosts.toml says of how a host is connected to."""
        config = self._configs.get(host)
        table = config.nested("tls") if config is not None else None
        if not table:
            return {}
        tls = Fields(table, f"{self._place}.configs.{host}.tls")
        found: dict[str, Any] = {}
        if authorities := tls.string("ca_file"):
            found["ca"] = authorities
        if certificate := tls.string("cert_file"):
            found["client"] = [[certificate, tls.string("key_file")]]
        skipped = table.get("insecure_skip_verify", False)
        if not isinstance(skipped, bool):
            raise InvalidArgument(f"{tls.name}.insecure_skip_verify: must be true or false")
        return found | ({"skip_verify": True} if skipped else {})

    def _header(self, more: Mapping[str, list[str]]) -> dict[str, Any]:
        headers = {**self._headers, **more}
        return {"header": headers} if headers else {}


def _host(url: str) -> str:
    """The host of a URL, or of what is a host already."""
    return url.partition("://")[2].partition("/")[0] if "://" in url else url.partition("/")[0]
