"""Runtime handlers: which there are, what each can do, and how its shim is asked for."""

from __future__ import annotations

import asyncio
import subprocess

from cloche.errors import ClocheError, InvalidArgument
from cloche.spec.document import loads
from cloche.wire.messages.cri.version import RuntimeHandler, RuntimeHandlerFeatures
from cloche.wire.messages.google import Any as Packed
from cloche.wire.messages.runc_options import Options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cloche.cri.host import Host
    from cloche.cri.settings import Handler

_FEATURES_TIMEOUT_S = 10
_BUILTIN = ("", "runc", "cloche")
_OWN_SHIM = ("", "io.containerd.runc.v2", "io.containerd.cloche.v1")


class Handlers:
    """The handlers of the configuration."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._features: dict[str, RuntimeHandlerFeatures] = {}

    @property
    def default(self) -> Handler:
        """The one that pods without a RuntimeClass get."""
        return self.get("")

    def get(self, name: str) -> Handler:
        """The handler of a name; "" is the default one. Raises InvalidArgument."""
        settings = self._host.settings
        found = settings.handlers.get(name or settings.default_handler)
        if found is None:
            known = ", ".join(sorted(settings.handlers)) or "none"
            raise InvalidArgument(f"no runtime handler {name!r} is configured; there are: {known}")
        return found

    def options(self, handler: Handler) -> Packed | None:
        """What the shim is told; None for shims of other kinds."""
        if handler.runtime not in _OWN_SHIM:
            return None
        return Packed.pack(
            Options(
                binary_name=handler.binary_name,
                root=handler.runtime_root,
                systemd_cgroup=handler.systemd_cgroup,
                shim_cgroup=handler.monitor_cgroup,
            )
        )

    def is_builtin(self, handler: Handler) -> bool:
        """Whether its containers are run by our own runtime."""
        return handler.runtime in _OWN_SHIM and handler.binary_name in _BUILTIN

    async def features(self, handler: Handler) -> RuntimeHandlerFeatures:
        """What a handler can do; asked once of a runtime that is another program."""
        if handler.name not in self._features:
            if self.is_builtin(handler):
                found = RuntimeHandlerFeatures(recursive_read_only_mounts=True, user_namespaces=True)
            elif handler.runtime in _OWN_SHIM:
                found = await self._host.run(_ask, handler.binary_name)
            else:
                found = RuntimeHandlerFeatures()
            self._features[handler.name] = found
        return self._features[handler.name]

    async def messages(self) -> list[RuntimeHandler]:
        """As clients get them: the default one also under the name ""."""
        settings = self._host.settings
        named = sorted(settings.handlers.items())
        features = await asyncio.gather(*(self.features(handler) for _, handler in named))
        found = [
            RuntimeHandler(name=name, features=each) for (name, _), each in zip(named, features, strict=True)
        ]
        default = self._features.get(settings.default_handler)
        return [RuntimeHandler(features=default), *found] if default else found


def _ask(program: str) -> RuntimeHandlerFeatures:
    """What `RUNTIME features` says (runtime-spec, features.md); nothing where it knows no such command."""
    try:
        done = subprocess.run(
            [program, "features"], capture_output=True, timeout=_FEATURES_TIMEOUT_S, check=True
        )
        told = loads(done.stdout, f"{program} features")
    except (OSError, subprocess.SubprocessError, ClocheError):
        return RuntimeHandlerFeatures()
    linux: dict[str, Any] = told.get("linux") or {}
    idmap = ((linux.get("mountExtensions") or {}).get("idmap") or {}).get("enabled")
    return RuntimeHandlerFeatures(
        recursive_read_only_mounts="rro" in (told.get("mountOptions") or ()),
        user_namespaces="user" in (linux.get("namespaces") or ()) and bool(idmap),
    )
