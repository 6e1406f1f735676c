"""`cloched`: the daemon's command line, as containerd's."""

from __future__ import annotations

import argparse
import logging
import os
import sys

from cloche import __version__
from cloche.daemon import config, config_command, config_tables, log_format
from cloche.engine.context import CONFIG_VARIABLE
from cloche.errors import ClocheError, InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloche.api.transfer import TransferSettings
    from cloche.daemon.collecting import CollectingSettings
    from cloche.daemon.config import Config
    from cloche.daemon.crio_config import Crio
    from cloche.daemon.measuring import MetricsSettings
    from cloche.daemon.otlp import TraceSettings
    from cloche.daemon.proxy_plugins import ProxyPlugin
    from cloche.daemon.server import Places
    from cloche.daemon.tcp import Tcp
    from cloche.image.verifiers import Verifiers

_LEVELS = {
    "trace": "DEBUG",
    "debug": "DEBUG",
    "info": "INFO",
    "warn": "WARNING",
    "error": "ERROR",
    "fatal": "CRITICAL",
}
_log = logging.getLogger("cloche.daemon")


def main() -> int:
    """The console entry: serve, or say why not; returns the exit code."""
    options = _parser().parse_args()
    path = options.config or config_tables.PATH
    try:
        if options.command == "config":
            return config_command.run(options.action, path)
        configuration = config.load(path, missing_ok=not options.config)
        crio = _crio(options.crio_config)
        return _serve(options, crio.over(configuration) if crio else configuration, crio)
    except (ClocheError, OSError) as error:
        print(f"cloched: {error}", file=sys.stderr)
        return 1


def _crio(path: str) -> Crio | None:
    if not path:
        return None
    from cloche.daemon.crio_config import load

    return load(path)


def _serve(options: argparse.Namespace, configuration: Config, crio: Crio | None) -> int:
    level = options.log_level or configuration.says("debug", "level") or "info"
    if level not in _LEVELS:
        raise InvalidArgument(f"debug.level: one of {', '.join(_LEVELS)} is needed, not {level!r}")
    log_format.begin(_LEVELS[level], configuration.says("debug", "format") or log_format.TEXT)
    logging.getLogger("hpack").setLevel(logging.INFO)
    for warning in configuration.warnings:
        _log.warning("%s", warning)
    from cloche.daemon.cri_settings import INSECURE, REGISTRIES, old_registries
    from cloche.daemon.server import Server

    places = _places(options, configuration, crio)
    _set_oom_score(configuration.values["oom_score"])
    if temporary := configuration.values["temp"]:
        os.makedirs(temporary, mode=0o700, exist_ok=True)
        os.environ["TMPDIR"] = temporary
    if crio:
        crio.write_insecure(f"{places.state}/{INSECURE}")
    registries = old_registries(configuration)
    registries.write(f"{places.state}/{REGISTRIES}")
    for warning in places.deprecated.values():
        _log.warning("%s", warning)
    Server(places).run()
    return 0


def _places(options: argparse.Namespace, configuration: Config, crio: Crio | None) -> Places:
    """Where the daemon is: a flag or a variable before the file, the file before the default."""
    from cloche.daemon import proxy_plugins
    from cloche.daemon.cri_settings import settings_of
    from cloche.daemon.selection import Selection
    from cloche.daemon.server import Places
    from cloche.image.processors import of_tables

    grpc, ttrpc = configuration.plugin(config_tables.GRPC), configuration.plugin(config_tables.TTRPC)
    root = options.root or configuration.values["root"]
    state = options.state or configuration.values["state"]
    address = options.address or configuration.says("plugins", config_tables.GRPC, "address")
    address = address or f"{state}/cloched.sock"
    beside = "" if options.address else ttrpc["address"]
    disabled = frozenset(configuration.values["disabled_plugins"])
    proxies = proxy_plugins.of_tables(configuration.values["proxy_plugins"], disabled)
    backend = configuration.plugin(config_tables.BACKEND)
    return Places(
        root,
        state,
        os.path.abspath(address),
        ttrpc=os.path.abspath(beside) if beside else "",
        owner=(grpc["uid"], grpc["gid"]),
        ttrpc_owner=(ttrpc["uid"], ttrpc["gid"]),
        tcp=_tcp(configuration),
        cri=settings_of(configuration, root, state, crio),
        cri_only=options.cri_only,
        selection=Selection(disabled, tuple(configuration.values["required_plugins"])),
        verifiers=_verifiers(configuration),
        processors=of_tables(configuration.values["stream_processors"]),
        proxies=proxies,
        differs=_differs(configuration, proxies),
        lent=(backend["address"], backend["uid"], backend["gid"]),
        message_limits=(grpc["max_recv_message_size"], grpc["max_send_message_size"]),
        transfers=_transfers(configuration),
        collecting=_collecting(configuration),
        deprecated=_deprecated(configuration),
        shim_environment=_shim_environment(configuration),
        isolated=_isolated(configuration),
        sync_diffs=configuration.plugin(config_tables.DIFFS)["sync_fs"],
        restart_interval_s=_restart_interval_s(configuration),
        metrics=_metrics(configuration),
        traces=_traces(configuration),
    )


def _differs(configuration: Config, proxies: Sequence[ProxyPlugin]) -> tuple[str, ...]:
    """The differs that are asked, in this order. Raises InvalidArgument for one that is not there."""
    from cloche.daemon.proxy_plugins import DIFF, OWN_DIFFER
    from cloche.store import entry_points

    names = tuple(configuration.plugin(config_tables.DIFFS)["default"])
    known = (OWN_DIFFER, *(each.name for each in proxies if each.kind == DIFF))
    if set(names) - set(known):
        known += entry_points.names(entry_points.DIFFERS)
    for name in names:
        if name not in known:
            raise InvalidArgument(
                f"plugins.{config_tables.DIFFS}.default: there is no differ {name!r}, only {', '.join(known)}"
            )
    if not names:
        raise InvalidArgument(f"plugins.{config_tables.DIFFS}.default: at least one differ is needed")
    return names


