"""NRI put together: who may connect, whom we start, and whom what happens is told.

    Nri ──▶ Relay ──▶ plugins, one after the other
     │        └─────▶ Wishes: what they want of other containers
     ├── Connection ◀─ their socket
     └── launching  ─▶ programs of plugin_path

Until the first plugin is there nothing of this but the present module is loaded, and what happens to a
pod costs one comparison.
"""

from __future__ import annotations

import asyncio
import logging

from cloche import __version__
from cloche.cri.nri.births import Births
from cloche.cri.nri.settings import NriSettings
from cloche.errors import ClocheError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    import subprocess
    from collections.abc import Awaitable, Callable
    from contextlib import ExitStack
    from typing import Any

    from cloche.cri.host import Host
    from cloche.cri.inventory import Container, Inventory, Pod
    from cloche.cri.nri.connection import Connection
    from cloche.cri.nri.launching import Program
    from cloche.cri.nri.plugin import RemotePlugin
    from cloche.cri.nri.relay import Relay
    from cloche.cri.nri.wishes import Wishes
    from cloche.cri.updating import Updating
    from cloche.wire.messages.cri.resources import LinuxContainerResources
    from cloche.wire.messages.nri.resources import LinuxResources
    from cloche.wire.protobuf import Message

_log = logging.getLogger("cloche.nri")

NRI_VERSION = "v0.12.3"
"""The version of NRI whose protocol this is."""


