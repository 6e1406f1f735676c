"""The flags that `run` and `create` share, and what they ask of the engine."""

from __future__ import annotations

import os

from cloche.engine import grammar
from cloche.engine.options import Options
from cloche.errors import InvalidArgument
from cloche.network import requests

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from cloche.cli.arguments import Group, Parsed

GROUPS: tuple[Group, ...] = (
    (
        "Container",
        (
            ("annotation", "", "map", "Add an annotation for the OCI runtime (KEY=VALUE)"),
            ("cidfile", "", "string", "Write the container's ID to this file, which must not exist"),
            ("label", "l", "list", "Set a label (KEY=VALUE)"),
            ("label-file", "", "list", "Read labels from a file, one in each line"),
            ("name", "", "string", "Name of the container"),
            ("platform", "", "string", "Platform of the image: os/architecture[/variant]"),
            ("pull", "", "string", 'When to pull the image: "always", "missing" (default) or "never"'),
            ("quiet", "q", "bool", "Show no progress of a pull"),
            ("rm", "", "bool", "Remove the container when it has ended"),
            ("snapshotter", "", "string", 'How files are stored: "overlayfs", "native" or a package\'s'),
            ("stop-signal", "", "string", "Signal that asks the container to end"),
            ("stop-timeout", "", "int", "Seconds that it has to end before it is killed (default 10)"),
        ),
    ),
    (
        "Process",
        (
            ("entrypoint", "", "string", "Program to run in place of the image's entry point"),
            ("env", "e", "list", "Set a variable (NAME=VALUE), or pass this environment's on (NAME)"),
            ("env-file", "", "list", "Read variables from a file, one in each line"),
            ("group-add", "", "list", "Further groups to be in"),
            ("init", "", "bool", "Run an init inside that reaps processes and passes signals on"),
            ("interactive", "i", "bool", "Keep standard input open"),
            ("oom-score-adj", "", "int", "Readiness to be killed when memory is short (-1000 to 1000)"),
            ("tty", "t", "bool", "Give it a terminal"),
            ("ulimit", "", "ulimit", "Resource limit of processes (NAME=SOFT[:HARD])"),
            ("user", "u", "string", "User, by name or number (USER[:GROUP])"),
            ("workdir", "w", "string", "Working directory inside"),
        ),
    ),
    (
        "Files",
        (
            ("device", "", "list", "Add a device of the host (HOST[:CONTAINER[:rwm]])"),
            ("mount", "", "mount", "Mount a file system (type=bind|tmpfs|volume,source=…,target=…[,…])"),
            ("read-only", "", "bool", "Make the container's root file system read-only"),
            ("shm-size", "", "bytes", "Size of /dev/shm (default 64m)"),
            ("tmpfs", "", "list", "Mount a tmpfs (PATH[:OPTIONS])"),
            ("volume", "v", "list", "Mount a folder of the host or a volume ([SOURCE:]PATH[:OPTIONS])"),
        ),
    ),
    (
        "Isolation",
        (
            ("cap-add", "", "list", "Add a Linux capability"),
            ("cap-drop", "", "list", "Drop a Linux capability"),
            ("cgroup-parent", "", "string", "Cgroup in which the container's is made"),
            ("cgroupns", "", "string", 'Cgroup namespace: "private" (default) or "host"'),
            ("domainname", "", "string", "NIS domain name"),
            ("hostname", "h", "string", "Host name inside"),
            ("ipc", "", "string", 'IPC namespace: "private" (default), "host" or "container:NAME"'),
            ("pid", "", "string", 'PID namespace: "private" (default), "host" or "container:NAME"'),
            ("privileged", "", "bool", "Give all capabilities and devices, and take the filters away"),
            ("security-opt", "", "list", "seccomp=FILE|unconfined, no-new-privileges"),
            ("sysctl", "", "map", "Kernel setting of the container's own namespaces (NAME=VALUE)"),
            ("userns", "", "string", 'User namespace: "host" (default) or "private"'),
            ("uts", "", "string", 'UTS namespace: "private" (default) or "host"'),
        ),
    ),
    (
        "Network",
        (
            ("add-host", "", "list", "Add a line to /etc/hosts (NAME:ADDRESS)"),
            ("dns", "", "list", "Name server"),
            ("dns-opt", "", "list", ""),
            ("dns-option", "", "list", "Option of the resolver"),
            ("dns-search", "", "list", "Domain in which names are searched"),
            ("expose", "", "list", "Port that -P publishes, besides those of the image (PORT[/PROTOCOL])"),
            ("ip", "", "string", "Address in its network"),
            ("ip6", "", "string", "Address of IPv6 in its network"),
            ("mac-address", "", "string", "Hardware address"),
            ("net", "", "list", ""),
            ("net-alias", "", "list", ""),
            (
                "network",
                "",
                "list",
                'Network: "bridge" (default), "host", "none", "container:NAME" or one of `network ls`',
            ),
            ("network-alias", "", "list", "Another name that containers of its network know it by"),
            ("publish", "p", "list", "Publish a port ([[IP:][HOSTPORT]:]PORT[/PROTOCOL])"),
            ("publish-all", "P", "bool", "Publish every exposed port on one that is free"),
            (
                "publish-mode",
                "",
                "string",
                'How ports are published: by "nat" (default), or by a "proxy" that the firewall sees',
            ),
        ),
    ),
    (
        "Resources",
        (
            ("cpu-period", "", "int", "Length of a scheduling period in microseconds"),
            ("cpu-quota", "", "int", "CPU time in a scheduling period in microseconds"),
            ("cpu-shares", "c", "int", "Weight against other containers (default 1024)"),
            ("cpus", "", "decimal", "Number of CPUs, as 1.5"),
            ("cpuset-cpus", "", "string", "CPUs to run on, as 0-3 or 0,1"),
            ("cpuset-mems", "", "string", "Memory nodes to use, as 0-3 or 0,1"),
            ("memory", "m", "bytes", "Memory limit"),
            ("memory-reservation", "", "bytes", "Memory that is aimed at when the host runs short"),
            ("memory-swap", "", "bytes", "Memory and swap together; -1 for unlimited swap"),
            ("pids-limit", "", "int", "Most processes at once; -1 for no limit"),
        ),
    ),
)