def _transfers(configuration: Config) -> TransferSettings:
    from cloche.api.transfer import TransferSettings
    from cloche.daemon.cri_settings import at_once

    settings = configuration.plugin(config_tables.TRANSFER)
    return TransferSettings(
        settings["config_path"],
        at_once(settings["max_concurrent_downloads"]),
        at_once(settings["max_concurrent_uploaded_layers"]),
        max(1, settings["max_concurrent_unpacks"]),
    )


def _isolated(configuration: Config) -> bool:
    policy = configuration.plugin(config_tables.METADATA)["content_sharing_policy"]
    if policy not in ("shared", "isolated"):
        place = f"plugins.{config_tables.METADATA}.content_sharing_policy"
        raise InvalidArgument(f"{place}: shared or isolated is needed, not {policy!r}")
    return bool(policy == "isolated")


def _deprecated(configuration: Config) -> dict[str, str]:
    """What is to be said of words that will go away, unless it is known; by containerd's names for it."""
    from cloche.daemon.cri_settings import old_registries

    known = configuration.plugin(config_tables.CRI_RUNTIME)["ignore_deprecation_warnings"]
    found = old_registries(configuration).deprecated
    return {name: text for name, text in found.items() if name not in known}


def _collecting(configuration: Config) -> CollectingSettings:
    from cloche.daemon.collecting import CollectingSettings

    scheduler = config_tables.SCHEDULER
    return CollectingSettings(
        startup_delay_s=configuration.span_s(scheduler, "startup_delay"),
        delay_s=configuration.span_s(scheduler, "schedule_delay"),
        share=configuration.plugin(scheduler)["pause_threshold"],
    )


def _shim_environment(configuration: Config) -> dict[str, str]:
    """Raises InvalidArgument for what is no variable."""
    found = {}
    for each in configuration.plugin(config_tables.SHIMS)["env"]:
        name, equals, value = each.partition("=")
        if not name or not equals:
            raise InvalidArgument(f"plugins.{config_tables.SHIMS}.env: {each!r}: must be NAME=VALUE")
        found[name] = value
    return found


def _restart_interval_s(configuration: Config) -> float:
    interval_s = configuration.span_s(config_tables.RESTART, "interval")
    if interval_s <= 0:
        raise InvalidArgument(f"plugins.{config_tables.RESTART}.interval: must be above 0")
    return interval_s


def _verifiers(configuration: Config) -> Verifiers | None:
    from cloche.image.verifiers import Verifiers

    if config_tables.VERIFIER in configuration.values["disabled_plugins"]:
        return None
    settings = configuration.plugin(config_tables.VERIFIER)
    timeout_s = configuration.span_s(config_tables.VERIFIER, "per_verifier_timeout")
    return Verifiers(settings["bin_dir"], settings["max_verifiers"], timeout_s)


def _tcp(configuration: Config) -> Tcp | None:
    from cloche.daemon.tcp import Tcp

    settings = configuration.plugin(config_tables.GRPC_TCP)
    if not settings["address"]:
        return None
    names = ("address", "tls_cert", "tls_key", "tls_ca", "tls_common_name")
    return Tcp(*(settings[name] for name in names))


def _metrics(configuration: Config) -> MetricsSettings | None:
    from cloche.daemon.measuring import MetricsSettings

    address = configuration.plugin(config_tables.METRICS)["address"]
    if not address:
        return None
    histogram = configuration.plugin(config_tables.PROMETHEUS)["grpc_histogram"]
    no_tasks = configuration.plugin(config_tables.CGROUPS)["no_prometheus"]
    return MetricsSettings(address, histogram, not no_tasks)


def _traces(configuration: Config) -> TraceSettings | None:
    plugin, tracing = configuration.plugin(config_tables.OTLP), configuration.plugin(config_tables.TRACING)
    if not plugin.get("endpoint") and not any(name.startswith("OTEL_EXPORTER_OTLP_") for name in os.environ):
        return None
    from cloche.daemon.otlp import settings_of

    return settings_of(plugin, tracing, os.environ)


def _set_oom_score(score: int) -> None:
    if score:
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
            file.write(str(score))


def _parser() -> argparse.ArgumentParser:
    environment = os.environ
    parser = argparse.ArgumentParser(prog="cloched", description="containerd's services, by Cloche.")
    parser.add_argument("-v", "--version", action="version", version=f"cloched {__version__}")
    parser.add_argument(
        "-c",
        "--config",
        default=environment.get(CONFIG_VARIABLE, ""),
        help=f"default: {config_tables.PATH}",
    )
    parser.add_argument("-l", "--log-level", choices=_LEVELS)
    parser.add_argument("-a", "--address", default=environment.get("CLOCHE_ADDRESS", ""))
    parser.add_argument("--root", default=environment.get("CLOCHE_ROOT", ""))
    parser.add_argument("--state", default=environment.get("CLOCHE_STATE", ""))
    parser.add_argument(
        "--crio-config", default="", metavar="FILE", help="a crio.conf, read as it is with the folder FILE.d"
    )
    parser.add_argument(
        "--cri-only", action="store_true", help="serve CRI and nothing else (shims' events apart)"
    )
    commands = parser.add_subparsers(dest="command")
    printing = commands.add_parser("config", help="print a configuration")
    printing.add_argument("action", choices=config_command.ACTIONS)
    return parser
