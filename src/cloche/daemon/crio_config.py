"""crio.conf with its drop-in folder, read as it is: what it says in containerd's words, and what it adds.

    /etc/crio/crio.conf              the file that is named
    /etc/crio/crio.conf.d/*.conf     laid over it in the order of their names: the last word counts, and a
                                     runtime or workload that is named again is replaced

What we do not act on is named in a warning, unless it says what is so anyway.
"""

from __future__ import annotations

import copy
import os
import shutil

from cloche.cri.defaults import Defaults, Ulimit, Workload
from cloche.daemon import config_tables as tables
from cloche.daemon import crio_tables
from cloche.daemon.config import Config, complete, overlay, read
from cloche.daemon.config_check import check, unused
from cloche.errors import InvalidArgument
from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

PATH = "/etc/crio/crio.conf"
BUILTIN = "cloche"
"""A runtime of this name, or a program of it, is the one that we bring."""
_SYSTEMD = "/run/systemd/system"
_SHIM = "io.containerd.runc.v2"
_VOLUMES = {"mkdir": False, "bind": False, "ignore": True}
_MOST = 2**63 - 1
_OF_PODS = ("net.", "kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue.")


class Crio(Record):
    """What a crio.conf says.

    tree: in the words of config.toml. defaults: what every container gets. insecure: registries whose
    certificates are not looked at, and that may have none. warnings: for whoever starts the daemon.
    """

    tree: Mapping[str, Any]
    defaults: Defaults
    insecure: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def over(self, config: Config) -> Config:
        """A configuration with this laid over it."""
        given = copy.deepcopy(dict(config.given))
        overlay(given, self.tree)
        return Config(given, (*config.warnings, *self.warnings))

    def write_insecure(self, folder: str) -> None:
        """Write hosts.toml files that let the registries be reached without certificates, and without TLS."""
        shutil.rmtree(folder, ignore_errors=True)
        for name in self.insecure:
            os.makedirs(f"{folder}/{name}")
            with open(f"{folder}/{name}/hosts.toml", "w", encoding="utf-8") as file:
                file.write(f'server = "https://{name}"\n')
                for scheme in ("https", "http"):
                    file.write(f'[host."{scheme}://{name}"]\nskip_verify = true\n')


def load(path: str) -> Crio:
    """Read a file and its folder. Raises InvalidArgument with the place of what cannot be used, OSError."""
    merged: dict[str, Any] = {}
    warnings: list[str] = []
    for file in (path, *_drop_ins(path)):
        tree = read(file)
        warnings += check(tree, file, crio_tables.TOP)
        overlay(merged, tree, whole=("runtimes", "workloads"))
    warnings += [f"{path}: {each}" for each in unused(merged, crio_tables.TOP, crio_tables.USED)]
    return _Reader(path, merged, warnings).read()


def _drop_ins(path: str) -> list[str]:
    folder = f"{path}.d"
    if not os.path.isdir(folder):
        return []
    return [f"{folder}/{name}" for name in sorted(os.listdir(folder)) if not name.startswith(".")]


