"""From a container's config in CRI to its config.json. Pure, apart from what this machine says of itself."""

from __future__ import annotations

import os

from cloche.cri import (
    base_spec,
    container_mounts,
    container_security,
    defaults,
    oom_score,
    pod_spec,
    resources,
    selinux,
)
from cloche.cri.annotations import of_container, passed_on
from cloche.cri.pod_files import hostname
from cloche.engine import capabilities, devices, specification
from cloche.engine.options import DeviceOption, Options
from cloche.errors import InvalidArgument
from cloche.kernel.cgroups.layout import layout
from cloche.kernel.passwd import Identity
from cloche.spec.record import Record
from cloche.wire.messages.cri.containers import (
    ContainerMetadata,
    LinuxContainerConfig,
    LinuxContainerSecurityContext,
)
from cloche.wire.messages.cri.values import CONTAINER, NODE, TARGET, NamespaceOption

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Literal

    from cloche.cri.inventory import Pod
    from cloche.cri.settings import Handler, Settings
    from cloche.spec.config import Config, Linux, Namespace, Process
    from cloche.spec.config import Mount as SpecMount
    from cloche.spec.image_config import ImageConfig
    from cloche.wire.messages.cri.containers import ContainerConfig

    _Set = Literal["bounding", "permitted", "inheritable", "ambient", "effective"]


class Facts(Record):
    """What is known about a container beside its config.

    files: the directory of the pod's files of /etc. volumes: host paths of the image's volumes by their
    places. image_mounts: images that are mounted into it.
    """

    container_id: str
    pod: Pod
    handler: Handler
    image: ImageConfig
    image_name: str
    identity: Identity
    files: str
    shared_memory: str
    volumes: Mapping[str, str] = {}
    image_mounts: tuple[SpecMount, ...] = ()


def security_of(config: ContainerConfig) -> LinuxContainerSecurityContext:
    """What a container may do, as far as anybody says."""
    return (config.linux.security_context if config.linux else None) or LinuxContainerSecurityContext()


def build(
    config: ContainerConfig, facts: Facts, settings: Settings, target_pid: Callable[[str], int]
) -> Config:
    """The container's config.json. Raises InvalidArgument naming the field that is wrong.

    target_pid: a process of the container whose pid namespace is to be joined.
    """
    security = security_of(config)
    if security.privileged and not _sandbox_is_privileged(facts.pod):
        raise InvalidArgument("no privileged container allowed in sandbox")
    held = _capabilities(security)
    annotations = of_container(
        facts.pod,
        config.metadata or ContainerMetadata(),
        facts.image_name,
        typed=not facts.handler.binary_name,
    )
    passed = passed_on(facts.pod.config.annotations, facts.handler.pod_annotations) | passed_on(
        config.annotations, facts.handler.container_annotations
    )
    document: Config = {
        "ociVersion": specification.OCI_VERSION,
        "process": _process(config, facts, settings, held),
        "root": {"path": "rootfs", "readonly": security.readonly_rootfs},
        "mounts": container_mounts.build(config, facts, security),
        "annotations": annotations | passed,
        "linux": _linux(config, facts, settings, held=held, target_pid=target_pid),
    }
    labels = selinux.of_container(facts.pod, config)
    if labels.process:
        document["process"]["selinuxLabel"] = labels.process
    if labels.mount:
        document["linux"]["mountLabel"] = labels.mount
    if facts.handler.base is not None:
        document = base_spec.lay_over(facts.handler.base, document)
    if config.cdi_devices:
        from cloche.cri import cdi

        cdi.inject(document, [each.name for each in config.cdi_devices], settings.cdi_directories)
    name = config.metadata.name if config.metadata else ""
    defaults.add(document, settings.defaults, facts.pod.config.annotations, name)
    return document


def _sandbox_is_privileged(pod: Pod) -> bool:
    security = pod.linux.security_context
    return bool(security and security.privileged)


def _capabilities(security: LinuxContainerSecurityContext) -> tuple[str, ...]:
    asked = security.capabilities
    return capabilities.choose(
        asked.add_capabilities if asked else (),
        asked.drop_capabilities if asked else (),
        privileged=security.privileged,
    )


def _process(
    config: ContainerConfig,
    facts: Facts,
    settings: Settings,
    held: tuple[str, ...],
) -> Process:
    who, security = facts.identity, security_of(config)
    process: Process = {
        "terminal": config.tty,
        "user": specification.process_user(who),
        "args": arguments(config, facts.image),
        "env": environment(config, facts),
        "cwd": config.working_dir or facts.image.working_dir or "/",
        "capabilities": specification.process_capabilities(held, who.uid),
        "noNewPrivileges": security.no_new_privs,
    }
    if security.capabilities and security.capabilities.add_ambient_capabilities:
        ambient = list(
            capabilities.choose(security.capabilities.add_ambient_capabilities, ("ALL",), privileged=False)
        )
        sets = process["capabilities"]
        kinds: tuple[_Set, ...] = ("bounding", "permitted", "inheritable", "ambient", "effective")
        for kind in kinds:
            sets[kind] = list(dict.fromkeys([*sets.get(kind, ()), *ambient]))
    asked = config.linux.resources if config.linux else None
    if asked is not None:
        process["oomScoreAdj"] = oom_score.possible(asked.oom_score_adj)
    if profile := container_security.apparmor(security, settings):
        process["apparmorProfile"] = profile
    return process


