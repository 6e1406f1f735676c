"""An adjustment laid over a config.json, in the order in which containerd does it.

What begins with "-" is removed. What cannot be applied is refused, with the words of the plugin in it;
nothing that a plugin asks for is left out silently.
"""

from __future__ import annotations

from cloche.cri import cdi
from cloche.cri.nri import limits
from cloche.cri.updating import overlaid
from cloche.engine.propagation import require
from cloche.errors import InvalidArgument
from cloche.wire.messages.nri import linux as words
from cloche.wire.messages.nri.values import REMOVAL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from cloche.wire.messages.nri import containers as described
    from cloche.wire.messages.nri.adjustments import ContainerAdjustment, LinuxContainerAdjustment
    from cloche.wire.messages.nri.values import KeyValue

_HOOKS = {
    "prestart": "prestart",
    "create_runtime": "createRuntime",
    "create_container": "createContainer",
    "start_container": "startContainer",
    "poststart": "poststart",
    "poststop": "poststop",
}
_PROPAGATIONS = ("rprivate", "rshared", "rslave")


def adjust(
    config: Any, adjustment: ContainerAdjustment, *, cdi_directories: Sequence[str] | None = None
) -> None:
    """Change a config.json. Raises InvalidArgument, NotFound for a device, Unimplemented.

    cdi_directories: where specifications of CDI devices are; None for leaving those devices out.
    """
    process = config["process"]
    _change(config.setdefault("annotations", {}), adjustment.annotations)
    process["env"] = _environment(process.get("env", ()), adjustment.env)
    if adjustment.args:
        process["args"] = list(adjustment.args)
    _add_hooks(config, adjustment.hooks)
    if adjustment.cdi_devices and cdi_directories is not None:
        if not cdi_directories:
            raise InvalidArgument("CDI devices: enable_cdi is off in the configuration")
        cdi.inject(config, [each.name for each in adjustment.cdi_devices], cdi_directories)
    if adjustment.linux is not None:
        _adjust_linux(config, adjustment.linux)
    _adjust_mounts(config, adjustment.mounts)
    if adjustment.rlimits:
        given = {each["type"]: each for each in process.get("rlimits", ())}
        given |= {
            each.type: {"type": each.type, "hard": each.hard, "soft": each.soft}
            for each in adjustment.rlimits
        }
        process["rlimits"] = list(given.values())


def _change(into: dict[str, Any], changes: Mapping[str, Any]) -> None:
    for key in changes:
        if key.startswith(REMOVAL):
            into.pop(key.removeprefix(REMOVAL), None)
    into |= {key: value for key, value in changes.items() if not key.startswith(REMOVAL)}


def _environment(old: Iterable[str], changes: Sequence[KeyValue]) -> list[str]:
    """A variable that was there stays where it was."""
    found = dict(_pair(entry) for entry in old)
    for each in changes:
        if each.key.startswith(REMOVAL):
            found.pop(each.key.removeprefix(REMOVAL), None)
    for each in changes:
        if each.key.startswith(REMOVAL):
            continue
        if not each.key or "=" in each.key or "\0" in each.key + each.value:
            raise InvalidArgument(f"env: {each.key[:80]!r} cannot be a variable")
        found[each.key] = each.value
    return [f"{name}={value}" for name, value in found.items()]


def _pair(entry: str) -> tuple[str, str]:
    name, _, value = entry.partition("=")
    return name, value


def _add_hooks(config: Any, hooks: described.Hooks | None) -> None:
    for field, name in _HOOKS.items() if hooks is not None else ():
        for hook in getattr(hooks, field):
            entry: dict[str, Any] = {"path": hook.path}
            if hook.args:
                entry["args"] = list(hook.args)
            if hook.env:
                entry["env"] = list(hook.env)
            if hook.timeout is not None:
                entry["timeout"] = hook.timeout.value
            config.setdefault("hooks", {}).setdefault(name, []).append(entry)


def _adjust_linux(config: Any, asked: LinuxContainerAdjustment) -> None:
    process, linux = config["process"], config["linux"]
    for device in asked.devices:
        _adjust_device(linux, device)
    if asked.cgroups_path:
        linux["cgroupsPath"] = asked.cgroups_path
    if asked.oom_score_adj is not None:
        process["oomScoreAdj"] = asked.oom_score_adj.value
    if asked.io_priority is not None:
        kind = _word(words.IO_CLASSES, asked.io_priority.io_class, "io_priority.class")
        process["ioPriority"] = {"class": kind, "priority": asked.io_priority.priority}
        if kind == words.IO_CLASSES[0]:
            del process["ioPriority"]
    if asked.scheduler is not None:
        _adjust_scheduler(process, asked.scheduler)
    if asked.seccomp_policy is not None:
        linux["seccomp"] = _seccomp(asked.seccomp_policy)
    _adjust_namespaces(linux, asked.namespaces)
    _change(linux.setdefault("sysctl", {}), asked.sysctl)
    _change(
        linux.setdefault("netDevices", {}),
        {key: {"name": each.name} if each.name else {} for key, each in asked.net_devices.items()},
    )
    for name in ("sysctl", "netDevices"):
        if not linux[name]:
            del linux[name]
    if asked.memory_policy is not None:
        policy = asked.memory_policy
        linux["memoryPolicy"] = {
            "mode": _word(words.MEMORY_MODES, policy.mode, "memory_policy.mode"),
            "nodes": policy.nodes,
            "flags": [_word(words.MEMORY_FLAGS, each, "memory_policy.flags") for each in policy.flags],
        }
    _adjust_resources(linux, asked)


