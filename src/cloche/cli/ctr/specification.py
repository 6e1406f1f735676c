"""config.json as ctr's flags describe it: containerd's default, the image's settings, the user's."""

from __future__ import annotations

import os

from cloche.cli.arguments import UsageError
from cloche.engine import capabilities
from cloche.engine.specification import PATH, masked_paths, process_user

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from cloche.cli.ctr.command import Invocation
    from cloche.kernel.passwd import Identity
    from cloche.spec.image_config import ImageConfig

    Find = Callable[[str], Identity]
    """Who a user is in the container's own files."""

_VERSION = "1.2.0"
_CLOSED = ["nosuid", "noexec", "nodev"]
_TMPFS = ["nosuid", "strictatime", "mode=755", "size=65536k"]
_READONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
# null, random, full, tty, zero, urandom, console; every pty; ptmx.
_DEVICES = ((1, 3), (1, 8), (1, 7), (5, 0), (1, 5), (1, 9), (5, 1), (136, None), (5, 2))
_NAMESPACES = ("pid", "network", "uts", "mount", "user", "ipc", "cgroup")


def default(namespace: str, container: str) -> dict[str, Any]:
    """The configuration that all begins with."""
    held = list(capabilities.DEFAULT)
    kinds = ["pid", "ipc", "uts", "mount", "network"] + (["cgroup"] if _has_cgroup2_alone() else [])
    return {
        "ociVersion": _VERSION,
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": [],
            "env": [],
            "cwd": "/",
            "capabilities": {"bounding": held, "effective": list(held), "permitted": list(held)},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs"},
        "mounts": [
            _mount("/proc", "proc", "proc", _CLOSED),
            _mount("/dev", "tmpfs", "tmpfs", _TMPFS),
            _mount(
                *("/dev/pts", "devpts", "devpts"),
                ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
            ),
            _mount("/dev/shm", "tmpfs", "shm", [*_CLOSED, "mode=1777", "size=65536k"]),
            _mount("/dev/mqueue", "mqueue", "mqueue", _CLOSED),
            _mount("/sys", "sysfs", "sysfs", [*_CLOSED, "ro"]),
            _mount("/run", "tmpfs", "tmpfs", _TMPFS),
        ],
        "linux": {
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
            "cgroupsPath": os.path.join("/", namespace, container).rstrip("/"),
            "namespaces": [{"type": kind} for kind in kinds],
            "maskedPaths": masked_paths(),
            "readonlyPaths": list(_READONLY),
        },
    }


def _has_cgroup2_alone() -> bool:
    return os.path.exists("/sys/fs/cgroup/cgroup.controllers")


def _mount(destination: str, kind: str, source: str, options: list[str]) -> dict[str, Any]:
    return {"destination": destination, "type": kind, "source": source, "options": list(options)}


def build(
    invocation: Invocation,
    container: str,
    words: list[str],
    image: ImageConfig | None,
    *,
    shares: int,
) -> dict[str, Any]:
    """The configuration that the flags ask for, but for who its process is.

    words: the command line, empty for the image's. image: None for a root file system of the user's.
    shares: of the processor, where no flag says it. Raises UsageError for flags that contradict each other.
    """
    from cloche.cli.ctr import specification_limits

    config = default(invocation.namespace, container)
    process = config["process"]
    rules = config["linux"]["resources"]["devices"]
    rules += [_rule(major, minor) for major, minor in _DEVICES]
    _environment(invocation, process, image)
    for text in invocation.all("mount"):
        made = _user_mount(text)
        config["mounts"] = [each for each in config["mounts"] if each["destination"] != made["destination"]]
        config["mounts"].append(made)
    if image is not None:
        process["args"] = [*(image.entrypoint or ()), *(image.cmd or ())]
        process["cwd"] = image.working_dir or "/"
    else:
        config["root"]["path"] = os.path.abspath(invocation.argument(0))
    if invocation.on("read-only"):
        config["root"]["readonly"] = True
    if words:
        process["args"] = words
    process["cwd"] = invocation.text("cwd") or process["cwd"]
    if invocation.on("tty"):
        process["terminal"] = True
        process["env"] = _replaced(process["env"], ["TERM=xterm"])
    _rights(invocation, config)
    _namespaces(invocation, config)
    specification_limits.apply(invocation, config, shares)
    return config


def identify(invocation: Invocation, config: dict[str, Any], image: ImageConfig | None, find: Find) -> None:
    """Say who its process is. find: looks users up in the container's files."""
    named = invocation.text("user") or (image.user or "root" if image is not None else "")
    if named:
        config["process"]["user"] = dict(process_user(find(named)))


def annotated(config: dict[str, Any], added: dict[str, str]) -> None:
    """Add annotations, where there are any."""
    if added:
        config["annotations"] = {**config.get("annotations", {}), **added}


def _rule(major: int, minor: int | None) -> dict[str, Any]:
    rule: dict[str, Any] = {"allow": True, "type": "c", "major": major}
    if minor is not None:
        rule["minor"] = minor
    return rule | {"access": "rwm"}


