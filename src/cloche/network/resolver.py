"""Names of containers, answered to one container on 127.0.0.11; all others are asked of the host's servers.

A container knows those that are in a network with it: by name, by the beginning of the id, by the aliases
that they have there, and by each of these with the network's name behind it. What is answered is
read from the records (`network.attachments`) of this very moment, so that who joins is known at once.
"""

from __future__ import annotations

import os
import socket
from _struct import pack, unpack_from

from cloche.errors import ClocheError
from cloche.network import addresses, dns
from cloche.network.attachments import Attachments
from cloche.network.events import READ, Events

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cloche.network.attachments import Attached, Member

ADDRESS = "127.0.0.11"
_TTL_S = 5
_ASKED_AT_ONCE = 512
_PATIENCE_S = 10.0
_MESSAGE_LIMIT = 65535


class Names:
    """What a container may know of others, as the records have it."""

    def __init__(self, state: str, container_id: str) -> None:
        self._attachments = Attachments(state)
        self._id = container_id
        self._seen = -1
        self._addresses: dict[str, list[Member]] = {}
        self._names: dict[bytes, str] = {}

    def look_up(self, question: dns.Question) -> list[bytes] | None:
        """The values of an answer; None where the name is nobody's here."""
        self._refresh()
        if question.kind == dns.PTR:
            try:
                name = self._names.get(addresses.parse(question.reverse))
            except ValueError:
                return None
            return [dns.encode_name(name)] if name else None
        found = self._addresses.get(question.name)
        if found is None:
            return None
        texts = [each.ip if question.kind == dns.A else each.ip6 for each in found]
        return [addresses.parse(text) for text in texts if text] if question.kind in (dns.A, dns.AAAA) else []

    def _refresh(self) -> None:
        try:
            now = os.stat(f"{self._attachments.path}/containers").st_mtime_ns
        except FileNotFoundError:
            now = 0
        if now == self._seen:
            return
        try:
            everyone = self._attachments.all()
        except (ClocheError, OSError):
            return
        self._seen = now
        self._addresses, self._names = {}, {}
        ours = next((each for each in everyone if each.id == self._id), None)
        networks = {member.network_id for member in ours.members} if ours else set()
        for each in everyone:
            for member in each.members:
                if member.network_id in networks:
                    self._add(each, member)

    def _add(self, each: Attached, member: Member) -> None:
        names = [name for name in (each.name, each.id[:12], *member.aliases) if name]
        for name in dict.fromkeys(name.lower() for name in names):
            for full in (name, f"{name}.{member.network.lower()}"):
                self._addresses.setdefault(full, []).append(member)
        for address in (member.ip, member.ip6):
            if address:
                self._names[addresses.parse(address)] = f"{names[0]}.{member.network}"


