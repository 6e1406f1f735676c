"""What the daemon is made of, under the names that containerd's clients look for."""

from __future__ import annotations

import os

from cloche.engine.tasks.runtimes import DEFAULT
from cloche.spec import filters
from cloche.spec.platform import of_machine
from cloche.store import entry_points
from cloche.wire.messages import introspection as messages
from cloche.wire.messages.types import Platform
from cloche.wire.status import UNKNOWN
from cloche.wire.ttrpc import Status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Protocol

    from cloche.spec import platform as machine

    class Proxied(Protocol):
        """A part that is a program of its own. platform: None for this machine."""

        @property
        def kind(self) -> str: ...
        @property
        def name(self) -> str: ...
        @property
        def platform(self) -> machine.Platform | None: ...
        @property
        def exports(self) -> Mapping[str, str]: ...
        @property
        def capabilities(self) -> Sequence[str]: ...


_CONTENT = "io.containerd.content.v1"
_METADATA = "io.containerd.metadata.v1"
_SNAPSHOTTER = "io.containerd.snapshotter.v1"
_DIFFER = "io.containerd.differ.v1"
_SERVICE = "io.containerd.service.v1"
_GRPC = "io.containerd.grpc.v1"
_RUNTIME = "io.containerd.runtime.v2"
_EVENT = "io.containerd.event.v1"
_LEASE = "io.containerd.lease.v1"
_GC = "io.containerd.gc.v1"
_SANDBOX_STORE = "io.containerd.sandbox.store.v1"
_SANDBOX_CONTROLLER = "io.containerd.sandbox.controller.v1"
_STREAMING = "io.containerd.streaming.v1"
_TRANSFER = "io.containerd.transfer.v1"
_VERIFIER = "io.containerd.image-verifier.v1"
_RESTART = "io.containerd.monitor.container.v1"
_MOUNTS = "io.containerd.mount-manager.v1"

_PROXIED = {
    "snapshot": _SNAPSHOTTER,
    "content": _CONTENT,
    "diff": _DIFFER,
    "sandbox": _SANDBOX_CONTROLLER,
}
_SERVICES = {
    "containers": "containers-service",
    "content": "content-service",
    "diff": "diff-service",
    "images": "images-service",
    "introspection": "introspection-service",
    "leases": "leases-service",
    "namespaces": "namespaces-service",
    "snapshots": "snapshots-service",
    "tasks": "tasks-service",
}
_GRPC_ONLY = (
    "events",
    "healthcheck",
    "mounts",
    "sandbox-controllers",
    "sandboxes",
    "streaming",
    "transfer",
    "version",
)


def plugins(root: str, proxied: Sequence[Proxied] = ()) -> tuple[messages.Plugin, ...]:
    """All of them, those that others are made of first.

    root: the daemon's, for what they export. proxied: those that are programs of their own.
    """
    system = of_machine(os.uname().machine)
    here = (Platform(os=system.os, architecture=system.architecture, variant=system.variant),)
    overlay = {"root": f"{root}/snapshots/overlayfs"}
    native = {"root": f"{root}/snapshots/native"}
    found = [
        _plugin(_CONTENT, "content", exports={"root": f"{root}/content"}),
        _plugin(_EVENT, "exchange"),
        _plugin(_SNAPSHOTTER, "native", platforms=here, exports=native),
        _plugin(_SNAPSHOTTER, "overlayfs", platforms=here, exports=overlay),
        _plugin(_METADATA, "bolt", requires=(_CONTENT, _EVENT, _SNAPSHOTTER), exports={"policy": "shared"}),
        _plugin(_DIFFER, "walking", requires=(_METADATA,), platforms=here),
        _plugin(_LEASE, "manager", requires=(_METADATA,)),
        _plugin(_GC, "scheduler", requires=(_METADATA,)),
        _plugin(
            _RUNTIME,
            "task",
            requires=(_EVENT, _METADATA),
            platforms=here,
            # That the bare BinaryName `runc` means the runtime that is built in.
            exports={"default_runtime": DEFAULT, "runc_is_builtin": "true"},
        ),
    ]
    for each in proxied:
        own = each.platform
        platforms = (
            (Platform(os=own.os, architecture=own.architecture, variant=own.variant),) if own else here
        )
        kind = _PROXIED[each.kind]
        found.append(
            _plugin(
                kind,
                each.name,
                platforms=platforms,
                exports=each.exports,
                capabilities=each.capabilities,
            )
        )
    found += [
        _plugin(_SANDBOX_STORE, "local", requires=(_METADATA,)),
        _plugin(_SANDBOX_CONTROLLER, "shim", requires=(_RUNTIME, _SANDBOX_STORE)),
        _plugin(_STREAMING, "manager"),
        _plugin(_MOUNTS, "bolt"),
        _plugin(_TRANSFER, "local", requires=(_METADATA, _DIFFER, _STREAMING), platforms=here),
        _plugin(_RESTART, "restart", requires=(_RUNTIME, _METADATA)),
        _plugin(_VERIFIER, "bindir"),
    ]
    found += [_plugin(_SERVICE, name, requires=(_METADATA,)) for name in _SERVICES.values()]
    found += [_plugin(_GRPC, name, requires=(_SERVICE,)) for name in sorted((*_SERVICES, *_GRPC_ONLY))]
    return tuple(found)


def brought() -> tuple[messages.Plugin, ...]:
    """Those that installed packages bring; one that cannot be imported is there with the reason."""
    kinds = {
        entry_points.SNAPSHOTTERS: _SNAPSHOTTER,
        entry_points.DIFFERS: _DIFFER,
        entry_points.RUNTIMES: _RUNTIME,
    }
    found = []
    for group, kind in kinds.items():
        for name in entry_points.names(group):
            part = entry_points.part(group, name)
            if part is None:
                continue
            plugin = _plugin(kind, name, exports=part.exports, capabilities=part.capabilities)
            if part.error:
                plugin.init_err = Status(code=UNKNOWN, message=part.error)
            found.append(plugin)
    return tuple(found)


def _plugin(
    kind: str,
    name: str,
    *,
    requires: Sequence[str] = (),
    platforms: Sequence[Platform] = (),
    exports: Mapping[str, str] | None = None,
    capabilities: Sequence[str] = (),
) -> messages.Plugin:
    return messages.Plugin(
        type=kind,
        id=name,
        requires=requires,
        platforms=platforms,
        exports=exports or {},
        capabilities=capabilities,
    )


def fields(plugin: messages.Plugin) -> filters.Fields:
    """What filters choose by."""
    plain = {"type": plugin.type, "id": plugin.id}
    return lambda path: plain.get(path[0]) if len(path) == 1 else None
