"""How the containers of a shim are run: what a shim asks of the runtime behind it.

One driver stands for one container. A shim calls it from the container's lane, one call at a time,
but for `kill`, which may come while another call is stuck. Which one it is follows from the options that the
container was created with.
"""

from __future__ import annotations

import os

from cloche.spec.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Protocol

    from cloche.kernel.cgroups.cgroup import Cgroup
    from cloche.spec.mount import Mount
    from cloche.wire.messages.runc_options import CheckpointOptions, Options
else:
    Protocol = object

_BUILTIN = ("", "runc", "cloche")
_ROOT = "/run/containerd/cloche"

Stdio = tuple[int, int, int]
"""Descriptors that become 0, 1 and 2; borrowed."""


class Spawned(Record):
    """A process that exists. It is our child, or was handed to us when its parent ended.

    pidfd: the receiver's. console: the master of its terminal, the receiver's; -1 without one.
    """

    pid: int
    pidfd: int
    console: int = -1


class Created(Record):
    """A container that exists, and what is to be known of it from its first moment.

    shares_pids: whether others can outlive its first process. cgroup_paths: its cgroups' directories by
    controller; empty where it has none, or they are not known.
    """

    spawned: Spawned
    shares_pids: bool
    cgroup_paths: Mapping[str, str]


class Driver(Protocol):
    """Runs one container. Calls may block; they raise errors of cloche.errors."""

    def create(self, *, stdio: Stdio, terminal: bool, checkpoint: str = "") -> Spawned:
        """Make the container, up to its gate. Whatever fails, nothing is left.

        terminal: the process gets a pty instead of `stdio`. checkpoint: a folder to restore from.
        """

    def start(self) -> None:
        """Open the gate. Raises ExecFailed when the program cannot be executed."""

    def execute(self, exec_id: str, process: dict[str, Any], *, stdio: Stdio, terminal: bool) -> Spawned:
        """Run one more process, at once. process: config.json's `process`, not validated yet."""

    def kill(self, signal: int, *, everyone: bool) -> None:
        """Signal the first process, or all. Raises NotFound when it has ended."""

    def pause(self) -> None:
        """Freeze."""

    def resume(self) -> None:
        """Thaw."""

    def update(self, resources: Mapping[str, Any]) -> None:
        """Change limits. resources: config.json's `linux.resources`, not validated yet."""

    def pids(self) -> list[int]:
        """All processes, as the host numbers them."""

    def checkpoint(self, path: str, options: CheckpointOptions) -> None:
        """Write the container's state into a folder."""

    def delete(self) -> None:
        """Kill what runs; remove cgroups, state and mounts. Can be repeated."""

    def cgroup(self) -> Cgroup | None:
        """For metrics and notices of too little memory; None where there is none or it is not known."""


def is_builtin(options: Options | None) -> bool:
    """Whether the container runs in the shim itself, rather than by another program."""
    return options is None or options.binary_name in _BUILTIN


def state_root(options: Options | None, namespace: str) -> str:
    """The folder in which the builtin runtime keeps the states of a namespace's containers."""
    return os.path.join((options.root if options else "") or _ROOT, namespace)


def driver_for(
    options: Options | None,
    *,
    bundle: str,
    container_id: str,
    namespace: str,
    rootfs: tuple[Mount, ...],
    worded: bool = True,
) -> Driver:
    """The driver of one container.

    options: None for the defaults. rootfs: what to mount; empty where the bundle has a root file system.
    worded: see BuiltinDriver.
    """
    if is_builtin(options):
        from cloche.shim.builtin import BuiltinDriver

        return BuiltinDriver(
            state_root(options, namespace),
            bundle=bundle,
            container_id=container_id,
            rootfs=rootfs,
            pivot=not (options and options.no_pivot_root),
            keyring=not (options and options.no_new_keyring),
            systemd=bool(options and options.systemd_cgroup),
            criu_work=options.criu_work_path if options else "",
            worded=worded,
        )
    from cloche.shim.binary import BinaryDriver, Runtime

    assert options is not None  # noqa: S101 - is_builtin says so
    runtime = Runtime(
        options.binary_name,
        options.root or Runtime.root,
        systemd_cgroup=options.systemd_cgroup,
        no_pivot_root=options.no_pivot_root,
        no_new_keyring=options.no_new_keyring,
    )
    return BinaryDriver(runtime, bundle=bundle, container_id=container_id, namespace=namespace, rootfs=rootfs)
