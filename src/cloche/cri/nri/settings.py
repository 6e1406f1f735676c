"""What the configuration says of NRI."""

from __future__ import annotations

from cloche.spec.record import Record


class ValidatorSettings(Record):
    """What the validator of our own rejects: see the keys of the same names in config.toml."""

    enable: bool = False
    reject_oci_hook_adjustment: bool = False
    reject_runtime_default_seccomp_adjustment: bool = False
    reject_unconfined_seccomp_adjustment: bool = False
    reject_custom_seccomp_adjustment: bool = False
    reject_namespace_adjustment: bool = False
    reject_sysctl_adjustment: bool = False
    required_plugins: tuple[str, ...] = ()
    tolerate_missing_plugins_annotation: str = ""


class NriSettings(Record):
    """Where plugins are, and how long they have.

    socket_path: where plugins connect; "" for nowhere. plugin_path: whose programs we start ourselves;
    config_path: what they are told. registration_s, request_s: how long a plugin may take to say who it is,
    and to answer. hooks: names of entry points of `cloche.container_hooks`.
    """

    socket_path: str = "/var/run/nri/nri.sock"
    plugin_path: str = "/opt/nri/plugins"
    config_path: str = "/etc/nri/conf.d"
    registration_s: float = 5.0
    request_s: float = 2.0
    hooks: tuple[str, ...] = ()
    validator: ValidatorSettings = ValidatorSettings()
