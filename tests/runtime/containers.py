"""Containers run through the runtime package, for tests that look at them from inside."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cloche.runtime.container import Container, Process, containers
from cloche.runtime.create import create
from tests.bundles import Bundle


class Runtime:
    """A state root of the test's own; every container in it is deleted at the end."""

    def __init__(self, root: Path, cgroup_parent: str) -> None:
        self.root = str(root)
        self.cgroup_parent = cgroup_parent
        self._count = 0

    def create(self, bundle: Bundle, *, gate: bool = True, **options: object) -> tuple[Container, Process]:
        """Create a container of the bundle's present config in the test's own cgroup."""
        self._count += 1
        name = f"c{self._count}"
        if not bundle.linux.get("cgroupsPath"):
            bundle.linux["cgroupsPath"] = f"{self.cgroup_parent}/{name}"
        try:
            return create(self.root, name, bundle.config, bundle=str(bundle.path), gate=gate, **options)  # type: ignore[arg-type]  # handed through
        finally:
            del bundle.linux["cgroupsPath"]

    def output(self, bundle: Bundle, script: str) -> str:
        """What a shell script prints inside (both streams); it must succeed."""
        status, text = self.run(bundle, "sh", "-c", script)
        assert status == 0, text
        return text

    def run(self, bundle: Bundle, *args: str) -> tuple[int, str]:
        """Run a command in a new container: exit status and what it printed."""
        bundle.command(*args)
        with pipe() as (reader, writer):
            container, process = self.create(bundle, gate=False, stdio=(writer, writer, writer))
            os.close(writer)
            text = read_all(reader)
            with process:
                status = process.wait()
            container.delete(force=True)
        return status, text

    @contextmanager
    def running(self, bundle: Bundle, *args: str) -> Iterator[Container]:
        """A container in which a command runs; killed at the end of the block."""
        bundle.command(*(args or ("sleep", "1000")))
        container, process = self.create(bundle)
        with process:
            try:
                container.start()
                yield container
            finally:
                container.delete(force=True)
                process.wait()


@contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe; the test may close the ends itself."""
    ends = os.pipe2(os.O_CLOEXEC)
    try:
        yield ends
    finally:
        for end in ends:
            try:
                os.close(end)
            except OSError:
                pass


def read_all(descriptor: int) -> str:
    """Read to the end of a pipe or the hang-up of a terminal."""
    parts = []
    while True:
        try:
            part = os.read(descriptor, 65536)
        except OSError:
            break
        if not part:
            break
        parts.append(part)
    return b"".join(parts).decode(errors="replace")


@pytest.fixture
def runtime(tmp_path: Path, cgroup_parent: str) -> Iterator[Runtime]:
    """A runtime with nothing in it; what a test that failed left is deleted."""
    made = Runtime(tmp_path / "state", cgroup_parent)
    yield made
    for left in containers(made.root):
        left.delete(force=True)
