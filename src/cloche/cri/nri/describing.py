"""Pods and containers as plugins are told of them: what was asked for, and what config.json came of it."""

from __future__ import annotations

import os

from cloche.cri import records
from cloche.cri.annotations import IMAGE_NAME
from cloche.cri.nri import limits
from cloche.spec.document import loads
from cloche.store import containers as store
from cloche.wire.messages.cri import containers as states
from cloche.wire.messages.nri import containers as messages
from cloche.wire.messages.nri import linux, values

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from cloche.cri.host import Host
    from cloche.cri.inventory import Container, Pod

_STATES = {
    states.CREATED: messages.CREATED,
    states.RUNNING: messages.RUNNING,
    states.EXITED: messages.STOPPED,
}
_HOOKS = {
    "prestart": "prestart",
    "createRuntime": "create_runtime",
    "createContainer": "create_container",
    "startContainer": "start_container",
    "poststart": "poststart",
    "poststop": "poststop",
}


class Rows:
    """Reads config.json of containers from their rows. Blocks."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def specs(self, *ids: str) -> list[Any]:
        """One of each; {} for a container that is not there any more."""
        context = self._host.context
        with context.metadata.read() as tx:
            rows = [store.get(tx, context.namespace, each) for each in ids]
        return [loads(row.spec, "config.json") if row is not None and row.spec else {} for row in rows]


def pod_of(pod: Pod, spec: Mapping[str, Any]) -> messages.PodSandbox:
    """A pod. spec: of the process that holds its namespaces."""
    metadata, config, lower = pod.metadata, pod.config, spec.get("linux", {})
    return messages.PodSandbox(
        id=pod.id,
        name=metadata.name,
        uid=metadata.uid,
        namespace=metadata.namespace,
        labels=records.labels(config.labels, records.SANDBOX),
        annotations=dict(config.annotations) | spec.get("annotations", {}),
        runtime_handler=pod.kept.asked_handler,
        linux=messages.LinuxPodSandbox(
            pod_overhead=limits.from_cri(pod.linux.overhead),
            pod_resources=limits.from_cri(pod.linux.resources),
            cgroup_parent=pod.linux.cgroup_parent,
            cgroups_path=lower.get("cgroupsPath", ""),
            namespaces=_pod_namespaces(pod, lower.get("namespaces", ())),
            resources=limits.from_config(lower.get("resources")),
        ),
        pid=pod.kept.pid,
        ips=list(pod.kept.ips),
    )


def _pod_namespaces(pod: Pod, told: Sequence[Mapping[str, str]]) -> list[linux.LinuxNamespace]:
    """The network's is where it is pinned, for as long as it is."""
    found = [each for each in _namespaces(told) if each.type != "network"]
    if pod.kept.netns and os.path.exists(pod.kept.netns):
        found.append(linux.LinuxNamespace(type="network", path=pod.kept.netns))
    return found


def container_of(container: Container, spec: Mapping[str, Any], *, made: bool = True) -> messages.Container:
    """A container. made: whether it is there already."""
    config, kept = container.config, container.kept
    process = spec.get("process", {})
    user = process.get("user", {})
    found = messages.Container(
        id=container.id,
        pod_sandbox_id=kept.pod,
        name=container.metadata.name,
        labels=records.labels(config.labels, records.CONTAINER),
        annotations=dict(config.annotations) | spec.get("annotations", {}),
        args=process.get("args", ()),
        env=process.get("env", ()),
        mounts=[
            messages.Mount(
                destination=each["destination"],
                type=each.get("type", ""),
                source=each.get("source", ""),
                options=each.get("options", ()),
            )
            for each in spec.get("mounts", ())
        ],
        hooks=_hooks(spec.get("hooks", {})),
        linux=_linux(container, spec),
        rlimits=[
            messages.POSIXRlimit(type=each["type"], hard=each["hard"], soft=each["soft"])
            for each in process.get("rlimits", ())
        ],
        cdi_devices=[messages.CDIDevice(name=each.name) for each in config.cdi_devices],
        user=messages.User(
            uid=user.get("uid", 0), gid=user.get("gid", 0), additional_gids=user.get("additionalGids", ())
        ),
        image=messages.Image(
            name=spec.get("annotations", {}).get(IMAGE_NAME, ""),
            digest=kept.image_ref.rpartition("@")[2],
            config_digest=kept.image_id,
        ),
    )
    if made:
        found.state = _STATES[container.state]
        found.pid = kept.pid
        found.created_at, found.started_at, found.finished_at = (
            kept.created_at,
            kept.started_at,
            kept.finished_at,
        )
        found.exit_code = kept.exit_code
        found.status_reason, found.status_message = kept.reason, kept.explanation
    return found


