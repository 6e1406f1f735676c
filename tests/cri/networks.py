"""A network for a node's pods, by plugins of Debian's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests import peers
from tests.cri.kubelet import PLUGINS


def network(directory: Path, *more: str, folder: str = "net", name: str = "tests", third: int = 93) -> None:
    """Have a node's pods be in a network that leaves no link behind.

    directory: the node's. more: types of further plugins, called after the one that connects. folder: of
    the configuration. third: the third number of its addresses, 10.87.THIRD.0/24.
    """
    if not Path(PLUGINS, "ptp").exists():
        peers.unavailable("needs CNI plugins: apt-get install containernetworking-plugins")
    ipam = {"type": "host-local", "subnet": f"10.87.{third}.0/24", "dataDir": str(directory / "addresses")}
    plugins: list[dict[str, Any]] = [{"type": "ptp", "ipam": ipam}, *({"type": each} for each in more)]
    (directory / folder).mkdir(exist_ok=True)
    document = {"cniVersion": "1.0.0", "name": name, "plugins": plugins}
    (directory / folder / f"10-{name}.conflist").write_text(json.dumps(document))
