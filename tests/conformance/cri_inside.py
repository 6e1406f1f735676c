"""Run critest against one daemon, in kernel namespaces that end with this process.

The suite makes bridges, rules, segments of shared memory and containers, and wants ports 12000 to 12003
for itself: nothing of this may reach the machine, so `cri` starts this module with unshare(1), in mount,
network, IPC and pid namespaces of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.cri import images, nodes
from tests.cri.tools import tool
from tests.daemons import Registry

# No registry but its publisher's can have an image whose digest is written into the suite.
UNREPRODUCIBLE = "public image with digest should be pulled and removed"
TIMEOUT_S = 600


def main(arguments: list[str]) -> int:
    """Arguments: `cloche` or the path of a containerd, a scratch folder, then flags for critest.

    Writes critest's JSON report into the folder.
    """
    which, scratch = arguments[0], Path(arguments[1])
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    (scratch / "registry").mkdir()
    with Registry(scratch / "registry") as registry:
        images.push_all(registry, scratch / "images")
        hosts = nodes.mirrors(scratch / "hosts", registry)
        networks = nodes.network(scratch / "cni", "cni0", "10.123.0.0/16")
        directory = scratch / "d"
        directory.mkdir()
        if which == "cloche":
            node: nodes.Node = nodes.ClocheNode(directory, hosts, networks)
        else:
            node = nodes.ContainerdNode(directory, hosts, networks, which)
        with node:
            return _suite(node, scratch, arguments[2:])


def _suite(node: nodes.Node, scratch: Path, flags: list[str]) -> int:
    command = [
        *(tool("critest"), "-runtime-endpoint", node.endpoint, "-ginkgo.no-color"),
        *("-ginkgo.skip", UNREPRODUCIBLE, f"-ginkgo.json-report={scratch}/report.json"),
        *flags,
    ]
    with (scratch / "critest.log").open("wb") as output:
        subprocess.run(command, stdout=output, stderr=output, timeout=TIMEOUT_S, check=False, cwd=scratch)
    return 0 if (scratch / "report.json").exists() else 1


if __name__ == "__main__":
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    sys.exit(main(sys.argv[1:]))
