"""The seccomp filter of a container: Docker's default policy, or a profile file in Docker's format.

Both become the `linux.seccomp` object of config.json, in which nothing is conditional any more:
the container's capabilities, the machine and the kernel decide here what applies.
"""

from __future__ import annotations

import os

from cloche.engine.seccomp_tables import ALWAYS, CONDITIONAL, Condition, Rule
from cloche.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

_ALLOW, _ERRNO = "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO"
_EPERM = 1

ARCHITECTURES = {
    "x86_64": ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"),
    "aarch64": ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"),
}
# Docker's profiles name machines as Go does.
_GO_NAMES = {
    "amd64": "x86_64",
    "x32": "x86_64",
    "x86": "i686",
    "arm64": "aarch64",
    "arm": "armv7l",
}


def default(capabilities: Iterable[str], machine: str | None = None) -> dict[str, Any]:
    """The default filter for a container with these capabilities (`CAP_…` names, its bounding set).

    machine: as `uname -m`; this one when absent.
    """
    held = frozenset(capabilities)
    machine = machine or os.uname().machine
    names = [name for group in ALWAYS for name in group.split()]
    syscalls: list[dict[str, Any]] = [{"names": names, "action": _ALLOW}]
    syscalls += [_entry(rule) for rule in CONDITIONAL if _applies(rule.condition, held, machine)]
    return {
        "defaultAction": _ERRNO,
        "defaultErrnoRet": _EPERM,
        "architectures": list(ARCHITECTURES[machine]),
        "syscalls": syscalls,
    }


def _applies(condition: Condition, held: frozenset[str], machine: str) -> bool:
    return (
        held.issuperset(condition.capabilities)
        and held.isdisjoint(condition.without)
        and (not condition.machines or machine in condition.machines)
        and machine not in condition.not_machines
    )


def _entry(rule: Rule) -> dict[str, Any]:
    entry: dict[str, Any] = {"names": rule.names.split(), "action": _ALLOW}
    if rule.errno is not None:
        entry |= {"action": _ERRNO, "errnoRet": rule.errno}
    if rule.arguments:
        entry["args"] = [
            {"index": each.index, "value": each.value, "valueTwo": each.second, "op": each.operator}
            for each in rule.arguments
        ]
    return entry


def resolve(
    document: object, capabilities: Iterable[str], machine: str | None = None, release: str | None = None
) -> dict[str, Any]:
    """A profile file's JSON as `linux.seccomp` for a container with these capabilities.

    document: Docker's profile format (`archMap`, `includes` and `excludes` with caps, arches and
    minKernel) or the plain OCI form, which is a subset of it. release: as `uname -r`.
    Raises InvalidArgument for anything else, naming the place.
    """
    if not isinstance(document, dict) or not isinstance(document.get("defaultAction"), str):
        raise InvalidArgument("seccomp profile: defaultAction: must be a string such as SCMP_ACT_ERRNO")
    host = os.uname()
    machine, release = machine or host.machine, release or host.release
    held = frozenset(capabilities)
    result = {
        key: document[key]
        for key in ("defaultAction", "defaultErrnoRet", "flags", "listenerPath", "listenerMetadata")
        if document.get(key) is not None
    }
    result["architectures"] = _architectures(document, machine)
    entries = document.get("syscalls")
    entries = [] if entries is None else entries
    if not isinstance(entries, list):
        raise InvalidArgument("seccomp profile: syscalls: must be a list")
    result["syscalls"] = [
        _resolved(entry, index)
        for index, entry in enumerate(entries)
        if _filters_hold(entry, index, held, machine, release)
    ]
    return result


def _architectures(document: Mapping[str, Any], machine: str) -> list[str]:
    if document.get("architectures"):
        if document.get("archMap"):
            raise InvalidArgument("seccomp profile: architectures and archMap cannot both be given")
        return _words(document, "architectures", "seccomp profile")
    native = ARCHITECTURES[machine][0]
    entries = document.get("archMap") or []
    for entry in entries if isinstance(entries, list) else []:
        if isinstance(entry, dict) and entry.get("architecture") == native:
            return [native, *_words(entry, "subArchitectures", "seccomp profile: archMap")]
    return [native]


def _resolved(entry: Mapping[str, Any], index: int) -> dict[str, Any]:
    place = f"seccomp profile: syscalls[{index}]"
    names = _words(entry, "names", place)
    if entry.get("name"):
        if names:
            raise InvalidArgument(f"{place}: name and names cannot both be given")
        names = [entry["name"]]
    if not names or not all(isinstance(name, str) for name in names):
        raise InvalidArgument(f"{place}: names: must be a list of system calls")
    if not isinstance(entry.get("action"), str):
        raise InvalidArgument(f"{place}: action: must be a string such as SCMP_ACT_ALLOW")
    result: dict[str, Any] = {"names": names, "action": entry["action"]}
    if entry.get("errnoRet") is not None:
        result["errnoRet"] = _number(entry["errnoRet"], f"{place}: errnoRet")
    if entry.get("args"):
        result["args"] = _arguments(entry["args"], place)
    return result


def _arguments(entries: object, place: str) -> list[dict[str, Any]]:
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise InvalidArgument(f"{place}: args: must be a list of objects")
    return [
        {
            "index": _number(entry.get("index", 0), f"{place}: args: index"),
            "value": _number(entry.get("value", 0), f"{place}: args: value"),
            "valueTwo": _number(entry.get("valueTwo", 0), f"{place}: args: valueTwo"),
            "op": str(entry.get("op")),
        }
        for entry in entries
    ]


def _number(value: object, place: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 64:
        raise InvalidArgument(f"{place}: must be a number from 0 on")
    return value


def _filters_hold(entry: object, index: int, held: frozenset[str], machine: str, release: str) -> bool:
    if not isinstance(entry, dict):
        raise InvalidArgument(f"seccomp profile: syscalls[{index}]: must be an object")
    includes, excludes = entry.get("includes") or {}, entry.get("excludes") or {}
    if not isinstance(includes, dict) or not isinstance(excludes, dict):
        raise InvalidArgument(f"seccomp profile: syscalls[{index}]: includes and excludes must be objects")
    place = f"seccomp profile: syscalls[{index}]"
    if not held.issuperset(_words(includes, "caps", place)):
        return False
    if not held.isdisjoint(_words(excludes, "caps", place)):
        return False
    wanted = [_GO_NAMES.get(name, name) for name in _words(includes, "arches", place)]
    unwanted = [_GO_NAMES.get(name, name) for name in _words(excludes, "arches", place)]
    if (wanted and machine not in wanted) or machine in unwanted:
        return False
    least, below = includes.get("minKernel"), excludes.get("minKernel")
    running = _version(release)
    return (not least or running >= _version(least)) and (not below or running < _version(below))


def _words(value: Mapping[str, Any], key: str, place: str) -> list[str]:
    words = value.get(key) or []
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise InvalidArgument(f"{place}: {key}: must be a list of names")
    return words


def _version(release: object) -> tuple[int, int]:
    """The first two numbers of a kernel release: `6.1.0-9-amd64` is (6, 1)."""
    numbers = str(release).split("-")[0].split(".")
    try:
        return int(numbers[0]), int(numbers[1]) if len(numbers) > 1 else 0
    except ValueError:
        raise InvalidArgument(f"seccomp profile: minKernel: {release!r} is no kernel version") from None
