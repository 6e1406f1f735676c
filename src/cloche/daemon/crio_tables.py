"""Every key of crio.conf, with CRI-O's default, and which of them we act on.

A plain value is the default and says by its type what may stand there, as in `config_tables`.
"""

from __future__ import annotations

from cloche.daemon.config_tables import Each, Free, Span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

RUNTIME: dict[str, Any] = {
    "runtime_path": "",
    "runtime_root": "",
    "runtime_type": "oci",
    "inherit_default_runtime": False,
    "runtime_config_path": "",
    "privileged_without_host_devices": False,
    "allowed_annotations": [],
    "disallowed_annotations": [],
    "monitor_path": "",
    "monitor_cgroup": "",
    "conmon_cgroup": "",
    "monitor_exec_cgroup": "",
    "monitor_env": [],
    "container_min_memory": "",
    "platform_runtime_paths": Each(""),
    "no_sync_log": False,
    "default_annotations": Each(""),
    "stream_websockets": False,
    "seccomp_profile": "",
    "container_create_timeout": 240,
}
"""A runtime."""
_WORKLOAD: dict[str, Any] = {
    "activation_annotation": "",
    "annotation_prefix": "",
    "allowed_annotations": [],
    # Numbers in some files, texts in others.
    "resources": Each(Free()),
}
TOP: dict[str, Any] = {
    "crio": {
        "root": "/var/lib/containers/storage",
        "runroot": "/var/run/containers/storage",
        "storage_driver": "overlay",
        "storage_option": [],
        "log_dir": "/var/log/crio/pods",
        "version_file": "/var/run/crio/version",
        "version_file_persist": "",
        "imagestore": "",
        "internal_wipe": True,
        "internal_repair": True,
        "clean_shutdown_file": "/var/lib/crio/clean.shutdown",
        "api": {
            "listen": "/var/run/crio/crio.sock",
            "stream_address": "127.0.0.1",
            "stream_port": "0",
            "stream_enable_tls": False,
            "stream_idle_timeout": Span(""),
            "stream_tls_cert": "",
            "stream_tls_key": "",
            "stream_tls_ca": "",
            "tls_min_version": "VersionTLS12",
            "tls_cipher_suites": [],
            "grpc_max_send_msg_size": 83886080,
            "grpc_max_recv_msg_size": 83886080,
        },
        "runtime": {
            "default_runtime": "crun",
            "default_ulimits": [],
            "no_pivot": False,
            "decryption_keys_path": "/etc/crio/keys/",
            "additional_artifact_stores": [],
            "conmon": "",
            "conmon_cgroup": "",
            "conmon_env": [],
            "default_env": [],
            "min_injected_gomaxprocs": 0,
            "selinux": False,
            "seccomp_profile": "",
            "privileged_seccomp_profile": "",
            "apparmor_profile": "",
            "blockio_config_file": "",
            "blockio_reload": False,
            "cdi_spec_dirs": [],
            "irqbalance_config_file": "/etc/sysconfig/irqbalance",
            "irqbalance_config_restore_file": "/etc/sysconfig/orig_irq_banned_cpus",
            "rdt_config_file": "",
            "cgroup_manager": "systemd",
            "default_capabilities": [],
            "add_inheritable_capabilities": False,
            "default_sysctls": [],
            "allowed_devices": [],
            "additional_devices": [],
            "hooks_dir": [],
            "default_mounts": [],
            "default_mounts_file": "",
            "pids_limit": -1,
            "log_filter": "",
            "log_level": "info",
            "log_size_max": -1,
            "log_to_journald": False,
            "container_exits_dir": "/var/run/crio/exits",
            "container_attach_socket_dir": "/var/run/crio",
            "bind_mount_prefix": "",
            "read_only": False,
            "uid_mappings": "",
            "minimum_mappable_uid": -1,
            "gid_mappings": "",
            "minimum_mappable_gid": -1,
            "ctr_stop_timeout": 30,
            "drop_infra_ctr": True,
            "infra_ctr_cpuset": "",
            "shared_cpuset": "",
            "namespaces_dir": "/var/run",
            "pinns_path": "",
            "absent_mount_sources_to_reject": [],
            "device_ownership_from_security_context": False,
            "enable_criu_support": True,
            "enable_pod_events": False,
            "hostnetwork_disable_selinux": True,
            "disable_hostport_mapping": False,
            "timezone": "",
            "runtimes": Each(RUNTIME),
            "workloads": Each(_WORKLOAD),
        },
        "checkpoint_restore": {"container_level_enabled": Free()},
        "image": {
            "default_transport": "docker://",
            "global_auth_file": "",
            "pause_image": "registry.k8s.io/pause:3.10.1",
            "pause_image_auth_file": "",
            "pause_command": "/pause",
            "pinned_images": [],
            "signature_policy": "",
            "signature_policy_dir": "/etc/crio/policies",
            "image_volumes": "mkdir",
            "insecure_registries": [],
            "registries": [],
            "big_files_temporary_dir": "",
            "separate_pull_cgroup": "",
            "auto_reload_registries": False,
            "pull_progress_timeout": Span("0s"),
            "oci_artifact_mount_support": True,
            "short_name_mode": "enforcing",
        },
        "network": {
            "cni_default_network": "",
            "network_dir": "/etc/cni/net.d/",
            "plugin_dirs": ["/opt/cni/bin/"],
            "plugin_dir": "",
            "cni_status_grace_period": Span("0s"),
        },
        "metrics": {
            "enable_metrics": False,
            "metrics_collectors": Free(),
            "metrics_host": "127.0.0.1",
            "metrics_port": 9090,
            "metrics_socket": "",
            "metrics_cert": "",
            "metrics_key": "",
        },
        "tracing": {
            "enable_tracing": False,
            "tracing_endpoint": "127.0.0.1:4317",
            "tracing_sampling_rate_per_million": Free(),
        },
        "stats": {"stats_collection_period": 0, "collection_period": 0, "included_pod_metrics": []},
        "nri": {
            "enable_nri": True,
            "nri_listen": "/var/run/nri/nri.sock",
            "nri_plugin_dir": "/opt/nri/plugins",
            "nri_plugin_config_dir": "/etc/nri/conf.d",
            "nri_disable_connections": False,
            "nri_plugin_registration_timeout": Span("5s"),
            "nri_plugin_request_timeout": Span("2s"),
            "default_validator": {
                "nri_enable_default_validator": False,
                "nri_validator_reject_oci_hook_adjustment": False,
                "nri_validator_reject_runtime_default_seccomp_adjustment": False,
                "nri_validator_reject_unconfined_seccomp_adjustment": False,
                "nri_validator_reject_custom_seccomp_adjustment": False,
                "nri_validator_reject_namespace_adjustment": False,
                "nri_validator_required_plugins": [],
                "nri_validator_tolerate_missing_plugins_annotation": "",
            },
        },
    }
}