class Resolver:
    """Answers on sockets of the container's network namespace; asks others from the host's."""

    def __init__(
        self,
        events: Events,
        names: Names,
        sockets: tuple[socket.socket, socket.socket],
        servers: Sequence[str],
    ) -> None:
        """sockets: of UDP and of TCP, bound. servers: addresses; without any other names are not known."""
        self._events = events
        self._names = names
        self._datagrams, self._listener = sockets
        self._servers = tuple(servers)
        self._asked: dict[int, tuple[socket.socket, float]] = {}
        self._now = 0.0
        for each in sockets:
            each.setblocking(False)
        events.watch(self._datagrams.fileno(), READ, self._receive)
        events.watch(self._listener.fileno(), READ, self._accept)
        events.regularly(self._clean)

    def _receive(self, _: int) -> None:
        try:
            query, client = self._datagrams.recvfrom(_MESSAGE_LIMIT)
        except OSError:
            return
        self._resolve(query, socket.SOCK_DGRAM, lambda data: self._send(data, client))

    def _send(self, data: bytes, client: tuple[str, int]) -> None:
        try:
            self._datagrams.sendto(data, client)
        except OSError:
            return

    def _resolve(self, query: bytes, kind: int, reply: Callable[[bytes], None]) -> None:
        question = dns.parse(query)
        if question is None:
            return
        values = self._names.look_up(question)
        if values is not None:
            reply(dns.answer(query, question, values, ttl_s=_TTL_S))
        elif not self._servers:
            reply(dns.failure(query, question, dns.NO_SUCH_NAME))
        elif not self._ask(query, kind, reply, 0):
            reply(dns.failure(query, question, dns.SERVER_FAILED))

    def _ask(self, query: bytes, kind: int, reply: Callable[[bytes], None], number: int) -> bool:
        """Ask the servers from one on, the next where one cannot be reached; False where none can."""
        if len(self._asked) >= _ASKED_AT_ONCE:
            return False
        for server in self._servers[number:]:
            number += 1
            family = socket.AF_INET6 if ":" in server else socket.AF_INET
            asking = socket.socket(family, kind)
            try:
                asking.settimeout(2)
                asking.connect((server, 53))
                asking.setblocking(False)
                asking.send(query if kind == socket.SOCK_DGRAM else pack(">H", len(query)) + query)
            except OSError:
                asking.close()
                continue
            self._asked[asking.fileno()] = (asking, self._now)
            self._follow(asking, _Following(query, kind, reply, number))
            return True
        return False

    def _follow(self, asking: socket.socket, following: _Following) -> None:
        self._events.watch(asking.fileno(), READ, lambda _: self._heard(asking, following))

    def _heard(self, asking: socket.socket, following: _Following) -> None:
        try:
            data = asking.recv(_MESSAGE_LIMIT)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        whole = following.take(data)
        if data and whole is None:
            return
        self._drop(asking)
        if whole is not None:
            following.reply(whole)
        else:
            self._ask(following.query, following.kind, following.reply, following.next_server)

    def _drop(self, asking: socket.socket) -> None:
        self._asked.pop(asking.fileno(), None)
        self._events.forget(asking.fileno())
        asking.close()

    def _clean(self, now: float) -> None:
        self._now = now
        for asking, at in list(self._asked.values()):
            if at and now - at > _PATIENCE_S:
                self._drop(asking)

    def _accept(self, _: int) -> None:
        try:
            client, _address = self._listener.accept()
        except OSError:
            return
        client.setblocking(False)
        _StreamClient(self._events, client, self._resolve)


class _Following:
    """A query that a server was asked, and what has come of its answer."""

    def __init__(self, query: bytes, kind: int, reply: Callable[[bytes], None], next_server: int) -> None:
        self.query, self.kind, self.reply, self.next_server = query, kind, reply, next_server
        self._data = b""

    def take(self, data: bytes) -> bytes | None:
        """The whole answer, once it is there."""
        if self.kind == socket.SOCK_DGRAM:
            return data if data[:2] == self.query[:2] else None
        self._data += data
        if len(self._data) < 2 or len(self._data) < 2 + unpack_from(">H", self._data)[0]:
            return None
        return self._data[2 : 2 + unpack_from(">H", self._data)[0]]


class _StreamClient:
    """Somebody in the container who asks over TCP."""

    def __init__(
        self,
        events: Events,
        client: socket.socket,
        resolve: Callable[[bytes, int, Callable[[bytes], None]], None],
    ) -> None:
        self._events, self._client, self._resolve = events, client, resolve
        self._data = b""
        events.watch(client.fileno(), READ, self._read)

    def _read(self, _: int) -> None:
        try:
            part = self._client.recv(_MESSAGE_LIMIT)
        except BlockingIOError:
            return
        except OSError:
            part = b""
        if not part:
            self._events.forget(self._client.fileno())
            self._client.close()
            return
        self._data += part
        while len(self._data) >= 2 and len(self._data) >= 2 + (size := unpack_from(">H", self._data)[0]):
            query, self._data = self._data[2 : 2 + size], self._data[2 + size :]
            self._resolve(query, socket.SOCK_STREAM, self._write)

    def _write(self, data: bytes) -> None:
        try:
            self._client.send(pack(">H", len(data)) + data)
        except OSError:
            return
