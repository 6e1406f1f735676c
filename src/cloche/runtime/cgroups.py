"""A new container's cgroups: which, who makes them, their limits and their owner."""

from __future__ import annotations

from cloche.errors import FailedPrecondition
from cloche.kernel.cgroups.cgroup import Cgroup
from cloche.kernel.cgroups.layout import layout
from cloche.runtime.gather import is_rootless
from cloche.runtime.plan_namespaces import delegate_of, inner_group

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from cloche.runtime.facts import CgroupFacts
    from cloche.runtime.scope import Scope
    from cloche.spec.config import Config


def planned_cgroups(
    config: Config, container_id: str, *, systemd: bool, rootless: bool | None
) -> tuple[Cgroup, Scope | None, bool]:
    """The cgroups to make; the scope that they are of, where systemd makes them; whether to make do.

    rootless: do without what may not be done to cgroups; None where the caller is not root.
    """
    if not systemd:
        path = config.get("linux", {}).get("cgroupsPath") or container_id
        return Cgroup.plan(layout(), path), None, is_rootless() if rootless is None else rootless
    from cloche.runtime.scope import is_managed_by_user, scope_for

    rootless = is_managed_by_user() if rootless is None else rootless
    scope = scope_for(config, container_id, rootless=rootless)
    return scope.cgroup, scope, rootless


def by_scope(facts: CgroupFacts, scope: Scope, config: Config, *, rootless: bool) -> CgroupFacts:
    """The process comes in by stage one, around which systemd starts the scope."""

    def limited(resources: Mapping[str, Any]) -> None:
        make_cgroup(scope.cgroup, config, rootless=rootless, joined=True, resources=resources)

    return facts.replace(entrance=scope.entrance(config, limited), few_pids=scope.few_pids(config))


def refused_limit(place: str, error: OSError) -> FailedPrecondition:
    """A cgroup that cannot be made, or a limit that it cannot be given, in the user's terms."""
    from cloche.runtime.advice import advice

    where = f"{error.filename}: " if error.filename else ""
    todo = advice("write limit" if "resources" in place else "make cgroup", error.errno or 0)
    return FailedPrecondition(f"{place}: {where}{error.strerror}{f': {todo}' if todo else ''}")


def make_cgroup(
    cgroup: Cgroup,
    config: Config,
    *,
    rootless: bool | None = None,
    joined: bool = False,
    resources: Mapping[str, Any] | None = None,
) -> None:
    """Make a container's cgroups and set its limits. Raises FailedPrecondition that names the place.

    rootless: do without what may not be done; None where the caller is not root. joined: what runs
    there is ours. resources: instead of the configuration's.
    """
    rootless = is_rootless() if rootless is None else rootless
    place = "linux.cgroupsPath"
    try:
        cgroup.make(rootless=rootless, joined=joined)
        place = "linux.resources"
        limits = config.get("linux", {}).get("resources", {}) if resources is None else resources
        cgroup.apply(limits, rootless=rootless)
        place = "linux.namespaces cgroup"
        owner = delegate_of(config)
        if owner and not rootless:
            cgroup.delegate(owner, inner_group(config))
    except OSError as error:
        raise refused_limit(f"config.json: {place}", error) from None
