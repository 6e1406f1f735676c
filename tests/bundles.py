"""OCI bundles around Debian's static busybox."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from tests.peers import peer

DIRECTORIES = ("bin", "dev", "etc", "home", "proc", "root", "sys", "tmp", "usr", "var")


def make_rootfs(directory: Path) -> Path:
    """A small root filesystem: busybox under all its names, passwd and group."""
    for name in DIRECTORIES:
        (directory / name).mkdir(parents=True, exist_ok=True)
    # A temporary directory is its owner's alone; a root must be enterable by every user.
    directory.chmod(0o755)
    (directory / "tmp").chmod(0o1777)
    busybox = directory / "bin" / "busybox"
    shutil.copy(peer("busybox"), busybox)
    applets = subprocess.run([busybox, "--list"], check=True, capture_output=True, text=True).stdout.split()
    for applet in applets:
        if applet != "busybox":
            (directory / "bin" / applet).symlink_to("busybox")
    (directory / "etc" / "passwd").write_text(
        "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000:Alice:/home/alice:/bin/sh\n"
    )
    (directory / "etc" / "group").write_text("root:x:0:\nalice:x:1000:\nstaff:x:50:alice\n")
    return directory


class Bundle:
    """A bundle directory whose config.json a test changes and saves.

    config: what `runc spec` writes, without a terminal and with a writable root.
    """

    def __init__(self, path: Path, rootfs: Path) -> None:
        self.path = path
        self.rootfs = path / "rootfs"
        path.mkdir(parents=True, exist_ok=True)
        shutil.copytree(rootfs, self.rootfs, symlinks=True, copy_function=_link)
        subprocess.run([peer("runc"), "spec"], cwd=path, check=True)
        self.config: dict[str, Any] = json.loads((path / "config.json").read_text())
        self.config["process"]["terminal"] = False
        self.config["root"]["readonly"] = False
        self.save()

    @property
    def process(self) -> dict[str, Any]:
        """config.json's process object."""
        process: dict[str, Any] = self.config["process"]
        return process

    @property
    def linux(self) -> dict[str, Any]:
        """config.json's linux object."""
        linux: dict[str, Any] = self.config["linux"]
        return linux

    def command(self, *args: str) -> Bundle:
        """Set process.args and save."""
        self.process["args"] = list(args)
        self.save()
        return self

    def save(self) -> None:
        """Write config.json."""
        (self.path / "config.json").write_text(json.dumps(self.config))


def _link(source: str, target: str, *, follow_symlinks: bool = True) -> None:
    """Hard links where possible: what tests write, they write to new files."""
    try:
        os.link(source, target, follow_symlinks=follow_symlinks)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=follow_symlinks)
