"""Which keys of config.toml the daemon acts on."""

from __future__ import annotations

from cloche.daemon.config_tables import (
    BACKEND,
    CGROUPS,
    CNI_TIMEOUT,
    CRI,
    CRI_IMAGES,
    CRI_RUNTIME,
    DIFFS,
    GRPC,
    GRPC_TCP,
    METADATA,
    METRICS,
    NRI,
    OTLP,
    PROMETHEUS,
    RESTART,
    RUNTIME,
    SCHEDULER,
    SHIMS,
    STAGE_TIMEOUT,
    TRACING,
    TRANSFER,
    TTRPC,
    VERIFIER,
)

_IDLE_OF_RUNTIMES = ("io_type", "options")
_USED_OF_RUNTIMES = (
    *((name,) for name in RUNTIME if name not in _IDLE_OF_RUNTIMES),
    *(("options", name) for name in ("BinaryName", "Root", "ShimCgroup", "SystemdCgroup")),
)
_USED_OF_RUNNING = (
    "enable_selinux",
    "selinux_category_range",
    "disable_apparmor",
    "restrict_oom_score_adj",
    "unset_seccomp_profile",
    "tolerate_missing_hugetlb_controller",
    "device_ownership_from_security_context",
    "ignore_image_defined_volumes",
    "netns_mounts_under_state_dir",
    "enable_unprivileged_ports",
    "enable_unprivileged_icmp",
    "enable_cdi",
    "cdi_spec_dirs",
    "drain_exec_sync_io_timeout",
    "ignore_deprecation_warnings",
    "enable_criu",
)
_USED_OF_NETWORKS = ("bin_dir", "bin_dirs", "conf_dir", "max_conf_num", "ip_pref")
USED = (
    ("version",),
    ("root",),
    ("state",),
    ("imports",),
    ("oom_score",),
    ("disabled_plugins",),
    ("required_plugins",),
    ("plugins", VERIFIER),
    ("stream_processors",),
    ("plugins", RESTART),
    *(
        ("plugins", TRANSFER, name)
        for name in (
            "config_path",
            "max_concurrent_downloads",
            "max_concurrent_uploaded_layers",
            "max_concurrent_unpacks",
        )
    ),
    ("plugins", METADATA, "content_sharing_policy"),
    *(("plugins", SCHEDULER, name) for name in ("pause_threshold", "schedule_delay", "startup_delay")),
    ("plugins", SHIMS, "env"),
    ("proxy_plugins",),
    ("plugins", BACKEND),
    ("plugins", DIFFS),
    ("plugins", NRI),
    ("plugins", GRPC, "max_recv_message_size"),
    ("plugins", GRPC, "max_send_message_size"),
    ("debug", "level"),
    ("debug", "format"),
    ("temp",),
    ("timeouts", CNI_TIMEOUT),
    ("timeouts", STAGE_TIMEOUT),
    ("plugins", GRPC, "address"),
    ("plugins", GRPC, "uid"),
    ("plugins", GRPC, "gid"),
    ("plugins", TTRPC),
    ("plugins", METRICS),
    ("plugins", PROMETHEUS),
    ("plugins", OTLP),
    ("plugins", TRACING),
    ("plugins", CGROUPS),
    *(
        ("plugins", GRPC_TCP, name)
        for name in ("address", "tls_cert", "tls_key", "tls_ca", "tls_common_name")
    ),
    *(
        ("plugins", CRI_IMAGES, *names)
        for names in (
            ("snapshotter",),
            ("image_pull_progress_timeout",),
            ("image_pull_with_sync_fs",),  # they always wait for the disk
            ("max_concurrent_downloads",),
            ("stats_collect_period",),
            ("pinned_images",),
            ("registry",),
        )
    ),
    *(("plugins", CRI_RUNTIME, "containerd", "runtimes", "*", *names) for names in _USED_OF_RUNTIMES),
    *(("plugins", CRI_RUNTIME, name) for name in _USED_OF_RUNNING),
    ("plugins", CRI_RUNTIME, "containerd", "default_runtime_name"),
    *(("plugins", CRI_RUNTIME, "cni", name) for name in _USED_OF_NETWORKS),
    *(
        ("plugins", CRI, name)
        for name in (
            "stream_server_address",
            "stream_server_port",
            "stream_idle_timeout",
            "enable_tls_streaming",
            "x509_key_pair_streaming",
        )
    ),
)
"""What the daemon acts on: a key or all below it, "*" for any name.

Others are warned of where they differ from the default.
"""