def _word(table: Sequence[str], number: int, place: str) -> str:
    if not 0 <= number < len(table):
        raise InvalidArgument(f"{place}: {number} means nothing here")
    return table[number]


def _adjust_device(linux: Any, device: words.LinuxDevice) -> None:
    path = device.path.removeprefix(REMOVAL)
    devices = [each for each in linux.get("devices", ()) if each["path"] != path]
    linux["devices"] = devices
    if device.path.startswith(REMOVAL):
        return
    node: dict[str, Any] = {"path": path, "type": device.type, "major": device.major, "minor": device.minor}
    for name, value in (("fileMode", device.file_mode), ("uid", device.uid), ("gid", device.gid)):
        if value is not None:
            node[name] = value.value
    devices.append(node)
    rule = {"allow": True, "type": device.type, "major": device.major, "minor": device.minor}
    access = "rwm" if device.type == "b" else "rw"
    resources = linux.setdefault("resources", {})
    resources.setdefault("devices", []).append(rule | {"access": access})


def _adjust_scheduler(process: Any, asked: words.LinuxScheduler) -> None:
    policy = _word(words.POLICIES, asked.policy, "scheduler.policy")
    process.pop("scheduler", None)
    if asked.policy == 0:
        return
    flags = [_word(words.SCHEDULER_FLAGS, each, "scheduler.flags") for each in asked.flags]
    found = {name: getattr(asked, name) for name in ("nice", "priority", "runtime", "deadline", "period")}
    process["scheduler"] = {"policy": policy} | {name: value for name, value in found.items() if value}
    if flags:
        process["scheduler"]["flags"] = flags


def _seccomp(policy: words.LinuxSeccomp) -> dict[str, Any]:
    found: dict[str, Any] = {"defaultAction": policy.default_action}
    if policy.default_errno is not None:
        found["defaultErrnoRet"] = policy.default_errno.value
    for name, value in (("architectures", policy.architectures), ("flags", policy.flags)):
        if value:
            found[name] = list(value)
    if policy.listener_path:
        found["listenerPath"] = policy.listener_path
    if policy.listener_metadata:
        found["listenerMetadata"] = policy.listener_metadata
    found["syscalls"] = [_syscall(each) for each in policy.syscalls]
    return found


def _syscall(asked: words.LinuxSyscall) -> dict[str, Any]:
    found: dict[str, Any] = {"names": list(asked.names), "action": asked.action}
    if asked.errno_ret is not None:
        found["errnoRet"] = asked.errno_ret.value
    if asked.args:
        found["args"] = [
            {"index": each.index, "value": each.value, "valueTwo": each.value_two, "op": each.op}
            for each in asked.args
        ]
    return found


def _adjust_namespaces(linux: Any, changes: Sequence[words.LinuxNamespace]) -> None:
    found = {each["type"]: each for each in linux.get("namespaces", ())}
    for each in changes:
        kind = each.type.removeprefix(REMOVAL)
        if each.type.startswith(REMOVAL):
            found.pop(kind, None)
        else:
            found[kind] = {"type": kind, "path": each.path} if each.path else {"type": kind}
    linux["namespaces"] = list(found.values())


def _adjust_resources(linux: Any, asked: LinuxContainerAdjustment) -> None:
    wanted = asked.resources
    if wanted is not None:
        resources = linux["resources"] = overlaid(linux.get("resources", {}), limits.to_config(wanted))
        for rule in wanted.devices:
            numbers = {name: getattr(rule, name) for name in ("major", "minor")}
            found: dict[str, Any] = {"allow": rule.allow, "access": rule.access or "rwm"}
            found |= {name: value.value for name, value in numbers.items() if value is not None}
            resources.setdefault("devices", []).append(found | ({"type": rule.type} if rule.type else {}))
        if wanted.rdt_class is not None:
            linux["intelRdt"] = {"closID": wanted.rdt_class.value}
            if not wanted.rdt_class.value:
                del linux["intelRdt"]
    rdt = asked.rdt
    if rdt is None:
        return
    if rdt.remove:
        linux.pop("intelRdt", None)
    given = (("closID", rdt.clos_id), ("schemata", rdt.schemata), ("enableMonitoring", rdt.enable_monitoring))
    for name, value in given:
        if value is not None:
            linux.setdefault("intelRdt", {})[name] = value.value


def _adjust_mounts(config: Any, changes: Sequence[described.Mount]) -> None:
    if not changes:
        return
    gone = {each.destination.removeprefix(REMOVAL) for each in changes}
    found = [each for each in config.get("mounts", ()) if each["destination"] not in gone]
    for each in changes:
        if each.destination.startswith(REMOVAL):
            continue
        for word in each.options:
            if word in _PROPAGATIONS:
                _propagate(config["linux"], each.source, word)
        mount: dict[str, Any] = {"destination": each.destination, "options": list(each.options)}
        mount |= {name: text for name in ("type", "source") if (text := getattr(each, name))}
        found.append(mount)
    # Parents before what lies in them; among equals the order stays.
    config["mounts"] = sorted(found, key=lambda mount: mount["destination"].rstrip("/").count("/"))


def _propagate(linux: Any, source: str, propagation: str) -> None:
    if propagation == "rprivate":
        return
    require(source, propagation)
    if propagation == "rshared" or linux.get("rootfsPropagation") not in ("rshared", "rslave"):
        linux["rootfsPropagation"] = propagation
