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

from cloche.kernel.netlink import RouteSocket
from cloche.kernel.syscalls import setns, unshare
from tests import peers
from tests.waiting import wait_until

_CLONE_NEWNET = 0x40000000


@pytest.fixture
def machine(root: None) -> Iterator[None]:
    """This process, and all that it starts, are in a network namespace that is empty but for loopback."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    unshare(_CLONE_NEWNET)
    try:
        with RouteSocket() as route:
            route.set_up(route.link("lo").index, up=True)
        yield
    finally:
        setns(before, _CLONE_NEWNET)
        os.close(before)


@pytest.fixture
def new_namespace() -> Iterator[Callable[[], str]]:
    """new_namespace(): the path of a new network namespace, which lasts as long as the test."""
    holders = []

    def make() -> str:
        holder = subprocess.Popen(
            ["unshare", "--net", "cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
        )
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
                return said
        except OSError:
            if time.monotonic() > deadline:
                raise
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
