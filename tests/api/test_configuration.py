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
from tests.api.conftest import IMAGE
from tests.daemons import WITHOUT_NRI, Cloched, Registry
from tests.layouts import Layout, tar_directory


class Configured(Cloched):
    """cloched with a configuration file."""

    def command(self) -> list[str]:
        return [*super().command(), "--config", f"{self.directory}/config.toml"]


@contextmanager
def configured(text: str) -> Iterator[Configured]:
    """A daemon of its own with this configuration."""
    peers.require_root()
    directory = Path(tempfile.mkdtemp(prefix="d-"))
    (directory / "config.toml").write_text(f"version = 4\n{text}\n{WITHOUT_NRI}")
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


def test_the_daemon_and_its_shims_work_as_they_are_told(archive: Path, tmp_path: Path, name: str) -> None:
    runtime = tmp_path / "runtime"
    runtime.write_text(
        f'#!/bin/sh\necho "$COLOUR $TMPDIR" > {tmp_path}/told\nexec {peers.command("cloche-runc")} "$@"\n'
    )
    runtime.chmod(0o755)
    text = f"""temp = "{tmp_path}/temp"
[debug]
format = "json"
[plugins."io.containerd.shim.v1.manager"]
env = ["COLOUR=green", "TTRPC_ADDRESS=/nowhere"]
[plugins."io.containerd.gc.v1.scheduler"]
startup_delay = "0s"
pause_threshold = 0.0
[plugins."io.containerd.transfer.v1.local"]
max_concurrent_downloads = 0
max_concurrent_uploaded_layers = 1
[plugins."io.containerd.service.v1.diff-service"]
sync_fs = true
"""
    with configured(text) as daemon:
        daemon.ok("images", "import", str(archive))
        done = daemon.run("run", "--rm", "--runc-binary", str(runtime), IMAGE, name, "echo", "told")
        assert done.stdout == "told\n", done.stderr
        assert (tmp_path / "told").read_text() == f"green {tmp_path}/temp\n"
        assert (tmp_path / "temp").is_dir()
        told = [json.loads(line) for line in daemon.log_path.read_text().splitlines()]
        assert {"level", "msg", "time"} <= set(told[0])
        assert not any("has no effect" in line["msg"] for line in told)


@pytest.mark.parametrize(("said", "at_once"), [(-1, 1), (None, 2), (3, 3)])
def test_so_many_layers_of_an_image_are_unpacked_at_once(
    registry: Registry, tmp_path: Path, said: int | None, at_once: int
) -> None:
    """A program that every layer goes through says when it begins and ends."""
    layout = Layout(tmp_path / "layout")
    for number in range(4):
        (tmp_path / f"{number}").mkdir()
        (tmp_path / f"{number}/file-{number}").write_text("words")
    layout.image("it", [tar_directory(tmp_path / f"{number}") for number in range(4)])
    reference = registry.push(f"oci:{layout.path}:it", f"unpacked-{at_once}:1")
    gzipped = "application/vnd.oci.image.layer.v1.tar+gzip"
    script = f"echo begin >> {tmp_path}/log; sleep 0.15; echo end >> {tmp_path}/log; exec cat"
    text = f"""[stream_processors.slow]
accepts = ["{gzipped}"]
returns = "{gzipped}"
path = "sh"
args = ["-c", "{script}"]
[plugins."io.containerd.transfer.v1.local"]
"""
    with configured(text + (f"max_concurrent_unpacks = {said}\n" if said is not None else "")) as daemon:
        daemon.client = (peers.command("cloche"), "--state", f"{daemon.directory}/state", "ctr")
        daemon.ok("images", "pull", "--plain-http", reference)
    running, most = 0, 0
    for word in (tmp_path / "log").read_text().split():
        running += 1 if word == "begin" else -1
        most = max(most, running)
    assert most == at_once


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[debug]\nformat = "xml"', "debug.format: text or json is needed, not 'xml'"),
        ('[plugins."io.containerd.shim.v1.manager"]\nenv = ["COLOUR"]', "'COLOUR': must be NAME=VALUE"),
        ('[plugins."io.containerd.monitor.container.v1.restart"]\ninterval = "0s"', "must be above 0"),
        (
            '[plugins."io.containerd.service.v1.diff-service"]\ndefault = ["erofs"]',
            "there is no differ 'erofs', only walking",
        ),
        ('[plugins."io.containerd.service.v1.diff-service"]\ndefault = []', "at least one differ is needed"),
        ('[stream_processors.a]\naccepts = ["x"]\nreturns = "y"', "stream_processors.a.path: is needed"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_made(tmp_path: Path, text: str, says: str) -> None:
    config = tmp_path / "config.toml"
    config.write_text(f"version = 4\n{text}\n")
    places = ["--root", f"{tmp_path}/root", "--state", f"{tmp_path}/state", "--config", str(config)]
    command = [peers.command("cloched"), *places]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 1
    assert says in done.stderr.splitlines()[-1]
    assert not (tmp_path / "root").exists()
