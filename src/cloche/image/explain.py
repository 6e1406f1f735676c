"""Why a pull goes where it goes: every host of a registry is asked, and each answer told."""

from __future__ import annotations

import threading

from cloche.errors import ClocheError, InvalidArgument, Unavailable
from cloche.image import credentials as stored_credentials
from cloche.image.endpoint import Endpoint
from cloche.image.hosts import PULL, RESOLVE
from cloche.image.refusal import refusal
from cloche.image.registry import ACCEPT
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloche.image.credentials import Credentials, Stored
    from cloche.image.hosts import Host
    from cloche.image.transport import Response
    from cloche.spec.reference import Reference

_CORRECT = "correct what names it: without that no host is asked"


class Attempt(Record):
    """One host, and what came of asking it for the image.

    host: with the scheme that it turned out to speak. login: the user that was shown and where the
    password is from, empty for none. url: what was asked for; empty where the host was not asked.
    status: the HTTP status, 0 without an answer. answer: in words, for people. advice: what to do
    about it, where the answer does not say it. digest: what the host says the image is. is_unusable: its
    configuration is wrong, so that no pull begins.
    """

    host: Host
    login: str = ""
    url: str = ""
    status: int = 0
    answer: str = ""
    advice: str = ""
    digest: str = ""
    is_unusable: bool = False

    @property
    def has_it(self) -> bool:
        """Whether the image can be had here."""
        return self.status == 200


class Explanation(Record):
    """Every host in the order of a pull.

    resolved_by: the one that says what the reference means. taken_from: the first that manifest
    and layers are asked from. None where there is no such host, and a pull must fail.
    """

    reference: Reference
    attempts: tuple[Attempt, ...]
    resolved_by: Attempt | None = None
    taken_from: Attempt | None = None


def explain(reference: Reference, hosts: Sequence[Host], auth: Credentials | None = None) -> Explanation:
    """Ask each host what a pull would ask it, also those after the one that a pull would stop at.

    auth: as `pull` takes it. Raises what the search for stored credentials raises, as a pull does.
    """
    logins = [_login(reference, host, auth) for host in hosts]
    pointer = reference.digest or reference.tag
    attempts = [
        _ask(reference, host, login, pointer, is_last=host is hosts[-1])
        if RESOLVE in host.capabilities
        else Attempt(host, answer=f"not asked what {pointer} means: its capabilities do not name resolve")
        for host, login in zip(hosts, logins, strict=True)
    ]
    resolved = next((each for each in attempts if each.has_it), None)
    if resolved is None or any(each.is_unusable for each in attempts):
        return Explanation(reference, tuple(attempts))
    for number, (host, login) in enumerate(zip(hosts, logins, strict=True)):
        if RESOLVE not in host.capabilities and PULL in host.capabilities and resolved.digest:
            attempts[number] = _ask(reference, host, login, resolved.digest, is_last=host is hosts[-1])
    taken = next((each for each in attempts if each.has_it and PULL in each.host.capabilities), None)
    return Explanation(reference, tuple(attempts), resolved, taken)


def _login(reference: Reference, host: Host, auth: Credentials | None) -> Stored | None:
    if auth is None or host.is_mirror:
        return stored_credentials.locate(host.authority if host.is_mirror else reference.domain)
    return stored_credentials.Stored(auth, "--user") if any(auth.values()) else None


def _ask(reference: Reference, host: Host, login: Stored | None, pointer: str, *, is_last: bool) -> Attempt:
    credentials = login.credentials if login else None
    told = Attempt(host, f"{login.credentials.username or 'a token'}, from {login.origin}" if login else "")
    path = f"/{reference.path}/manifests/{pointer}"
    try:
        endpoint = Endpoint(host, credentials, threading.Event())
    except ClocheError as error:
        return told.replace(answer=str(error), advice=_CORRECT, is_unusable=True)
    try:
        return _answered(endpoint, told, path, reference, is_last=is_last)
    finally:
        endpoint.close()


def _answered(
    endpoint: Endpoint, told: Attempt, path: str, reference: Reference, *, is_last: bool
) -> Attempt:
    status = 0
    try:
        response = _send(endpoint, "HEAD", path, reference)
        status = response.status
        response.close()
        digest = response.headers.get("Docker-Content-Digest", "")
        if status == 200 and digest:
            told = told.replace(status=status, digest=digest, answer=f"has it: {digest}")
        else:
            # An answer to HEAD has no body, and so no words about what is wrong.
            response = _send(endpoint, "GET", path, reference)
            status = response.status
            if status != 200:
                raise refusal(response, str(reference), endpoint.host.name, with_login=bool(told.login))
            response.close()
            told = told.replace(status=status, answer="has it, and does not say its digest")
    except ClocheError as error:
        words = str(error).removeprefix(f"{reference}: ")
        told = told.replace(
            status=status, answer=words, advice=_advice(endpoint, error, status, is_last=is_last)
        )
    return told.replace(host=endpoint.host, url=endpoint.url(path))


def _send(endpoint: Endpoint, method: str, path: str, reference: Reference) -> Response:
    scope = f"repository:{reference.path}:pull"
    return endpoint.request(method, path, scope=scope, headers={"Accept": ACCEPT})


def _advice(endpoint: Endpoint, error: ClocheError, status: int, *, is_last: bool) -> str:
    host = endpoint.host
    said = []
    if isinstance(error, InvalidArgument) and status == 400 and host.scheme == "http":
        said.append("it may want TLS: ask it with https://")
    elif isinstance(error, Unavailable) and not endpoint.has_answered and "cannot connect" in str(error):
        said.append("check the name and the port, and whether the host is up")
    return "; ".join(filter(None, (*said, _goes_on(is_last=is_last))))


def _goes_on(*, is_last: bool) -> str:
    return "" if is_last else "a pull goes on to the next host"


def tls(host: Host) -> str:
    """How a host is spoken to and what vouches for it, in words."""
    if host.scheme != "https":
        return "none (plain HTTP)"
    checked = "checked by the system's certificates" if host.verify else "not checked (skip_verify)"
    trusted = "".join(f" and {path}" for path in host.ca) if host.verify else ""
    shown = ", ".join(certificate for certificate, _ in host.client_certificates)
    return f"{checked}{trusted}" + (f"; shown to it: {shown}" if shown else "")
