"""The network files of a container: /etc/hostname, /etc/hosts and /etc/resolv.conf.

They are files of the host that are mounted over the image's, so that each container has its own.
"""

from __future__ import annotations

import os

from cloche.engine import namespaces, networking
from cloche.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.engine.options import Options

_NAME_LIMIT = 64
_HOSTS = """\
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::\tip6-localnet
ff00::\tip6-mcastprefix
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
"""


def check(options: Options) -> None:
    """Raises InvalidArgument for a host name, address or mapping that cannot be written down."""
    name = options.hostname
    if name and (len(name) > _NAME_LIMIT or not name.isascii() or not name.isprintable() or " " in name):
        raise InvalidArgument(
            f"invalid hostname {name!r}: must be at most {_NAME_LIMIT} letters without blanks"
        )
    for address in options.dns:
        if not _is_address(address):
            raise InvalidArgument(f"invalid dns {address!r}: must be an IP address")
    for entry in options.hosts:
        _mapping(entry)


def contents(options: Options, hostname: str) -> dict[str, str]:
    """File name (of `mounts.FILES`) -> text. Raises InvalidArgument as `check`."""
    check(options)
    return {
        "hostname": hostname + "\n",
        "hosts": _hosts(options),
        "resolv.conf": _resolver(options),
    }


def _hosts(options: Options) -> str:
    host = namespaces.mode(options, "network") == "host"
    text = _read("/etc/hosts") if host else _HOSTS
    if text and not text.endswith("\n"):
        text += "\n"
    for entry in options.hosts:
        name, address = _mapping(entry)
        text += f"{address}\t{name}\n"
    return text


def _mapping(entry: str) -> tuple[str, str]:
    name, separator, address = entry.partition("=" if "=" in entry else ":")
    address = address.strip("[]")
    if not separator or not name or len(name.split()) != 1 or not _is_address(address):
        raise InvalidArgument(f"invalid add-host {entry!r}: must be NAME:ADDRESS")
    return name, address


def _is_address(text: str) -> bool:
    from _socket import AF_INET, AF_INET6, inet_pton

    for family in (AF_INET, AF_INET6):
        try:
            inet_pton(family, text)
        except OSError:
            continue
        return True
    return False


def _resolver(options: Options) -> str:
    """The host's resolv.conf, with what was asked for in the place of its own lines."""
    names = networking.needs_resolver(options)
    reachable = not networking.endpoints(options) or names
    asked = {
        "nameserver": [networking.RESOLVER] if names else list(options.dns),
        "search": [" ".join(options.dns_search)] if options.dns_search else [],
        "options": [" ".join(options.dns_options)] if options.dns_options else ["ndots:0"] if names else [],
    }
    kept = []
    for line in _read("/etc/resolv.conf").splitlines():
        words = line.split()
        word = words[0] if words else ""
        if word == "nameserver" and not reachable and words[1:] and words[1].startswith(("127.", "::1")):
            continue  # the host's loopback is not the container's
        if not asked.get("search" if word == "domain" else word):
            kept.append(line)
    kept += [f"{word} {value}" for word, values in asked.items() for value in values if value != "."]
    return "".join(line + "\n" for line in kept)


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read(1 << 20)
    except OSError:
        return ""


def write(directory: str, texts: dict[str, str]) -> dict[str, str]:
    """Write the files, readable by every user of the container; returns their paths by name.

    An existing file keeps its inode: a running container has it mounted.
    """
    paths = {}
    for name, text in texts.items():
        paths[name] = f"{directory}/{name}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(paths[name], flags, 0o644)
        try:
            os.fchmod(descriptor, 0o644)
            os.write(descriptor, text.encode("utf-8", "surrogateescape"))
        finally:
            os.close(descriptor)
    return paths
