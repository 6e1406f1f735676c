"""What config.toml says of CRI, as CRI takes it."""

from __future__ import annotations

from cloche.cri import base_spec
from cloche.cri.defaults import Defaults
from cloche.cri.nri.settings import NriSettings, ValidatorSettings
from cloche.cri.settings import Handler, Settings
from cloche.daemon import config_tables
from cloche.daemon.config_check import read_span
from cloche.daemon.old_registries import OldRegistries, of_registry
from cloche.daemon.proxy_plugins import OWN_SANDBOXERS
from cloche.errors import InvalidArgument
from cloche.image.hosts_directory import directories

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from cloche.daemon.config import Config
    from cloche.daemon.crio_config import Crio

_LAST_PORT = 65535
_ANY_NUMBER = 1000
INSECURE = "crio/hosts"
"""Below the daemon's state: hosts.toml files of the registries that a crio.conf calls insecure."""


REGISTRIES = "cri/hosts"
"""The same of registries that are configured in config.toml itself."""


def old_registries(config: Config) -> OldRegistries:
    """What config.toml says of registries in the words of containerd 1.x. Raises InvalidArgument."""
    place = f"plugins.{config_tables.CRI_IMAGES}.registry"
    return of_registry(config.plugin(config_tables.CRI_IMAGES)["registry"], place)


def settings_of(config: Config, root: str, state: str, crio: Crio | None = None) -> Settings | None:
    """CRI's settings; None where it is disabled. root, state: the daemon's. crio: what a crio.conf adds.

    Raises InvalidArgument for what cannot be used.
    """
    if set(config.values["disabled_plugins"]) & {config_tables.CRI, config_tables.CRI_RUNTIME}:
        return None
    runtime, images = config.plugin(config_tables.CRI_RUNTIME), config.plugin(config_tables.CRI_IMAGES)
    handlers = runtime["containerd"]
    cni = runtime["cni"]
    streams = config.plugin(config_tables.CRI)
    certificate, key = _pair(streams)
    # Without a word in the file the pod's holder is our own; the default is another tool's image.
    pause = config.says("plugins", config_tables.CRI_IMAGES, "pinned_images", "sandbox") or ""
    pinned = {name: image for name, image in images["pinned_images"].items() if name != "sandbox" or pause}
    registries = old_registries(config)
    timeouts = config.values["timeouts"]
    under_state = runtime["netns_mounts_under_state_dir"]
    return Settings(
        root,
        state,
        {name: _handler(name, table) for name, table in handlers["runtimes"].items()},
        default_handler=handlers["default_runtime_name"],
        snapshotter=images["snapshotter"],
        defaults=crio.defaults if crio else Defaults(),
        hosts_dir=_hosts_directories(images["registry"]["config_path"], state, crio, registries),
        logins=registries.logins,
        downloads=at_once(images["max_concurrent_downloads"]),
        pull_timeout_s=read_span(images["image_pull_progress_timeout"]),
        pinned=tuple(pinned.values()),
        pause_image=pause,
        stats_period_s=float(images["stats_collect_period"]),
        apparmor=not runtime["disable_apparmor"],
        selinux=runtime["enable_selinux"],
        selinux_categories=runtime["selinux_category_range"],
        unset_seccomp=runtime["unset_seccomp_profile"],
        tolerate_missing_hugetlb=runtime["tolerate_missing_hugetlb_controller"],
        device_ownership=runtime["device_ownership_from_security_context"],
        ignore_image_volumes=runtime["ignore_image_defined_volumes"],
        unprivileged_ports=runtime["enable_unprivileged_ports"],
        unprivileged_icmp=runtime["enable_unprivileged_icmp"],
        cdi_directories=tuple(runtime["cdi_spec_dirs"]) if runtime["enable_cdi"] else (),
        exec_drain_s=read_span(runtime["drain_exec_sync_io_timeout"]),
        criu=runtime["enable_criu"],
        netns_directory=f"{state}/netns" if under_state else "/var/run/netns",
        network_config=cni["conf_dir"],
        network_plugins=tuple([cni["bin_dir"]] if cni["bin_dir"] else cni["bin_dirs"]),
        network_limit=cni["max_conf_num"],
        network_template=cni["conf_template"],
        preferred_family=cni["ip_pref"],
        plugin_timeout_s=read_span(timeouts[config_tables.CNI_TIMEOUT]),
        slow_stage_s=read_span(timeouts[config_tables.STAGE_TIMEOUT]),
        stream_address=streams["stream_server_address"],
        stream_port=_port(streams["stream_server_port"]),
        stream_certificate=certificate,
        stream_key=key,
        stream_idle_s=read_span(streams["stream_idle_timeout"]),
        nri=_nri(config),
    )