def arguments(config: ContainerConfig, image: ImageConfig) -> list[str]:
    """What is executed: a command takes the place of all that the image says. Raises InvalidArgument."""
    command, words = list(config.command), list(config.args)
    if not command:
        if not words:
            words = list(image.cmd or ())
        command = list(image.entrypoint or ())
    if not command and not words:
        raise InvalidArgument("config.command: no command is specified, and the image has none")
    return command + words


def environment(config: ContainerConfig, facts: Facts) -> list[str]:
    """process.env: what every container has, then the image's, then the config's; the last wins."""
    variables = {"PATH": specification.PATH}
    if not facts.pod.on_host_network:
        variables["HOSTNAME"] = hostname(facts.pod)
    if config.tty:
        variables["TERM"] = "xterm"
    for entry in facts.image.env:
        name, _, value = entry.partition("=")
        variables[name] = value
    for each in config.envs:
        if not each.key or "=" in each.key or "\0" in each.key or b"\0" in each.value:
            raise InvalidArgument(f"config.envs: {each.key[:80]!r} cannot be a variable")
        variables[each.key] = os.fsdecode(each.value)
    variables.setdefault("HOME", facts.identity.home)
    return [f"{name}={value}" for name, value in variables.items()]


def _linux(
    config: ContainerConfig,
    facts: Facts,
    settings: Settings,
    *,
    held: tuple[str, ...],
    target_pid: Callable[[str], int],
) -> Linux:
    security, handler = security_of(config), facts.handler
    host_devices = security.privileged and handler.host_devices
    nodes, rules = devices.build(
        Options(
            privileged=host_devices,
            devices=tuple(
                DeviceOption(each.host_path, each.container_path or each.host_path, each.permissions or "rwm")
                for each in config.devices
            ),
        )
    )
    if host_devices and config.devices:
        extra, _ = devices.build(
            Options(
                devices=tuple(
                    DeviceOption(each.host_path, each.container_path or each.host_path)
                    for each in config.devices
                )
            )
        )
        nodes = [*nodes, *extra]
    if security.privileged and not host_devices and handler.all_devices:
        rules = [{"allow": True, "access": "rwm"}]
    if settings.device_ownership:
        nodes = [{**node, "uid": facts.identity.uid, "gid": facts.identity.gid} for node in nodes]
    asked = (config.linux or LinuxContainerConfig()).resources
    linux: Linux = {
        "cgroupsPath": pod_spec.cgroups_path(facts.pod, facts.container_id, systemd=handler.systemd_cgroup),
        "namespaces": namespaces(security, facts.pod, target_pid),
        "resources": resources.limits(asked, settings) | {"devices": rules},
        "maskedPaths": container_security.masked(config, security),
        "readonlyPaths": container_security.readonly(config, security),
    }
    if nodes:
        linux["devices"] = nodes
    if propagation := container_mounts.root_propagation(config):
        linux["rootfsPropagation"] = propagation
    profile = container_security.seccomp(security, settings, held)
    if profile is not None:
        linux["seccomp"] = profile
    users = pod_spec.user_namespace(facts.pod)
    if users is not None:
        linux["uidMappings"] = pod_spec.mappings(users.uids)
        linux["gidMappings"] = pod_spec.mappings(users.gids)
    return linux


def namespaces(
    security: LinuxContainerSecurityContext, pod: Pod, target_pid: Callable[[str], int]
) -> list[Namespace]:
    """What a container has of its own, and what of its pod. Its network is where the pod's is pinned."""
    options = security.namespace_options or NamespaceOption()
    of_pod = f"/proc/{pod.kept.pid}/ns"
    found: list[Namespace] = [{"type": "mount"}]
    if pod_spec.user_namespace(pod) is not None:
        found.append({"type": "user", "path": f"{of_pod}/user"})
    if options.pid == CONTAINER:
        found.append({"type": "pid"})
    elif options.pid == TARGET:
        found.append({"type": "pid", "path": f"/proc/{target_pid(options.target_id)}/ns/pid"})
    elif options.pid != NODE:
        found.append({"type": "pid", "path": f"{of_pod}/pid"})
    if pod.namespaces.ipc != NODE:
        found.append({"type": "ipc", "path": f"{of_pod}/ipc"})
    if not pod.on_host_network:
        found.append({"type": "network", "path": pod.kept.netns})
        found.append({"type": "uts", "path": f"{of_pod}/uts"})
    if not layout().legacy and not security.privileged:
        found.append({"type": "cgroup"})
    return found
