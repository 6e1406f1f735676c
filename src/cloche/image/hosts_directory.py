"""Where registries are configured: containerd's and Docker's certs.d.

    DIRECTORY/HOST_PORT_/   DIRECTORY/HOST:PORT/   DIRECTORY/_default/     the first that exists counts
        hosts.toml                                 containerd's: hosts in order (hosts_file)
        *.crt                                      Docker's: trusted beside the system's certificates
        *.cert, *.key                              Docker's: shown to a registry that asks who we are

The files of Docker's form count only where there is no hosts.toml, as containerd has it.
"""

from __future__ import annotations

import os

from cloche.errors import FailedPrecondition, InvalidArgument
from cloche.image import hosts as registries
from cloche.image import hosts_file
from cloche.image.hosts import PUSH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloche.image.hosts import Host

VARIABLE = "CLOCHE_CERTS_D"
_DEFAULT = ("/etc/containerd/certs.d", "/etc/docker/certs.d")
_FILE_LIMIT_BYTES = 1 << 20


def directories(given: str = "") -> tuple[str, ...]:
    """Where to look: `given` (several with colons between), else $CLOCHE_CERTS_D, else /etc."""
    text = given or os.environ.get(VARIABLE, "")
    return tuple(each for each in text.split(":") if each) or _DEFAULT


def hosts_of(
    domain: str,
    directory: str = "",
    *,
    plain_http: bool | None = None,
    skip_verify: bool = False,
    ca: tuple[str, ...] = (),
) -> tuple[Host, ...]:
    """The hosts that are asked for a reference's domain, in this order, as configured.

    directory: see `directories`. The others are those of hosts.of_domain and go before what is
    configured; they are about the registry itself and leave mirrors alone. Raises InvalidArgument
    for files that cannot be understood, FailedPrecondition for those that cannot be read.
    """
    found = configured(domain, directories(directory))
    if not found:
        return (registries.of_domain(domain, plain_http=plain_http, skip_verify=skip_verify, ca=ca),)
    *others, own = found
    if skip_verify or ca:
        scheme = "https" if plain_http is None and not own.scheme else own.scheme
        own = own.replace(scheme=scheme, verify=own.verify and not skip_verify, ca=(*own.ca, *ca))
    if plain_http is not None:
        own = own.replace(scheme="http" if plain_http else "https")
    return (*others, own)


def pushed_to(hosts: Sequence[Host], name: str) -> Host:
    """The one host that a push goes to. name: of the image. Raises FailedPrecondition where none may be."""
    for host in hosts:
        if PUSH in host.capabilities:
            return host
    raise FailedPrecondition(f"{name}: none of the configured hosts may be pushed to; see {hosts[-1].origin}")


def configured(domain: str, places: Sequence[str]) -> tuple[Host, ...]:
    """What the first directory that is about a domain says; empty where there is none."""
    for place in places:
        for name in _names(domain):
            directory = os.path.join(place, name)
            if os.path.isdir(directory):
                return _read(directory, domain)
    return ()


def _names(domain: str) -> tuple[str, ...]:
    host, colon, port = domain.rpartition(":")
    # Windows allows no colons in names, and files travel.
    portable = (f"{host}_{port}_",) if colon else ()
    return (*portable, domain, "_default")


def _read(directory: str, domain: str) -> tuple[Host, ...]:
    path = os.path.join(directory, "hosts.toml")
    try:
        with open(path, "rb") as file:
            data = file.read(_FILE_LIMIT_BYTES + 1)
        if len(data) > _FILE_LIMIT_BYTES:
            raise InvalidArgument(f"{path}: is larger than {_FILE_LIMIT_BYTES} bytes")
        if data:
            return hosts_file.parse(data, domain, path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise FailedPrecondition(f"{path}: cannot be read: {(error.strerror or '').lower()}") from None
    return _certificates(directory, domain)


def _certificates(directory: str, domain: str) -> tuple[Host, ...]:
    """The registry itself, with the certificates in a directory of Docker's form."""
    try:
        names = sorted(os.listdir(directory))
    except OSError as error:
        raise FailedPrecondition(f"{directory}: cannot be read: {(error.strerror or '').lower()}") from None
    ca = tuple(os.path.join(directory, name) for name in names if name.endswith(".crt"))
    pairs = []
    for name in names:
        if not name.endswith((".cert", ".key")):
            continue
        stem, _, kind = name.rpartition(".")
        partner = f"{stem}.{'key' if kind == 'cert' else 'cert'}"
        if partner not in names:
            raise FailedPrecondition(f"{os.path.join(directory, name)}: {partner} is missing beside it")
        if kind == "cert":
            pairs.append((os.path.join(directory, name), os.path.join(directory, partner)))
    if not ca and not pairs:
        return ()
    return (registries.of_domain(domain, ca=ca, client_certificates=tuple(pairs)).replace(origin=directory),)
