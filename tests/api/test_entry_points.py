"""Snapshotters, differs and runtimes that another Python package brings along."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import installations, leftovers, peers
from tests.api.conftest import IMAGE
from tests.api.test_configuration import Configured
from tests.daemons import WITHOUT_NRI
from tests.layouts import Layout, tar_directory

MODULE = '''
import io, os
from cloche.errors import Unimplemented
from cloche.image.differs import Walking
from cloche.image.processors import NONE
from cloche.spec.mount import Mount
from cloche.store.snapshots.local import LocalSnapshotter


class Stacked(LocalSnapshotter):
    """Overlays, with one directory for each part of a snapshot."""

    capabilities = ("rebase",)
    exports = {"colour": "blue"}

    def make(self, tx, key, snapshot):
        directory = self.directory(snapshot.id)
        self.make_directory(directory, 0o700)
        for name in ("own", "work"):
            os.mkdir(f"{directory}/{name}")
            os.chmod(f"{directory}/{name}", 0o755)

    def tree(self, snapshot):
        return f"{self.directory(snapshot.id)}/own"

    def shown(self, snapshot):
        if not snapshot.parents:
            return (Mount("bind", self.tree(snapshot), ("rw", "rbind")),)
        lower = ":".join(f"{self.directory(number)}/own" for number in snapshot.parents)
        work = f"{self.directory(snapshot.id)}/work"
        options = (f"lowerdir={lower}", f"upperdir={self.tree(snapshot)}", f"workdir={work}")
        return (Mount("overlay", "overlay", options),)


class Backwards:
    """Layers whose bytes come in the other order."""

    def apply(self, layer, blob, mounts, *, payloads, sync):
        if not layer.media_type.endswith("+backwards"):
            raise Unimplemented("only backwards")
        plain = layer.replace(media_type="application/vnd.oci.image.layer.v1.tar")
        data = blob.readall()[::-1]
        return Walking(NONE).apply(plain, io.BytesIO(data), mounts, payloads=payloads, sync=sync)

    def compare(self, lower, upper, media_type, write):
        raise Unimplemented("only forwards")


class Hello:
    def __init__(self, *_, **__):
        pass

    def shim(self):
        return SHIM
'''
POINTS = """[cloche.snapshotters]
stacked = brought:Stacked
broken = brought_and_broken:Nothing
wrong = brought:Hello

[cloche.differs]
backwards = brought:Backwards

