"""What the comparisons run on: one root filesystem, as a bundle and as an image on both sides."""

from __future__ import annotations

import os
import random
import shutil
import sys
import tempfile
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self

import cloche
from bench.disk import Disk
from tests.bundles import Bundle, make_rootfs
from tests.daemons import Cloched, Containerd, Registry
from tests.layouts import Layout, tar_directory

IMAGE = "bench.example/busybox:latest"
LARGE_IMAGE = "large:latest"
LARGE_LAYERS = 4
LARGE_FILES = 12_000
LARGE_FILE_BYTES = 18_000


class Stage:
    """Directories, daemons and images, made when first asked for and removed at the end."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="cloche-bench-"))
        self.places = ("--root", str(self.path / "root"), "--state", str(self.path / "state"))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in ("engine", "cloched", "containerd", "disk_containerd", "disk_cloched", "registry"):
            if name in self.__dict__:
                self.__dict__[name].__exit__(kind, error, trace)
        if "disk" in self.__dict__:
            self.disk.close()
        shutil.rmtree(self.path)

    def directory(self, name: str) -> Path:
        """A fresh directory below the stage's own."""
        path = self.path / name
        path.mkdir()
        return path

    @staticmethod
    def command(name: str) -> str:
        """One of Cloche's commands, as installed."""
        return str(Path(sys.prefix, "bin", name))

    @cached_property
    def rootfs(self) -> Path:
        """Busybox under all its names."""
        return make_rootfs(self.directory("rootfs"))

    @cached_property
    def bundle(self) -> Path:
        """A bundle of `runc spec` that runs /bin/true."""
        return Bundle(self.path / "bundle", self.rootfs).command("/bin/true").path

    @cached_property
    def sleeping(self) -> Path:
        """The same with a program that stays."""
        return Bundle(self.path / "sleeping", self.rootfs).command("/bin/sleep", "100000").path

    @cached_property
    def ungrouped(self) -> Path:
        """The same with nothing that needs cgroups."""
        bundle = Bundle(self.path / "ungrouped", self.rootfs).command("/bin/true")
        bundle.linux.pop("resources", None)
        bundle.config["mounts"] = [mount for mount in bundle.config["mounts"] if mount["type"] != "cgroup"]
        bundle.save()
        return bundle.path

    @cached_property
    def archive(self) -> Path:
        """The root filesystem as an image archive."""
        layout = Layout(self.directory("layout"))
        layout.image(IMAGE, [tar_directory(self.rootfs)], Cmd=["/bin/sh"])
        return layout.archive(self.path / "image.tar")

    @cached_property
    def engine(self) -> cloche.Engine:
        """An engine that has the image."""
        engine = cloche.Engine(root=str(self.path / "root"), state=str(self.path / "state"))
        engine.images.load(str(self.archive))
        return engine

    @property
    def image(self) -> str:
        """The name of the small image, which the engine has by then."""
        return self.engine.images.get(IMAGE).reference

    @cached_property
    def containerd(self) -> Containerd:
        """A containerd that has the image."""
        # Where it finds our shim, and where that founds its warm parent.
        found = {
            "PATH": f"{Path(sys.prefix, 'bin')}:{os.environ['PATH']}",
            "CLOCHE_STATE": str(self.path / "shims"),
        }
        containerd = Containerd(self.directory("containerd"), found)
        done = containerd.run("images", "import", str(self.archive))
        if done.returncode:
            raise RuntimeError(done.stderr)
        return containerd

    @cached_property
    def cloched(self) -> Cloched:
        """A cloched that has the image."""
        daemon = Cloched(self.directory("cloched"))
        daemon.ok("images", "import", str(self.archive))
        return daemon

    @cached_property
    def disk(self) -> Disk:
        """A disk of the benchmark's own."""
        return Disk(self.directory("disk"))

    @cached_property
    def disk_containerd(self) -> Containerd:
        """A containerd on that disk, without images."""
        directory = self.disk.path / "containerd"
        directory.mkdir()
        return Containerd(directory)

    @cached_property
    def disk_cloched(self) -> Cloched:
        """A cloched on that disk, without images."""
        directory = self.disk.path / "cloched"
        directory.mkdir()
        return Cloched(directory)

    @cached_property
    def registry(self) -> Registry:
        """A registry of this machine."""
        return Registry(self.directory("registry"))

    @cached_property
    def large_image(self) -> str:
        """The reference of an image of more than 200 MB and 10,000 files in the registry."""
        layout = Layout(self.directory("large-layout"))
        layout.image(LARGE_IMAGE, [self._large_layer(number) for number in range(LARGE_LAYERS)])
        return self.registry.push(f"oci:{layout.path}:{LARGE_IMAGE}", LARGE_IMAGE)

    def _large_layer(self, number: int) -> bytes:
        """Files that compress about as well as programs do: a third of each is random."""
        source = random.Random(number)
        root = self.directory(f"large-{number}")
        pattern = source.randbytes(64) * (LARGE_FILE_BYTES // 96)
        for index in range(LARGE_FILES // LARGE_LAYERS):
            path = root / "usr" / f"part-{number}-{index // 100}" / f"file-{index}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(source.randbytes(LARGE_FILE_BYTES - len(pattern)) + pattern)
        layer = tar_directory(root)
        shutil.rmtree(root)
        return layer
