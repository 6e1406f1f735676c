"""A network of the test's own: it stands for the machine's, which no test here may touch."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cloche.kernel.rtnetlink import RouteSocket
from cloche.kernel.syscalls import setns, unshare
from tests import peers
from tests.cli.machine import Machine
from tests.waiting import wait_until

_CLONE_NEWNET = 0x40000000


class OwnNetwork:
    """A network namespace that is empty but for loopback: in a `with` block this process is in it, and
    all that it starts. It stays as it is from one block to the next.
    """

    def __init__(self) -> None:
        peers.require_root()
        self._own = -1
        self._before = -1

    def __enter__(self) -> None:
        self._before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        if self._own >= 0:
            setns(self._own, _CLONE_NEWNET)
            return
        unshare(_CLONE_NEWNET)
        self._own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        with RouteSocket() as route:
            route.set_up(route.link("lo").index, up=True)

    def __exit__(self, *_: object) -> None:
        setns(self._before, _CLONE_NEWNET)
        os.close(self._before)

    def close(self) -> None:
        """Let go of it."""
        os.close(self._own)


@pytest.fixture
def machine(root: None) -> Iterator[None]:
    """A network of the test's own (`OwnNetwork`)."""
    network = OwnNetwork()
    with network:
        yield
    network.close()


@contextlib.contextmanager
def namespaces() -> Iterator[Callable[[], str]]:
    """make(): the path of a new network namespace, which lasts as long as the block."""
    holders = []

    def make() -> str:
        command = ["unshare", "--net", "cat"]
        holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        holders.append(holder)
        path = f"/proc/{holder.pid}/ns/net"
        own = os.readlink("/proc/thread-self/ns/net")
        wait_until(lambda: os.readlink(path) != own, what="a network namespace")
        return path

    yield make
    for holder in holders:
        if holder.stdin is not None:
            holder.stdin.close()
        holder.wait()


@pytest.fixture
def new_namespace() -> Iterator[Callable[[], str]]:
    """See `namespaces`."""
    with namespaces() as make:
        yield make


@contextlib.contextmanager
def serving(namespace: str, port: int) -> Iterator[None]:
    """A server that says hello in a network namespace, over both IPv4 and IPv6."""
    command = ["nsenter", f"--net={namespace}", peers.peer("busybox")]
    with subprocess.Popen([*command, "nc", "-ll", "-p", str(port), "-e", "echo", "-n", "hello"]) as server:
        try:
            yield
        finally:
            server.kill()


def ask(address: str, port: int, *, timeout_s: float = 10) -> bytes:
    """All that a server says; tried for a while, since it may not have begun yet."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            with socket.create_connection((address, port), timeout=2) as connection:
                said = b""
                while part := connection.recv(4096):
                    said += part
        except OSError:
            said = b""
        # Who accepts for a server that has not begun yet says nothing.
        if said or time.monotonic() > deadline:
            return said
        time.sleep(0.05)


def links(namespace: str = "") -> set[str]:
    """The names of the interfaces of a network namespace, of this process's where none is given."""
    command = ["nsenter", f"--net={namespace}"] if namespace else []
    shown = subprocess.run([*command, "ip", "-brief", "link"], capture_output=True, text=True, check=True)
    return {line.split()[0].partition("@")[0] for line in shown.stdout.splitlines()}


@pytest.fixture
def leases(tmp_path: Path) -> Path:
    """Where host-local keeps its addresses in these tests."""
    return tmp_path / "leases"


class Stand:
    """The command on stores of its own, on a machine that has a neighbour.

    neighbour: the path of the network namespace of one at 192.0.2.2 and 2001:db8::2; the machine itself is
    192.0.2.1 and 2001:db8::1.
    """

    def __init__(self, machine: Machine, neighbour: str, network: OwnNetwork) -> None:
        self.cloche = machine
        self.neighbour = neighbour
        self.network = network

    @property
    def state(self) -> Path:
        """Where the records are."""
        return self.cloche.place / "state" / ".network"

    def ok(self, *words: str) -> str:
        """See `Machine.ok`."""
        return self.cloche.ok(*words)

    def serve(self, name: str, *flags: str, port: int = 80, says: str = "hello") -> str:
        """A container with a server in the background; its id."""
        words = ("busybox", "nc", "-ll", "-p", str(port), "-e", "echo", "-n", says)
        return self.ok("run", "-d", "--name", name, *flags, "net", *words).strip()

    def in_container(self, *words: str, network: str = "bridge") -> str:
        """What a command in a new container of a network prints, whatever its exit code."""
        result = self.cloche.run("run", "--rm", "--network", network, "net", "busybox", *words)
        return result.stdout.decode()

    def from_neighbour(self, address: str, port: int) -> bytes:
        """What a server says to the neighbour; nothing where it is not reached."""
        command = ["nsenter", f"--net={self.neighbour}", "busybox", "nc", "-w", "1", address, str(port)]
        result = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=20
        )
        return result.stdout

    def rules(self) -> str:
        """All rules of nf_tables, as nft shows them."""
        return subprocess.run(
            [peers.peer("nft"), "list", "ruleset"], capture_output=True, check=True
        ).stdout.decode()

    def left(self) -> list[str]:
        """What is on record of containers, and the processes beside them."""
        records = [str(path) for path in (self.state / "containers").glob("*")]
        taken = [str(path) for path in (self.state / "leases").glob("*/*")]
        state = str(self.cloche.place).encode()
        companions = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                words = path.read_bytes()
                if b"network.companion" in words and state in words:
                    companions.append(str(path))
        return records + taken + companions

    def clean(self) -> None:
        """Remove every container and network, and see that the machine is as it was."""
        self.cloche.clean()
        self.ok("network", "prune", "--force")
        wait_until(lambda: not self.left(), what=f"an end of {self.left()}")
        wait_until(lambda: links() == {"lo", "uplink"}, what=f"an end of {links()}")
        assert self.rules() == ""


@pytest.fixture(scope="module")
def shared_stand(cloche: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    """A stand for all tests of a module."""
    peers.peer("ip")
    network = OwnNetwork()
    with namespaces() as make:
        with network:
            stand = _made(Machine(cloche, tmp_path_factory.mktemp("network")), make(), network)
        yield stand
    network.close()


def _made(machine: Machine, neighbour: str, network: OwnNetwork) -> Stand:
    inside = ["nsenter", f"--net={neighbour}", "ip"]
    peer = ["peer", "name", "eth0", "netns", neighbour.split("/")[2]]
    for command in (
        ["ip", "link", "add", "uplink", "type", "veth", *peer],
        ["ip", "address", "add", "192.0.2.1/24", "dev", "uplink"],
        ["ip", "address", "add", "2001:db8::1/64", "dev", "uplink", "nodad"],
        ["ip", "link", "set", "uplink", "up"],
        [*inside, "address", "add", "192.0.2.2/24", "dev", "eth0"],
        [*inside, "address", "add", "2001:db8::2/64", "dev", "eth0", "nodad"],
        [*inside, "link", "set", "eth0", "up"],
        [*inside, "link", "set", "lo", "up"],
    ):
        subprocess.run(command, check=True)
    machine.environment["CLOCHE_NETWORK"] = "bridge"
    machine.ok("image", "from-host", "net", peers.peer("busybox"))
    return Stand(machine, neighbour, network)


@pytest.fixture
def stand(shared_stand: Stand) -> Iterator[Stand]:
    """A machine with an uplink and no containers; nothing may be left on it."""
    with shared_stand.network:
        yield shared_stand
        shared_stand.clean()