_TEXTS = {
    "cgroup-parent": "cgroup_parent",
    "cgroupns": "cgroupns",
    "cpuset-cpus": "cpuset_cpus",
    "cpuset-mems": "cpuset_mems",
    "domainname": "domainname",
    "hostname": "hostname",
    "ipc": "ipc",
    "name": "name",
    "pid": "pid",
    "stop-signal": "stop_signal",
    "user": "user",
    "userns": "userns",
    "uts": "uts",
    "workdir": "workdir",
}
_SWITCHES = {
    "init": "init",
    "interactive": "stdin_open",
    "privileged": "privileged",
    "publish-all": "publish_all",
    "read-only": "read_only",
    "rm": "auto_remove",
    "tty": "tty",
}
_NUMBERS = {
    "cpu-period": "cpu_period_us",
    "cpu-quota": "cpu_quota_us",
    "cpu-shares": "cpu_shares",
    "oom-score-adj": "oom_score_adj",
    "pids-limit": "pids_limit",
    "stop-timeout": "stop_timeout_s",
}
_LISTS = {
    "add-host": "hosts",
    "cap-add": "cap_add",
    "cap-drop": "cap_drop",
    "dns": "dns",
    "dns-opt": "dns_options",
    "dns-option": "dns_options",
    "dns-search": "dns_search",
    "expose": "exposed",
    "group-add": "groups",
    "security-opt": "security_opt",
}
_CONVERTED: dict[str, tuple[str, Callable[[str], Any]]] = {
    "cpus": ("cpus", grammar.cpus),
    "memory": ("memory", lambda text: grammar.size(text, "memory")),
    "memory-reservation": (
        "memory_reservation",
        lambda text: grammar.size(text, "memory-reservation"),
    ),
    "memory-swap": ("memory_swap", grammar.memory_swap),
    "shm-size": ("shm_size", lambda text: grammar.size(text, "shm-size")),
}
_MOUNTS = (("volume", grammar.volume), ("mount", grammar.mount), ("tmpfs", grammar.tmpfs))


