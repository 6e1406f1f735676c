"""The part of a plan in which the caller makes detached mounts: the sources of bind mounts and their kin.

They need the host's credentials and the host's paths, which stage two has not. But the kernel numbers
mounts as they are made, and since Linux 6.8 lists them by that number: made beforehand, they would
stand before all that stage two makes, whatever the order of the configuration. So what follows a
mount of stage two's own is only found beforehand (what is missing fails before any process
exists), and copied when stage two asks for it. It is sent a descriptor, and no path is looked up
a second time.

The cgroups of v1 hierarchies stand in a mount of stage two's own and in no configuration: they are
copied by stage one, beforehand.
"""

from __future__ import annotations

from cloche import os
from cloche.errors import InvalidArgument
from cloche.runtime import operations as op
from cloche.runtime.caller import CloneFound, CloneTree, FindTree, HandOver, MakesMount, OpenFile
from cloche.runtime.plan import CALLER, STAGE_ONE, STAGE_TWO, Step
from cloche.runtime.plan_namespaces import is_new, wanted
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from cloche.runtime.configured_mounts import ConfiguredMount
    from cloche.runtime.facts import Facts
    from cloche.spec.config import Config


class Sources(Record):
    """What the caller does for the mounts of one configuration.

    beforehand: its steps before any process exists. copied: what stage one then copies. requests: steps
    by the place of the mount that they come before. late: the slots that are filled on request.
    """

    beforehand: tuple[Step, ...]
    copied: tuple[Step, ...]
    requests: Mapping[str, tuple[Step, ...]]
    late: frozenset[str]

    def slot(self, slot: str) -> str:
        """Where stage two has a mount from: this slot, or (empty) the next that it is sent."""
        return "" if slot in self.late else slot


def sources(mounts: Sequence[ConfiguredMount], config: Config, facts: Facts) -> Sources:
    """Divide what the caller makes into what is made beforehand and what is made on request.

    Mounts of the caller's that follow each other are requested together. An ordinary user can copy
    nothing for another namespace (plan_rootless): there all is made beforehand.
    """
    beforehand, copied = _hierarchies(mounts, config, facts)
    requests: dict[str, list[Step]] = {}
    late: set[str] = set()
    run: list[Step] | None = None
    is_first = True
    for mount in mounts:
        steps = tuple(_made(mount, mounts, config, facts))
        if not steps:
            is_first, run = False, None
        if is_first or facts.unprivileged:
            beforehand += steps
        elif steps:
            beforehand += _prepared(steps)
            if run is None:
                run = requests[mount.place] = [Step(mount.place, STAGE_TWO, op.RequestMounts())]
            run += _completed(steps)
            late.update(_filled(steps))
    requested = {place: tuple(run) for place, run in requests.items()}
    return Sources(tuple(beforehand), tuple(copied), requested, frozenset(late))


def _hierarchies(
    mounts: Iterable[ConfiguredMount], config: Config, facts: Facts
) -> tuple[list[Step], list[Step]]:
    """The container's cgroup in each v1 hierarchy, where no namespace of its own shows it: found, copied."""
    found: list[Step] = []
    copied: list[Step] = []
    for mount in mounts:
        if mount.type != "cgroup" or mount.is_bind or is_new(config, "cgroup") or mount.is_unified(facts):
            continue
        for hierarchy in facts.cgroups.hierarchies:
            slot = f"{mount.place}:{hierarchy.name}"
            found.append(Step(mount.place, CALLER, OpenFile(slot, hierarchy.path, os.O_PATH)))
            copied.append(Step(mount.place, STAGE_ONE, op.CopyFound(slot, 1)))
    return found, copied


def _found(slot: str) -> str:
    return f"{slot}:found"


def _prepared(steps: Iterable[Step]) -> Iterator[Step]:
    """What of a late mount's steps is done beforehand."""
    for step in steps:
        if isinstance(step.operation, CloneTree):
            tree = step.operation
            yield Step(step.place, CALLER, FindTree(_found(tree.slot), tree.source))


def _completed(steps: Sequence[Step]) -> Iterator[Step]:
    """The rest of them, and what stage two receives."""
    for step in steps:
        if isinstance(step.operation, CloneTree):
            tree = step.operation
            yield Step(step.place, CALLER, CloneFound(tree.slot, _found(tree.slot), tree.recursive))
        else:
            yield step
    for slot in _filled(steps):
        yield Step(steps[0].place, CALLER, HandOver(slot))


def _filled(steps: Iterable[Step]) -> list[str]:
    """The slots of the mounts that these steps make."""
    return [step.operation.slot for step in steps if isinstance(step.operation, MakesMount)]


def _made(
    mount: ConfiguredMount, mounts: Sequence[ConfiguredMount], config: Config, facts: Facts
) -> Iterator[Step]:
    """The caller's steps for one mount, as they are where nothing is late."""
    place = mount.place
    if mount.is_bind:
        source = os.path.join(facts.bundle, mount.entry.get("source", ""))
        yield Step(place, CALLER, CloneTree(place, source, mount.options.recursive))
        if mount.is_mapped:
            yield from _mapped(mount, source, config)
    elif mount.is_unified(facts):
        if mount.shows_the_hosts(config, facts):
            yield Step(place, CALLER, CloneTree(place, facts.cgroups.tree, False))
    elif mount.options.copy_up:
        from cloche.runtime.copyup import CopyUp

        base, path = _beneath(mount, mounts)
        words = mount.words(config, facts)
        yield Step(place, CALLER, CopyUp(place, base, path, words, mount.attributes))


def _beneath(mount: ConfiguredMount, mounts: Sequence[ConfiguredMount]) -> tuple[str, str]:
    """Where what a mount will cover can be read before it is mounted: slot and path in it.

    In the rootfs, unless an earlier bind mount has put something else there. The slot is empty
    where a new file system is there, in which nothing can be yet.
    """
    path = mount.target
    earlier = mounts[: next(i for i, one in enumerate(mounts) if one is mount)]
    for above in reversed(earlier):
        if path == above.target or path.startswith(f"{above.target}/"):
            return above.place if above.is_bind else "", path[len(above.target) :] or "/"
    return "rootfs", path


def _mapped(mount: ConfiguredMount, source: str, config: Config) -> Iterator[Step]:
    """The idmapping of a bind mount: its own mappings, or those of the container's user namespace."""
    from cloche.runtime.idmap import MakeUserNamespace, MapTree, ranges

    place, entry = mount.place, mount.entry
    linux = config.get("linux", {})
    own = bool(entry.get("uidMappings"))
    uids, gids = ranges(entry.get("uidMappings", [])), ranges(entry.get("gidMappings", []))
    if bool(uids) != bool(gids):
        raise InvalidArgument(f"config.json: {place}: uidMappings and gidMappings are needed both")
    namespace = "namespace:user"
    if own or not wanted(config).get("user"):
        if not own:
            uids, gids = ranges(linux.get("uidMappings", [])), ranges(linux.get("gidMappings", []))
        if not uids:
            raise InvalidArgument(
                f"config.json: {place}.options: idmap needs uidMappings and gidMappings: "
                "neither the mount nor the container's user namespace has any"
            )
        namespace = f"idmap:{uids}:{gids}"
        yield Step(place, CALLER, MakeUserNamespace(namespace, uids, gids))
    yield Step(place, CALLER, MapTree(place, namespace, mount.options.recursive_idmap, source))
