"""One plugin at the other end of a connection: made known, configured, told of what happens.

    connected ─▶ registered ─▶ configured ─▶ synchronized ─▶ asked
         │            │             │              │           │
         └────────────┴─────────────┴──────────────┴───────────┴─▶ dropped

It is dropped, with one line in the log, when it goes, when it says what cannot be read, and when it does not
answer in time. What it was asked then goes on without it. Where it answers with an error, that is the answer.
"""

from __future__ import annotations

import asyncio
import logging
import re

from cloche.engine.tasks.channel import MalformedAnswer
from cloche.errors import (
    ClocheError,
    DeadlineExceeded,
    InvalidArgument,
    ResourceExhausted,
    Unavailable,
    Unimplemented,
)
from cloche.wire import ttrpc
from cloche.wire.messages.nri import plugin as messages
from cloche.wire.messages.nri.values import Empty
from cloche.wire.services.nri import PLUGIN
from cloche.wire.status import StatusError, code_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any, Protocol

    from cloche.cri.nri.connection import Connection
    from cloche.cri.nri.settings import NriSettings
    from cloche.spec.config import Config
    from cloche.wire.messages.nri.adjustments import ContainerUpdate
    from cloche.wire.messages.nri.containers import Container, PodSandbox
    from cloche.wire.protobuf import Message

    class Plugin(Protocol):
        """Whoever is asked. name: index and base name, as "10-limits"; alive: whether it still is."""

        index: str
        base: str
        alive: bool

        @property
        def name(self) -> str: ...

        def hears(self, call: str) -> bool: ...

        async def create(
            self, request: messages.ContainerRequest, spec: Config
        ) -> messages.CreateContainerResponse | None: ...

        async def ask(self, call: str, request: Message) -> Any: ...

        async def close(self) -> None: ...


_log = logging.getLogger("cloche.nri")

_BY_STATE_CHANGE = frozenset(
    {
        *("RunPodSandbox", "StopPodSandbox", "RemovePodSandbox", "PostUpdatePodSandbox"),
        *("PostCreateContainer", "StartContainer", "PostStartContainer", "PostUpdateContainer"),
        "RemoveContainer",
    }
)
"""Calls that older plugins do not have: they are told of them by StateChange."""

_PORTION_BYTES = ttrpc.MESSAGE_LIMIT * 3 // 4
_FAREWELL_S = 0.5
_INDEX = re.compile(r"[0-9]{2}")
_NAME = re.compile(r"[A-Za-z0-9._+-]+")


