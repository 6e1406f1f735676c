"""A place for containerds with our shim: they find each other's containers there, and leave nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.daemons import Containerd
from tests.layouts import Layout, tar_directory
from tests.shim.starting import Shims

IMAGE = "test.example/shim-faults:latest"
RUNTIME = ("--runtime", "io.containerd.cloche.v1")


class Named(Containerd):
    """One whose ctr speaks of a namespace of the test's own, after which cgroups are named, too."""

    namespace = ""

    def ctr(self, *arguments: str) -> list[str]:
        """The words of a ctr command."""
        return super().ctr("--namespace", self.namespace, *arguments)


class Place:
    """A directory for a containerd, where it and its shims find each other again."""

    def __init__(self, directory: Path, rootfs: Path, namespace: str) -> None:
        self.directory = directory
        self.namespace = namespace
        self.bundles = directory / "state/io.containerd.runtime.v2.task" / namespace
        self.shims = Shims(directory)
        layout = Layout(directory / "layout")
        layout.image(IMAGE, [tar_directory(rootfs)])
        self.archive = layout.archive(directory / "image.tar")

    @contextmanager
    def containerd(self, *before: str) -> Iterator[Named]:
        """A daemon that has the image. before: a program that executes it."""
        found = f"{os.path.dirname(self.shims.program)}:{os.environ['PATH']}"
        environment = {"PATH": found, "CLOCHE_STATE": str(self.shims.state)}
        with Named(self.directory, environment, before) as daemon:
            daemon.namespace = self.namespace
            ok(daemon, "images", "import", str(self.archive))
            yield daemon

    def pid(self, container: str, name: str) -> int:
        """What is in one of the .pid files of a bundle."""
        return int((self.bundles / container / name).read_text())


@pytest.fixture
def place(busybox_rootfs: Path, tmp_path: Path, cgroup_parent: str) -> Iterator[Place]:
    """An empty place for a containerd."""
    made = Place(tmp_path, busybox_rootfs, cgroup_parent.lstrip("/"))
    with made.shims:
        yield made


def ok(daemon: Containerd, *words: str) -> str:
    """What a ctr command that must succeed prints."""
    done = daemon.run(*words)
    assert done.returncode == 0, (words, done.stderr, daemon.log.read_text()[-2000:])
    return done.stdout


def statuses(daemon: Containerd) -> dict[str, str]:
    """The tasks by name."""
    lines = [line.split() for line in ok(daemon, "tasks", "ls").splitlines()[1:]]
    return {words[0]: words[2] for words in lines}


def detach(daemon: Containerd, name: str) -> None:
    """A container that sleeps."""
    ok(daemon, "run", "--detach", *RUNTIME, IMAGE, name, "sleep", "1000")


def remove(daemon: Containerd, name: str) -> None:
    """Take a container away, whatever state it is in."""
    daemon.run("tasks", "rm", "--force", name)
    ok(daemon, "containers", "rm", name)
