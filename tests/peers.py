"""The programs that tests compare Cloche with, and what to say where one is missing."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import NoReturn

import pytest

# The program a test asks for, and the Debian package that has it.
PACKAGES = {
    "apt-cache": "apt",
    "apt-get": "apt",
    "busctl": "systemd",
    "bwrap": "bubblewrap",
    "buildah": "buildah",
    "busybox": "busybox-static",
    "capsh": "libcap2-bin",
    "cc": "gcc",
    "clang": "clang",
    "containerd": "containerd",
    "criu": "criu",
    "crun": "crun",
    "ctr": "containerd",
    "curl": "curl",
    "dbus-daemon": "dbus-daemon",
    "debootstrap": "debootstrap",
    "dpkg-deb": "dpkg",
    "docker-registry": "docker-registry",
    "dockerd": "docker.io",
    "hyperfine": "hyperfine",
    "ip": "iproute2",
    "iptables": "iptables",
    "iptables-save": "iptables",
    "mkfs.ext4": "e2fsprogs",
    "nft": "nftables",
    "nginx": "nginx",
    "openssl": "openssl",
    "podman": "podman",
    "ps": "procps",
    "qemu-system-x86_64": "qemu-system-x86",
    "readelf": "binutils",
    "runc": "runc",
    "runsc": "runsc",
    "skopeo": "skopeo",
    "strace": "strace",
    "systemctl": "systemd",
    "systemd-analyze": "systemd",
    "umoci": "umoci",
    "unshare": "util-linux",
    "zstd": "zstd",
}


def in_ci() -> bool:
    """Whether a missing peer is a failure rather than a reason to skip."""
    return os.environ.get("CI", "").lower() in ("1", "true", "yes")


def unavailable(reason: str) -> NoReturn:
    """Skip the test with a reason that says what to do; fail where nothing may be missing."""
    if in_ci():
        pytest.fail(f"not to be skipped in CI: {reason}", pytrace=False)
    pytest.skip(reason)


def peer(name: str) -> str:
    """The path of a program that a test needs; the test ends here where it is missing."""
    path = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin:/sbin")
    if path is None:
        unavailable(f"needs {name}: apt-get install {PACKAGES.get(name, name)}")
    return path


def require_root() -> None:
    """End the test here unless it runs as root of the machine."""
    if os.geteuid() != 0:
        unavailable("needs root: run the tests as root")


def command(name: str) -> str:
    """The path of one of Cloche's own installed commands."""
    path = Path(sys.prefix, "bin", name)
    if not path.exists():
        pytest.fail(f"{path} is missing: run `make install`", pytrace=False)
    return str(path)
