"""Flags that several commands of ctr have, and what they mean."""

from __future__ import annotations

from cloche.cli.arguments import UsageError
from cloche.wire.messages import runc_options
from cloche.wire.messages import runtime_options as other_options
from cloche.wire.messages.google import Any

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.cli.arguments import Row
    from cloche.cli.ctr.command import Invocation

RUNC = "io.containerd.runc.v2"

LABEL: Row = ("label", "", "list", "Label, as KEY=VALUE")

RUNTIME: tuple[Row, ...] = (
    ("runtime", "", "string", f"Runtime, by name or path (default {RUNC})"),
    ("runtime-config-path", "", "string", "The runtime's own configuration"),
    ("runc-binary", "", "string", "Program to run in runc's place"),
    ("runc-root", "", "string", "Where that program keeps its state"),
    ("runc-systemd-cgroup", "", "bool", "Have systemd make the cgroup, which --cgroup names"),
)

REGISTRY: tuple[Row, ...] = (
    ("hosts-dir", "", "string", "Folder of hosts.toml files"),
    ("http-dump", "", "bool", "Show what is said to the registry"),
    ("http-trace", "", "bool", "Show how the registry is reached"),
    ("plain-http", "", "bool", "Without TLS"),
    ("refresh", "", "string", "Token to get tokens with"),
    ("skip-verify", "k", "bool", "Believe any certificate"),
    ("tlscacert", "", "string", "Certificates of authorities to believe"),
    ("tlscert", "", "string", "Certificate to show"),
    ("tlskey", "", "string", "Its key"),
    ("user", "u", "string", "Whom to log in as, USER[:PASSWORD]"),
)

PLATFORM: Row = ("platform", "", "list", "Of images for several platforms, this one")
ALL_PLATFORMS: Row = ("all-platforms", "", "bool", "For all platforms")

IO: tuple[Row, ...] = (
    ("detach", "d", "bool", "Leave it running"),
    ("fifo-dir", "", "string", "Folder for the pipes of its streams"),
    ("log-uri", "", "string", "Where its output goes: file:, binary: or a fifo"),
)


def runtime_options(invocation: Invocation) -> tuple[str, Any | None]:
    """(name, options) of the runtime that the flags ask for. Raises UsageError."""
    name = invocation.text("runtime") or RUNC
    systemd = invocation.on("runc-systemd-cgroup")
    if name != RUNC:
        if invocation.text("runc-binary") or systemd:
            raise UsageError(f"--runc-binary and --runc-systemd-cgroup are for the runtime {RUNC} only")
        path = invocation.text("runtime-config-path")
        return name, Any.pack(other_options.Options(config_path=path)) if path else None
    if systemd and not invocation.text("cgroup"):
        raise UsageError("--runc-systemd-cgroup needs --cgroup, as in machine.slice:prefix:name")
    options = runc_options.Options(
        binary_name=invocation.text("runc-binary"),
        root=invocation.text("runc-root"),
        systemd_cgroup=systemd,
    )
    return name, Any.pack(options)