_IN = {
    "api": (
        *("listen", "stream_address", "stream_port", "stream_enable_tls", "stream_idle_timeout"),
        *("stream_tls_cert", "stream_tls_key"),
    ),
    "runtime": (
        *("default_runtime", "default_ulimits", "default_env", "cdi_spec_dirs", "cgroup_manager"),
        *(
            "default_sysctls",
            "pids_limit",
            "log_level",
            "read_only",
            "device_ownership_from_security_context",
        ),
        *("enable_criu_support", "enable_pod_events", "workloads", "conmon_cgroup"),
    ),
    "image": (
        *("pause_image", "pinned_images", "image_volumes", "insecure_registries", "registries"),
        "pull_progress_timeout",
    ),
    "network": ("network_dir", "plugin_dirs", "plugin_dir"),
    "metrics": ("enable_metrics", "metrics_host", "metrics_port"),
    "nri": (
        *("enable_nri", "nri_listen", "nri_plugin_dir", "nri_plugin_config_dir", "nri_disable_connections"),
        *("nri_plugin_registration_timeout", "nri_plugin_request_timeout", "default_validator"),
    ),
}
_OF_RUNTIMES = (
    *("runtime_path", "runtime_root", "runtime_type", "inherit_default_runtime", "allowed_annotations"),
    *("privileged_without_host_devices", "monitor_cgroup", "conmon_cgroup", "platform_runtime_paths"),
)
USED = (
    *(("crio", section, name) for section, names in _IN.items() for name in names),
    *(("crio", "runtime", "runtimes", "*", name) for name in _OF_RUNTIMES),
    *(
        ("crio", "runtime", "workloads", "*", name)
        for name in ("activation_annotation", "annotation_prefix", "resources")
    ),
)
"""What we act on: a key or all below it, "*" for any name."""
