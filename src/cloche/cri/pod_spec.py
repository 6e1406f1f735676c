"""config.json of the process that holds a pod's namespaces."""

from __future__ import annotations

from cloche.cri import oom_score, selinux
from cloche.cri.annotations import of_pod, passed_on
from cloche.cri.pod_files import hostname
from cloche.engine import devices, seccomp_profile, specification
from cloche.engine.capabilities import DEFAULT
from cloche.engine.options import Options
from cloche.wire.messages.cri.values import NODE, POD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from cloche.cri.inventory import Pod
    from cloche.cri.settings import Handler, Settings
    from cloche.spec.config import Config, Mount, Namespace, Resources
    from cloche.spec.config import IDMapping as Mapping
    from cloche.wire.messages.cri.values import IDMapping, UserNamespace

_NOBODY = 65535
_OOM_SCORE = -998
# What runtimes cannot do without.
_MOUNTS: tuple[Mount, ...] = (
    {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
    {
        "destination": "/dev",
        "type": "tmpfs",
        "source": "tmpfs",
        "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
    },
)
_PORTS, _PING = "net.ipv4.ip_unprivileged_port_start", "net.ipv4.ping_group_range"


def build(pod: Pod, handler: Handler, settings: Settings, words: list[str]) -> Config:
    """The holder's configuration: its namespaces are the pod's, and it has next to no rights in them.

    words: what it executes.
    """
    config: Config = {
        "ociVersion": specification.OCI_VERSION,
        "process": {
            "args": words,
            "cwd": "/",
            "user": {"uid": _NOBODY, "gid": _NOBODY},
            "noNewPrivileges": True,
            "oomScoreAdj": oom_score.possible(_OOM_SCORE),
        },
        "root": {"path": "rootfs", "readonly": True},
        "mounts": list(_MOUNTS),
        "annotations": of_pod(pod) | passed_on(pod.config.annotations, handler.pod_annotations),
        "linux": {
            "cgroupsPath": cgroups_path(pod, pod.id, systemd=handler.systemd_cgroup),
            "namespaces": namespaces(pod),
            "resources": _limits(pod, handler),
            "seccomp": _filter(),
            "maskedPaths": specification.masked_paths(),
            "readonlyPaths": list(specification.READONLY),
        },
    }
    linux = config["linux"]
    labels = selinux.of_pod(pod)
    if labels.mount:
        config["process"]["selinuxLabel"], linux["mountLabel"] = labels.process, labels.mount
    if not pod.on_host_network:
        config["hostname"] = hostname(pod)
    if parameters := sysctls(pod, settings):
        linux["sysctl"] = parameters
    users = user_namespace(pod)
    if users is not None:
        linux["uidMappings"], linux["gidMappings"] = mappings(users.uids), mappings(users.gids)
    return config


def _limits(pod: Pod, handler: Handler) -> Resources:
    """What only waits needs next to no time; of other runtimes (runsc) it may be the whole pod.

    Without a parent it stands beside all of the machine's, and on a busy one a small share would make
    its beginning take seconds.
    """
    _, rules = devices.build(Options())
    limits: Resources = {"devices": rules}
    if not handler.binary_name and pod.linux.cgroup_parent:
        limits["cpu"] = {"shares": 2}
    return limits


def user_namespace(pod: Pod) -> UserNamespace | None:
    """The pod's own ids; None where it has the host's."""
    asked = pod.namespaces.userns_options
    return asked if asked is not None and asked.mode == POD else None


def mappings(given: Sequence[IDMapping]) -> list[Mapping]:
    """As config.json has them."""
    return [{"containerID": each.container_id, "hostID": each.host_id, "size": each.length} for each in given]


def namespaces(pod: Pod) -> list[Namespace]:
    """What is new for a pod. The pid namespace is there even where containers do not share it."""
    options = pod.namespaces
    found: list[Namespace] = [{"type": "mount"}]
    if user_namespace(pod) is not None:
        found.append({"type": "user"})
    if options.pid != NODE:
        found.append({"type": "pid"})
    if options.ipc != NODE:
        found.append({"type": "ipc"})
    if options.network != NODE:
        network: Namespace = {"type": "network"}
        if pod.kept.netns:
            network["path"] = pod.kept.netns
        found += [network, {"type": "uts"}]
    return found


def sysctls(pod: Pod, settings: Settings) -> dict[str, str]:
    """The pod's kernel parameters: what is safe to allow in a network of its own, and what was asked for."""
    found: dict[str, str] = {}
    if not pod.on_host_network:
        if settings.unprivileged_ports:
            found[_PORTS] = "0"
        if settings.unprivileged_icmp and user_namespace(pod) is None:
            found[_PING] = "0 2147483647"
    for name, value in settings.defaults.sysctls:
        shared = pod.on_host_network if name.startswith("net.") else pod.namespaces.ipc == NODE
        if not shared:
            found[name] = value
    return found | dict(pod.linux.sysctls)


def cgroups_path(pod: Pod, name: str, *, systemd: bool) -> str:
    """linux.cgroupsPath of the holder or of a container. systemd: whether that makes cgroups."""
    parent = pod.linux.cgroup_parent
    if systemd:
        slice_name = parent.rpartition("/")[2] or "system.slice"
        return f"{slice_name}:cri-containerd:{name}"
    if not parent:
        # One directory each at the top: nothing above it is left that several would have to share.
        return f"/cri-{name}"
    return f"/{parent.strip('/')}/{name}"


_compiled: list[Any] = []


def _filter() -> Any:
    """One object, so that what follows from it can be cached."""
    if not _compiled:
        _compiled.append(seccomp_profile.default(DEFAULT))
    return _compiled[0]
