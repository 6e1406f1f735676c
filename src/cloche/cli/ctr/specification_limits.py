"""The part of config.json that says how much a container may have: processors, memory, devices, ids."""

from __future__ import annotations

from cloche.cli.arguments import UsageError
from cloche.errors import Unimplemented

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cloche.cli.ctr.command import Invocation

_PERIOD_US = 100_000
_ID_LIMIT = 1 << 32


def apply(invocation: Invocation, config: dict[str, Any], shares: int) -> None:
    """Set what the flags ask for. shares: of the processor, unless a flag says it.

    Raises UsageError, Unimplemented.
    """
    linux = config["linux"]
    processor = _processor(invocation, shares)
    if processor:
        linux["resources"]["cpu"] = processor
    if invocation.number("memory-limit"):
        linux["resources"]["memory"] = {"limit": invocation.number("memory-limit")}
    if invocation.given("cgroup"):
        linux["cgroupsPath"] = invocation.text("cgroup")
    if invocation.text("rootfs-propagation"):
        linux["rootfsPropagation"] = invocation.text("rootfs-propagation")
    if invocation.text("rdt-class"):
        linux["intelRdt"] = {"closID": invocation.text("rdt-class")}
    if invocation.text("rlimit-nofile"):
        config["process"]["rlimits"] = [_open_files(invocation.text("rlimit-nofile"))]
    for flag in ("blockio-config-file", "blockio-class", "gpus"):
        if invocation.given(flag):
            raise Unimplemented(f"--{flag}: is not known how to do here")
    _devices(invocation, linux)
    _mappings(invocation, linux)


def _processor(invocation: Invocation, shares: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if invocation.given("cpu-shares"):
        shares = invocation.number("cpu-shares")
    if shares:
        found["shares"] = shares
    quota, period = invocation.number("cpu-quota"), invocation.number("cpu-period")
    cpus = _number(invocation.text("cpus"))
    if cpus and (quota or period):
        raise UsageError("--cpus and --cpu-quota or --cpu-period are two answers to one question")
    if cpus:
        found |= {"quota": int(cpus * _PERIOD_US), "period": _PERIOD_US}
    elif quota or period:
        found |= {"quota": quota or -1, "period": period}
    for flag, key in (("cpuset-cpus", "cpus"), ("cpuset-mems", "mems")):
        if invocation.text(flag):
            found[key] = invocation.text(flag)
    return found


def _number(text: str) -> float:
    try:
        return float(text or 0)
    except ValueError:
        raise UsageError(f"--cpus {text}: is no number") from None


def _open_files(text: str) -> dict[str, Any]:
    soft, colon, hard = text.partition(":")
    if not soft.isdigit() or (colon and not hard.isdigit()):
        raise UsageError(f"--rlimit-nofile {text}: say SOFT:HARD, or one number for both")
    return {"type": "RLIMIT_NOFILE", "hard": int(hard or soft), "soft": int(soft)}


def _devices(invocation: Invocation, linux: dict[str, Any]) -> None:
    if not invocation.all("device"):
        return
    from cloche.engine import devices
    from cloche.engine.options import DeviceOption, Options

    for each in invocation.all("device"):
        if "=" in each and not each.startswith("/"):
            raise Unimplemented(f"--device {each}: devices of CDI are not known here; name a path below /dev")
    options = tuple(DeviceOption(each, each, "rwm") for each in invocation.all("device"))
    nodes, rules = devices.build(Options(devices=options))
    linux["devices"] = [*linux.get("devices", ()), *nodes]
    linux["resources"]["devices"] += rules[-len(nodes) :]


def _mappings(invocation: Invocation, linux: dict[str, Any]) -> None:
    users, groups = (mappings(invocation, flag) for flag in ("uidmap", "gidmap"))
    if users and groups:
        linux["namespaces"].append({"type": "user"})
        linux["uidMappings"], linux["gidMappings"] = users, groups


def mappings(invocation: Invocation, flag: str) -> list[dict[str, int]]:
    """The ranges of ids that a flag names, as CONTAINER:HOST:LENGTH. Raises UsageError."""
    found = []
    for text in invocation.all(flag):
        words = text.split(":")
        if len(words) != 3 or not all(word.isdigit() and int(word) < _ID_LIMIT for word in words):
            raise UsageError(f"--{flag} {text}: say CONTAINER-ID:HOST-ID:LENGTH, as numbers below 2^32")
        found.append(dict(zip(("containerID", "hostID", "size"), map(int, words), strict=True)))
    return found