class RemotePlugin:
    """See the module. on_dropped: called once when it is; on_closed: when we have ended it instead.

    index, base: "" until it has said who it is, unless it is one of those we start. config: what it is told.
    """

    def __init__(
        self,
        connection: Connection,
        settings: NriSettings,
        *,
        index: str = "",
        base: str = "",
        config: str = "",
    ) -> None:
        self.index = index
        self.base = base
        self.alive = True
        self.on_dropped: Callable[[RemotePlugin], None] = _nothing
        self.on_closed: Callable[[], None] = lambda: None
        self._connection = connection
        self._settings = settings
        self._config = config
        self._events = 0
        self._old: set[str] = set()
        self._registered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        connection.on_lost = lambda: self.drop("its connection is gone")

    @property
    def name(self) -> str:
        """Index and base name."""
        return f"{self.index or '??'}-{self.base or 'plugin'}"

    def register(self, request: messages.RegisterPluginRequest) -> None:
        """It says who it is; one that we have started is called what its file is. Raises InvalidArgument."""
        if not self.index:
            error = refused(request.plugin_idx, request.plugin_name)
            if error:
                raise InvalidArgument(error)
            self.index, self.base = request.plugin_idx, request.plugin_name
        if not self._registered.done():
            self._registered.set_result(None)

    async def begin(self, runtime: tuple[str, str, str]) -> bool:
        """Wait until it is registered, and configure it; whether that went well.

        runtime: the name and version of ours, and of NRI.
        """
        settings = self._settings
        await asyncio.wait({self._registered}, timeout=settings.registration_s)
        if not self._registered.done():
            self.drop(f"it has not registered within {settings.registration_s:g} s")
            return False
        name, version, nri_version = runtime
        request = messages.ConfigureRequest(
            config=self._config,
            runtime_name=name,
            runtime_version=version,
            registration_timeout=int(settings.registration_s * 1000),
            request_timeout=int(settings.request_s * 1000),
            nri_version=nri_version,
        )
        answer = await self._begin_with("Configure", request)
        if answer is None:
            return False
        self._events = answer.events or messages.ALL_EVENTS
        if self._events & ~messages.ALL_EVENTS:
            self.drop(f"it asks for events that there are not: {self._events:#x}")
        return self.alive

    async def synchronize(
        self, pods: Sequence[PodSandbox], containers: Sequence[Container]
    ) -> Sequence[ContainerUpdate]:
        """Tell it what there is; what it wants changed."""
        portions = list(_portions(pods, containers))
        for portion in portions:
            portion.more = portion is not portions[-1]
            answer = await self._begin_with("Synchronize", portion)
            if answer is None:
                return ()
            if not portion.more:
                updates: Sequence[ContainerUpdate] = answer.update
                return updates
            if not answer.more or answer.update:
                self.drop("it does not take what there is in several portions")
                return ()
        return ()

    async def _begin_with(self, call: str, request: Message) -> Any:
        """A call without which it cannot begin; None where it was dropped for it."""
        try:
            return await self._call(call, request)
        except ClocheError as error:
            self.drop(f"{call}: {error}")
            return None

    def hears(self, call: str) -> bool:
        """Whether it wants to be asked."""
        return self.alive and bool(self._events >> (messages.EVENTS[call] - 1) & 1)

    async def create(
        self, request: messages.ContainerRequest, _spec: Config
    ) -> messages.CreateContainerResponse | None:
        """Ask what is to be changed of a container that is made."""
        answer: messages.CreateContainerResponse | None = await self.ask("CreateContainer", request)
        return answer

    async def ask(self, call: str, request: Message) -> Any:
        """Its answer; None where it does not want to be asked, or is dropped for it.

        Raises StatusError, with the plugin's name, for the error that it answers with.
        """
        if not self.hears(call):
            return None
        try:
            if call not in self._old:
                try:
                    return await self._call(call, request)
                except Unimplemented:
                    if call not in _BY_STATE_CHANGE:
                        raise
                    self._old.add(call)
            return await self._call("StateChange", _state_change(call, request))
        except ClocheError as error:
            if not self.alive:
                return None
            raise StatusError(code_of(error), f"NRI plugin {self.name}: {call}: {error}") from None

    async def _call(self, call: str, request: Message) -> Any:
        """Raises what it answers; where it does not, it is dropped."""
        channel, timeout_s = self._connection.channel, self._settings.request_s
        try:
            return await channel.unary(PLUGIN, call, request, timeout_s=timeout_s)
        except DeadlineExceeded:
            self.drop(f"{call}: no answer within {timeout_s:g} s")
            raise
        except MalformedAnswer as error:
            self.drop(f"{call}: {error}")
            raise
        except ttrpc.ProtocolError as error:
            raise ResourceExhausted(str(error)) from None
        except Unavailable as error:
            if not channel.alive:
                self.drop(f"{call}: {error}")
            raise

    def drop(self, why: str) -> None:
        """Have nothing more to do with it."""
        if self.alive:
            self.alive = False
            _log.warning("NRI plugin %s is dropped: %s", self.name, why)
            if not self._registered.done():
                self._registered.cancel()
            self.on_dropped(self)
        self._connection.close()

    async def close(self) -> None:
        """Tell it that we end, and hang up."""
        if self.alive:
            self.alive = False
            try:
                await self._connection.channel.unary(PLUGIN, "Shutdown", Empty(), timeout_s=_FAREWELL_S)
            except ClocheError:
                pass  # it is over in any case
            self.on_closed()
        self._connection.close()


def refused(index: str, base: str) -> str:
    """Why a plugin cannot be called so; "" where it can."""
    if not _INDEX.fullmatch(index):
        return f"plugin index {index[:80]!r}: must be two digits"
    if not _NAME.fullmatch(base):
        return f"plugin name {base[:80]!r}: must be letters, digits, -, _, . and +"
    return ""


def _portions(
    pods: Sequence[PodSandbox], containers: Sequence[Container]
) -> Iterator[messages.SynchronizeRequest]:
    """What there is, in requests that ttrpc takes."""
    size = 0
    chosen: dict[str, list[Any]] = {"pods": [], "containers": []}
    for kind, items in (("pods", pods), ("containers", containers)):
        for item in items:
            more = len(item.encode())
            if size and size + more > _PORTION_BYTES:
                yield messages.SynchronizeRequest(**chosen)
                chosen, size = {"pods": [], "containers": []}, 0
            chosen[kind].append(item)
            size += more
    yield messages.SynchronizeRequest(**chosen)


def _state_change(call: str, request: Any) -> messages.StateChangeEvent:
    container = request.container if isinstance(request, messages.ContainerRequest) else None
    return messages.StateChangeEvent(event=messages.EVENTS[call], pod=request.pod, container=container)


def _nothing(_: RemotePlugin) -> None:
    """Nobody minds."""
