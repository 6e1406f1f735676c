"""Older versions of config.toml brought to the present one, as containerd does it, one version at a time.

1 → 2   plugins have full names
2 → 3   what CRI wants to know of images and of running them has plugins of its own
3 → 4   listeners are plugins
"""

from __future__ import annotations

from cloche.daemon import config_tables as tables
from cloche.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Table = dict[str, Any]

_FULL_NAMES = {
    "aufs": "io.containerd.snapshotter.v1.aufs",
    "bolt": "io.containerd.metadata.v1.bolt",
    "btrfs": "io.containerd.snapshotter.v1.btrfs",
    "cgroups": "io.containerd.monitor.v1.cgroups",
    "cri": tables.CRI,
    "devmapper": "io.containerd.snapshotter.v1.devmapper",
    "linux": "io.containerd.runtime.v1.linux",
    "native": "io.containerd.snapshotter.v1.native",
    "opt": "io.containerd.internal.v1.opt",
    "otlp": "io.containerd.tracing.processor.v1.otlp",
    "overlayfs": "io.containerd.snapshotter.v1.overlayfs",
    "restart": "io.containerd.internal.v1.restart",
    "scheduler": tables.SCHEDULER,
    "task": "io.containerd.runtime.v2.task",
    "tracing": "io.containerd.internal.v1.tracing",
    "zfs": "io.containerd.snapshotter.v1.zfs",
}
_RENAMED = {
    "io.containerd.internal.v1.restart": tables.RESTART,
    "io.containerd.monitor.v1.cgroups": tables.CGROUPS,
}
_OF_IMAGES = (
    "registry",
    "image_decryption",
    "max_concurrent_downloads",
    "image_pull_progress_timeout",
    "image_pull_with_sync_fs",
    "stats_collect_period",
)
_OF_IMAGES_IN_CONTAINERD = ("snapshotter", "disable_snapshot_annotations", "discard_unpacked_layers")
_OF_THE_STREAM_SERVER = (
    "disable_tcp_service",
    "stream_server_address",
    "stream_server_port",
    "stream_idle_timeout",
    "enable_tls_streaming",
    "x509_key_pair_streaming",
)
_LISTS = ("disabled_plugins", "required_plugins")
_LIMITS = ("max_recv_message_size", "max_send_message_size")


def version_of(tree: Table, file: str) -> int:
    """Which version a file is of; one that does not say is of version 1. Raises InvalidArgument."""
    version = tree.get("version", 1)
    if not isinstance(version, int) or isinstance(version, bool) or version < 0:
        raise InvalidArgument(
            f"{file}: version: a number from 1 to {tables.VERSION} is needed, not {version!r}"
        )
    if version > tables.VERSION:
        raise InvalidArgument(
            f"{file}: version {version} is newer than this cloched: it knows versions up to {tables.VERSION}"
        )
    return max(version, 1)


def migrate(tree: Table, file: str) -> Table:
    """A tree of version 4 with the same meaning; the one that is given is changed.

    Keys that mean nothing are kept, for whoever checks them. Raises InvalidArgument where something
    is no table that has to be one.
    """
    version = version_of(tree, file)
    for step in (_to_2, _to_3, _to_4)[version - 1 :]:
        step(tree, file)
    tree["version"] = tables.VERSION
    return tree


def _table(owner: Table, name: str, file: str, where: str = "") -> Table:
    """A table inside another; made where it is missing."""
    value = owner.setdefault(name, {})
    if not isinstance(value, dict):
        raise InvalidArgument(f"{file}: {where}{name}: a table is needed, not {value!r}")
    return value


def _list(tree: Table, name: str, file: str) -> list[Any]:
    value = tree.get(name, [])
    if not isinstance(value, list):
        raise InvalidArgument(f"{file}: {name}: a list of texts is needed, not {value!r}")
    return value


def _rename(tree: Table, file: str, names: dict[str, str]) -> None:
    """Give plugins other names, where they have settings and where they are listed."""
    plugins = _table(tree, "plugins", file)
    for old, new in names.items():
        if old in plugins and new not in plugins:
            plugins[new] = plugins.pop(old)
    for name in _LISTS:
        if listed := _list(tree, name, file):
            tree[name] = [names.get(one, one) if isinstance(one, str) else one for one in listed]


