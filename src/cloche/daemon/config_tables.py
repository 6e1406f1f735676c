"""Every key of config.toml that has a meaning, with its default: containerd's version 4.

A plain value is the default and says by its type what may stand there. `Each` is a table whose keys
people choose; `Free` takes anything; `Span` is a length of time as Go writes it.

What is listed here and does nothing yet is accepted without a word only where it has the default: see
`config_used`.
"""

from __future__ import annotations

from cloche.engine.context import CONFIG_PATH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

VERSION = 4
ROOT, STATE = "/var/lib/cloche", "/run/cloche"
PATH = CONFIG_PATH

GRPC = "io.containerd.server.v1.grpc"
GRPC_TCP = "io.containerd.server.v1.grpc-tcp"
TTRPC = "io.containerd.server.v1.ttrpc"
METADATA = "io.containerd.metadata.v1.bolt"
METRICS = "io.containerd.server.v1.metrics"
DEBUG = "io.containerd.server.v1.debug"
PROMETHEUS = "io.containerd.metrics.v1.grpc-prometheus"
OTLP = "io.containerd.tracing.processor.v1.otlp"
TRACING = "io.containerd.internal.v1.tracing"
CRI = "io.containerd.grpc.v1.cri"
CRI_IMAGES = "io.containerd.cri.v1.images"
CRI_RUNTIME = "io.containerd.cri.v1.runtime"
RESTART = "io.containerd.monitor.container.v1.restart"
CGROUPS = "io.containerd.monitor.task.v1.cgroups"
SCHEDULER = "io.containerd.gc.v1.scheduler"
BACKEND = "io.cloche.server.v1.backend"
DIFFS = "io.containerd.service.v1.diff-service"
NRI = "io.containerd.nri.v1.nri"
SHIMS = "io.containerd.shim.v1.manager"
TRANSFER = "io.containerd.transfer.v1.local"
VERIFIER = "io.containerd.image-verifier.v1.bindir"

_MESSAGE_LIMIT = 16 << 20


class Span(str):
    """A length of time: "100ms", "1h30m"."""

    __slots__ = ()


class Each:
    """A table of tables (or of plain values): names that people choose, each with the same keys.

    entries: what is there by default.
    """

    def __init__(self, keys: Any, entries: Mapping[str, Any] | None = None) -> None:
        self.keys = keys
        self.entries = entries or {}


class Free:
    """Anything. default: None where the key is absent then."""

    def __init__(self, default: Any = None) -> None:
        self.default = default