def _nri(config: Config) -> NriSettings | None:
    table = config.plugin(config_tables.NRI)
    if table["disable"] or config_tables.NRI in config.values["disabled_plugins"]:
        return None
    # A key that means nothing was warned of.
    known = config_tables.PLUGINS[config_tables.NRI]["default_validator"]
    validator = {name: table["default_validator"][name] for name in known}
    validator["required_plugins"] = tuple(validator["required_plugins"])
    return NriSettings(
        socket_path="" if table["disable_connections"] else table["socket_path"],
        plugin_path=table["plugin_path"],
        config_path=table["plugin_config_path"],
        registration_s=_positive(table, "plugin_registration_timeout"),
        request_s=_positive(table, "plugin_request_timeout"),
        hooks=tuple(table["container_hooks"]),
        validator=ValidatorSettings(**validator),
    )


def _positive(table: Mapping[str, Any], name: str) -> float:
    """Seconds. Raises InvalidArgument where no plugin could ever answer in time."""
    span_s = read_span(table[name])
    if span_s <= 0:
        raise InvalidArgument(f"{config_tables.NRI}: {name}: {table[name]!r} is no time to answer in")
    return span_s


def _pair(streams: Mapping[str, Any]) -> tuple[str, str]:
    """The files of the streaming server's certificate and key; "" where it is to speak plain HTTP."""
    if not streams["enable_tls_streaming"]:
        return "", ""
    pair = streams["x509_key_pair_streaming"]
    if not pair["tls_cert_file"] or not pair["tls_key_file"]:
        raise InvalidArgument(
            "enable_tls_streaming needs tls_cert_file and tls_key_file of x509_key_pair_streaming: "
            "no certificate is made up here"
        )
    return pair["tls_cert_file"], pair["tls_key_file"]


def _hosts_directories(given: str, state: str, crio: Crio | None, registries: OldRegistries) -> str:
    own = [f"{state}/{INSECURE}"] if crio and crio.insecure else []
    own += [f"{state}/{REGISTRIES}"] if registries.files else []
    return ":".join((*own, *directories(given))) if own else given


def at_once(limit: int) -> int:
    """How many of something at once: 0, and what is below it, stands for any number."""
    return limit if limit > 0 else _ANY_NUMBER


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > _LAST_PORT:
        raise InvalidArgument(f"stream_server_port: {text!r} is no port")
    return int(text)


def _handler(name: str, table: Mapping[str, Any]) -> Handler:
    if table["sandboxer"] not in ("", *OWN_SANDBOXERS):
        place = f"plugins.{config_tables.CRI_RUNTIME}.containerd.runtimes.{name}.sandboxer"
        known = " or ".join(OWN_SANDBOXERS)
        raise InvalidArgument(f"{place}: {table['sandboxer']!r}: pods of CRI are made by shims here: {known}")
    options = table.get("options") or {}
    return Handler(
        name,
        runtime=table["runtime_path"] or table["runtime_type"],
        binary_name=options.get("BinaryName", ""),
        runtime_root=options.get("Root", ""),
        systemd_cgroup=bool(options.get("SystemdCgroup", False)),
        monitor_cgroup=options.get("ShimCgroup", ""),
        pod_annotations=tuple(table["pod_annotations"]),
        container_annotations=tuple(table["container_annotations"]),
        host_devices=not table["privileged_without_host_devices"],
        all_devices=table["privileged_without_host_devices_all_devices_allowed"],
        cgroup_writable=table["cgroup_writable"],
        snapshotter=table["snapshotter"],
        base=base_spec.load(table["base_runtime_spec"]),
        network_config=table["cni_conf_dir"],
        network_limit=table["cni_max_conf_num"],
    )