class _Reader:
    """One reading. given: what the files say; values: that with CRI-O's defaults."""

    def __init__(self, path: str, given: Mapping[str, Any], warnings: list[str]) -> None:
        self._path = path
        self._given = given.get("crio", {})
        self._values = complete(given, crio_tables.TOP)["crio"]
        self._warnings = warnings

    def read(self) -> Crio:
        plugins: dict[str, Any] = {
            tables.CRI_RUNTIME: self._runtime(),
            tables.CRI_IMAGES: self._images(),
            tables.CRI: self._streams(),
            tables.NRI: self._nri(),
        }
        listen = self._said("api", "listen")
        if listen is not None:
            plugins[tables.GRPC] = {"address": listen.removeprefix("unix://")}
        metrics = self._values["metrics"]
        if metrics["enable_metrics"]:
            plugins[tables.METRICS] = {"address": f"{metrics['metrics_host']}:{metrics['metrics_port']}"}
        tree: dict[str, Any] = {"version": tables.VERSION, "plugins": plugins}
        if (level := self._said("runtime", "log_level")) is not None:
            tree["debug"] = {"level": {"warning": "warn", "panic": "fatal"}.get(level, level)}
        insecure = [each for each in self._values["image"]["insecure_registries"] if self._is_host(each)]
        return Crio(tree, self._defaults(), tuple(insecure), tuple(self._warnings))

    def _nri(self) -> dict[str, Any]:
        values = self._values["nri"]
        validator = {
            name.removeprefix("nri_validator_"): value for name, value in values["default_validator"].items()
        }
        validator["enable"] = validator.pop("nri_enable_default_validator")
        return {
            "disable": not values["enable_nri"],
            "socket_path": values["nri_listen"],
            "plugin_path": values["nri_plugin_dir"],
            "plugin_config_path": values["nri_plugin_config_dir"],
            "disable_connections": values["nri_disable_connections"],
            "plugin_registration_timeout": values["nri_plugin_registration_timeout"],
            "plugin_request_timeout": values["nri_plugin_request_timeout"],
            "default_validator": validator,
        }

    def _said(self, section: str, name: str) -> Any:
        """What the files say; None where they are silent."""
        return self._given.get(section, {}).get(name)

    def _wrong(self, place: str, what: str) -> InvalidArgument:
        return InvalidArgument(f"{self._path}: crio.{place}: {what}")

    def _warn(self, place: str, what: str) -> None:
        self._warnings.append(f"{self._path}: crio.{place}: {what}")

    def _is_host(self, name: str) -> bool:
        # A name of a folder is made of it.
        if "/" in name or "*" in name or name in ("", ".", ".."):
            self._warn("image.insecure_registries", f"{name!r} is no host, and has no effect")
            return False
        return True

    def _runtime(self) -> dict[str, Any]:
        values = self._values["runtime"]
        found: dict[str, Any] = {"containerd": self._handlers(), "cni": self._networks()}
        if values["cdi_spec_dirs"]:
            found["cdi_spec_dirs"] = values["cdi_spec_dirs"]
        found["device_ownership_from_security_context"] = values["device_ownership_from_security_context"]
        found["enable_criu"] = values["enable_criu_support"]
        kind = self._values["image"]["image_volumes"]
        if kind not in _VOLUMES:
            raise self._wrong("image.image_volumes", f"one of {', '.join(_VOLUMES)} is needed, not {kind!r}")
        found["ignore_image_defined_volumes"] = _VOLUMES[kind]
        return found

    def _networks(self) -> dict[str, Any]:
        network, found = self._given.get("network", {}), {}
        if "network_dir" in network:
            found["conf_dir"] = network["network_dir"]
        folders = [*network.get("plugin_dirs", ()), *filter(None, [network.get("plugin_dir", "")])]
        if folders:
            found["bin_dirs"] = folders
        return found

    def _handlers(self) -> dict[str, Any]:
        values = self._values["runtime"]
        runtimes: dict[str, Any] = dict(values["runtimes"])
        default = self._said("runtime", "default_runtime")
        if default is None and not runtimes:
            return {}
        default = default or values["default_runtime"]
        runtimes.setdefault(default, complete({}, crio_tables.RUNTIME))
        handlers = {}
        for name, table in runtimes.items():
            inherits = table["inherit_default_runtime"] and name != default
            handler = self._handler(name, table, runtimes[default] if inherits else table, default)
            if handler is not None:
                handlers[name] = handler
        return {"default_runtime_name": default, "runtimes": handlers}

    def _handler(
        self, name: str, table: Mapping[str, Any], of: Mapping[str, Any], default: str
    ) -> dict[str, Any] | None:
        """A runtime as a handler; None for one whose program is not here, unless it is the default."""
        place = f"runtime.runtimes.{name}"
        kind = of["runtime_type"] or "oci"
        if kind not in ("oci", "vm", "pod"):
            raise self._wrong(f"{place}.runtime_type", f"oci, vm or pod is needed, not {kind!r}")
        program = of["platform_runtime_paths"].get(_platform()) or of["runtime_path"]
        found = program or ("" if name == BUILTIN else default if of is not table else name)
        if found:
            resolved = shutil.which(found)
            if resolved is None and os.path.basename(found) != BUILTIN:
                if name == default:
                    raise self._wrong(f"{place}.runtime_path", f"there is no program {found!r}")
                self._warn(f"{place}.runtime_path", f"there is no program {found!r}: the handler is left out")
                return None
            found = resolved or ""
        patterns = [f"{each}*" for each in table["allowed_annotations"]]
        handler: dict[str, Any] = {
            "runtime_type": _SHIM,
            "privileged_without_host_devices": table["privileged_without_host_devices"],
            "pod_annotations": patterns,
            "container_annotations": patterns,
        }
        if kind == "vm":
            return handler | {"runtime_type": "", "runtime_path": found}
        options = {"BinaryName": found, "Root": of["runtime_root"], "SystemdCgroup": self._systemd()}
        if group := self._monitor_cgroup(place, table):
            options["ShimCgroup"] = group
        return handler | {"options": options}

    def _monitor_cgroup(self, place: str, table: Mapping[str, Any]) -> str:
        group: str = (
            table["monitor_cgroup"] or table["conmon_cgroup"] or self._values["runtime"]["conmon_cgroup"]
        )
        if group in ("", "pod"):
            # The pod's own process is not among its containers' limits here either.
            return ""
        if group.endswith(".slice"):
            self._warn(f"{place}.monitor_cgroup", f"{group!r} is made by systemd, and has no effect")
            return ""
        return group

    def _systemd(self) -> bool:
        manager = self._said("runtime", "cgroup_manager")
        if manager is None:
            return os.path.isdir(_SYSTEMD)
        if manager not in ("systemd", "cgroupfs"):
            raise self._wrong("runtime.cgroup_manager", f"systemd or cgroupfs is needed, not {manager!r}")
        return bool(manager == "systemd")

    def _images(self) -> dict[str, Any]:
        values = self._values["image"]
        pinned = {str(number): name for number, name in enumerate(values["pinned_images"])}
        # CRI-O keeps it from the network alone; who does not name one gets our own holder.
        if pause := self._said("image", "pause_image"):
            pinned["sandbox"] = pause
        found: dict[str, Any] = {"pinned_images": pinned} if pinned else {}
        if values["pull_progress_timeout"] not in ("", "0", "0s"):
            found["image_pull_progress_timeout"] = values["pull_progress_timeout"]
        if values["registries"]:
            self._warn("image.registries", "has no effect: a name without a registry is docker.io's")
        return found

    def _streams(self) -> dict[str, Any]:
        values = self._values["api"]
        found = {
            "stream_server_address": values["stream_address"],
            "stream_server_port": values["stream_port"],
            "enable_tls_streaming": values["stream_enable_tls"],
        }
        if values["stream_idle_timeout"]:
            found["stream_idle_timeout"] = values["stream_idle_timeout"]
        if values["stream_enable_tls"]:
            pair = {"tls_cert_file": values["stream_tls_cert"], "tls_key_file": values["stream_tls_key"]}
            found["x509_key_pair_streaming"] = pair
        return found

    def _defaults(self) -> Defaults:
        values = self._values["runtime"]
        return Defaults(
            pids=max(0, values["pids_limit"]),
            ulimits=tuple(map(self._ulimit, values["default_ulimits"])),
            sysctls=tuple(map(self._sysctl, values["default_sysctls"])),
            environment=tuple(map(self._variable, values["default_env"])),
            read_only=values["read_only"],
            workloads=tuple(self._workload(name, table) for name, table in values["workloads"].items()),
        )

    def _ulimit(self, text: str) -> Ulimit:
        """`nofile=1024:2048`, or one number for both."""
        name, _, numbers = text.partition("=")
        soft, colon, hard = numbers.partition(":")
        try:
            pair = int(soft), int(hard if colon else soft)
        except ValueError:
            pair = (-2, -2)
        if not name.isalpha() or not all(-1 <= number <= _MOST for number in pair):
            raise self._wrong("runtime.default_ulimits", f"NAME=SOFT:HARD is needed, not {text!r}")
        return Ulimit(f"RLIMIT_{name.upper()}", *pair)

    def _sysctl(self, text: str) -> tuple[str, str]:
        name, equals, value = text.strip().partition("=")
        if not equals or not name.startswith(
            ("net.", "kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue.")
        ):
            raise self._wrong("runtime.default_sysctls", f"NAME=VALUE of a pod is needed, not {text!r}")
        return name, value

    def _variable(self, text: str) -> str:
        if "=" not in text.lstrip("=") or "\0" in text:
            raise self._wrong("runtime.default_env", f"NAME=VALUE is needed, not {text!r}")
        return text

    def _workload(self, name: str, table: Mapping[str, Any]) -> Workload:
        place, resources = f"runtime.workloads.{name}", table["resources"]
        if not table["activation_annotation"]:
            raise self._wrong(f"{place}.activation_annotation", "is needed")
        for other in sorted(resources.keys() - {"cpushares", "cpuset"}):
            self._warn(f"{place}.resources.{other}", "has no effect")
        shares = str(resources.get("cpushares") or "0")
        if not (shares.isascii() and shares.isdigit() and len(shares) < 8):
            raise self._wrong(f"{place}.resources.cpushares", f"a number is needed, not {shares[:40]!r}")
        cpuset = str(resources.get("cpuset") or "")
        return Workload(name, table["activation_annotation"], table["annotation_prefix"], int(shares), cpuset)


def _platform() -> str:
    machine = os.uname().machine
    return f"linux/{ {'x86_64': 'amd64', 'aarch64': 'arm64'}.get(machine, machine) }"