def options(parsed: Parsed, args: list[str]) -> Options:
    """The engine's options that a command line asks for. args: the words after the image.

    Raises InvalidArgument for a value that has no meaning.
    """
    fields: dict[str, Any] = {"args": tuple(args)}
    for flag in parsed.given():
        if flag in _TEXTS:
            fields[_TEXTS[flag]] = parsed.text(flag)
        elif flag in _SWITCHES:
            fields[_SWITCHES[flag]] = parsed.on(flag)
        elif flag in _NUMBERS:
            fields[_NUMBERS[flag]] = parsed.number(flag)
        elif flag in _LISTS:
            fields[_LISTS[flag]] = tuple(parsed.all(flag))
        elif flag in _CONVERTED:
            name, convert = _CONVERTED[flag]
            fields[name] = convert(parsed.text(flag) or "")
    if (entrypoint := parsed.text("entrypoint")) is not None:
        fields["entrypoint"] = (entrypoint,) if entrypoint else ()
    _collect(parsed, fields)
    return Options(**fields)


def _collect(parsed: Parsed, fields: dict[str, Any]) -> None:
    """What several flags give together, or a flag given several times."""
    if environment := environment_of(parsed):
        fields["env"] = environment
    if mounts := tuple(read(text) for flag, read in _MOUNTS for text in parsed.all(flag)):
        fields["mounts"] = mounts
    if devices := tuple(grammar.device(text) for text in parsed.all("device")):
        fields["devices"] = devices
    if ulimits := tuple(grammar.ulimit(text) for text in parsed.all("ulimit")):
        fields["ulimits"] = ulimits
    if sysctls := grammar.pairs(parsed.all("sysctl"), "sysctl"):
        fields["sysctls"] = sysctls
    if annotations := grammar.pairs(parsed.all("annotation"), "annotation"):
        fields["annotations"] = annotations
    if labels := _labels(parsed):
        fields["labels"] = labels
    if ports := tuple(port for text in parsed.all("publish") for port in requests.ports(text)):
        fields["ports"] = ports
    _networks(parsed, fields)


def _networks(parsed: Parsed, fields: dict[str, Any]) -> None:
    """--network and what is said of the first one: `network`, and `endpoints` where a name says not all."""
    given = [requests.endpoint(text) for text in (*parsed.all("net"), *parsed.all("network"))]
    # Without root nothing but loopback can be had; with it the default is docker's.
    fallback = os.environ.get("CLOCHE_NETWORK") or ("default" if os.geteuid() == 0 else "private")
    given = given or [requests.endpoint(fallback)]
    first = given[0]
    fields["network"] = first.network
    if mode := parsed.text("publish-mode") or os.environ.get("CLOCHE_PUBLISH"):
        if mode not in ("nat", "proxy"):
            raise InvalidArgument(f'invalid publish mode {mode!r}: must be "nat" or "proxy"')
        fields["publish"] = mode
    more = {
        "aliases": (*first.aliases, *parsed.all("network-alias"), *parsed.all("net-alias")),
        "ip": parsed.text("ip") or first.ip,
        "ip6": parsed.text("ip6") or first.ip6,
        "mac": parsed.text("mac-address") or first.mac,
    }
    first = first.replace(**more)
    if len(given) == 1 and first == requests.Endpoint(first.network):
        return
    for each in (first, *given[1:]):
        if not requests.is_name(each.network):
            raise InvalidArgument(
                f"conflicting options: network {each.network!r} and settings of named networks"
            )
    fields["endpoints"] = (first, *given[1:])


def environment_of(parsed: Parsed) -> tuple[str, ...]:
    """What --env-file and --env ask for; the latter come last, since the last one counts."""
    entries: tuple[str, ...] = ()
    for path in parsed.all("env-file"):
        entries += grammar.environment_file(path)
    return entries + grammar.environment(parsed.all("env"))


def _labels(parsed: Parsed) -> dict[str, str]:
    texts: list[str] = []
    for path in parsed.all("label-file"):
        try:
            with open(path, encoding="utf-8") as file:
                lines = [line.strip() for line in file]
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidArgument(f"{path}: label file cannot be read: {grammar.reason(error)}") from None
        texts += [line for line in lines if line and not line.startswith("#")]
    return grammar.pairs(texts + parsed.all("label"), "label")
