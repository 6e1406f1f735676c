"""A container and its networks: brought into them before its program runs, taken out when it has ended.

Containers with no network, the host's or another container's never come here, but for two questions
that a listing of a directory answers: whether one has anything (`detach`), and whether somebody has
died without undoing his (`sweep`).
"""

from __future__ import annotations

import os

from cloche.engine import namespaces
from cloche.network import requests

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cloche.engine.context import Context
    from cloche.engine.options import Options
    from cloche.network.attachments import Attached
    from cloche.network.networks import Networks
    from cloche.network.requests import Endpoint, Port
    from cloche.spec.image_config import ImageConfig

RESOLVER = "127.0.0.11"
_LOOPBACK = ("127.", "::1")


def networks(context: Context) -> Networks:
    """The networks of a root."""
    from cloche.network.networks import Networks

    return Networks(context.root, context.state)


def endpoints(options: Options) -> tuple[Endpoint, ...]:
    """The networks by name that a container is to be in; none where it has none, or another's."""
    mode = namespaces.mode(options, "network")
    if not requests.is_name(mode):
        return ()
    return options.endpoints or (requests.Endpoint(mode),)


def ports(image: ImageConfig, options: Options) -> tuple[Port, ...]:
    """All ports that are to be published."""
    found = list(options.ports)
    if options.publish_all:
        named = {(port.container_port, port.protocol) for port in found}
        texts = (*image.exposed_ports, *options.exposed)
        wanted = dict.fromkeys(pair for text in texts for pair in requests.exposed(text))
        found += [
            requests.Port(number, protocol) for number, protocol in wanted if (number, protocol) not in named
        ]
    return tuple(found)


def check(options: Options) -> None:
    """Refuse what can be seen to be wrong. Raises InvalidArgument."""
    if options.endpoints:
        requests.check(options.endpoints)
    for text in options.exposed:
        requests.exposed(text)


def require(context: Context, options: Options) -> None:
    """Raises NotFound for a network that is not there."""
    for endpoint in endpoints(options):
        if endpoint.network not in ("bridge", "default"):
            networks(context).definitions.get(endpoint.network)


def servers(options: Options) -> tuple[str, ...]:
    """The name servers for what is no container's name."""
    if options.dns:
        return options.dns
    words = (line.split() for line in _read("/etc/resolv.conf").splitlines())
    return tuple(each[1] for each in words if len(each) > 1 and each[0] == "nameserver")


def needs_resolver(options: Options) -> bool:
    """Whether 127.0.0.11 has to answer: in networks that were made, and where the host's own name
    server listens on its loopback alone, which a container cannot reach.
    """
    wanted = endpoints(options)
    if not wanted:
        return False
    if any(each.network not in ("bridge", "default") for each in wanted):
        return True
    found = servers(options)
    return bool(found) and all(each.startswith(_LOOPBACK) for each in found)


def attacher(
    context: Context,
    container_id: str,
    image: ImageConfig,
    options: Options,
    *,
    name: str = "",
    hosts_file: str = "",
) -> Callable[[int], None] | None:
    """What has to be done with the container's process before its program runs; None for nothing.

    hosts_file: its /etc/hosts, which gets its own addresses.
    """
    wanted = endpoints(options)
    if not wanted:
        return None

    def attach(pid: int) -> None:
        from cloche.engine import specification
        from cloche.network import membership
        from cloche.shim.timestamps import now

        hostname = specification.hostname(options, container_id)
        request = membership.Request(
            container_id,
            pid,
            name,
            hostname,
            wanted,
            ports(image, options),
            servers(options),
            needs_resolver(options),
            options.publish,
            now(),
        )
        attached = membership.attach(networks(context), request)
        if hosts_file:
            _write_hosts(hosts_file, attached, options)

    return attach


def _write_hosts(path: str, attached: Attached, options: Options) -> None:
    names = attached.hostname
    if options.domainname:
        names = f"{attached.hostname}.{options.domainname} {attached.hostname}"
    lines = "".join(
        f"{address}\t{names}\n"
        for member in attached.members
        for address in (member.ip, member.ip6)
        if address
    )
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.write(descriptor, lines.encode())
    finally:
        os.close(descriptor)


def write_resolver(directory: str, options: Options) -> None:
    """Have a running container's /etc/resolv.conf as its networks want it."""
    from cloche.engine import etcfiles

    etcfiles.write(directory, {"resolv.conf": etcfiles.contents(options, "")["resolv.conf"]})


def detach(context: Context, container_id: str) -> None:
    """Undo what was made for a container that has ended; once is enough."""
    if any(name.startswith(container_id) for name in _records(context)):
        networks(context).detach(container_id)


def renamed(context: Context, container_id: str, name: str) -> None:
    """Have a running container known by its new name."""
    if any(each.startswith(container_id) for each in _records(context)):
        networks(context).rename(container_id, name)


def sweep(context: Context) -> None:
    """Undo what was made for containers whose end nobody saw."""
    from cloche.kernel import pidfd

    for name in _records(context):
        _, pid, start_time = name.rsplit(".", 2)
        try:
            gone = not pid.isdigit() or str(pidfd.start_time(int(pid))) != start_time or pidfd.ended(int(pid))
        except ProcessLookupError:
            gone = True
        if gone:
            networks(context).sweep()
            return


def attached(context: Context, container_id: str) -> Attached | None:
    """What a running container has; None where it has nothing."""
    if not any(name.startswith(container_id) for name in _records(context)):
        return None
    return networks(context).attachments.get(container_id)


def _records(context: Context) -> list[str]:
    try:
        return os.listdir(f"{context.state}/.network/containers")
    except FileNotFoundError:
        return []


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read(1 << 20)
    except OSError:
        return ""
