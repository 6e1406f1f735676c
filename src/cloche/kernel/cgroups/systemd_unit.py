"""A container's cgroup as a scope of systemd: named, started around a process, changed, and stopped.

systemd makes no scope without a process in it, and keeps none that is empty. So it is given the
runtime's own child that has not read its plan yet (cloche-init's stage one): everything that comes
after it is born inside, and systemd is the only one that ever moves a process.
"""

from __future__ import annotations

from cloche.errors import AlreadyExists, FailedPrecondition, InvalidArgument
from cloche.kernel.cgroups.systemd_bus import Bus, Refused
from cloche.kernel.cgroups.systemd_properties import (
    SINCE,
    device_properties,
    resource_properties,
    unit_properties,
)
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from cloche.kernel.cgroups.systemd_properties import Property

_SCOPE, _SLICE = ".scope", ".slice"
_NAME_LIMIT = 255
_NAME_LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789:-_.\\@")
_PREFIX = "runc"


class Unit(Record):
    """A scope and where it belongs. name: `cri-1234.scope`; slice: `machine.slice`; user: of his manager."""

    name: str
    slice: str
    user: bool = False


def unit_for(cgroups_path: str, container_id: str, *, user: bool) -> Unit:
    """The unit that linux.cgroupsPath means: `slice:prefix:name`. Without one the id gives the name.

    Raises InvalidArgument for a path that is not of that form or names no unit.
    """
    place = "config.json: linux.cgroupsPath"
    parts = (cgroups_path or f":{_PREFIX}:{container_id}").split(":")
    if len(parts) != 3:
        raise InvalidArgument(
            f'{place}: is "slice:prefix:name" where systemd has the cgroups, not {cgroups_path!r}'
        )
    slice_name, prefix, name = parts
    slice_name = slice_name or ("user.slice" if user else "system.slice")
    if name.endswith(_SLICE):
        raise InvalidArgument(f"{place}: {name!r} is a slice, and processes can only be in a scope")
    unit = f"{prefix}-{name}{_SCOPE}" if prefix else f"{name}{_SCOPE}"
    if not name or len(unit) > _NAME_LIMIT or not _NAME_LETTERS.issuperset(unit):
        raise InvalidArgument(f"{place}: {unit!r} cannot be a unit's name (unit names: systemd.unit(5))")
    slice_path(slice_name)
    return Unit(unit, slice_name, user)


def slice_path(name: str) -> str:
    """The path of a slice: `a-b.slice` is /a.slice/a-b.slice. Raises InvalidArgument."""
    stem = name.removesuffix(_SLICE)
    if stem == "-" and name.endswith(_SLICE):
        return "/"
    words = stem.split("-")
    if not name.endswith(_SLICE) or not all(words) or not _NAME_LETTERS.issuperset(stem):
        raise InvalidArgument(f"config.json: linux.cgroupsPath: {name!r} is not the name of a slice")
    return "".join(f"/{'-'.join(words[: count + 1])}{_SLICE}" for count in range(len(words)))


def path(bus: Bus, unit: Unit) -> str:
    """Where the unit's cgroup is, from the root of every hierarchy."""
    above = str(bus.property("ControlGroup")) if unit.user else ""
    return f"{above}{slice_path(unit.slice)}/{unit.name}".replace("//", "/")


def start(
    bus: Bus,
    unit: Unit,
    resources: Mapping[str, Any],
    *,
    pid: int,
    unified: bool,
    extra: Iterable[Property] = (),
) -> None:
    """Start the scope around a process, with the limits that systemd can hold.

    extra: properties that the configuration's annotations ask for. Raises AlreadyExists when there
    is such a unit, FailedPrecondition in systemd's words for what it refuses.
    """
    wanted = [
        *unit_properties(f"cloche container {unit.name}", unit.slice, pid, unified=unified),
        *extra,
        *device_properties(resources.get("devices") or ()),
        *_known(bus, resource_properties(resources, unified=unified)),
    ]
    try:
        job = _started(bus, unit.name, wanted)
    except Refused as error:
        if error.name == "UnitExists":
            raise AlreadyExists(
                f"systemd has a unit {unit.name!r} already: choose another cgroupsPath"
            ) from None
        raise FailedPrecondition(f"unit {unit.name!r}: {error}") from None
    result = bus.job_result(job)
    if result != "done":
        _reset(bus, unit)
        raise FailedPrecondition(f"systemd could not start the unit {unit.name!r}: {result}")


def _started(bus: Bus, name: str, properties: list[Property]) -> str:
    arguments = ("ssa(sv)a(sa(sv))", name, "replace", properties, ())
    try:
        (job,) = bus.call("StartTransientUnit", *arguments)
    except Refused as error:
        if error.name != "UnitExists":
            raise
        # What failed once stays loaded, under the same name, until somebody says that he has seen it.
        _reset(bus, Unit(name, ""))
        (job,) = bus.call("StartTransientUnit", *arguments)
    return str(job)


def _known(bus: Bus, properties: Iterable[Property]) -> list[Property]:
    """Without those that this systemd is too old for: they hold by the cgroup's files alone."""
    wanted = list(properties)
    newest = max((SINCE.get(name, 0) for name, _ in wanted), default=0)
    version = _version(bus) if newest else 0
    return [(name, value) for name, value in wanted if SINCE.get(name, 0) <= version]


def _version(bus: Bus) -> int:
    """`v252.38-1~deb12u1` is 252; 0 for what nobody understands."""
    text = str(bus.property("Version")).lstrip("v")
    digits = text[: next((i for i, letter in enumerate(text) if not letter.isdigit()), len(text))]
    return int(digits or 0)


def change(bus: Bus, unit: Unit, resources: Mapping[str, Any], *, unified: bool) -> None:
    """Give the running unit other limits, until it ends; devices stay as they are."""
    wanted = [
        item
        for item in _known(bus, resource_properties(resources, unified=unified))
        if item[0] != "OOMPolicy"  # it is fixed once the unit has started
    ]
    try:
        bus.call("SetUnitProperties", "sba(sv)", unit.name, True, wanted)
    except Refused as error:
        raise FailedPrecondition(f"unit {unit.name!r}: {error}") from None


def attach(bus: Bus, unit: Unit, pid: int, *, below: str = "") -> None:
    """Have systemd move a process into the unit's cgroup, or into the cgroup `below` that."""
    try:
        bus.call("AttachProcessesToUnit", "ssau", unit.name, f"/{below.strip('/')}" if below else "", [pid])
    except Refused as error:
        raise FailedPrecondition(f"unit {unit.name!r}: {error}") from None


def stop(bus: Bus, unit: Unit) -> None:
    """Stop the unit and have systemd forget it; nothing happens when it is gone already."""
    try:
        (job,) = bus.call("StopUnit", "ss", unit.name, "replace")
        bus.job_result(job)
    except Refused as error:
        if error.name != "NoSuchUnit":
            raise
    _reset(bus, unit)


def _reset(bus: Bus, unit: Unit) -> None:
    try:
        bus.call("ResetFailedUnit", "s", unit.name)
    except Refused:
        return  # it had not failed, so it is gone