def _environment(invocation: Invocation, process: dict[str, Any], image: ImageConfig | None) -> None:
    own: list[str] = []
    if invocation.text("env-file"):
        with open(invocation.text("env-file"), encoding="utf-8") as file:
            lines = [line.strip() for line in file]
        own = [line for line in lines if line and not line.startswith("#")]
    own = _replaced(own, invocation.all("env"))
    if image is not None:
        own = _replaced(list(image.env) or [f"PATH={PATH}"], own)
    process["env"] = own


def _replaced(former: list[str], further: Iterable[str]) -> list[str]:
    """Variables with others put in their places; a bare name removes one."""
    found = {each.partition("=")[0]: each for each in former}
    for each in further:
        name, equals, _ = each.partition("=")
        if equals:
            found[name] = each
        else:
            found.pop(name, None)
    return list(found.values())


def _user_mount(text: str) -> dict[str, Any]:
    """type=bind,src=/here,dst=/there,options=rbind:ro"""
    import csv

    names = {"src": "source", "dst": "destination", "source": "source", "destination": "destination"}
    made: dict[str, Any] = {}
    for field in next(iter(csv.reader([text])), []):
        key, equals, value = field.partition("=")
        if not equals:
            raise UsageError(f"--mount {text}: {field!r} is not KEY=VALUE")
        if key == "options":
            made["options"] = value.split(":")
        elif key == "type" or key in names:
            made[names.get(key, key)] = value
        else:
            raise UsageError(f"--mount {text}: there is no {key!r}: type, src, dst and options are known")
    if not made.get("destination"):
        raise UsageError(f"--mount {text}: does not say dst, where in the container it goes")
    return made


def _rights(invocation: Invocation, config: dict[str, Any]) -> None:
    """Capabilities, filters and what is hidden."""
    process, linux = config["process"], config["linux"]
    privileged = invocation.on("privileged")
    if invocation.on("privileged-without-host-devices") and not privileged:
        raise UsageError("--privileged-without-host-devices is for --privileged only")
    added, dropped = invocation.all("cap-add"), invocation.all("cap-drop")
    for each in (*added, *dropped):
        if not each.startswith("CAP_"):
            raise UsageError(f"capability {each!r}: its name begins with CAP_")
    held = list(capabilities.held_here() if privileged else capabilities.DEFAULT)
    held += [each for each in added if each not in held]
    held = [each for each in held if each not in dropped]
    process["capabilities"] = {kind: list(held) for kind in ("bounding", "effective", "permitted")}
    if privileged:
        del linux["maskedPaths"], linux["readonlyPaths"]
        for each in config["mounts"]:
            if each["type"] in ("sysfs", "cgroup"):
                each["options"] = ["rw" if option == "ro" else option for option in each["options"]]
        if not invocation.on("privileged-without-host-devices"):
            _host_devices(linux)
    if invocation.given("allow-new-privs"):
        process["noNewPrivileges"] = False
    _filters(invocation, config, held)


def _host_devices(linux: dict[str, Any]) -> None:
    from cloche.engine import devices
    from cloche.engine.options import Options

    linux["devices"], linux["resources"]["devices"] = devices.build(Options(privileged=True))


def _filters(invocation: Invocation, config: dict[str, Any], held: list[str]) -> None:
    from cloche.engine import seccomp_profile
    from cloche.spec.document import load_file

    profile = invocation.text("seccomp-profile")
    if profile and not invocation.on("seccomp"):
        raise UsageError("--seccomp-profile needs --seccomp")
    if invocation.on("seccomp"):
        config["linux"]["seccomp"] = (
            seccomp_profile.resolve(load_file(profile), held) if profile else seccomp_profile.default(held)
        )
    own, shipped = invocation.text("apparmor-profile"), invocation.text("apparmor-default-profile")
    if own and shipped:
        raise UsageError("--apparmor-profile and --apparmor-default-profile are two answers to one question")
    if own or shipped:
        config["process"]["apparmorProfile"] = own or shipped


def _namespaces(invocation: Invocation, config: dict[str, Any]) -> None:
    linux = config["linux"]
    if invocation.on("net-host"):
        linux["namespaces"] = [each for each in linux["namespaces"] if each["type"] != "network"]
        for path in ("/etc/hosts", "/etc/resolv.conf"):
            config["mounts"].append(_mount(path, "bind", path, ["rbind", "ro"]))
        name = f"HOSTNAME={os.uname().nodename}"
        config["process"]["env"] = _replaced(config["process"]["env"], [name])
    for text in invocation.all("with-ns"):
        kind, colon, path = text.partition(":")
        if not colon or kind not in _NAMESPACES:
            raise UsageError(f"--with-ns {text}: say KIND:PATH; the kinds are {', '.join(_NAMESPACES)}")
        linux["namespaces"] = [each for each in linux["namespaces"] if each["type"] != kind]
        linux["namespaces"].append({"type": kind, "path": path})
    if invocation.text("hostname"):
        config["hostname"] = invocation.text("hostname")
