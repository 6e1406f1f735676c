"""The devices of a container: which nodes it gets, and what the device controller lets it open."""

from __future__ import annotations

import os
import stat

from cloche.errors import InvalidArgument, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.engine.options import DeviceOption, Options
    from cloche.spec.config import Device, DeviceRule

# null, zero, full, random, urandom, tty, console; Docker refuses /dev/fuse by name.
_ALLOWED = ((1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1))
_FUSE = (10, 229)
_TYPES = {stat.S_IFCHR: "c", stat.S_IFBLK: "b", stat.S_IFIFO: "p"}
# Private to each container or no devices: the runtime makes its own.
_NOT_FROM_HOST = ("pts", "shm", "fd", "mqueue", "console", "ptmx", ".lxc", ".lxd-mounts", ".udev")


def build(options: Options) -> tuple[list[Device], list[DeviceRule]]:
    """(linux.devices, linux.resources.devices). Raises NotFound for a device that is not there."""
    if options.privileged:
        return _host_devices(), [{"allow": True, "access": "rwm"}]
    rules: list[DeviceRule] = [{"allow": False, "access": "rwm"}]
    rules += [
        {"allow": True, "type": "c", "major": major, "minor": minor, "access": "rwm"}
        for major, minor in _ALLOWED
    ]
    rules.append({"allow": False, "type": "c", "major": _FUSE[0], "minor": _FUSE[1], "access": "rwm"})
    devices: list[Device] = []
    for option in options.devices:
        for device in _resolve(option):
            devices.append(device)
            rules.append(
                {
                    "allow": True,
                    "type": device["type"],
                    "major": device["major"],
                    "minor": device["minor"],
                    "access": option.access,
                }
            )
    return devices, rules


def _resolve(option: DeviceOption) -> list[Device]:
    path = os.path.realpath(option.source)
    try:
        is_directory = os.path.isdir(path)
        found = _walk(path, option.target) if is_directory else [_device(path, option.target)]
    except FileNotFoundError:
        raise NotFound(f"invalid device {option.source}: no such file on this machine") from None
    devices = [device for device in found if device is not None]
    if not devices:
        raise InvalidArgument(f"invalid device {option.source}: not a device node")
    return devices


def _device(path: str, target: str) -> Device | None:
    status = os.lstat(path)
    kind = _TYPES.get(stat.S_IFMT(status.st_mode))
    if kind is None or kind == "p":
        return None
    return {
        "path": target,
        "type": kind,
        "major": os.major(status.st_rdev),
        "minor": os.minor(status.st_rdev),
        "fileMode": stat.S_IMODE(status.st_mode),
        "uid": status.st_uid,
        "gid": status.st_gid,
    }


def _walk(directory: str, target: str) -> list[Device | None]:
    found: list[Device | None] = []
    for name in sorted(os.listdir(directory)):
        path, place = f"{directory}/{name}", f"{target}/{name}"
        if directory == "/dev" and name in _NOT_FROM_HOST:
            continue
        if os.path.isdir(path) and not os.path.islink(path):
            found += _walk(path, place)
        else:
            device = _device(path, place)
            if device is not None:
                found.append(device)
    return found


def _host_devices() -> list[Device]:
    return [device for device in _walk("/dev", "/dev") if device is not None]
