"""Change the limits of a container that exists: linux.resources, given anew in part."""

from __future__ import annotations

from cloche.errors import ClocheError, FailedPrecondition
from cloche.runtime.state import Lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from cloche.runtime.container import Container
    from cloche.spec.config import Resources

    Section = Mapping[str, Any]

# Lists of the specification whose items are told apart by these members.
_KEYED = {
    "weightDevice": ("major", "minor"),
    "throttleReadBpsDevice": ("major", "minor"),
    "throttleWriteBpsDevice": ("major", "minor"),
    "throttleReadIOPSDevice": ("major", "minor"),
    "throttleWriteIOPSDevice": ("major", "minor"),
    "hugepageLimits": ("pageSize",),
    "priorities": ("name",),
}
# Where zero is a value and not the absence of one.
_ZERO_COUNTS = frozenset(("burst", "idle", "swappiness", "weight", "leafWeight", "rate"))


def merge(old: Section, new: Section) -> dict[str, Any]:
    """The limits that hold when `new` was given to a container that had `old`.

    What is not mentioned stays. A zero where the specification's users write it for "not set"
    stays too; a device of a list is replaced by the same device.
    """
    merged = dict(old)
    for key, value in new.items():
        if isinstance(value, dict):
            merged[key] = merge(old.get(key) or {}, value)
        elif isinstance(value, list) and key in _KEYED:
            merged[key] = _merged_list(old.get(key) or [], value, _KEYED[key])
        elif value or key in _ZERO_COUNTS or key not in old:
            merged[key] = value
    if new.get("pids", {}).get("limit") is not None:
        merged["pids"] = dict(new["pids"])
    memory = new.get("memory") or {}
    if memory.get("limit") == -1 and not memory.get("swap"):
        # An old limit on memory and swap together would still be one on memory.
        merged["memory"].pop("swap", None)
    return merged


def _merged_list(old: list[Any], new: list[Any], members: tuple[str, ...]) -> list[Any]:
    def identity(item: Section) -> tuple[Any, ...]:
        return tuple(item.get(member) for member in members)

    items = {identity(item): item for item in old}
    for item in new:
        items[identity(item)] = items.get(identity(item), {}) | item
    return list(items.values())


def update(container: Container, resources: Resources) -> list[str]:
    """Give a container new limits, and write them down; returns warnings.

    resources: as in config.json, validated; only what is to change. Devices are left alone.
    What the kernel refuses is undone as far as it can be. Raises FailedPrecondition when the
    container has stopped or a limit is refused.
    """
    with Lock(container.folder):
        if container.status() == "stopped":
            raise FailedPrecondition(f"cannot update a container that is stopped: {container.id!r}")
        container.require_cgroups("update")
        config = container.config
        before: Section = config.get("linux", {}).get("resources", {})
        after = merge(before, resources)
        # Limits of one controller depend on each other (quota on period, swap on memory): a section
        # that is touched is written whole.
        touched = {key: after[key] for key in resources if key != "devices" and key in after}
        try:
            warnings = _give(container, touched)
        except (ClocheError, OSError) as error:
            _undo(container, before, touched)
            if isinstance(error, ClocheError):
                raise
            from cloche.runtime.cgroups import refused_limit

            raise refused_limit("linux.resources", error) from None
        config.setdefault("linux", {})["resources"] = after  # type: ignore[typeddict-item]  # merged from two
        container.folder.write_config(config)
        return warnings


def _give(container: Container, resources: Section) -> list[str]:
    if container.stored.unit:
        from cloche.runtime.scope import scope_of

        # The files come last, as systemd writes those that it knows of.
        resources = scope_of(container.stored).tell(resources)
    return container.cgroup.apply(resources, with_devices=False)


def _undo(container: Container, before: Section, touched: Section) -> None:
    try:
        _give(container, {key: before[key] for key in touched if key in before})
    except (ClocheError, OSError):
        # The refusal itself is what the caller has to know.
        return
