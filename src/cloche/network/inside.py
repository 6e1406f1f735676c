"""The name server's sockets in a container's network namespace.

They are bound to ports that nobody asked for, and a rule in that namespace leads there from port 53, so
that a name server in the container can have port 53 on all its addresses. The rule ends with the
namespace.
"""

from __future__ import annotations

from _socket import AF_INET, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_STREAM, socket

from cloche.kernel import netns
from cloche.kernel.nft_expressions import IPV4, Family, Redirected, To, ToPort
from cloche.kernel.nftables import OUTPUT, Batch, Chain, NftSocket

_ADDRESS = "127.0.0.11"
_PACKED = b"\x7f\0\0\x0b"
_TABLE = "cloche-names"
_TCP, _UDP = 6, 17
_DSTNAT = -100


def name_sockets(namespace: int) -> tuple[socket, socket]:
    """Sockets of UDP and TCP that get what is sent to 127.0.0.11, port 53.

    namespace: a descriptor of one whose loopback is up. Raises OSError.
    """

    def make() -> tuple[socket, socket]:
        try:
            return _behind_rule()
        except OSError:
            # A kernel without nf_tables: the port itself, then.
            return _bound(53)

    return netns.within(namespace, make)


def _behind_rule() -> tuple[socket, socket]:
    datagrams, stream = _bound(0)
    try:
        rules = tuple(
            (Family(IPV4), To(_PACKED), ToPort(protocol, 53), Redirected(_PACKED, each.getsockname()[1]))
            for protocol, each in ((_UDP, datagrams), (_TCP, stream))
        )
        chain = Chain("output", rules, "nat", OUTPUT, _DSTNAT)
        batch = Batch(_TABLE)
        batch.add_table()
        batch.add_chain(chain)
        batch.add_rules(chain)
        with NftSocket() as nft:
            nft.commit(batch)
    except BaseException:
        datagrams.close()
        stream.close()
        raise
    return datagrams, stream


def _bound(port: int) -> tuple[socket, socket]:
    datagrams = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC)
    stream = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC)
    try:
        for each in (datagrams, stream):
            each.bind((_ADDRESS, port))
        stream.listen(64)
    except BaseException:
        datagrams.close()
        stream.close()
        raise
    return datagrams, stream
