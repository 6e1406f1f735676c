"""Which driver runs a container, by the options that it was created with."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.shim.driver import Driver
    from cloche.spec.mount import Mount
    from cloche.wire.messages.runc_options import Options

_BUILTIN = ("", "runc", "cloche")
_ROOT = "/run/containerd/cloche"


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
