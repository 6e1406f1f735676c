"""What a guest needs for checkpoints: Debian's criu, which can read the guest's kernel, and its helpers."""

from __future__ import annotations

from tests.peers import peer
from tests.vm.initramfs import Initramfs


def add_criu(archive: Initramfs) -> None:
    """criu, tar and gzip, which it keeps the files of a tmpfs with: busybox has not all their flags."""
    for name in ("criu", "tar", "gzip"):
        archive.program(peer(name), f"/usr/local/sbin/{name}")
    # Not by iptables, which the guest does not have. (In the file that callers name it ends criu 3.17.)
    archive.file("/etc/criu/default.conf", b"network-lock nftables\n")
