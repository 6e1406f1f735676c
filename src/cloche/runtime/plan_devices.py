"""The part of a plan that fills the container's /dev."""

from __future__ import annotations

from cloche import os
from cloche.kernel.mount_options import MS_SLAVE
from cloche.runtime import operations as op
from cloche.runtime.caller import OpenFile
from cloche.runtime.plan import CALLER, STAGE_ONE, STAGE_TWO, Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cloche.runtime.configured_mounts import ConfiguredMount
    from cloche.runtime.facts import Facts
    from cloche.spec.config import Config, Device

# The devices that every container has (runtime-spec, config-linux, "Default Devices").
DEFAULT_DEVICES: tuple[Device, ...] = (
    {"path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666},
    {"path": "/dev/zero", "type": "c", "major": 1, "minor": 5, "fileMode": 0o666},
    {"path": "/dev/full", "type": "c", "major": 1, "minor": 7, "fileMode": 0o666},
    {"path": "/dev/random", "type": "c", "major": 1, "minor": 8, "fileMode": 0o666},
    {"path": "/dev/urandom", "type": "c", "major": 1, "minor": 9, "fileMode": 0o666},
    {"path": "/dev/tty", "type": "c", "major": 5, "minor": 0, "fileMode": 0o666},
)
_LINKS = (
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
    ("pts/ptmx", "/dev/ptmx"),
)
_KINDS = {"c": 0o020000, "u": 0o020000, "b": 0o060000, "p": 0o010000}


def _wanted(config: Config) -> dict[str, tuple[str, Device]]:
    """Place and device by path; those of the configuration replace default ones."""
    devices = {device["path"]: ("default devices", device) for device in DEFAULT_DEVICES}
    for index, device in enumerate(config.get("linux", {}).get("devices", ())):
        devices[device["path"]] = (f"linux.devices[{index}]", device)
    return devices


def _has_own_dev(mounts: Iterable[ConfiguredMount]) -> bool:
    """Not so where /dev is a bind mount: then it is as somebody arranged it."""
    return next((not mount.is_bind for mount in mounts if mount.target == "/dev"), True)


def opened_devices(mounts: Iterable[ConfiguredMount], config: Config, facts: Facts) -> Iterator[Step]:
    """In a user namespace mknod(2) is not allowed, so the host's nodes are bind mounted."""
    if facts.user_namespace and _has_own_dev(mounts):
        for path, (place, _) in _wanted(config).items():
            yield Step(place, CALLER, OpenFile(f"device:{path}", path, os.O_PATH))


def copied_devices(mounts: Iterable[ConfiguredMount], config: Config, facts: Facts) -> Iterator[Step]:
    """Detached mounts of them, made where the mount namespace is the caller's."""
    if facts.user_namespace and _has_own_dev(mounts):
        for path, (place, _) in _wanted(config).items():
            yield Step(place, STAGE_ONE, op.CopyFound(f"device:{path}", 0))


def devices(mounts: Iterable[ConfiguredMount], config: Config, facts: Facts) -> Iterator[Step]:
    """Device nodes, and the links that programs expect beside them."""
    if not _has_own_dev(mounts):
        return
    for path, (place, device) in _wanted(config).items():
        if facts.user_namespace:
            attach = op.AttachMount(f"device:{path}", path, MS_SLAVE, 0, 0, 0, 0)
            yield Step(place, STAGE_TWO, attach)
        else:
            yield Step(place, STAGE_TWO, _node(device))
    for content, path in _LINKS:
        yield Step("default devices", STAGE_TWO, op.MakeSymlink(content, path))


def _node(device: Device) -> op.MakeDevice:
    return op.MakeDevice(
        device["path"],
        _KINDS[device["type"]],
        device.get("fileMode", 0o666) & 0o7777,
        device.get("major", 0),
        device.get("minor", 0),
        device.get("uid", 0),
        device.get("gid", 0),
    )
