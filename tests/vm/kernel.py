"""Debian's cloud kernel, for guests only: fetched as a package and taken apart, never installed."""

from __future__ import annotations

import re
import shutil
import subprocess
import zlib
from pathlib import Path
from typing import NamedTuple

from tests.peers import peer, unavailable
from tests.vm.packages import cached

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
    depends = subprocess.run([peer("apt-cache"), "depends", META_PACKAGE], capture_output=True, text=True)
    found = re.search(r"Depends: (linux-image-\S+)", depends.stdout)
    if found is None:
        unavailable(f"needs Debian's package {META_PACKAGE}, which apt-get does not know: apt-get update")
    # Another list of modules is another place: an older one may lack some.
    place = cached(f"{found[1]}-{zlib.crc32(' '.join(MODULES).encode()):08x}", found[1], _keep)
    images = tuple(place.glob("vmlinuz-*"))
    return Kernel(images[0], tuple(place / f"{Path(name).name}.ko" for name in MODULES))


def _keep(content: Path, wanted: Path) -> None:
    for name in MODULES:
        (module,) = content.glob(f"lib/modules/*/kernel/**/{name}.ko")
        shutil.move(module, wanted)
    (image,) = content.glob("boot/vmlinuz-*")
    shutil.move(image, wanted)
