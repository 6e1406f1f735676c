"""What several plugins want of one container, made into one adjustment; and of others, into one update each.

The next plugin may remove what an earlier one has set, and set it anew; without that the two are in
conflict, and the container is not made.
"""

from __future__ import annotations

from cloche.cri.nri.owners import Owners
from cloche.errors import InvalidArgument
from cloche.spec.record import Record
from cloche.wire.messages.nri import adjustments as messages
from cloche.wire.messages.nri import linux as linux_messages
from cloche.wire.messages.nri.containers import Hooks
from cloche.wire.messages.nri.resources import LinuxCPU, LinuxMemory, LinuxPids, LinuxResources
from cloche.wire.messages.nri.values import REMOVAL, KeyValue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

_MEMORY = {
    "limit": "memory limit",
    "reservation": "memory reservation",
    "swap": "memory swap limit",
    "kernel": "kernel memory limit",
    "kernel_tcp": "TCP memory limit",
    "swappiness": "memory swappiness",
    "disable_oom_killer": "memory disable_oom_killer",
    "use_hierarchy": "memory use_hierarchy",
}
_CPU = {
    "shares": "CPU shares",
    "quota": "CPU quota",
    "period": "CPU period",
    "realtime_runtime": "CPU realtime_runtime",
    "realtime_period": "CPU realtime_period",
    "cpus": "CPU cpus",
    "mems": "CPU mems",
}
_OTHERS = {"blockio_class": "blockio class", "rdt_class": "RDT class", "pids": "pids limit"}
_ONCE = {
    "cgroups_path": "cgroups path",
    "oom_score_adj": "oom_score_adj",
    "io_priority": "I/O priority",
    "seccomp_policy": "seccomp policy",
    "scheduler": "scheduler",
    "memory_policy": "memory policy",
}
_RDT = {"clos_id": "RDT clos_id", "schemata": "RDT schemata", "enable_monitoring": "RDT enable_monitoring"}


