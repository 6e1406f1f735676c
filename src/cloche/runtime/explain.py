"""The plan of a bundle without carrying it out: nothing is opened for good, made or written."""

from __future__ import annotations

import os

from cloche.runtime.cgroups import by_scope, planned_cgroups
from cloche.runtime.compile import compile_create
from cloche.runtime.gather import gather, with_listener

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.runtime.plan import Plan
    from cloche.spec.config import Config


def plan_of(
    config: Config,
    container_id: str,
    *,
    bundle: str,
    gate: str = "",
    pivot: bool = True,
    keyring: bool = True,
    warnings: list[str] | None = None,
    systemd: bool = False,
    rootless_cgroups: bool | None = None,
) -> Plan:
    """What `create` would execute. The arguments are its own; gate: the folder of the container's state.

    Needs no privileges. Raises what compiling raises.
    """
    linux = config.get("linux", {})
    compiled = (b"", 0)
    if profile := linux.get("seccomp"):
        from cloche.kernel import seccomp

        compiled = seccomp.compile(profile, warnings)
    cgroup, scope, rootless = planned_cgroups(
        config, container_id, systemd=systemd, rootless=rootless_cgroups
    )
    if rootless and not scope:
        # As `make` would find out by trying.
        cgroup.paths = {name: path for name, path in cgroup.paths.items() if _may_make(path)}
    facts = gather(config, cgroup, compiled, bundle=bundle, rootfs=None)
    facts = facts.replace(id=container_id, pivot=pivot, keyring=keyring, gate=gate)
    if scope:
        facts = facts.replace(cgroups=by_scope(facts.cgroups, scope, config, rootless=rootless))
    return compile_create(config, with_listener(facts, config, "creating"))


def _may_make(directory: str) -> bool:
    """Whether a cgroup may be made where its directory would be."""
    above = os.path.dirname(directory)
    while not os.path.isdir(above):
        above = os.path.dirname(above)
    return os.access(above, os.W_OK)
