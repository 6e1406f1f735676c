"""containerd's Introspection service: who answers here."""

from __future__ import annotations

import os
import subprocess
import time
import uuid

from cloche.api.plugins import fields
from cloche.engine.tasks.runtimes import shim_binary
from cloche.errors import NotFound, Unavailable
from cloche.spec import filters
from cloche.wire.messages.bootstrap import RuntimeInfo, RuntimeRequest
from cloche.wire.messages.google import Any, Timestamp
from cloche.wire.messages.introspection import (
    INTROSPECTION,
    DeprecationWarning,
    PluginInfoRequest,
    PluginInfoResponse,
    PluginsRequest,
    PluginsResponse,
    ServerResponse,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cloche.api.call import Call
    from cloche.wire.messages.google import Empty
    from cloche.wire.messages.introspection import Plugin

_INFO_TIMEOUT_S = 10.0
IDENTITY_FILE = "io.cloche.uuid"


class IntrospectionService:
    """Says who the server is, and what it has.

    root: where the identity that outlives restarts is kept. parts: the plug-ins. more: gives those that
    installed packages bring; it is asked, in a thread, when somebody wants to know. deprecated: warnings
    of the configuration, by name.
    """

    SERVICE = INTROSPECTION

    def __init__(
        self,
        root: str,
        parts: Sequence[Plugin],
        more: Callable[[], Sequence[Plugin]] = tuple,
        deprecated: Mapping[str, str] | None = None,
    ) -> None:
        now = Timestamp.of(time.time_ns())
        self._deprecations = [
            DeprecationWarning(id=name, message=text, last_occurrence=now)
            for name, text in (deprecated or {}).items()
        ]
        self._uuid = identity(root)
        self._plugins = parts
        self._more = more
        self._all: tuple[Plugin, ...] = ()

    async def plugins(self, call: Call, request: PluginsRequest) -> PluginsResponse:
        """The parts that the filters choose."""
        chosen = filters.parse(request.filters)
        found = await self._looked_up(call)
        return PluginsResponse(plugins=[each for each in found if chosen.matches(fields(each))])

    async def _looked_up(self, call: Call) -> tuple[Plugin, ...]:
        if not self._all:
            self._all = (*self._plugins, *await call.run(self._more, lane="plugins"))
        return self._all

    async def plugin_info(self, call: Call, request: PluginInfoRequest) -> PluginInfoResponse:
        """One part; of the runtimes, what one says of itself that the options name."""
        for each in await self._looked_up(call):
            if (each.type, each.id) == (request.type, request.id):
                asked = request.options
                extra = None
                if asked is not None and asked.type_name == RuntimeRequest.FULL_NAME:
                    extra = await call.run(_runtime_info, RuntimeRequest.decode(asked.value))
                return PluginInfoResponse(plugin=each, extra=extra)
        raise NotFound(f"plugin {request.type}.{request.id}: not found")

    def server(self, call: Call, request: Empty) -> ServerResponse:
        """Identity, process, and its pid namespace."""
        return ServerResponse(
            uuid=self._uuid,
            pid=os.getpid(),
            pidns=os.stat("/proc/self/ns/pid").st_ino,
            deprecations=self._deprecations,
        )


def _runtime_info(request: RuntimeRequest) -> Any:
    """What a shim's command answers to `-info`. Raises NotFound, InvalidArgument, Unavailable."""
    binary = shim_binary(request.runtime_path)
    given = request.options.encode() if request.options else b""
    try:
        done = subprocess.run(
            [binary, "-info"], input=given, capture_output=True, timeout=_INFO_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"runtime {request.runtime_path!r}: {binary} -info: {error}") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()[:1000]
        raise Unavailable(f"runtime {request.runtime_path!r}: {binary} -info: {said}")
    return Any(type_url=RuntimeInfo.FULL_NAME, value=done.stdout)


def identity(root: str) -> str:
    """The identity of a root, made when it is first asked for. Raises OSError."""
    path = os.path.join(root, IDENTITY_FILE)
    try:
        with open(path, encoding="ascii") as file:
            return str(uuid.UUID(file.read().strip()))
    except (FileNotFoundError, ValueError):
        new = str(uuid.uuid4())
        with open(f"{path}.new", "w", encoding="ascii") as file:
            file.write(new)
        os.replace(f"{path}.new", path)
        return new
