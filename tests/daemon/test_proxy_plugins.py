"""Proxy plug-ins as they are configured."""

from __future__ import annotations

import tomllib

import pytest

from cloche.api.plugins import plugins
from cloche.daemon import config_tables
from cloche.daemon.config import complete
from cloche.daemon.proxy_plugins import OWN_CONTENT, ProxyPlugin, of_tables
from cloche.errors import InvalidArgument
from cloche.spec.platform import Platform


def read(text: str, *disabled: str) -> tuple[ProxyPlugin, ...]:
    tables = complete(tomllib.loads(text), config_tables.TOP)["proxy_plugins"]
    return of_tables(tables, frozenset(disabled))


def test_they_are_listed_with_what_they_say_of_themselves() -> None:
    found = read("""
[proxy_plugins.stargz]
type = "snapshot"
address = "unix:///run/s.sock"
platform = "linux/arm64"
capabilities = ["remap-ids"]
exports = {root = "/var/lib/s", enable_remote_snapshot_annotations = "true"}
[proxy_plugins.differ]
type = "io.containerd.differ.v1"
address = "/run/d.sock"
""")
    assert [(each.kind, each.address) for each in found] == [
        ("snapshot", "/run/s.sock"),
        ("diff", "/run/d.sock"),
    ]
    assert found[0].platform == Platform("linux", "arm64")
    listed = {each.id: each for each in plugins("/root", found)}
    assert listed["stargz"].type == "io.containerd.snapshotter.v1"
    assert listed["stargz"].platforms[0].architecture == "arm64"
    assert listed["stargz"].capabilities == ("remap-ids",)
    assert listed["stargz"].exports["enable_remote_snapshot_annotations"] == "true"
    assert listed["differ"].type == "io.containerd.differ.v1"
    assert listed["differ"].exports == {"address": "/run/d.sock"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('a = {type = "runtime", address = "/a"}', "'runtime': must be snapshot, content, diff or sandbox"),
        ('a = {address = "/a"}', r"a.type: '': must be"),
        ('a = {type = "snapshot"}', "a.address: a socket is needed"),
        ('native = {type = "snapshot", address = "/a"}', "native: it is one of our own"),
        ('shim = {type = "sandbox", address = "/a"}', "shim: it is one of our own"),
        ('walking = {type = "diff", address = "/a"}', "walking: it is one of our own"),
        ('a = {type = "content", address = "/a"}', f'disabled_plugins = \\["{OWN_CONTENT}"\\]'),
        ('a = {type = "diff", address = "/a", platform = "no/such/platform/at/all"}', "no/such"),
    ],
)
def test_what_cannot_be_used_is_refused(text: str, says: str) -> None:
    with pytest.raises(InvalidArgument, match=says):
        read(f"[proxy_plugins]\n{text}")


def test_there_is_one_content_store() -> None:
    one = '{type = "content", address = "/a"}'
    with pytest.raises(InvalidArgument, match="a and b are of type content: there can be one"):
        read(f"[proxy_plugins]\na = {one}\nb = {one}", OWN_CONTENT)
    assert len(read(f"[proxy_plugins]\na = {one}", OWN_CONTENT)) == 1