def _to_2(tree: Table, file: str) -> None:
    names = dict(_FULL_NAMES)
    listed = [name for key in _LISTS for name in _list(tree, key, file) if isinstance(name, str)]
    for name in (*_table(tree, "plugins", file), *listed):
        if "." not in name and name not in names:
            kind = "service" if name.endswith("-service") else "grpc"
            names[name] = f"io.containerd.{kind}.v1.{name}"
    _rename(tree, file, names)


def _to_3(tree: Table, file: str) -> None:
    _rename(tree, file, _RENAMED)
    plugins = _table(tree, "plugins", file)
    if tables.CRI not in plugins:
        return
    cri = _table(plugins, tables.CRI, file, "plugins.")
    containerd = cri.get("containerd") or {}
    if not isinstance(containerd, dict):
        raise InvalidArgument(f"{file}: plugins.{tables.CRI}.containerd: a table is needed")
    _images(_table(plugins, tables.CRI_IMAGES, file, "plugins."), cri, containerd, file)
    _runtime(_table(plugins, tables.CRI_RUNTIME, file, "plugins."), cri, containerd, file)
    plugins[tables.CRI] = {name: value for name, value in cri.items() if name in _OF_THE_STREAM_SERVER}
    for name in (tables.CRI_IMAGES, tables.CRI_RUNTIME, tables.CRI):
        if not plugins[name]:
            del plugins[name]


def _images(images: Table, cri: Table, containerd: Table, file: str) -> None:
    if "sandbox_image" in cri:
        _table(images, "pinned_images", file).setdefault("sandbox", cri["sandbox_image"])
    for names, source in ((_OF_IMAGES, cri), (_OF_IMAGES_IN_CONTAINERD, containerd)):
        for name in names:
            if name in source:
                images.setdefault(name, source[name])


def _runtime(runtime: Table, cri: Table, containerd: Table, file: str) -> None:
    elsewhere = (*_OF_IMAGES, *_OF_THE_STREAM_SERVER, "sandbox_image", "containerd", "cni")
    for name, value in cri.items():
        if name not in elsewhere:
            runtime.setdefault(name, value)
    if "cni" in cri:
        _cni(_table(runtime, "cni", file), _table(cri, "cni", file))
    kept = {name: value for name, value in containerd.items() if name not in _OF_IMAGES_IN_CONTAINERD}
    if not kept:
        return
    target = _table(runtime, "containerd", file)
    for name, value in kept.items():
        target.setdefault(name, value)
    for one in _table(target, "runtimes", file).values() if "runtimes" in target else ():
        if isinstance(one, dict) and "sandbox_mode" in one:
            one.setdefault("sandboxer", one.pop("sandbox_mode"))


def _cni(target: Table, source: Table) -> None:
    for name, value in source.items():
        if name == "bin_dir":
            target.setdefault("bin_dirs", [value])
        else:
            target.setdefault(name, value)


def _to_4(tree: Table, file: str) -> None:
    plugins = _table(tree, "plugins", file)
    grpc, ttrpc, debug, metrics = (tree.get(name) or {} for name in ("grpc", "ttrpc", "debug", "metrics"))
    for name, section in (("grpc", grpc), ("ttrpc", ttrpc), ("debug", debug), ("metrics", metrics)):
        if not isinstance(section, dict):
            raise InvalidArgument(f"{file}: {name}: a table is needed, not {section!r}")
    limits = {name: grpc.pop(name) for name in _LIMITS if name in grpc}
    tcp = {name.removeprefix("tcp_"): grpc.pop(name) for name in list(grpc) if name.startswith("tcp_")}
    address = grpc.get("address")
    if "address" not in ttrpc and isinstance(address, str) and address:
        ttrpc = {"address": address + ".ttrpc"} | ttrpc
    moved = {
        tables.GRPC: _moved(grpc, "address", "uid", "gid") | limits,
        tables.GRPC_TCP: tcp | limits if tcp.get("address") else {},
        tables.TTRPC: _moved(ttrpc, "address", "uid", "gid"),
        tables.DEBUG: _moved(debug, "address", "uid", "gid"),
        tables.METRICS: _moved(metrics, "address"),
        tables.PROMETHEUS: _moved(metrics, "grpc_histogram"),
    }
    for plugin, settings in moved.items():
        if settings:
            plugins.setdefault(plugin, settings)
    for name in ("grpc", "ttrpc", "metrics", "debug", "plugins"):
        if tree.get(name) == {} or (name == "ttrpc" and not ttrpc):
            tree.pop(name, None)


def _moved(section: Table, *names: str) -> Table:
    return {name: section.pop(name) for name in names if name in section}
