"""Layers of a type of somebody's own, in images that clients bring: the daemon asks the program for it."""

from __future__ import annotations

import os
import subprocess
import tarfile
from pathlib import Path

from tests import peers
from tests.api.conftest import IMAGE
from tests.api.test_configuration import configured
from tests.image.test_processors import ODD, TAR, odd_image, rot13
from tests.layouts import tar_directory

TABLE = f"""[stream_processors.rot13]
accepts = ["{ODD}"]
returns = "{TAR}"
path = "tr"
args = ["A-Za-z", "N-ZA-Mn-za-m"]
env = ["LC_ALL=C"]
"""


def odd_archive(place: Path, busybox_rootfs: Path) -> str:
    layer = tar_directory(busybox_rootfs)
    layout = odd_image(place / "layout", layer, rot13(layer), name=IMAGE)
    with tarfile.open(place / "image.tar", "w") as archive:
        archive.add(layout, ".")
    return str(place / "image.tar")


def test_the_daemon_unpacks_them(busybox_rootfs: Path, tmp_path: Path, name: str) -> None:
    archive = odd_archive(tmp_path, busybox_rootfs)
    with configured(TABLE) as daemon:
        daemon.client = (peers.command("cloche"), "--state", f"{daemon.directory}/state", "ctr")
        for where in ((), ("--local",)):
            daemon.ok("images", "import", *where, archive)
            done = daemon.run("run", "--rm", IMAGE, name, "echo", "turned back")
            assert done.stdout == "turned back\n", done.stderr
            daemon.ok("images", "rm", "--sync", IMAGE)
    with configured(TABLE.replace('path = "tr"', 'path = "false"')) as daemon:
        failed = daemon.run("images", "import", archive)
        assert failed.returncode == 1
        assert "stream processor 'rot13': exit code 1" in failed.stderr
        assert daemon.ok("snapshots", "ls").splitlines()[1:] == []


def test_so_does_the_command_without_a_daemon(busybox_rootfs: Path, tmp_path: Path) -> None:
    archive = odd_archive(tmp_path, busybox_rootfs)
    (tmp_path / "config.toml").write_text(TABLE)
    cloche = [peers.command("cloche"), "--root", f"{tmp_path}/root", "--state", f"{tmp_path}/state", "load"]

    def load(config: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"CLOCHE_CONFIG": f"{tmp_path}/{config}"}
        return subprocess.run(
            [*cloche, "-i", archive], capture_output=True, text=True, env=environment, timeout=60, check=False
        )

    refused = load("none.toml")
    assert refused.returncode == 1
    assert f"of type {ODD!r} is no layer" in refused.stderr
    done = load("config.toml")
    assert done.returncode == 0, done.stderr
