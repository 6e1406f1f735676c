"""`update`: other limits for a container that exists."""

from __future__ import annotations

import os

from cloche.errors import FailedPrecondition, InvalidArgument
from cloche.runtime.face.arguments import Flag
from cloche.runtime.face.invocation import Command, Invocation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cloche.runtime.face.arguments import Options
    from cloche.spec.config import Resources

_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}
_LARGEST_INPUT = 16 << 20

# Flag -> section and member of linux.resources, and how its value is read.
_NUMBERS = {
    "cpu-period": ("cpu", "period"),
    "cpu-quota": ("cpu", "quota"),
    "cpu-burst": ("cpu", "burst"),
    "cpu-share": ("cpu", "shares"),
    "cpu-rt-period": ("cpu", "realtimePeriod"),
    "cpu-rt-runtime": ("cpu", "realtimeRuntime"),
    "cpu-idle": ("cpu", "idle"),
    "pids-limit": ("pids", "limit"),
    "blkio-weight": ("blockIO", "weight"),
}
_SIGNED = ("cpu-quota", "cpu-rt-runtime", "cpu-idle", "pids-limit")
_SIZES = {
    "memory": ("memory", "limit"),
    "memory-reservation": ("memory", "reservation"),
    "memory-swap": ("memory", "swap"),
}
_WORDS = {"cpuset-cpus": ("cpu", "cpus"), "cpuset-mems": ("cpu", "mems")}
_KERNEL_MEMORY = ("kernel-memory", "kernel-memory-tcp")


def size_bytes(word: str) -> int:
    """Bytes of a size such as 512, 64k, 1.5GiB; -1 is no limit. Raises ValueError."""
    if word == "-1":
        return -1
    text = word.strip().lower().removesuffix("b").removesuffix("i")
    unit = text[-1:] if text[-1:].isalpha() else ""
    number = text.removesuffix(unit).strip()
    if unit not in _UNITS or not number.replace(".", "", 1).isdecimal() or not word.isascii():
        raise ValueError(word)
    return int(float(number) * _UNITS[unit]) if "." in number else int(number) * _UNITS[unit]


def _number(name: str, word: str) -> int:
    digits = word.removeprefix("-") if name in _SIGNED else word
    if not (digits.isascii() and digits.isdigit() and len(digits) < 20):
        raise InvalidArgument(f"invalid value for {name}: {word!r} is not a number")
    return int(word)


def from_flags(options: Options) -> dict[str, Any]:
    """The resources that the flags name. Raises InvalidArgument naming the flag."""
    resources: dict[str, Any] = {}
    for name, (section, member) in _NUMBERS.items():
        if options.text(name):
            value = _number(name, options.text(name))
            if name != "blkio-weight" or value:
                resources.setdefault(section, {})[member] = value
    for name, (section, member) in _SIZES.items():
        if word := options.text(name):
            try:
                resources.setdefault(section, {})[member] = size_bytes(word)
            except ValueError:
                raise InvalidArgument(
                    f"invalid value for {name}: {word!r} is not a size such as 64m or 1g"
                ) from None
    for name, (section, member) in _WORDS.items():
        if options.text(name):
            resources.setdefault(section, {})[member] = options.text(name)
    return resources


def _from_file(path: str) -> dict[str, Any]:
    from cloche.spec.document import load_file, loads

    if path != "-":
        resources: dict[str, Any] = load_file(path)
        return resources
    text = b""
    while part := os.read(0, 65536):
        text += part
        if len(text) > _LARGEST_INPUT:
            raise InvalidArgument(f"standard input: more than {_LARGEST_INPUT} bytes of resources")
    resources = loads(text, "standard input")
    return resources  # noqa: RET504 - what it is, is checked next


def update(invocation: Invocation) -> int:
    """Give a container other limits."""
    from cloche.runtime.update import update as give
    from cloche.spec.validate import validate_resources

    options = invocation.options
    container = invocation.container()
    path = options.text("resources")
    given = _from_file(path) if path else from_flags(options)
    validate_resources(given, "standard input" if path == "-" else path or "update")
    for name in ("l3-cache-schema", "mem-bw-schema"):
        if options.text(name):
            raise FailedPrecondition(
                f"--{name}: this machine's resctrl is not used: nothing can be set in it"
            )
    memory = given.get("memory") or {}
    if any(options.text(name) for name in _KERNEL_MEMORY) or "kernel" in memory or "kernelTCP" in memory:
        invocation.log.warning("Kernel memory settings are ignored and will be removed")
    resources: Resources = given  # type: ignore[assignment]  # checked above
    for warning in give(container, resources):
        invocation.log.warning(warning)
    return 0


COMMANDS = {
    "update": Command(
        "change the limits of a container",
        "<container-id>",
        update,
        (
            Flag("resources", "text", "file with linux.resources as JSON, - for standard input", "r"),
            Flag("blkio-weight", "text", "weight of its block I/O, 10 to 1000"),
            Flag("cpu-period", "text", "microseconds that the quota is counted in"),
            Flag("cpu-quota", "text", "microseconds of CPU in a period, -1 for no limit"),
            Flag("cpu-burst", "text", "microseconds that may be saved up"),
            Flag("cpu-share", "text", "share of the CPU relative to others"),
            Flag("cpu-rt-period", "text", "microseconds that the realtime runtime is counted in"),
            Flag("cpu-rt-runtime", "text", "microseconds of realtime CPU in a period"),
            Flag("cpuset-cpus", "text", "CPUs to run on"),
            Flag("cpuset-mems", "text", "memory nodes to use"),
            Flag("kernel-memory", "text", "ignored", hidden=True),
            Flag("kernel-memory-tcp", "text", "ignored", hidden=True),
            Flag("memory", "text", "limit of memory"),
            Flag("cpu-idle", "text", "1: run only when nobody else wants the CPU"),
            Flag("memory-reservation", "text", "memory that is left to it when memory is short"),
            Flag("memory-swap", "text", "limit of memory and swap together, -1 for none"),
            Flag("pids-limit", "text", "number of processes, -1 for no limit"),
            Flag("l3-cache-schema", "text", "Intel RDT cache schema"),
            Flag("mem-bw-schema", "text", "Intel RDT memory bandwidth schema"),
        ),
        description="With --resources all other flags are ignored.",
    ),
}