[cloche.runtimes]
io.example.hello.v1 = brought:Hello
"""
CONFIG = '[plugins."io.containerd.service.v1.diff-service"]\ndefault = ["backwards", "walking"]\n'


@pytest.fixture(scope="module")
def installed() -> Iterator[Path]:
    """Another installation, with a package that brings parts."""
    peers.require_root()
    place = Path(tempfile.mkdtemp(prefix="i-"))
    packages = installations.beside(place / "v", copied=False)
    shim = str(place / "v/bin/containerd-shim-cloche-v1")
    (packages / "brought.py").write_text(MODULE.replace("SHIM", repr(shim)))
    (packages / "brought_and_broken.py").write_text("import no_such_module")
    (packages / "brought-1.5.dist-info").mkdir()
    (packages / "brought-1.5.dist-info/METADATA").write_text(
        "Metadata-Version: 2.1\nName: brought\nVersion: 1.5\n"
    )
    (packages / "brought-1.5.dist-info/entry_points.txt").write_text(POINTS)
    yield place
    leftovers.remove_tree(str(place))


class Extended(Configured):
    """cloched of that installation."""

    def command(self) -> list[str]:
        first, *others = super().command()
        return [str(self.directory / "v/bin" / Path(first).name), *others]


@pytest.fixture(scope="module")
def daemon(installed: Path) -> Iterator[Extended]:
    (installed / "config.toml").write_text(f"version = 4\n{CONFIG}\n{WITHOUT_NRI}")
    with Extended(installed) as running:
        yield running


def backwards(where: Path, layer: bytes) -> Path:
    """An archive with an image whose layer has its bytes in the other order."""
    layout = Layout(where / "layout")
    layout.image(IMAGE, [layer], compressed=False)
    plain = hashlib.sha256(layer).hexdigest()
    turned = layout.blob(layer[::-1], "application/vnd.oci.image.layer.v1.tar+backwards")
    (index,) = [where / "layout/index.json"]
    document = json.loads(index.read_text())
    manifest = json.loads(
        (where / "layout/blobs/sha256" / document["manifests"][0]["digest"][7:]).read_text()
    )
    assert manifest["layers"][0]["digest"] == f"sha256:{plain}"
    manifest["layers"] = [turned]
    described = layout.document(manifest, manifest["mediaType"])
    document["manifests"][0] |= {key: described[key] for key in ("digest", "size")}
    index.write_text(json.dumps(document))
    return layout.archive(where / "image.tar")


def test_they_are_listed_and_one_that_does_not_work_stops_nobody(daemon: Extended) -> None:
    lines = [line.split() for line in daemon.ok("plugins", "ls").splitlines()]
    states = {line[1]: (line[0], line[-1]) for line in lines}
    assert states["stacked"] == ("io.containerd.snapshotter.v1", "ok")
    assert states["backwards"] == ("io.containerd.differ.v1", "ok")
    assert states["io.example.hello.v1"] == ("io.containerd.runtime.v2", "ok")
    assert states["broken"] == ("io.containerd.snapshotter.v1", "error")
    stacked = daemon.ok("plugins", "ls", "-d", "id==stacked")
    for word in ("rebase", "blue", "brought 1.5"):
        assert word in stacked
    assert "No module named 'no_such_module'" in daemon.ok("plugins", "ls", "-d", "id==broken")
    refused = daemon.run("snapshots", "--snapshotter", "broken", "ls").stderr
    assert "snapshotter 'broken' of brought 1.5: brought_and_broken:Nothing cannot be imported" in refused
    assert "Hello has no method 'prepare'" in daemon.run("snapshots", "--snapshotter", "wrong", "ls").stderr
    assert "only overlayfs, native, stacked" in daemon.run("snapshots", "--snapshotter", "other", "ls").stderr


def test_a_container_runs_on_such_a_snapshotter_under_such_a_runtime(
    daemon: Extended, archive: Path, name: str
) -> None:
    theirs = ("--snapshotter", "stacked")
    daemon.ok("images", "import", *theirs, str(archive))
    done = daemon.run(
        "run", "--rm", *theirs, "--runtime", "io.example.hello.v1", IMAGE, name, "echo", "stacked"
    )
    assert done.stdout == "stacked\n", done.stderr
    assert "Committed" in daemon.ok("snapshots", *theirs, "ls")
    daemon.ok("images", "rm", "--sync", IMAGE)
    assert "Committed" not in daemon.ok("snapshots", *theirs, "ls")


def test_such_a_differ_is_asked_before_our_own(
    daemon: Extended, busybox_rootfs: Path, tmp_path: Path, name: str
) -> None:
    daemon.ok("images", "import", str(backwards(tmp_path, tar_directory(busybox_rootfs))))
    done = daemon.run("run", "--rm", IMAGE, name, "echo", "forwards")
    assert done.stdout == "forwards\n", done.stderr
    daemon.ok("run", IMAGE, f"{name}-2", "touch", "/new")
    # It makes no layers, which is left to ours.
    plain = ("--media-type", "application/vnd.oci.image.layer.v1.tar")
    assert "new\0" in daemon.ok("snapshots", "diff", *plain, f"{name}-2")
    daemon.ok("containers", "rm", f"{name}-2")
    daemon.ok("images", "rm", "--sync", IMAGE)


def test_the_command_without_a_daemon_has_them_too(installed: Path, archive: Path) -> None:
    command = [
        f"{installed}/v/bin/cloche",
        "--root",
        f"{installed}/alone",
        "--state",
        f"{installed}/alone-state",
    ]

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"CLOCHE_CONFIG": "/nowhere"}
        return subprocess.run(
            [*command, *words], capture_output=True, text=True, env=environment, timeout=60, check=False
        )

    assert run("load", "-i", str(archive)).returncode == 0
    done = run("run", "--rm", "--snapshotter", "stacked", IMAGE, "cat", "/proc/mounts")
    assert f"upperdir={installed}/alone/snapshots/stacked/" in done.stdout, done.stderr
    broken = run("run", "--rm", "--snapshotter", "broken", IMAGE, "true")
    assert (broken.returncode, broken.stderr.count("\n")) == (125, 1)
    assert "cannot be imported: ModuleNotFoundError: No module named 'no_such_module'" in broken.stderr
