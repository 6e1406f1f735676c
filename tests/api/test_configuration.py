"""What config.toml says, seen by clients: its parts, who may refuse an image, how long messages are."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cloche.cli.ctr.daemon import Daemon
from cloche.errors import ResourceExhausted
from cloche.wire.messages.images import IMAGES, CreateImageRequest, Image, ListImagesRequest
from cloche.wire.messages.types import Descriptor
from tests import leftovers, peers
from tests.daemons import Cloched, Registry


class Configured(Cloched):
    """cloched with a configuration file."""

    def command(self) -> list[str]:
        return [*super().command(), "--config", f"{self.directory}/config.toml"]


@contextmanager
def configured(text: str) -> Iterator[Configured]:
    """A daemon of its own with this configuration."""
    peers.require_root()
    directory = Path(tempfile.mkdtemp(prefix="d-"))
    (directory / "config.toml").write_text(f"version = 4\n{text}")
    try:
        with Configured(directory) as daemon:
            yield daemon
    finally:
        leftovers.remove_tree(str(directory))


def test_a_disabled_part_is_neither_listed_nor_served() -> None:
    disabled = '["io.containerd.grpc.v1.leases", "io.containerd.image-verifier.v1.bindir"]'
    with configured(f"disabled_plugins = {disabled}\n") as daemon:
        listed = daemon.ok("plugins", "ls")
        assert "leases " not in [line.split("  ")[0] for line in listed.splitlines()]
        assert "bindir" not in listed
        assert "io.containerd.content.v1" in listed
        refused = daemon.run("leases", "ls")
        assert refused.returncode == 1
        assert "unknown service" in refused.stderr
        assert daemon.run("images", "ls").returncode == 0


@pytest.mark.parametrize("disabled", ["[]", '["io.containerd.snapshotter.v1.zfs"]'])
def test_without_a_required_part_it_does_not_start(tmp_path: Path, disabled: str) -> None:
    config = tmp_path / "config.toml"
    required = '["io.containerd.content.v1.content", "io.containerd.snapshotter.v1.zfs"]'
    config.write_text(f"version = 4\nrequired_plugins = {required}\ndisabled_plugins = {disabled}\n")
    places = ["--root", f"{tmp_path}/root", "--state", f"{tmp_path}/state", "--config", str(config)]
    command = [peers.command("cloched"), *places]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 1
    assert "io.containerd.snapshotter.v1.zfs is" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "root").exists()


def test_messages_are_as_long_as_the_configuration_says() -> None:
    limits = "max_recv_message_size = 100000\nmax_send_message_size = 50000\n"
    with configured(f'[plugins."io.containerd.server.v1.grpc"]\n{limits}') as daemon:
        client = Daemon(daemon.address, "default")
        target = Descriptor(media_type="text/plain", digest="sha256:" + "0" * 64, size=1)
        long = Image(name="x" * 200_000, target=target)
        with pytest.raises(ResourceExhausted, match="100000"):
            client.ask(IMAGES, "Create", CreateImageRequest(image=long))
        for number in range(20):
            labels = {"padding": "x" * 4000}
            image = Image(name=f"test.example/{number}:1", target=target, labels=labels)
            client.ask(IMAGES, "Create", CreateImageRequest(image=image))
        with pytest.raises(ResourceExhausted, match="50000"):
            client.ask(IMAGES, "List", ListImagesRequest())
        client.close()


def verifier(directory: Path, name: str, body: str) -> None:
    path = directory / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def test_verifiers_are_asked_before_an_image_is_pulled(
    registry: Registry, archive: Path, tmp_path: Path
) -> None:
    reference = registry.push(f"oci-archive:{archive}", "busybox:verified")
    programs = tmp_path / "verifiers"
    programs.mkdir()
    settings = f'bin_dir = "{programs}"\nmax_verifiers = 2\nper_verifier_timeout = "1s"\n'
    ours = (peers.command("cloche"), "ctr")
    with configured(f'[plugins."io.containerd.image-verifier.v1.bindir"]\n{settings}') as daemon:
        daemon.client = ours

        def pull() -> subprocess.CompletedProcess[str]:
            return daemon.run("images", "pull", "--plain-http", reference)

        verifier(programs, "1", f'cat > {tmp_path}/asked; echo "$@" > {tmp_path}/words')
        verifier(programs, "2", "echo the signature is missing; exit 3")
        verifier(programs, "3", f"touch {tmp_path}/passed-over")
        refused = pull()
        assert refused.returncode == 1
        assert "verifier 2 rejects it (exit code 3): the signature is missing" in refused.stderr
        assert daemon.ok("content", "ls", "-q") == ""
        digest = json.loads((tmp_path / "asked").read_text())["digest"]
        words = ["-name", reference, "-digest", digest, "-stdin-media-type"]
        assert (tmp_path / "words").read_text().split()[:5] == words
        verifier(programs, "2", "exec sleep 600")
        assert "said nothing in 1 s" in pull().stderr
        verifier(programs, "2", "exit 0")
        assert pull().returncode == 0
        assert not (tmp_path / "passed-over").exists()
        assert reference in daemon.ok("images", "ls", "-q")
