"""Which device nodes a cgroup's processes may use: the rules as a state, and the way between two.

The v1 device cgroup keeps a default (all or nothing) and a set of exceptions. The rules of a
config are played through in memory first, and only the difference to what the kernel has is
written, so that an update never takes a device away for a moment.
"""

from __future__ import annotations

from cloche.errors import InvalidArgument
from cloche.kernel.cgroups.files import read, write
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

    Device = tuple[str, int, int]
    """(`b` or `c`, major, minor); -1 stands for every number."""

EVERY = -1


class Rules(Record):
    """A default, and for each excepted device the accesses that differ from it.

    allowed: what holds where nothing is said. exceptions: (device, accesses out of `rwm`), each device
    once, in the order in which the kernel is told.
    """

    allowed: bool = True
    exceptions: tuple[tuple[Device, str], ...] = ()


def _rule(kind: str, major: int, minor: int, access: str) -> dict[str, Any]:
    return {"allow": True, "type": kind, "major": major, "minor": minor, "access": access}


DEFAULT_RULES: tuple[Mapping[str, Any], ...] = (
    _rule("c", EVERY, EVERY, "m"),
    _rule("b", EVERY, EVERY, "m"),
    _rule("c", 1, 3, "rwm"),  # null
    _rule("c", 1, 5, "rwm"),  # zero
    _rule("c", 1, 7, "rwm"),  # full
    _rule("c", 1, 8, "rwm"),  # random
    _rule("c", 1, 9, "rwm"),  # urandom
    _rule("c", 5, 0, "rwm"),  # tty
    _rule("c", 5, 2, "rwm"),  # ptmx
    _rule("c", 136, EVERY, "rwm"),  # pts
)
"""What every container may do beside its config's rules: make nodes, and use the standard devices."""


def compile_rules(rules: Iterable[Mapping[str, Any]]) -> Rules:
    """The state after a config's device rules in their order, from "nothing is allowed".

    rules: of linux.resources.devices; append DEFAULT_RULES for a container.
    Raises InvalidArgument for a rule that takes away part of what a wider one before it gave: the
    kernel cannot express it, and would let it through unseen.
    """
    allowed = False
    exceptions: dict[Device, str] = {}
    for index, rule in enumerate(rules):
        kind = rule.get("type") or "a"
        access = "".join(letter for letter in "rwm" if letter in (rule.get("access") or "rwm"))
        device = (kind, _number(rule.get("major")), _number(rule.get("minor")))
        if kind == "a":
            allowed = bool(rule["allow"])
            exceptions.clear()
        elif bool(rule["allow"]) != allowed:
            exceptions[device] = _joined(exceptions.get(device, ""), access)
        else:
            _take_back(exceptions, device, access, f"linux.resources.devices[{index}]")
    return Rules(allowed, tuple(exceptions.items()))


def _number(value: int | None) -> int:
    return EVERY if value is None or value < 0 else value


def _joined(first: str, second: str) -> str:
    return "".join(letter for letter in "rwm" if letter in first or letter in second)


def _take_back(exceptions: dict[Device, str], device: Device, access: str, place: str) -> None:
    """Return accesses of a device to the default."""
    for other in list(exceptions):
        if not _overlaps(device, other) or not set(exceptions[other]) & set(access):
            continue
        if not _covers(device, other):
            raise InvalidArgument(
                f"{place}: {_named(device)} is a part of {_named(other)}, which an earlier rule gave: "
                "the kernel cannot make exceptions of exceptions"
            )
        left = "".join(letter for letter in exceptions.pop(other) if letter not in access)
        if left:
            exceptions[other] = left


def _covers(wide: Device, narrow: Device) -> bool:
    return wide[0] == narrow[0] and all(a in (EVERY, b) for a, b in zip(wide[1:], narrow[1:], strict=True))


def _overlaps(first: Device, second: Device) -> bool:
    pairs = zip(first[1:], second[1:], strict=True)
    return first[0] == second[0] and all(a == b or EVERY in (a, b) for a, b in pairs)


def _named(device: Device) -> str:
    kind, major, minor = device
    return f"{kind} {'*' if major == EVERY else major}:{'*' if minor == EVERY else minor}"


def parse_list(text: str) -> Rules:
    """The state from a `devices.list` file, which tells the exceptions only of a deny default."""
    exceptions = {}
    for line in text.splitlines():
        kind, numbers, access = line.split(" ")
        if kind == "a":
            return Rules(True)
        major, minor = (EVERY if number == "*" else int(number) for number in numbers.split(":"))
        exceptions[kind, major, minor] = "".join(letter for letter in "rwm" if letter in access)
    return Rules(False, tuple(sorted(exceptions.items())))


def apply(directory: str, wanted: Rules) -> None:
    """Bring a v1 device cgroup to the wanted state, whatever it has now."""
    for file, lines in transition(parse_list(read(f"{directory}/devices.list")), wanted):
        write(f"{directory}/{file}", *lines)


def transition(current: Rules, wanted: Rules) -> Iterator[tuple[str, list[str]]]:
    """From one state to the other: (`devices.allow` or `devices.deny`, lines to write to it) in order."""
    grant, revoke = "devices.allow", "devices.deny"
    if current.allowed or wanted.allowed:
        # A list that allows all does not show its exceptions, so it cannot be taken for the wanted one.
        if current.allowed != wanted.allowed or wanted.exceptions:
            yield (grant if wanted.allowed else revoke), ["a *:* rwm"]
        current = Rules(wanted.allowed)
    if wanted.allowed:
        grant, revoke = revoke, grant
    before, after = dict(current.exceptions), dict(wanted.exceptions)
    yield from _differences(grant, after, before)
    yield from _differences(revoke, before, after)


def _differences(
    file: str, ours: dict[Device, str], theirs: dict[Device, str]
) -> Iterator[tuple[str, list[str]]]:
    lines = []
    for device, access in ours.items():
        missing = "".join(letter for letter in access if letter not in theirs.get(device, ""))
        if missing:
            lines.append(f"{_named(device)} {missing}")
    if lines:
        yield file, lines