class Adjustments:
    """Collects what plugins want of a container that is made.

    owners: who set what, of it and of the containers that are updated with it.
    """

    def __init__(self, container: str) -> None:
        self.owners = Owners()
        self._container = container
        # By what is changed, then by key; None for what is removed.
        self._keyed: dict[str, dict[str, Any]] = {}
        self._args: tuple[str, ...] = ()
        self._hooks: dict[str, list[Any]] = {}
        self._once: dict[str, Any] = {}
        self._resources = Resources(self.owners, container)
        self._rules: list[Any] = []
        self._rdt: linux_messages.LinuxRdt | None = None

    def add(self, adjustment: messages.ContainerAdjustment, plugin: str) -> None:
        """What one more plugin wants. Raises InvalidArgument where another has set the same."""
        self._change("annotation", adjustment.annotations, plugin)
        self._change("mount", {each.destination: each for each in adjustment.mounts}, plugin)
        self._change("environment variable", {each.key: each.value for each in adjustment.env}, plugin)
        self._set_args(tuple(adjustment.args), plugin)
        self._add_hooks(adjustment.hooks, plugin)
        for limit in adjustment.rlimits:
            self._claim("rlimit", limit.type, limit, plugin)
        for device in adjustment.cdi_devices:
            self._claim("CDI device", device.name, device, plugin, once=True)
        if adjustment.linux is not None:
            self._add_linux(adjustment.linux, plugin)

    def _add_linux(self, linux: messages.LinuxContainerAdjustment, plugin: str) -> None:
        self._change("device", {each.path: each for each in linux.devices}, plugin)
        self._change("sysctl", linux.sysctl, plugin)
        self._change("network device", linux.net_devices, plugin)
        for namespace in linux.namespaces:
            kind = namespace.type.removeprefix(REMOVAL)
            removed = namespace.type.startswith(REMOVAL)
            self._claim("namespace", kind, None if removed else namespace, plugin)
        for name, field in _ONCE.items():
            value = getattr(linux, name)
            if value is not None and value != "":
                self.owners.claim(self._container, field, plugin)
                self._once[name] = value
        if linux.resources is not None:
            self._resources.add(linux.resources, plugin)
            self._rules += linux.resources.devices
        if linux.rdt is not None:
            self._set_rdt(linux.rdt, plugin)

    def _change(self, field: str, given: Mapping[str, Any], plugin: str) -> None:
        changes = self._keyed.setdefault(field, {})
        for key in given:
            if key.startswith(REMOVAL):
                removed = key.removeprefix(REMOVAL)
                self.owners.clear(self._container, field, plugin, key=removed)
                changes.pop(removed, None)
                changes[removed] = None
        for key, value in given.items():
            if not key.startswith(REMOVAL):
                self._claim(field, key, value, plugin)

    def _claim(self, field: str, key: str, value: Any, plugin: str, *, once: bool = False) -> None:
        changes = self._keyed.setdefault(field, {})
        if once and key in changes:
            first = self.owners.all_of(self._container, field)[key]
            raise InvalidArgument(f"NRI plugins {first!r} and {plugin!r} both set {field} {key!r}")
        self.owners.claim(self._container, field, plugin, key=key)
        changes.pop(key, None)
        changes[key] = value

    def _set_args(self, args: tuple[str, ...], plugin: str) -> None:
        if not args:
            return
        if not args[0]:
            self.owners.clear(self._container, "args", plugin)
            args = args[1:]
        self.owners.claim(self._container, "args", plugin)
        self._args = args

    def _add_hooks(self, hooks: Hooks | None, plugin: str) -> None:
        for field in Hooks.FIELDS if hooks is not None else ():
            added = getattr(hooks, field.name)
            if added:
                self.owners.add(self._container, "OCI hooks", plugin)
                self._hooks.setdefault(field.name, []).extend(added)

    def _set_rdt(self, rdt: linux_messages.LinuxRdt, plugin: str) -> None:
        if self._rdt is None or rdt.remove:
            self._rdt = linux_messages.LinuxRdt(remove=rdt.remove)
        if rdt.remove:
            for field in _RDT.values():
                self.owners.clear(self._container, field, plugin)
        for name, field in _RDT.items():
            value = getattr(rdt, name)
            if value is not None:
                self.owners.claim(self._container, field, plugin)
                setattr(self._rdt, name, value)

    def combined(self) -> messages.ContainerAdjustment:
        """All of it."""
        keyed = self._keyed
        linux = messages.LinuxContainerAdjustment(
            devices=_marked(keyed.get("device", {}), linux_messages.LinuxDevice, "path"),
            namespaces=_marked(keyed.get("namespace", {}), linux_messages.LinuxNamespace, "type"),
            sysctl=_marked_map(keyed.get("sysctl", {}), ""),
            net_devices=_marked_map(keyed.get("network device", {}), linux_messages.LinuxNetDevice()),
            resources=self._resources.combined(self._rules),
            **self._once,
        )
        if self._rdt is not None:
            linux.rdt = self._rdt
        from cloche.wire.messages.nri.containers import Mount

        variables = keyed.get("environment variable", {})
        return messages.ContainerAdjustment(
            annotations=_marked_map(keyed.get("annotation", {}), ""),
            mounts=_marked(keyed.get("mount", {}), Mount, "destination"),
            env=[
                KeyValue(key=REMOVAL + key) if value is None else KeyValue(key=key, value=value)
                for key, value in variables.items()
            ],
            args=self._args,
            hooks=Hooks(**self._hooks) if self._hooks else None,
            rlimits=list(keyed.get("rlimit", {}).values()),
            cdi_devices=list(keyed.get("CDI device", {}).values()),
            linux=linux,
        )


def _marked(changes: Mapping[str, Any], kind: Any, name: str) -> list[Any]:
    return [kind(**{name: REMOVAL + key}) if value is None else value for key, value in changes.items()]


def _marked_map(changes: Mapping[str, Any], nothing: Any) -> dict[str, Any]:
    return {
        REMOVAL + key if value is None else key: nothing if value is None else value
        for key, value in changes.items()
    }


class _Change(Record):
    """One limit that a plugin sets. key: which of several."""

    field: str
    into: dict[str, Any]
    name: str
    value: Any
    key: str | None = None


