"""Containers whose cgroup is a scope of systemd (`--systemd-cgroup`).

    caller                              systemd                    stage one
    spawn ----------------------------------------------------------> waits for its plan
    StartTransientUnit(its pid) ------> makes the cgroup, moves it --> is inside
    <------------------- job is done
    other limits, files to enter by
    the plan ------------------------------------------------------> clones the container's process

So the container's process is born in its cgroup, as without systemd, and nothing that it does
escapes the limits. They are told to systemd and written to the files: systemd does not know all of
them, and would write over those of which it knows other values.
"""

from __future__ import annotations

from cloche.errors import ClocheError, FailedPrecondition
from cloche.kernel.cgroups import systemd_bus, systemd_unit
from cloche.kernel.cgroups.cgroup import Cgroup
from cloche.kernel.cgroups.layout import UNIFIED, layout
from cloche.kernel.cgroups.systemd_annotations import annotated_properties
from cloche.kernel.cgroups.systemd_properties import with_whole_percents
from cloche.kernel.cgroups.systemd_unit import Unit
from cloche.runtime.caller import EntersStageOne, Performing
from cloche.runtime.gather import is_rootless

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from cloche.kernel.cgroups.systemd_bus import Bus
    from cloche.runtime.state import State
    from cloche.spec.config import Config

    Section = Mapping[str, Any]

_LEAST_PIDS = 2
"""Stage one and the process that it clones: with less the clone would be refused."""


class Scope:
    """A container's scope and the cgroup that systemd makes for it."""

    def __init__(self, unit: Unit, cgroup: Cgroup) -> None:
        self.unit = unit
        self.cgroup = cgroup
        self._started = False

    @property
    def _unified(self) -> bool:
        return layout().mode == "unified"

    def _bus(self) -> Bus:
        return systemd_bus.Bus.connect(user=self.unit.user)

    def entrance(self, config: Config, limited: Callable[[Section], None]) -> StartScope:
        """What starts the scope. limited: sets limits in the cgroup's files once it is there."""
        return StartScope(self, config, limited)

    def start(self, config: Config, pid: int, limited: Callable[[Section], None]) -> None:
        """Start it around a process, with all limits."""
        resources = roomy(limits_of(config))
        with self._bus() as bus:
            systemd_unit.start(
                bus,
                self.unit,
                resources,
                pid=pid,
                unified=self._unified,
                extra=annotated_properties(config.get("annotations", {})),
            )
        self._started = True
        # systemd makes it only in the hierarchies, and hands down the controllers, that it knows itself.
        limited(with_whole_percents(resources))

    def few_pids(self, config: Config) -> tuple[str, int] | None:
        """The file and value of a limit that stage one would have met; None where it does not."""
        directory = self.cgroup.paths.get("pids", self.cgroup.paths.get(UNIFIED))
        return (f"{directory}/pids.max", 1) if directory and needs_room(limits_of(config)) else None

    def settle(self, config: Config) -> None:
        """Once the process is there: the limits that would have forbidden its clone."""
        if not needs_room(limits_of(config)):
            return
        try:
            self.tell({"pids": limits_of(config)["pids"]})
        except FailedPrecondition:
            return  # the program has ended already, and the unit with it

    def tell(self, resources: Section) -> Section:
        """Let systemd know of other limits. Returns those that are to be written to the files then."""
        with self._bus() as bus:
            systemd_unit.change(bus, self.unit, resources, unified=self._unified)
        return with_whole_percents(resources)

    def abandon(self) -> None:
        """After a failure: stop it and remove its cgroups, if it is ours and not another's of that name."""
        if self._started:
            self.release()
            self.cgroup.destroy()

    def release(self) -> None:
        """Before the cgroups of a container are removed: have systemd forget the scope.

        A manager that is gone (the user has logged out) or refuses does not keep a container from being
        deleted: it forgets a scope that is empty by itself.
        """
        try:
            self.stop()
        except ClocheError:
            return

    def stop(self) -> None:
        """Have systemd end and forget it."""
        with self._bus() as bus:
            systemd_unit.stop(bus, self.unit)


def limits_of(config: Config) -> Section:
    """linux.resources, empty where there are none."""
    return config.get("linux", {}).get("resources", {})


def needs_room(resources: Section) -> bool:
    """Whether so few processes are allowed that the container's could not be made."""
    limit = (resources.get("pids") or {}).get("limit")
    return limit is not None and 0 <= limit < _LEAST_PIDS


def roomy(resources: Section) -> Section:
    """The same limits with as many processes as it takes to make the container's."""
    return {**resources, "pids": {"limit": _LEAST_PIDS}} if needs_room(resources) else resources


def is_managed_by_user() -> bool:
    """Whether the user's own manager is the one to ask, and not the system's."""
    return is_rootless() and not systemd_bus.is_ours()


def scope_for(config: Config, container_id: str, *, rootless: bool) -> Scope:
    """The scope that a configuration means; nothing is made.

    Raises InvalidArgument for a cgroupsPath or an annotation that systemd could not understand,
    FailedPrecondition where there is no systemd, or none that could be asked.
    """
    if not systemd_bus.is_running():
        raise FailedPrecondition(
            "--systemd-cgroup: systemd is not running on this machine, so it cannot manage cgroups: "
            "leave the flag out"
        )
    if rootless and layout().mode != "unified":
        raise FailedPrecondition(
            "--systemd-cgroup: without root this needs a machine with cgroup2 alone: leave the flag out"
        )
    path = config.get("linux", {}).get("cgroupsPath", "")
    unit = systemd_unit.unit_for(path, container_id, user=rootless)
    for _ in annotated_properties(config.get("annotations", {})):
        pass  # all are read now: later there would be something to undo
    with systemd_bus.Bus.connect(user=rootless) as bus:
        return Scope(unit, Cgroup.plan(layout(), systemd_unit.path(bus, unit)))


def scope_of(state: State) -> Scope:
    """The scope of a container that exists, whose state names a unit."""
    return Scope(Unit(state.unit, "", state.user_unit), Cgroup.load(layout(), state.cgroup_paths))


class StartScope(EntersStageOne):
    """StartTransientUnit of a scope around stage one: what comes after it is born in its cgroup."""

    scope: Scope
    config: Config
    limited: Callable[[Section], None]

    def describe(self) -> str:
        """See the base."""
        return f"start scope name={self.scope.unit.name!r} slice={self.scope.unit.slice!r}"

    def perform(self, performing: Performing) -> None:
        """See the class."""
        self.scope.start(self.config, performing.pid, self.limited)


class AttachToScope(EntersStageOne):
    """AttachProcessesToUnit of stage one: a user may not move between what systemd gave him himself.

    The kernel asks for rights in the cgroup above both, which is root's where he logged in.
    """

    name: str
    below: str

    def perform(self, performing: Performing) -> None:
        """See the class."""
        with systemd_bus.Bus.connect(user=True) as bus:
            systemd_unit.attach(bus, Unit(self.name, "", True), performing.pid, below=self.below)