_RUNC_OPTIONS = {
    "BinaryName": "",
    "CriuImagePath": "",
    "CriuWorkPath": "",
    "IoGid": 0,
    "IoUid": 0,
    "NoNewKeyring": False,
    "Root": "",
    "ShimCgroup": "",
    "SystemdCgroup": False,
}
RUNTIME: dict[str, Any] = {
    "runtime_type": "",
    "runtime_path": "",
    "pod_annotations": [],
    "container_annotations": [],
    "privileged_without_host_devices": False,
    "privileged_without_host_devices_all_devices_allowed": False,
    "cgroup_writable": False,
    "base_runtime_spec": "",
    "cni_conf_dir": "",
    "cni_max_conf_num": 0,
    "snapshotter": "",
    "sandboxer": "",
    "disable_pause_image_pull": False,
    "io_type": "",
    "options": Free({}),
}
_RUNC = {"runtime_type": "io.containerd.runc.v2", "sandboxer": "podsandbox", "options": _RUNC_OPTIONS}
_CRI_IMAGES: dict[str, Any] = {
    "snapshotter": "overlayfs",
    "disable_snapshot_annotations": True,
    "discard_unpacked_layers": False,
    "max_concurrent_downloads": 3,
    "concurrent_layer_fetch_buffer": 0,
    "image_pull_progress_timeout": Span("5m0s"),
    "image_pull_with_sync_fs": False,
    "stats_collect_period": 10,
    "use_local_image_pull": False,
    "pinned_images": Each("", {"sandbox": "registry.k8s.io/pause:3.10.1"}),
    "runtime_platforms": Each({"platform": "", "snapshotter": ""}),
    "registry": {
        "config_path": "",
        "mirrors": Each({"endpoint": []}),
        "configs": Each(Free()),
        "auths": Each(Free()),
        "headers": Each([]),
    },
    "image_decryption": {"key_model": "node"},
}
_CRI_RUNTIME: dict[str, Any] = {
    "enable_selinux": False,
    "selinux_category_range": 1024,
    "max_container_log_line_size": 16384,
    "disable_apparmor": False,
    "restrict_oom_score_adj": False,
    "disable_proc_mount": False,
    "unset_seccomp_profile": "",
    "tolerate_missing_hugetlb_controller": True,
    "disable_hugetlb_controller": True,
    "device_ownership_from_security_context": False,
    "ignore_image_defined_volumes": False,
    "netns_mounts_under_state_dir": False,
    "enable_unprivileged_ports": True,
    "enable_unprivileged_icmp": True,
    "enable_cdi": True,
    "cdi_spec_dirs": ["/etc/cdi", "/var/run/cdi"],
    "drain_exec_sync_io_timeout": Span("0s"),
    "ignore_deprecation_warnings": [],
    "stats_collect_period": Span(""),
    "stats_retention_period": Span(""),
    "enable_criu": True,
    "containerd": {
        "default_runtime_name": "runc",
        "ignore_blockio_not_enabled_errors": False,
        "ignore_rdt_not_enabled_errors": False,
        "runtimes": Each(RUNTIME, {"runc": _RUNC}),
    },
    "cni": {
        "bin_dir": "",
        "bin_dirs": ["/opt/cni/bin"],
        "conf_dir": "/etc/cni/net.d",
        "max_conf_num": 1,
        "setup_serially": False,
        "conf_template": "",
        "ip_pref": "",
        "use_internal_loopback": False,
    },
}
_SECCOMP = ("runtime_default_seccomp", "unconfined_seccomp", "custom_seccomp")
_ADJUSTED = ("oci_hook", *_SECCOMP, "namespace", "sysctl")
_NRI: dict[str, Any] = {
    "disable": False,
    "socket_path": "/var/run/nri/nri.sock",
    "plugin_path": "/opt/nri/plugins",
    "plugin_config_path": "/etc/nri/conf.d",
    "plugin_registration_timeout": Span("5s"),
    "plugin_request_timeout": Span("2s"),
    "disable_connections": False,
    "container_hooks": [],
    "default_validator": {
        "enable": False,
        **{f"reject_{name}_adjustment": False for name in _ADJUSTED},
        "required_plugins": [],
        "tolerate_missing_plugins_annotation": "",
    },
}
_SNAPSHOTTERS: dict[str, Any] = {
    "blockfile": {
        "root_path": "",
        "scratch_file": "",
        "fs_type": "",
        "mount_options": [],
        "recreate_scratch": False,
    },
    "btrfs": {"root_path": ""},
    "devmapper": {
        "root_path": "",
        "pool_name": "",
        "base_image_size": "",
        "async_remove": False,
        "discard_blocks": False,
        "fs_type": "",
        "fs_options": "",
    },
    "erofs": {
        "root_path": "",
        "ovl_mount_options": [],
        "enable_fsverity": False,
        "set_immutable": False,
        "default_size": "",
        "dmverity_mode": "",
        "layer_content_caches": Free(),
    },
    "native": {"root_path": ""},
    "overlayfs": {
        "root_path": "",
        "upperdir_label": False,
        "sync_remove": False,
        "slow_chown": False,
        "mount_options": [],
    },
    "zfs": {"root_path": ""},
}
_LISTENER: dict[str, Any] = {"address": "", "uid": 0, "gid": 0}
_MESSAGES: dict[str, Any] = {"max_recv_message_size": _MESSAGE_LIMIT, "max_send_message_size": _MESSAGE_LIMIT}

