"""linux.netDevices: devices move in with their addresses. The host here is a namespace of the test's."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cloche.kernel.rtnetlink import RouteSocket
from tests.bundles import Bundle
from tests.peers import peer
from tests.waiting import wait_until


class Host:
    """A network namespace with one pair of devices, in which cloche-runc runs containers."""

    def __init__(self, bundle: Bundle, cloche_runc: str, root: Path, cgroup_parent: str) -> None:
        self.bundle, self.cloche_runc, self.root = bundle, cloche_runc, root
        bundle.linux["cgroupsPath"] = f"{cgroup_parent}/c"
        self.process = subprocess.Popen(["unshare", "-n", "sleep", "1000"])
        while os.readlink(f"/proc/{self.process.pid}/ns/net") == os.readlink("/proc/self/ns/net"):
            assert self.process.poll() is None
        self("ip", "link", "add", "one", "type", "veth", "peer", "name", "two")
        for address in ("10.9.8.7/24", "fd00::7/64"):
            self(
                "ip",
                "address",
                "add",
                address,
                "dev",
                "one",
                "nodad" if ":" in address else "brd",
                *([] if ":" in address else ["+"]),
            )
        self("ip", "link", "set", "one", "up")
        self("ip", "link", "set", "two", "up")

    def __call__(self, *command: str, check: bool = True) -> str:
        words = ["nsenter", f"--net=/proc/{self.process.pid}/ns/net", *command]
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=30)
        assert done.returncode == 0 or not check, done.stderr
        return done.stdout + done.stderr

    def run(self, script: str, *, check: bool = True) -> str:
        self.bundle.command("sh", "-c", script)
        words = [self.cloche_runc, "--root", str(self.root), "run", "--bundle", str(self.bundle.path), "c"]
        return self(*words, check=check)

    def addresses(self, device: str) -> list[str]:
        shown = json.loads(self("ip", "-j", "address", "show", "dev", device))
        return [a["local"] for a in shown[0]["addr_info"] if a["scope"] == "global"]


@pytest.fixture
def host(bundle: Bundle, cloche_runc: str, tmp_path: Path, cgroup_parent: str) -> Iterator[Host]:
    """See Host."""
    peer("ip")
    made = Host(bundle, cloche_runc, tmp_path / "state", cgroup_parent)
    yield made
    made.process.kill()
    made.process.wait()


def moved(host: Host, **devices: dict[str, Any]) -> None:
    host.bundle.linux["netDevices"] = devices


def test_a_device_keeps_its_addresses_and_is_up(host: Host) -> None:
    moved(host, one={})
    text = host.run("ip address show dev one")
    assert "inet 10.9.8.7/24 brd 10.9.8.255 scope global" in text
    assert "inet6 fd00::7/64 scope global" in text
    assert ",UP" in text
    # The kernel takes the namespace apart in its own time, and with it a virtual device and its peer.
    wait_until(lambda: "two" not in host("ip", "link"), what="the namespace to go")


def test_a_device_gets_its_new_name(host: Host) -> None:
    moved(host, one={"name": "eth0"})
    text = host.run("ip -o link")
    assert "eth0" in text
    assert "one" not in text


def test_the_kernel_chooses_a_number(host: Host) -> None:
    moved(host, one={"name": "net%d"}, two={"name": "net%d"})
    text = host.run("ip -o address")
    assert "net0" in text
    assert "net1" in text
    assert "10.9.8.7" in text


def test_a_device_that_is_not_there_is_named_and_the_others_stay(host: Host) -> None:
    moved(host, one={}, missing={})
    text = host.run("true", check=False)
    assert "linux.netDevices['missing']: there is no such network device on the host" in text
    assert host.addresses("one") == ["10.9.8.7", "fd00::7"]


def test_a_taken_name_is_refused_and_what_had_moved_comes_back(host: Host) -> None:
    moved(host, one={"name": "same"}, two={"name": "same"})
    text = host.run("true", check=False)
    assert "linux.netDevices['two']: cannot become 'same' in the container: file exists" in text
    assert host.addresses("one") == ["10.9.8.7", "fd00::7"]
    assert '"UP"' in host("ip", "-j", "link", "show", "one")
    assert '"UP"' in host("ip", "-j", "link", "show", "two")


def test_devices_move_into_a_namespace_that_is_joined(host: Host) -> None:
    other = subprocess.Popen(["unshare", "-n", "sleep", "1000"])
    try:
        while os.readlink(f"/proc/{other.pid}/ns/net") == os.readlink("/proc/self/ns/net"):
            pass
        for namespace in host.bundle.linux["namespaces"]:
            if namespace["type"] == "network":
                namespace["path"] = f"/proc/{other.pid}/ns/net"
        moved(host, one={})
        assert "10.9.8.7" in host.run("ip address show dev one")
        # Not moved back: it belongs to the namespace now.
        inside = subprocess.check_output(
            ["nsenter", f"--net=/proc/{other.pid}/ns/net", "ip", "address"], text=True
        )
        assert "10.9.8.7" in inside
    finally:
        other.kill()
        other.wait()


def test_a_user_namespace_owns_the_network_namespace_they_move_to(host: Host) -> None:
    host.bundle.linux["namespaces"].append({"type": "user"})
    maps = [{"containerID": 0, "hostID": 100_000, "size": 65536}]
    host.bundle.linux["uidMappings"] = host.bundle.linux["gidMappings"] = maps
    os.chown(host.bundle.rootfs, 100_000, 100_000)
    moved(host, one={"name": "eth0"})
    assert "10.9.8.7" in host.run("ip address show dev eth0")


def test_the_names_and_states_of_devices_are_read() -> None:
    with RouteSocket() as here:
        loopback = here.link("lo")
        assert loopback in here.links()
        assert loopback.index == 1
        with pytest.raises(OSError, match="No such device"):
            here.link("cloche-none")
