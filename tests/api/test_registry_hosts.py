"""A pull and a push of the Transfer service, over the hosts that its client's directory names."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from cloche.daemon.blocking_client import BlockingChannel
from cloche.errors import InvalidArgument
from cloche.wire.messages import transfer as messages
from cloche.wire.messages.google import Any
from cloche.wire.messages.transfer_service import TRANSFER, TransferRequest
from cloche.wire.protobuf import Message
from tests import peers
from tests.api.conftest import IMAGE
from tests.api.test_configuration import configured
from tests.cri.tools import required, tool
from tests.daemons import Cloched, Registry

NAMESPACE = {"containerd-namespace": ["default"]}


def transfer(cloched: Cloched, source: Message, destination: Message) -> None:
    request = TransferRequest(source=Any.pack(source), destination=Any.pack(destination))
    with BlockingChannel(cloched.address, timeout_s=60) as channel:
        channel.unary(TRANSFER, "Transfer", request, metadata=NAMESPACE)


def at(name: str, hosts: Path) -> messages.OCIRegistry:
    return messages.OCIRegistry(reference=name, resolver=messages.RegistryResolver(host_dir=str(hosts)))


def test_the_clients_directory_says_which_hosts_are_asked(
    cloched: Cloched, registry: Registry, tmp_path: Path
) -> None:
    name = "hosts.example/over/transfer:1"
    file = tmp_path / "hosts.example/hosts.toml"
    file.parent.mkdir()
    file.write_text(
        f'server = "http://{registry.address}"\n'
        '[host."http://127.0.0.1:1"]\ncapabilities = ["pull", "resolve"]\n'
    )
    transfer(cloched, messages.ImageStore(name=IMAGE), at(name, tmp_path))
    assert name not in cloched.ok("images", "ls", "-q")
    transfer(cloched, at(name, tmp_path), messages.ImageStore(name=name))
    assert name in cloched.ok("images", "ls", "-q")
    cloched.ok("images", "rm", name)
    file.write_text("server = 1\n")
    with pytest.raises(InvalidArgument, match=r"hosts\.toml\.server: must be a string"):
        transfer(cloched, at(name, tmp_path), messages.ImageStore(name=name))


def test_the_configuration_says_which_hosts_are_asked(
    registry: Registry, archive: Path, tmp_path: Path
) -> None:
    registry.push(f"oci-archive:{archive}", "configured:1")
    file = tmp_path / "hosts.example/hosts.toml"
    file.parent.mkdir()
    file.write_text(f'server = "http://{registry.address}"\n')
    mirrors = f'registry.mirrors."old.example"]\nendpoint = ["http://{registry.address}"]\n'
    transfers = f'[plugins."io.containerd.transfer.v1.local"]\nconfig_path = "{tmp_path}"\n'
    known = 'ignore_deprecation_warnings = ["io.containerd.deprecation/cri-registry-auths"]'
    quiet = f'[plugins."io.containerd.cri.v1.runtime"]\n{known}\n'
    logins = '[plugins."io.containerd.cri.v1.images".registry.auths."https://a.example"]\nauth = "dTpw"\n'
    others = f"{transfers}{quiet}{logins}"
    with configured(f'{others}[plugins."io.containerd.cri.v1.images".{mirrors}') as daemon:
        source = messages.OCIRegistry(reference="hosts.example/configured:1")
        transfer(daemon, source, messages.ImageStore(name=source.reference))
        assert source.reference in daemon.ok("images", "ls", "-q")
        with required():
            crictl = tool("crictl")
        address = f"unix://{daemon.address}"
        pull = [crictl, "-r", address, "-i", address, "pull", "old.example/configured:1"]
        subprocess.run(pull, check=True, capture_output=True, timeout=60)
        assert "old.example/configured:1" in daemon.ok("-n", "k8s.io", "images", "ls", "-q")
        assert "registry.mirrors is deprecated" in daemon.log_path.read_text()
        daemon.client = (peers.command("cloche"), "ctr")
        told = daemon.ok("deprecations", "list")
        assert "io.containerd.deprecation/cri-registry-mirrors" in told
        assert "cri-registry-auths" not in told
        assert "has no effect" not in daemon.log_path.read_text()
