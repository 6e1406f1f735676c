"""`ctr run` and `ctr containers create`."""

from __future__ import annotations

from cloche.cli.arguments import UsageError
from cloche.cli.ctr import creation
from cloche.cli.ctr.command import CtrCommand, Invocation
from cloche.cli.ctr.containers import remove
from cloche.cli.ctr.flags import IO, LABEL, RUNTIME
from cloche.cli.ctr.tree import SNAPSHOTTER
from cloche.errors import Unimplemented

_SHARES = 1024

_CONTAINER = (
    ("allow-new-privs", "", "bool", "Let programs gain rights, as setuid ones do"),
    ("annotation", "", "list", "Annotation of config.json, as KEY=VALUE"),
    ("apparmor-default-profile", "", "string", "AppArmor profile, which has to be loaded"),
    ("apparmor-profile", "", "string", "AppArmor profile, which has to be loaded"),
    ("blockio-class", "", "string", ""),
    ("blockio-config-file", "", "string", ""),
    ("cap-add", "", "list", "Capability to give it, CAP_…"),
    ("cap-drop", "", "list", "Capability to take from it, CAP_…"),
    ("config", "c", "string", "Take this config.json; the only argument is the id then"),
    ("cpu-period", "", "int", "Period of the processor's quota in µs"),
    ("cpu-quota", "", "int", "The processor's quota in µs"),
    ("cwd", "", "string", "Working directory"),
    ("device", "", "list", "Device of the host, or a folder of them"),
    ("env", "", "list", "Environment variable, as NAME=VALUE"),
    ("env-file", "", "string", "File of environment variables"),
    ("gpus", "", "list", ""),
    ("hostname", "", "string", "Host name"),
    LABEL,
    ("memory-limit", "", "int", "Memory in bytes"),
    ("mount", "", "list", "Mount, as type=bind,src=/here,dst=/there,options=rbind:ro"),
    ("net-host", "", "bool", "With the host's network"),
    ("no-pivot", "", "bool", "Without pivot_root"),
    ("pid-file", "", "string", "File that gets the pid"),
    ("privileged", "", "bool", "With all rights and devices of the host"),
    ("rdt-class", "", "string", "Class of Intel RDT"),
    ("read-only", "", "bool", "With a root file system that cannot be written"),
    ("rootfs", "", "bool", "The first argument is a folder, not an image"),
    ("rootfs-propagation", "", "string", "Propagation of mounts: private, shared, slave"),
    ("sandbox", "", "string", "Pod it belongs to"),
    ("seccomp", "", "bool", "With the default filter of system calls"),
    ("seccomp-profile", "", "string", "File of another filter, for --seccomp"),
    ("snapshotter-label", "", "list", "Label of its snapshot, as KEY=VALUE"),
    SNAPSHOTTER,
    ("tty", "t", "bool", "With a terminal"),
    ("user", "u", "string", "Who it runs as, USER[:GROUP]"),
    ("with-ns", "", "list", "Namespace to join, as KIND:PATH"),
)
_RUN = (
    ("cgroup", "", "string", "Its cgroup; empty for none of its own"),
    ("cni", "", "bool", ""),
    ("cpu-shares", "", "int", f"Share of the processor (default {_SHARES})"),
    ("cpus", "", "number", "How many processors it may use"),
    ("cpuset-cpus", "", "string", "Which processors it may use"),
    ("cpuset-mems", "", "string", "Which memory nodes it may use"),
    ("dump-config", "", "string", "File that gets its config.json"),
    ("gidmap", "", "list", "Groups of its user namespace, CONTAINER:HOST:LENGTH"),
    ("null-io", "", "bool", "Without standard streams"),
    ("platform", "", "string", "Of an image for several platforms, this one"),
    ("privileged-without-host-devices", "", "bool", "Privileged, but with the default devices"),
    ("remap-labels", "", "bool", "Have the snapshotter shift ids, which is always so here"),
    ("rlimit-nofile", "", "string", "How many files it may open, SOFT:HARD"),
    ("rm", "", "bool", "Remove it when it has ended"),
    ("sync-fs", "", "bool", "Wait until unpacked layers are on the disk"),
    ("uidmap", "", "list", "Users of its user namespace, CONTAINER:HOST:LENGTH"),
    *IO,
)


def _create(invocation: Invocation) -> None:
    creation.create(invocation)


def _run(invocation: Invocation) -> int:
    from cloche.cli.ctr.task_start import run

    if invocation.on("rm") and invocation.on("detach"):
        raise UsageError("--rm and --detach do not go together: nobody would be there to remove it")
    if invocation.on("cni"):
        raise Unimplemented("--cni: this client makes no networks; --net-host, or a network of `cloche run`")
    container = creation.create(invocation, shares=_SHARES)
    try:
        if invocation.given("dump-config"):
            _dump(invocation.text("dump-config"), container.spec.value if container.spec else b"")
        return run(invocation, container)
    finally:
        if invocation.on("rm"):
            remove(invocation.daemon, container)


def _dump(path: str, spec: bytes) -> None:
    from cloche.spec.document import dumps_indented, loads

    with open(path, "wb") as file:
        file.write(dumps_indented(loads(spec, "config.json"), "  "))


CREATE = CtrCommand(
    "[OPTIONS] IMAGE|FOLDER ID [COMMAND] [ARG...]",
    _create,
    groups=(("Options", _CONTAINER), ("Runtime Options", RUNTIME)),
    maximum=None,
    passes_on=2,
)
RUN = CtrCommand(
    "[OPTIONS] IMAGE|FOLDER ID [COMMAND] [ARG...]",
    _run,
    groups=(("Options", _RUN), ("Container Options", _CONTAINER), ("Runtime Options", RUNTIME)),
    maximum=None,
    passes_on=2,
)
