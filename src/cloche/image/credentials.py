"""Credentials for registries, from where `docker login` and its helpers keep them."""

from __future__ import annotations

import base64
import binascii
import os
import subprocess

from cloche.errors import FailedPrecondition, InvalidArgument
from cloche.spec.document import load_file, loads
from cloche.spec.fields import Fields
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from cloche.image.hosts import Host

_DOCKER_HUB_KEYS = ("https://index.docker.io/v1/", "index.docker.io", "registry-1.docker.io")
_HELPER_TIMEOUT_S = 60
_HELPER_OUTPUT_LIMIT_BYTES = 1 << 20
_TOKEN_USER = "<token>"


class Credentials(Record):
    """What to show a registry.

    username, password: for basic authentication and for asking tokens. identity_token: an OAuth2
    refresh token, used instead of a password. registry_token: a bearer token, shown as it is.
    """

    username: str = ""
    password: str = ""
    identity_token: str = ""
    registry_token: str = ""

    def __repr__(self) -> str:
        """Without the secrets: representations end up in logs."""
        return f"Credentials(username={self.username!r}, …)"

    @classmethod
    def from_user(cls, text: str) -> Credentials:
        """Read `user:password` as command lines take it. Raises InvalidArgument without a colon."""
        username, colon, password = text.partition(":")
        if not colon or not username:
            raise InvalidArgument("registry user: must be given as user:password")
        return cls(username, password)


class Stored(Record):
    """Credentials, and the place that they came from, in words."""

    credentials: Credentials
    origin: str


def config_path() -> str:
    """Where Docker's client configuration is: $DOCKER_CONFIG/config.json or ~/.docker/config.json."""
    directory = os.environ.get("DOCKER_CONFIG") or os.path.join(os.path.expanduser("~"), ".docker")
    return os.path.join(directory, "config.json")


def find(domain: str, path: str | None = None) -> Credentials | None:
    """The credentials stored for a registry, None where there are none; see `locate`."""
    found = locate(domain, path)
    return found.credentials if found else None


def of_mirrors(hosts: Iterable[Host]) -> dict[str, Credentials]:
    """What is stored for the mirrors among some hosts, by their host[:port]. Errors as `locate`."""
    found = {host.authority: find(host.authority) for host in hosts if host.is_mirror}
    return {authority: each for authority, each in found.items() if each is not None}


def locate(domain: str, path: str | None = None) -> Stored | None:
    """The credentials stored for a registry and where they were found, None where there are none.

    domain: a reference's domain (`docker.io`, `localhost:5000`). path: the configuration to read;
    one that does not exist holds nothing. A helper named for the domain goes before the general
    one, and both before the file's own entries. Raises InvalidArgument for a file that cannot be
    understood, FailedPrecondition where a helper fails.
    """
    path = path or config_path()
    try:
        config = Fields.of(load_file(path), path)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    keys = (*_DOCKER_HUB_KEYS, domain) if domain == "docker.io" else (domain,)
    helpers = config.string_map("credHelpers")
    helper = next((helpers[key] for key in keys if helpers.get(key)), config.string("credsStore"))
    if helper:
        for key in keys:
            found = _ask_helper(helper, key)
            if found is not None:
                return Stored(found, f"docker-credential-{helper} for {key}, which {path} names")
    entries = {_host(key): value for key, value in (config.nested("auths") or {}).items()}
    for key in keys:
        if _host(key) in entries:
            place = f"{path}: auths[{key!r}]"
            entry = _read_entry(entries[_host(key)], place)
            return Stored(entry, place) if entry else None
    return None


def from_document(value: object, name: str = "registry credentials") -> Credentials | None:
    """Read Docker's AuthConfig object (an entry of config.json, or of an X-Registry-Auth header)."""
    return _read_entry(value, name)


def _host(key: str) -> str:
    """A key of `auths` without scheme and path: old clients wrote whole URLs."""
    for scheme in ("https://", "http://"):
        key = key.removeprefix(scheme)
    return key.partition("/")[0]


def _read_entry(value: Any, name: str) -> Credentials | None:
    entry = Fields.of(value, name)
    username, password = entry.string("username"), entry.string("password")
    encoded = entry.string("auth")
    if encoded:
        try:
            text = base64.b64decode("".join(encoded.split()), validate=True).decode()
            username, colon, password = text.partition(":")
            if not colon:
                raise ValueError("no colon")
        except (binascii.Error, ValueError):
            raise InvalidArgument(f"{name}.auth: must be base64 of user:password") from None
    found = Credentials(
        username, password.strip("\0"), entry.string("identitytoken"), entry.string("registrytoken")
    )
    return found if any(found.values()) else None


def _ask_helper(helper: str, server: str) -> Credentials | None:
    """Speak the helpers' protocol: the server's name in, a JSON object out."""
    program = f"docker-credential-{helper}"
    if "/" in helper:
        raise InvalidArgument(f"credential helper {helper!r}: must be a plain name")
    try:
        done = subprocess.run(
            [program, "get"],
            input=server.encode(),
            capture_output=True,
            timeout=_HELPER_TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError:
        raise FailedPrecondition(f"credential helper {program}: is not installed") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FailedPrecondition(f"credential helper {program}: {error}") from None
    output = done.stdout[:_HELPER_OUTPUT_LIMIT_BYTES]
    if done.returncode != 0:
        message = (output or done.stderr).decode(errors="replace").strip().splitlines()
        if any("not found" in line for line in message):
            return None
        raise FailedPrecondition(
            f"credential helper {program}: failed for {server}: {' '.join(message)[:200]}"
        )
    answer = Fields.of(loads(output, program), program)
    username, secret = answer.string("Username"), answer.string("Secret")
    if username == _TOKEN_USER:
        return Credentials(identity_token=secret)
    return Credentials(username, secret) if username or secret else None


def encode_basic(credentials: Credentials) -> str:
    """The value of an Authorization header for basic authentication."""
    return "Basic " + base64.b64encode(f"{credentials.username}:{credentials.password}".encode()).decode()
