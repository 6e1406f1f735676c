"""What the configuration says of pods and their containers."""

from __future__ import annotations

from cloche.cri.defaults import Defaults
from cloche.cri.nri.settings import NriSettings
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from cloche.image.credentials import Credentials

NAMESPACE = "k8s.io"
"""Where everything of Kubernetes is, for whoever looks with containerd's clients."""


class Handler(Record):
    """A way to run pods, which a RuntimeClass names.

    runtime: a shim's name or path, as everywhere. binary_name: the OCI runtime that the shim executes; "" for
    the built-in one. runtime_root: where that keeps its state. systemd_cgroup: who makes cgroups.
    monitor_cgroup: where the shim goes; "" for where the daemon is.
    pod_annotations, container_annotations: patterns of those that are handed on to the runtime.
    host_devices: whether a privileged container gets the machine's devices; all_devices: or else may
    at least make them. cgroup_writable: whether a container may write to its own cgroup.
    snapshotter: "" for the default one. base: a config.json that lies below every container's.
    network_config: the folder of its pods' networks, "" for everyone's; network_limit: how many of them.
    """

    name: str
    runtime: str = ""
    binary_name: str = ""
    runtime_root: str = ""
    systemd_cgroup: bool = False
    monitor_cgroup: str = ""
    pod_annotations: tuple[str, ...] = ()
    container_annotations: tuple[str, ...] = ()
    host_devices: bool = True
    all_devices: bool = True
    cgroup_writable: bool = False
    snapshotter: str = ""
    base: Mapping[str, Any] | None = None
    network_config: str = ""
    network_limit: int = 1


class Settings(Record):
    """See the module. Times in seconds.

    root, state: the daemon's. handlers: by name. hosts_dir: where registries are configured, with colons
    between; "" for the usual places. logins: for pulls that bring none, by the registry's host.
    pull_timeout_s: how long a pull may stand still. downloads: layers of an image at once.
    pinned: images that are not to be removed for room.
    pause_image: "" for a holder of our own. stats_period_s: how old what is told of disks may be.
    unset_seccomp: the profile for those who name none. apparmor, selinux: whether they are used.
    selinux_categories: how many there are.
    netns_directory: where pods' network namespaces are pinned. defaults: what every container gets.
    network_limit: how many of the networks a pod is in, 0 for all.
    plugin_timeout_s: how long a call of a CNI plugin may take. slow_stage_s: after how long at one thing
    that is said. nri: None for no plugins.
    """

    root: str
    state: str
    handlers: Mapping[str, Handler]
    default_handler: str = "runc"
    defaults: Defaults = Defaults()
    snapshotter: str = "overlayfs"
    hosts_dir: str = ""
    logins: Mapping[str, Credentials] = {}
    pull_timeout_s: float = 300.0
    downloads: int = 3
    pinned: tuple[str, ...] = ()
    pause_image: str = ""
    stats_period_s: float = 10.0
    unset_seccomp: str = ""
    apparmor: bool = True
    selinux: bool = False
    selinux_categories: int = 1024
    tolerate_missing_hugetlb: bool = True
    device_ownership: bool = False
    ignore_image_volumes: bool = False
    unprivileged_ports: bool = True
    unprivileged_icmp: bool = True
    cdi_directories: tuple[str, ...] = ("/etc/cdi", "/var/run/cdi")
    exec_drain_s: float = 0.0
    criu: bool = True
    netns_directory: str = "/var/run/netns"
    network_config: str = "/etc/cni/net.d"
    network_plugins: tuple[str, ...] = ("/opt/cni/bin",)
    network_limit: int = 1
    network_template: str = ""
    preferred_family: str = ""
    plugin_timeout_s: float = 60.0
    slow_stage_s: float = 30.0
    stream_address: str = "127.0.0.1"
    stream_port: int = 0
    stream_certificate: str = ""
    stream_key: str = ""
    stream_idle_s: float = 4 * 3600.0
    nri: NriSettings | None = None
