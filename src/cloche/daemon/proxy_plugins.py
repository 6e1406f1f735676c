"""`[proxy_plugins.NAME]`: parts of the daemon that are programs of their own, as they are configured."""

from __future__ import annotations

from cloche.errors import InvalidArgument
from cloche.spec import platform as platforms
from cloche.spec.record import Record
from cloche.store.snapshots.open import NAMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from cloche.spec.platform import Platform

SNAPSHOT, CONTENT, DIFF, SANDBOX = KINDS = ("snapshot", "content", "diff", "sandbox")
_FULL_NAMES = {
    "io.containerd.snapshotter.v1": SNAPSHOT,
    "io.containerd.content.v1": CONTENT,
    "io.containerd.differ.v1": DIFF,
    "io.containerd.sandbox.controller.v1": SANDBOX,
}
OWN_CONTENT = "io.containerd.content.v1.content"
OWN_DIFFER = "walking"
OWN_SANDBOXERS = ("podsandbox", "shim")


class ProxyPlugin(Record):
    """address: of its socket. platform: what it is for; None for this machine. The others are as it says."""

    kind: str
    name: str
    address: str
    platform: Platform | None = None
    exports: Mapping[str, str] = {}
    capabilities: tuple[str, ...] = ()


def of_tables(tables: Mapping[str, Any], disabled: frozenset[str]) -> tuple[ProxyPlugin, ...]:
    """All of them. disabled: names of plug-ins that are not to be. Raises InvalidArgument."""
    found = []
    for name, table in tables.items():
        place, address = f"proxy_plugins.{name}", table["address"].removeprefix("unix://")
        kind = _FULL_NAMES.get(table["type"], table["type"])
        if kind not in KINDS:
            raise InvalidArgument(f"{place}.type: {kind!r}: must be {', '.join(KINDS[:-1])} or {KINDS[-1]}")
        if name in (*NAMES, "content", OWN_DIFFER, *OWN_SANDBOXERS):
            raise InvalidArgument(f"{place}: it is one of our own: use another name")
        if not address:
            raise InvalidArgument(f"{place}.address: a socket is needed")
        platform = platforms.parse(table["platform"]) if table["platform"] else None
        exports = {**table["exports"], "address": table["address"]}
        found.append(ProxyPlugin(kind, name, address, platform, exports, tuple(table["capabilities"])))
    contents = [each.name for each in found if each.kind == CONTENT]
    if len(contents) > 1:
        raise InvalidArgument(
            f"proxy_plugins: {' and '.join(contents)} are of type content: there can be one"
        )
    if contents and OWN_CONTENT not in disabled:
        raise InvalidArgument(
            f"proxy_plugins.{contents[0]}: there can be one content store: "
            f'disabled_plugins = ["{OWN_CONTENT}"] leaves out our own'
        )
    return tuple(found)