PLUGINS: dict[str, Any] = {
    CRI_IMAGES: _CRI_IMAGES,
    CRI_RUNTIME: _CRI_RUNTIME,
    "io.containerd.differ.v1.erofs": {
        "mkfs_options": [],
        "enable_tar_index": False,
        "enable_dmverity": False,
    },
    SCHEDULER: {
        "pause_threshold": 0.02,
        "deletion_threshold": 0,
        "mutation_threshold": 100,
        "schedule_delay": Span("0s"),
        "startup_delay": Span("100ms"),
    },
    CRI: {
        "disable_tcp_service": True,
        "stream_server_address": "127.0.0.1",
        "stream_server_port": "0",
        "stream_idle_timeout": Span("4h0m0s"),
        "enable_tls_streaming": False,
        "x509_key_pair_streaming": {"tls_cert_file": "", "tls_key_file": ""},
    },
    VERIFIER: {
        "bin_dir": "/opt/containerd/image-verifier/bin",
        "max_verifiers": 10,
        "per_verifier_timeout": Span("10s"),
    },
    "io.containerd.internal.v1.opt": {"path": "/opt/containerd"},
    TRACING: {"service_name": Free(), "sampling_ratio": Free()},
    METADATA: {"content_sharing_policy": "shared", "no_sync": False},
    PROMETHEUS: {"grpc_histogram": False},
    RESTART: {"interval": Span("10s")},
    CGROUPS: {"no_prometheus": False},
    NRI: _NRI,
    "io.containerd.runtime.v2.task": {"platforms": Free()},
    DEBUG: _LISTENER,
    GRPC: _LISTENER | {"address": f"{STATE}/cloched.sock"} | _MESSAGES,
    GRPC_TCP: {"address": "", "tls_ca": "", "tls_cert": "", "tls_key": "", "tls_common_name": ""} | _MESSAGES,
    METRICS: {"address": ""},
    BACKEND: _LISTENER,
    TTRPC: _LISTENER,
    DIFFS: {"default": ["walking"], "sync_fs": False},
    "io.containerd.service.v1.tasks-service": {"blockio_config_file": "", "rdt_config_file": ""},
    SHIMS: {"env": [], "socket_dir": ""},
    **{f"io.containerd.snapshotter.v1.{name}": keys for name, keys in _SNAPSHOTTERS.items()},
    OTLP: {"endpoint": Free(), "protocol": Free(), "insecure": Free()},
    TRANSFER: {
        "max_concurrent_downloads": 3,
        "concurrent_layer_fetch_buffer": 0,
        "max_concurrent_uploaded_layers": 3,
        "max_concurrent_unpacks": 2,  # containerd: 1; more needs no other snapshotter here
        "check_platform_supported": False,
        "config_path": "",
        "unpack_config": Free(),
    },
}

CNI_TIMEOUT = "io.cloche.timeout.cni.plugin"
STAGE_TIMEOUT = "io.cloche.timeout.cri.stage"
_TIMEOUTS = {
    CNI_TIMEOUT: "1m0s",
    STAGE_TIMEOUT: "30s",
    "io.containerd.timeout.bolt.open": "0s",
    "io.containerd.timeout.cri.defercleanup": "1m0s",
    "io.containerd.timeout.metrics.shimstats": "2s",
    "io.containerd.timeout.shim.cleanup": "5s",
    "io.containerd.timeout.shim.load": "5s",
    "io.containerd.timeout.shim.shutdown": "3s",
    "io.containerd.timeout.task.state": "2s",
}

TOP: dict[str, Any] = {
    "version": VERSION,
    "root": ROOT,
    "state": STATE,
    "temp": "",
    "disabled_plugins": [],
    "required_plugins": [],
    "oom_score": 0,
    "imports": ["/etc/cloche/conf.d/*.toml"],
    "debug": {"level": "", "format": "", "log_trace_id": False},
    "plugins": PLUGINS,
    "cgroup": {"path": ""},
    "proxy_plugins": Each(
        {"type": "", "address": "", "platform": "", "exports": Each(""), "capabilities": []}
    ),
    "timeouts": Each(Span("0s"), _TIMEOUTS),
    "stream_processors": Each({"accepts": [], "returns": "", "path": "", "args": [], "env": []}),
}
