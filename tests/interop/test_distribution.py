"""A whole distribution: an image made by debootstrap runs apt and nginx."""

from __future__ import annotations

import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import peers
from tests.cli.machine import Machine
from tests.daemons import free_port
from tests.layouts import Layout
from tests.waiting import wait_until

SUITE = "bookworm"
MIRROR = "http://deb.debian.org/debian"
# Kept from one run to the next: debootstrap takes half a minute.
ARCHIVE = Path(__file__).parents[2] / "build" / f"{SUITE}.tar"


def bootstrap(place: Path) -> Path:
    """A minimal Debian as a tar of its root filesystem."""
    if not ARCHIVE.exists():
        tree = place / "tree"
        command = [peers.peer("debootstrap"), "--variant=minbase", SUITE, str(tree), MIRROR]
        made = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        if made.returncode:
            peers.unavailable(f"debootstrap failed, is {MIRROR} in reach? {made.stdout[-300:]}")
        ARCHIVE.parent.mkdir(exist_ok=True)
        unfinished = ARCHIVE.with_suffix(".new")
        subprocess.run(["tar", "--create", "--file", unfinished, "--directory", tree, "."], check=True)
        unfinished.replace(ARCHIVE)
    return ARCHIVE


@pytest.fixture(scope="module")
def machine(cloche: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """Stores with the image `debian` in them."""
    peers.require_root()
    place = tmp_path_factory.mktemp("debian")
    machine = Machine(cloche, place / "machine")
    layout = Layout(place / "layout")
    layout.image("docker.io/library/debian:latest", [bootstrap(place).read_bytes()], Cmd=["bash"])
    machine.ok("load", "--quiet", "--input", str(layout.archive(place / "debian.tar")))
    yield machine
    machine.clean()


@pytest.fixture(scope="module")
def with_nginx(machine: Machine) -> Iterator[str]:
    """A running container in which apt installed nginx."""
    machine.ok("run", "--detach", "--network", "host", "--name", "debian", "debian", "sleep", "3600")
    install = "apt-get -o Acquire::Retries=5 install --yes --no-install-recommends nginx-light"
    script = f"apt-get -o Acquire::Retries=5 update && DEBIAN_FRONTEND=noninteractive {install}"
    installed = machine.run("exec", "debian", "sh", "-c", script)
    assert installed.returncode == 0, installed.stdout[-2000:] + installed.stderr[-2000:]
    yield "debian"
    machine.ok("rm", "--force", "debian")


def test_apt_and_dpkg_agree_that_it_is_installed(machine: Machine, with_nginx: str) -> None:
    assert "install ok installed" in machine.ok("exec", with_nginx, "dpkg", "--status", "nginx-light")
    assert machine.ok("exec", with_nginx, "dpkg", "--audit") == ""


def test_nginx_serves_pages(machine: Machine, with_nginx: str) -> None:
    port = free_port()
    site = f"server {{ listen 127.0.0.1:{port}; root /var/www/html; }}"
    machine.ok("exec", with_nginx, "sh", "-c", f"echo '{site}' >/etc/nginx/sites-enabled/default")
    machine.ok("exec", with_nginx, "sh", "-c", "echo hello >/var/www/html/index.html")
    machine.ok("exec", with_nginx, "nginx")

    def page() -> bytes:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
                content: bytes = answer.read()
                return content
        except OSError:
            return b""

    assert wait_until(page, timeout_s=10) == b"hello\n"
    assert "nginx: worker process" in machine.ok("top", with_nginx)
