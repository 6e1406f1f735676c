"""Compile a configuration into a plan. Pure: nothing is opened, made or looked up here.

The order of creation is this module, that of an exec is compile_exec.py; the reason for each position
stands beside it.
"""

from __future__ import annotations

from cloche import os
from cloche.errors import FailedPrecondition, Unimplemented
from cloche.runtime import operations as op
from cloche.runtime import (
    plan_devices,
    plan_mounts,
    plan_namespaces,
    plan_process,
    plan_sources,
)
from cloche.runtime.caller import OpenFile
from cloche.runtime.configured_mounts import configured_mounts
from cloche.runtime.plan import CALLER, STAGE_TWO, Plan, Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from cloche.runtime.configured_mounts import ConfiguredMount
    from cloche.runtime.facts import Facts
    from cloche.runtime.plan_sources import Sources
    from cloche.spec.config import Config


def compile_create(config: Config, facts: Facts) -> Plan:
    """The plan that makes a container and starts its process.

    config: validated. Raises InvalidArgument or Unimplemented naming the place in config.json.
    """
    refuse_unsupported(config, facts)
    process = config["process"]
    mounts = configured_mounts(config)
    sources = plan_sources.sources(mounts, config, facts)
    steps = (
        *opened(config, facts, mounts, sources),
        *copied(config, facts, mounts, sources),
        *plan_process.scored(process, rootless=facts.rootless),
        *plan_namespaces.joined_namespaces(config),
        *plan_namespaces.offset_clocks(config),
        *plan_namespaces.cloned(config, facts.cgroups),
        # Stage two. Cgroups before all else, so that nothing it does escapes them.
        *plan_namespaces.entered_cgroups(facts.cgroups),
        *plan_namespaces.mapped_ids(config),
        # In a pid namespace that others share they must not read a process that is still privileged.
        # Not before the id maps: an unprivileged caller could not write those any more.
        Step("process", STAGE_TWO, op.ForbidDumps()),
        *plan_namespaces.unshared_namespaces(config),
        Step("process", STAGE_TWO, op.NewSession()),
        *plan_process.keyring(facts),
        *plan_namespaces.prepared_network(config),
        *plan_mounts.propagation(config),
        *plan_mounts.own_proc(config),
        *memory_policy(config),
        *plan_mounts.attached_root(config, facts),
        *plan_mounts.mounts(mounts, sources, config, facts),
        *plan_devices.devices(mounts, config, facts),
        *plan_process.console(process, bind=True),
        Step("process.cwd", STAGE_TWO, op.MakeDirectory(process["cwd"], 0o755)),
        # Hooks see everything made, and the host's paths for the last time.
        *hooks(config, facts, "runtime"),
        *hooks(config, facts, "createContainer"),
        # From here on no operation can name a path of the host.
        *plan_mounts.entered_root(config, facts),
        *plan_process.streams(process),
        *plan_mounts.settled(mounts, config),
        *plan_namespaces.named_host(config),
        *plan_mounts.sysctls(config),
        *plan_process.labels(process),
        *plan_mounts.protected_paths(config),
        *plan_mounts.root_propagation(config),
        *plan_process.limits(process, raised=plan_namespaces.is_new(config, "user")),
        *plan_process.scheduled(process),
        *persona(config),
        *plan_process.privileges_given_up(process, facts),
        *awaited_start(facts.gate),
        *plan_process.filter_late(process, facts),
        *hooks(config, facts, "startContainer"),
        *plan_process.execute(process, facts.home),
    )
    if facts.unprivileged:
        from cloche.runtime.plan_rootless import unprivileged

        steps = unprivileged(steps, config)
    return Plan(steps)


def opened(
    config: Config, facts: Facts, mounts: Sequence[ConfiguredMount], sources: Sources
) -> Iterator[Step]:
    """What the caller opens first of all: a bad path fails before any process exists."""
    yield from plan_namespaces.entering(facts.cgroups)
    yield from plan_namespaces.opened_namespaces(config)
    yield from checked_sysctls(config)
    yield from plan_namespaces.opened_cgroups(facts.cgroups)
    yield from plan_mounts.opened_root(config, facts)
    yield from sources.beforehand
    yield from plan_devices.opened_devices(mounts, config, facts)
    yield from plan_mounts.opened_null(config)
    yield from plan_mounts.lent_proc(config)
    yield from opened_gate(facts.gate)
    yield from plan_process.opened_handover(facts)


def copied(
    config: Config, facts: Facts, mounts: Sequence[ConfiguredMount], sources: Sources
) -> Iterator[Step]:
    """What stage one copies, before it joins a mount namespace: what was opened is in the caller's."""
    yield from plan_mounts.copied(config, facts)
    yield from sources.copied
    yield from plan_devices.copied_devices(mounts, config, facts)


def checked_sysctls(config: Config) -> Iterable[Step]:
    """That no sysctl reaches the host; few containers have any, so their code is loaded here."""
    if not config.get("linux", {}).get("sysctl"):
        return ()
    from cloche.runtime import plan_sysctls

    return plan_sysctls.checked_sysctls(config)


def hooks(config: Config, facts: Facts, kind: str) -> Iterable[Step]:
    """Those of one point of the sequence; few containers have any, so their code is loaded here."""
    if not config.get("hooks"):
        return ()
    from cloche.runtime import plan_hooks

    if kind == "runtime":
        return plan_hooks.runtime_hooks(config, facts)
    return plan_hooks.container_hooks(config, facts, kind)


def memory_policy(config: Config) -> Iterable[Step]:
    """Where memory comes from; loaded here as hooks are, like the rest of what few processes ask for."""
    if not config.get("linux", {}).get("memoryPolicy"):
        return ()
    from cloche.runtime import plan_scheduling

    return plan_scheduling.memory_policy(config)


def persona(config: Config) -> Iterable[Step]:
    """The execution domain."""
    if not config.get("linux", {}).get("personality"):
        return ()
    from cloche.runtime import plan_scheduling

    return plan_scheduling.persona(config)


def opened_gate(gate: str) -> Iterator[Step]:
    """The fifos between this container and a later `start`.

    Read and write: so the container's process is reader and writer of both, and neither side ever
    sees an end of file, or waits for a peer, before the other is truly gone.
    """
    if gate:
        for name in ("start", "result"):
            yield Step("create", CALLER, OpenFile(f"gate:{name}", f"{gate}/{name}.fifo", os.O_RDWR))


def awaited_start(gate: str) -> Iterator[Step]:
    """The gate itself: all is made and checked, and the program does not run yet."""
    if gate:
        yield Step("create", STAGE_TWO, op.AwaitStart("gate:start", "gate:result"))


UNSUPPORTED = ("intelRdt",)


def refuse_unsupported(config: Config, facts: Facts) -> None:
    """What would silently be missing is refused instead: never less isolation than was asked for."""
    linux = config.get("linux", {})
    if linux.get("intelRdt"):
        if not facts.resctrl:
            raise FailedPrecondition(
                "config.json: linux.intelRdt: Intel RDT is not enabled on this machine: remove it"
            )
        raise Unimplemented(
            "config.json: linux.intelRdt: cache and bandwidth allocation are not supported: remove it"
        )
    for index, namespace in enumerate(linux.get("namespaces", ())):
        if namespace["type"] not in plan_namespaces.KINDS:
            place = f"linux.namespaces[{index}]"
            raise Unimplemented(f"config.json: {place}: {namespace['type']} namespaces are not supported yet")
