"""Debian's cloud kernel, for guests only: fetched as a package and taken apart, never installed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import zlib
from pathlib import Path
from typing import NamedTuple

from tests.peers import peer, unavailable

META_PACKAGE = "linux-image-cloud-amd64"

# What guests need and the kernel does not have built in, in the order of insmod.
MODULES = (
    "virtio/virtio_ring",
    "virtio/virtio",
    "virtio/virtio_pci_modern_dev",
    "virtio/virtio_pci_legacy_dev",
    "virtio/virtio_pci",
    "block/virtio_blk",
    "fs/overlayfs/overlay",
    # criu asks the kernel about sockets and connections, and holds these back with nftables.
    *("net/unix/unix_diag", "net/ipv4/inet_diag", "net/ipv4/tcp_diag", "net/ipv4/udp_diag"),
    *("net/packet/af_packet_diag", "net/netlink/netlink_diag"),
    *("lib/libcrc32c", "net/netfilter/nfnetlink", "net/netfilter/nf_tables"),
    *("net/ipv4/netfilter/nf_defrag_ipv4", "net/ipv6/netfilter/nf_defrag_ipv6"),
    *("net/netfilter/nf_conntrack", "net/netfilter/nf_conntrack_netlink", "drivers/net/veth"),
)


class Kernel(NamedTuple):
    """A bootable image and the modules to load, in order."""

    image: Path
    modules: tuple[Path, ...]


def kernel() -> Kernel:
    """Debian's present cloud kernel, from the cache or from Debian; the test ends where neither has it."""
    peer("dpkg-deb")
    depends = subprocess.run([peer("apt-cache"), "depends", META_PACKAGE], capture_output=True, text=True)
    found = re.search(r"Depends: (linux-image-\S+)", depends.stdout)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "cloche-vm")
    if found is None:
        unavailable(f"needs Debian's package {META_PACKAGE}, which apt-get does not know: apt-get update")
    # Another list of modules is another place: an older one may lack some.
    place = cache / f"{found[1]}-{zlib.crc32(' '.join(MODULES).encode()):08x}"
    if not place.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as directory:
            _fetch(found[1], Path(directory))
            try:
                Path(directory, "wanted").rename(place)
            except OSError:  # somebody else was faster
                if not place.exists():
                    raise
    images = tuple(place.glob("vmlinuz-*"))
    return Kernel(images[0], tuple(place / f"{Path(name).name}.ko" for name in MODULES))


def _fetch(package: str, directory: Path) -> None:
    """Download a kernel package and leave what guests need of it in `directory`/wanted."""
    command = [peer("apt-get"), "--quiet=2", "download", package]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True)
    archives = list(directory.glob("*.deb"))
    if done.returncode or not archives:
        unavailable(f"needs the kernel of {package}: apt-get download {package}: {done.stderr.strip()}")
    content = directory / "content"
    subprocess.run(["dpkg-deb", "--extract", archives[0], content], check=True)
    wanted = directory / "wanted"
    wanted.mkdir()
    for name in MODULES:
        (module,) = content.glob(f"lib/modules/*/kernel/**/{name}.ko")
        shutil.move(module, wanted)
    (image,) = content.glob("boot/vmlinuz-*")
    shutil.move(image, wanted)