def _hooks(told: Mapping[str, Any]) -> messages.Hooks:
    return messages.Hooks(
        **{field: [_hook(each) for each in told[name]] for name, field in _HOOKS.items() if name in told}
    )


def _hook(told: Mapping[str, Any]) -> messages.Hook:
    timeout = values.OptionalInt(value=told["timeout"]) if "timeout" in told else None
    return messages.Hook(
        path=told["path"], args=told.get("args", ()), env=told.get("env", ()), timeout=timeout
    )


def _linux(container: Container, spec: Mapping[str, Any]) -> messages.LinuxContainer:
    process, lower = spec.get("process", {}), spec.get("linux", {})
    found = messages.LinuxContainer(
        namespaces=_namespaces(lower.get("namespaces", ())),
        devices=[_device(each) for each in lower.get("devices", ())],
        resources=limits.from_config(lower.get("resources")),
        cgroups_path=lower.get("cgroupsPath", ""),
        seccomp_profile=_profile(container),
        sysctl=lower.get("sysctl", {}),
        net_devices={
            key: linux.LinuxNetDevice(name=each.get("name", ""))
            for key, each in lower.get("netDevices", {}).items()
        },
    )
    if "oomScoreAdj" in process:
        found.oom_score_adj = values.OptionalInt(value=process["oomScoreAdj"])
    if priority := process.get("ioPriority"):
        kind = linux.IO_CLASSES.index(priority["class"])
        found.io_priority = linux.LinuxIOPriority(io_class=kind, priority=priority.get("priority", 0))
    if scheduler := process.get("scheduler"):
        found.scheduler = _scheduler(scheduler)
    if filters := lower.get("seccomp"):
        found.seccomp_policy = _seccomp(filters)
    if rdt := lower.get("intelRdt"):
        found.rdt = linux.LinuxRdt(
            clos_id=values.OptionalString(value=rdt.get("closID", "")),
            schemata=values.OptionalRepeatedString(value=rdt.get("schemata", ())),
            enable_monitoring=values.OptionalBool(value=rdt.get("enableMonitoring", False)),
        )
    return found


def _namespaces(told: Sequence[Mapping[str, str]]) -> list[linux.LinuxNamespace]:
    return [linux.LinuxNamespace(type=each["type"], path=each.get("path", "")) for each in told]


def _device(told: Mapping[str, Any]) -> linux.LinuxDevice:
    found = linux.LinuxDevice(
        path=told["path"], type=told["type"], major=told.get("major", 0), minor=told.get("minor", 0)
    )
    if "fileMode" in told:
        found.file_mode = values.OptionalFileMode(value=told["fileMode"])
    for name in ("uid", "gid"):
        if name in told:
            setattr(found, name, values.OptionalUInt32(value=told[name]))
    return found


def _scheduler(told: Mapping[str, Any]) -> linux.LinuxScheduler:
    numbers = {name: told.get(name, 0) for name in ("nice", "priority", "runtime", "deadline", "period")}
    return linux.LinuxScheduler(
        policy=linux.POLICIES.index(told["policy"]),
        flags=[linux.SCHEDULER_FLAGS.index(each) for each in told.get("flags", ())],
        **numbers,
    )


def _profile(container: Container) -> linux.SecurityProfile | None:
    security = container.config.linux.security_context if container.config.linux else None
    profile = security.seccomp if security else None
    if profile is None:
        return None
    return linux.SecurityProfile(profile_type=profile.profile_type, localhost_ref=profile.localhost_ref)


def _seccomp(told: Mapping[str, Any]) -> linux.LinuxSeccomp:
    found = linux.LinuxSeccomp(
        default_action=told["defaultAction"],
        architectures=told.get("architectures", ()),
        flags=told.get("flags", ()),
        listener_path=told.get("listenerPath", ""),
        listener_metadata=told.get("listenerMetadata", ""),
        syscalls=[_syscall(each) for each in told.get("syscalls", ())],
    )
    if "defaultErrnoRet" in told:
        found.default_errno = values.OptionalUInt32(value=told["defaultErrnoRet"])
    return found


def _syscall(told: Mapping[str, Any]) -> linux.LinuxSyscall:
    found = linux.LinuxSyscall(
        names=told["names"],
        action=told["action"],
        args=[
            linux.LinuxSeccompArg(
                index=each["index"], value=each["value"], value_two=each.get("valueTwo", 0), op=each["op"]
            )
            for each in told.get("args", ())
        ],
    )
    if "errnoRet" in told:
        found.errno_ret = values.OptionalUInt32(value=told["errnoRet"])
    return found
