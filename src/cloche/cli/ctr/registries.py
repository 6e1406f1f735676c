"""Registries as ctr's flags describe them."""

from __future__ import annotations

from cloche.cli.arguments import UsageError
from cloche.image import credentials as stored
from cloche.image import hosts_directory
from cloche.image.credentials import Credentials
from cloche.image.registry import Registry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.cli.ctr.command import Invocation
    from cloche.image.hosts import Host
    from cloche.spec.reference import Reference


def hosts(invocation: Invocation, domain: str) -> tuple[Host, ...]:
    """Whom to ask for a domain's images, the registry itself last."""
    authority = invocation.text("tlscacert")
    *others, own = hosts_directory.hosts_of(
        domain,
        invocation.text("hosts-dir"),
        plain_http=True if invocation.on("plain-http") else None,
        skip_verify=invocation.on("skip-verify"),
        ca=(authority,) if authority else (),
    )
    certificate, key = invocation.text("tlscert"), invocation.text("tlskey")
    if key and not certificate:
        raise UsageError("--tlskey is the key of a certificate: give --tlscert too")
    if certificate:
        own = own.replace(client_certificates=((certificate, key),))
    return (*others, own)


def login(invocation: Invocation) -> Credentials | None:
    """Whom the flags say to be; None where they do not. The password is asked for where it is missing."""
    token = invocation.text("refresh")
    user, colon, password = invocation.text("user").partition(":")
    if token:
        return Credentials(identity_token=token)
    if not user:
        return None
    if not colon:
        from getpass import getpass

        password = getpass("Password: ")
    return Credentials(username=user, password=password)


def opened(invocation: Invocation, reference: Reference) -> Registry:
    """The registry of a reference, to ask it something; to be closed."""
    asked = hosts(invocation, reference.domain)
    return Registry(
        reference,
        asked,
        credentials=login(invocation) or stored.find(reference.domain),
        mirror_credentials=stored.of_mirrors(asked),
    )