class Resources:
    """Collects limits of one container. start: what they are laid over."""

    def __init__(self, owners: Owners, container: str, start: LinuxResources | None = None) -> None:
        start = start or LinuxResources()
        self._owners = owners
        self._container = container
        self._memory = dict(vars(start.memory or LinuxMemory()))
        self._cpu = dict(vars(start.cpu or LinuxCPU()))
        self._pages = {each.page_size: each for each in start.hugepage_limits}
        self._unified = dict(start.unified)
        self._others = {name: getattr(start, name) for name in _OTHERS if getattr(start, name) is not None}

    def add(self, wanted: LinuxResources, plugin: str) -> None:
        """What a plugin wants. Raises InvalidArgument where another has set the same; then none of it is."""
        changes = list(self._changes(wanted))
        for change in changes:
            self._owners.check(self._container, change.field, plugin, key=change.key)
        for change in changes:
            self._owners.claim(self._container, change.field, plugin, key=change.key)
            change.into[change.name] = change.value

    def _changes(self, wanted: LinuxResources) -> Iterator[_Change]:
        for given, fields, into in (
            (wanted.memory, _MEMORY, self._memory),
            (wanted.cpu, _CPU, self._cpu),
            (wanted, _OTHERS, self._others),
        ):
            for name, field in fields.items() if given is not None else ():
                value = getattr(given, name)
                if value is not None and value != "":
                    yield _Change(field, into, name, value)
        for page in wanted.hugepage_limits:
            yield _Change("hugepage limit", self._pages, page.page_size, page, key=page.page_size)
        for key, text in wanted.unified.items():
            yield _Change("unified cgroup parameter", self._unified, key, text, key=key)

    def combined(self, rules: Sequence[Any] = ()) -> LinuxResources:
        """All of them. rules: of the device controller."""
        pids: LinuxPids | None = self._others.get("pids")
        return LinuxResources(
            memory=LinuxMemory(**self._memory),
            cpu=LinuxCPU(**self._cpu),
            hugepage_limits=list(self._pages.values()),
            unified=self._unified,
            blockio_class=self._others.get("blockio_class"),
            rdt_class=self._others.get("rdt_class"),
            pids=pids,
            devices=list(rules),
        )


class Updates:
    """Collects what plugins want of containers that are there.

    made: the container that must not be among them, since it is being made. updated: the one whose new
    limits are being asked about, with those limits.
    """

    def __init__(
        self, owners: Owners, *, made: str = "", updated: tuple[str, LinuxResources] | None = None
    ) -> None:
        self._owners = owners
        self._made = made
        self._updated = updated
        self._resources: dict[str, Resources] = {}
        self._ignored: dict[str, bool] = {}

    def add(self, updates: Sequence[messages.ContainerUpdate], plugin: str) -> None:
        """What a plugin wants. Raises InvalidArgument."""
        for update in updates:
            container = update.container_id
            if container == self._made and container:
                raise InvalidArgument(
                    f"NRI plugin {plugin!r} updates container {container}, which is being made: "
                    "it has to adjust it"
                )
            ignored = self._ignored.get(container, True) and update.ignore_failure
            self._ignored[container] = ignored
            wanted = update.linux.resources if update.linux is not None else None
            if wanted is None:
                continue
            start = self._updated[1] if self._updated and self._updated[0] == container else None
            into = self._resources.get(container) or Resources(self._owners, container, start)
            self._resources[container] = into
            try:
                into.add(wanted, plugin)
            except InvalidArgument:
                if not update.ignore_failure:
                    raise

    @property
    def of_updated(self) -> LinuxResources | None:
        """The limits of the container that was asked about; None where no plugin minds."""
        if self._updated is None or self._updated[0] not in self._resources:
            return None
        return self._resources[self._updated[0]].combined()

    def combined(self) -> list[messages.ContainerUpdate]:
        """Those of all others."""
        return [
            messages.ContainerUpdate(
                container_id=container,
                linux=messages.LinuxContainerUpdate(resources=resources.combined()),
                ignore_failure=self._ignored[container],
            )
            for container, resources in self._resources.items()
            if self._updated is None or container != self._updated[0]
        ]
