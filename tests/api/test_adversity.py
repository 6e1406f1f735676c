"""What else befalls a daemon: no descriptors left, clients that vanish, all at the same image at once."""

from __future__ import annotations

import hashlib
import os
import random
import resource
import socket
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.api.conftest import IMAGE
from tests.api.test_embedded import cloche
from tests.api.test_tasks import finish
from tests.daemons import Cloched, Registry
from tests.layouts import Layout, tar_directory
from tests.waiting import wait_until

DESCRIPTORS = 64
ROUNDS = 6


@contextmanager
def few_descriptors(cloched: Cloched) -> Iterator[None]:
    """A daemon that may open no more than DESCRIPTORS."""
    pid = cloched.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (DESCRIPTORS, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


def open_descriptors(cloched: Cloched) -> int:
    return len(os.listdir(f"/proc/{cloched.process.pid}/fd"))


def test_without_descriptors_what_runs_goes_on_and_later_calls_succeed(cloched: Cloched, name: str) -> None:
    cloched.ok("run", "-d", IMAGE, name, "sleep", "600")
    before = cloched.log_path.read_text()
    with few_descriptors(cloched), ExitStack() as stack:
        waiting = cloched.ctr("tasks", "attach", name)
        attached = stack.enter_context(subprocess.Popen(waiting, stdin=subprocess.DEVNULL))
        stack.callback(attached.kill)
        for _ in range(2 * DESCRIPTORS):
            idle = stack.enter_context(socket.socket(socket.AF_UNIX))
            idle.connect(cloched.address)
        wait_until(lambda: open_descriptors(cloched) >= DESCRIPTORS - 1)
        assert attached.poll() is None
    wait_until(lambda: open_descriptors(cloched) < DESCRIPTORS - 8)
    said = cloched.log_path.read_text()[len(before) :]
    assert said.count("clients have to wait") == 1
    assert "Traceback" not in said
    executed = cloched.run("tasks", "exec", "--exec-id", "look", name, "echo", "goes on")
    assert executed.stdout == "goes on\n", executed.stderr
    finish(cloched, name)


def test_an_upload_whose_client_vanished_is_resumed(cloched: Cloched, name: str, tmp_path: Path) -> None:
    data = random.Random(name).randbytes(8 << 20)
    whole = tmp_path / "data"
    whole.write_bytes(data)
    command = cloched.ctr("content", "ingest", name)
    with subprocess.Popen(command, stdin=subprocess.PIPE) as client:
        assert client.stdin is not None
        client.stdin.write(data[: len(data) // 2])
        client.stdin.flush()
        wait_until(lambda: name in cloched.ok("content", "active"))
        client.kill()
    with whole.open("rb") as stdin:
        done = subprocess.run(command, stdin=stdin, capture_output=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr.decode()
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    got = subprocess.run(cloched.ctr("content", "get", digest), capture_output=True, timeout=30, check=True)
    assert got.stdout == data
    assert name not in cloched.ok("content", "active")
    cloched.ok("content", "rm", digest)


@pytest.fixture
def remote(busybox_rootfs: Path, tmp_path: Path) -> Iterator[str]:
    """An image in a registry that nobody has pulled yet."""
    layout = Layout(tmp_path / "layout")
    layout.image("contended", [tar_directory(busybox_rootfs)])
    with Registry(tmp_path) as registry:
        yield registry.push(f"oci:{layout.path}:contended", "contended:latest")


def test_pulls_removals_and_collections_of_one_image_at_once(cloched: Cloched, remote: str) -> None:
    """From daemon and commands; whoever comes last finds a whole image, and nothing is damaged."""

    def repeat(work: Callable[[], object]) -> None:
        for _ in range(ROUNDS):
            work()

    with ThreadPoolExecutor() as pool:
        busy = (
            pool.submit(repeat, lambda: cloched.run("images", "pull", "--plain-http", remote)),
            pool.submit(repeat, lambda: cloche(cloched, "pull", "--quiet", remote)),
            pool.submit(repeat, lambda: cloched.run("images", "rm", "--sync", remote)),
            pool.submit(repeat, lambda: cloche(cloched, "system", "prune", "--force")),
        )
        for each in busy:
            each.result()
    pulled = cloche(cloched, "pull", remote)
    assert pulled.returncode == 0, pulled.stderr
    assert cloche(cloched, "run", "--rm", remote, "echo", "whole").stdout == "whole\n"
    cloched.ok("images", "pull", "--plain-http", remote)
    assert cloched.ok("run", "--rm", remote, "contended", "echo", "whole") == "whole\n"
    checked = cloche(cloched, "fsck")
    assert checked.returncode == 0, checked.stdout
    cloched.ok("images", "rm", "--sync", remote)