class Nri:
    """See the module. stop: ends a container; set before `begin`."""

    def __init__(self, host: Host, inventory: Inventory, updating: Updating) -> None:
        self.stop: Callable[[Container, int], Awaitable[None]]
        self._host = host
        self._inventory = inventory
        self._updating = updating
        self._settings = host.settings.nri or NriSettings()
        self._births = Births(self._settings.request_s)
        self._relay: Relay | None = None
        self._wishes: Wishes | None = None
        self._beginning: set[asyncio.Task[None]] = set()
        self._ending: set[asyncio.Future[None]] = set()

    async def begin(self) -> None:
        """Load the hooks and start the programs that are configured, and wait for them.

        Raises InvalidArgument for a hook that cannot be loaded.
        """
        if self._host.settings.nri is None:
            return
        if self._settings.hooks:
            from cloche.cri.nri.hooks import load

            for hook in await self._host.run(load, self._settings):
                self._relayed().add(hook)
        if self._settings.validator.enable:
            from cloche.cri.nri.validating import DefaultValidator

            self._relayed().add(DefaultValidator(self._settings.validator))
        for program in await self._host.run(_programs, self._settings):
            await self._start(program)

    def _relayed(self) -> Relay:
        if self._relay is None:
            from cloche.cri.nri.relay import Relay
            from cloche.cri.nri.wishes import Wishes

            patience_s = self._settings.request_s
            self._wishes = Wishes(self._inventory, self._updating, self.stop, patience_s)
            self._relay = Relay(self._host, self._inventory, self._births, self._wishes)
        return self._relay

    def connected(self) -> Connection:
        """A protocol for a plugin that has connected by itself."""
        plugin, connection = self._plugin()
        task = asyncio.ensure_future(self._begin_with(plugin))
        self._beginning.add(task)
        task.add_done_callback(self._beginning.discard)
        return connection

    def _plugin(self, **known: str) -> tuple[RemotePlugin, Connection]:
        from cloche.cri.nri.connection import Connection
        from cloche.cri.nri.plugin import RemotePlugin

        relay = self._relayed()

        async def answer(call: str, request: Message) -> Message:
            return await self._answer(plugin, call, request)

        connection = Connection(answer)
        plugin = RemotePlugin(connection, self._settings, **known)
        plugin.on_dropped = relay.discard
        return plugin, connection

    async def _start(self, program: Program) -> None:
        from cloche.cri.nri import launching

        try:
            process, ours = await self._host.run(launching.start, program)
        except OSError as error:
            _log.warning("NRI plugin %s cannot be started: %s", program.path, error.strerror)
            return
        plugin, connection = self._plugin(index=program.index, base=program.base, config=program.config)
        relay = self._relayed()

        def dropped(which: RemotePlugin) -> None:
            relay.discard(which)
            self._end(process)

        plugin.on_dropped = dropped
        plugin.on_closed = lambda: self._end(process)
        await self._attach(connection, ours)
        await self._begin_with(plugin)

    async def _attach(self, connection: Connection, ours: socket.socket) -> None:
        await asyncio.get_running_loop().connect_accepted_socket(lambda: connection, ours)

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        from cloche.cri.nri import launching

        # Not in the daemon's own threads, which end before its plugins do.
        ending = asyncio.ensure_future(asyncio.to_thread(launching.end, process))
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)

    async def _begin_with(self, plugin: RemotePlugin) -> None:
        try:
            if await plugin.begin(("cloche", __version__, NRI_VERSION)):
                await self._relayed().join(plugin)
        except (ClocheError, OSError) as error:
            plugin.drop(f"it cannot be told what there is: {error}")

    async def _answer(self, plugin: RemotePlugin, call: str, request: Any) -> Message:
        """What a plugin asks of us."""
        from cloche.errors import Unavailable
        from cloche.wire.messages.nri.plugin import UpdateContainersResponse
        from cloche.wire.messages.nri.values import Empty
        from cloche.wire.status import UNKNOWN, StatusError

        if call == "RegisterPlugin":
            plugin.register(request)
            return Empty()
        if self._wishes is None or not plugin.alive:
            raise Unavailable("NRI is over")
        failed = await self._wishes.carry_out(request.update, request.evict)
        if failed:
            # As containerd has it: an error, beside which an answer would not arrive.
            names = ", ".join(each.container_id for each in failed)
            raise StatusError(UNKNOWN, f"these containers could not be updated: {names}")
        return UpdateContainersResponse()

    async def tell(self, call: str, pod: Pod | None, container: Container | None = None) -> None:
        """Tell of what happens to a pod, or to a container in it; no pod for one that is gone.

        Raises StatusError for a plugin's error where the request is to fail for it (`relay.MUST`).
        """
        if self._relay and pod is not None:
            await self._relay.tell(call, pod, container)

    async def undo(self, pod: Pod) -> None:
        """A pod that plugins may have been told of is not to be, after all."""
        if self._relay and self._relay.has_run(pod):
            await self._relay.tell("StopPodSandbox", pod)
            await self._relay.tell("RemovePodSandbox", pod)

    async def update_pod(
        self, pod: Pod, overhead: LinuxContainerResources | None, limits: LinuxContainerResources | None
    ) -> None:
        """Tell of a pod's new limits. Raises StatusError for a plugin's error."""
        if self._relay:
            await self._relay.update_pod(pod, overhead, limits)

    async def update(
        self, pod: Pod | None, container: Container, asked: LinuxContainerResources
    ) -> tuple[LinuxContainerResources, dict[str, Any]]:
        """Ask about a container's new limits: what they are to be, and what CRI has no words for of them.

        Raises StatusError for a plugin's error, InvalidArgument, Unimplemented.
        """
        found = await self._relay.update(pod, container, asked) if self._relay and pod is not None else None
        if found is None:
            return asked, {}
        from cloche.cri.nri import limits
        from cloche.cri.nri.wishes import beyond_cri

        limits.keep_swap(found, asked)
        return limits.to_cri(found, oom_score_adj=asked.oom_score_adj), beyond_cri(found)

    @property
    def births(self) -> Births:
        """Where containers that are being made are noted."""
        return self._births

    @property
    def is_asked(self) -> bool:
        """Whether a container that is made now has to be shown to anybody."""
        return bool(self._relay)

    async def create(
        self, pod: Pod, container: Container, spec: Any, birth: ExitStack
    ) -> tuple[Any, LinuxResources | None]:
        """Ask what is to be changed of a container: see `Relay.create`."""
        return await self._relayed().create(pod, container, spec, birth)

    async def undo_create(self, pod: Pod, container: Container, spec: Any) -> None:
        """A container that was asked about is not to be, after all."""
        for call in ("StopContainer", "RemoveContainer"):
            await self._relayed().tell(call, pod, container, spec)

    async def close(self) -> None:
        """Tell the plugins that we end, and end those that we have started."""
        for task in list(self._beginning):
            task.cancel()
        if self._relay is not None:
            await self._relay.close()
        if self._ending:
            await asyncio.wait(set(self._ending))


def _programs(settings: NriSettings) -> list[Program]:
    import os

    if not os.path.isdir(settings.plugin_path):
        return []
    from cloche.cri.nri.launching import find

    return find(settings.plugin_path, settings.config_path)
