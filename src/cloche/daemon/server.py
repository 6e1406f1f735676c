"""The daemon put together: stores, services, shims and sockets of one root and one state directory."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
from functools import partial

from cloche.api.containers import Containers
from cloche.api.content import Content
from cloche.api.content_elsewhere import ContentElsewhere
from cloche.api.diff import Diff
from cloche.api.events import Events, Forwarding
from cloche.api.health import HealthService
from cloche.api.host import Host
from cloche.api.images import Images
from cloche.api.introspection import IntrospectionService
from cloche.api.leases import Leases
from cloche.api.mount_manager import Mounts
from cloche.api.namespaces import Namespaces
from cloche.api.plugins import brought as brought_plugins
from cloche.api.plugins import plugins
from cloche.api.reflection import ReflectionService
from cloche.api.sandbox_controller import SandboxController
from cloche.api.sandbox_store import SandboxStore
from cloche.api.snapshots import Snapshots
from cloche.api.streaming import Streaming
from cloche.api.tasks import Tasks
from cloche.api.transfer import Transfer, TransferSettings
from cloche.api.version import VersionService
from cloche.cri.host import Host as CriHost
from cloche.cri.service import Cri
from cloche.daemon import tcp
from cloche.daemon.attention import attentive_loop
from cloche.daemon.collecting import CollectingSettings, Collector
from cloche.daemon.connections import Connections
from cloche.daemon.differs import Differs, RemoteDiffer, brought
from cloche.daemon.following import follow_others
from cloche.daemon.lanes import Lanes
from cloche.daemon.lending import Lent
from cloche.daemon.nri_socket import NriSocket
from cloche.daemon.proxied_sandboxes import ProxiedSandboxes
from cloche.daemon.proxied_snapshots import ProxiedSnapshots
from cloche.daemon.proxy_plugins import CONTENT, DIFF, OWN_DIFFER, SANDBOX, SNAPSHOT, ProxyPlugin
from cloche.daemon.restarting import INTERVAL_S, Monitor
from cloche.daemon.selection import Selection
from cloche.daemon.services import Services
from cloche.daemon.sockets import Listener, StateLock, bind, inherited
from cloche.daemon.tcp import Tcp
from cloche.daemon.transport import GrpcProtocol
from cloche.daemon.ttrpc_transport import TtrpcProtocol
from cloche.engine.tasks.lifecycle import Tasks as TaskManager
from cloche.engine.tasks.shim import Daemon
from cloche.image.processors import Processors
from cloche.spec.record import Record
from cloche.store import elsewhere
from cloche.wire.grpc import MESSAGE_LIMIT
from cloche.wire.messages.reflection import REFLECTION_ALPHA

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from cloche.cri.settings import Settings
    from cloche.daemon.measuring import MetricsSettings
    from cloche.daemon.otlp import TraceSettings
    from cloche.daemon.tracing import Tracer
    from cloche.engine.tasks.accepting import Acceptor
    from cloche.image.verifiers import Verifiers

_log = logging.getLogger("cloche.daemon")

STOP_GRACE_S = 10.0


class Places(Record):
    """Where a daemon is: root durable, state for the run time, address its socket's path.

    ttrpc: the path of the socket that shims use; "" for the one beside the other. owner, ttrpc_owner:
    of the sockets, as user and group; 0 for ourselves. tcp: where else, if anywhere. cri: how CRI is to be;
    None for none. cri_only: whether nothing else is served. metrics: where Prometheus asks, if anywhere.
    traces: where they go, if anywhere. selection: which parts are wanted. verifiers: who may refuse images.
    processors: programs for layers of other media types.
    proxies: parts that are programs of their own. differs: who is asked, in this order.
    lent: the socket for another containerd that uses parts of ours, and its owner; "" for none.
    message_limits: bytes of a gRPC message that is taken, and sent.
    transfers, collecting: how they are done. shim_environment: variables that shims have besides.
    deprecated: warnings of words in the configuration that will go away, by name.
    isolated: whether namespaces see only their own blobs.
    sync_diffs: whether layers that are applied are on disk before clients are told.
    restart_interval_s: how often containers are looked after.
    """

    root: str
    state: str
    address: str
    ttrpc: str = ""
    owner: tuple[int, int] = (0, 0)
    ttrpc_owner: tuple[int, int] = (0, 0)
    tcp: Tcp | None = None
    cri: Settings | None = None
    cri_only: bool = False
    selection: Selection = Selection()
    verifiers: Verifiers | None = None
    processors: Processors = Processors()
    proxies: tuple[ProxyPlugin, ...] = ()
    differs: tuple[str, ...] = (OWN_DIFFER,)
    lent: tuple[str, int, int] = ("", 0, 0)
    message_limits: tuple[int, int] = (MESSAGE_LIMIT, MESSAGE_LIMIT)
    transfers: TransferSettings = TransferSettings()
    collecting: CollectingSettings = CollectingSettings()
    shim_environment: Mapping[str, str] = {}
    isolated: bool = False
    sync_diffs: bool = False
    deprecated: Mapping[str, str] = {}
    restart_interval_s: float = INTERVAL_S
    metrics: MetricsSettings | None = None
    traces: TraceSettings | None = None

    @property
    def ttrpc_address(self) -> str:
        """The socket that shims use."""
        return self.ttrpc or self.address + ".ttrpc"


class Server:
    """One daemon: `run` serves until it is told to stop."""

    def __init__(self, places: Places) -> None:
        """Raises FailedPrecondition where a part is required that is not there."""
        self._places = places
        self._plugins = places.selection.chosen(plugins(places.root, places.proxies), brought_plugins)

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT. Raises FailedPrecondition where another serves this state."""
        os.makedirs(self._places.root, 0o711, exist_ok=True)
        lock = StateLock(self._places.state)
        lanes = Lanes()
        try:
            with asyncio.Runner(loop_factory=lambda: attentive_loop(lambda: lanes.running)) as runner:
                runner.run(self._serve(lanes))
        finally:
            lock.release()

    async def _serve(self, lanes: Lanes) -> None:
        host = Host(self._places.root, self._places.state)
        host.all().verifiers = self._places.verifiers
        host.all().processors = self._places.processors
        host.all().isolated = self._places.isolated
        host.background = partial(lanes.begin, "general")
        self._settle_content(host)
        host.check()
        services = Services()
        connections = Connections(services, lanes)
        connections.receive_limit, connections.send_limit = self._places.message_limits
        manager = self._tasks(host, connections)
        cri = self._cri(host, manager, connections)
        self._add_services(services, host, manager, cri)
        collector = Collector(host.all(), lanes, self._places.collecting)
        host.on_garbage = collector.request
        await manager.load()
        if cri is not None:
            await cri.begin()
        following = follow_others(host)
        scraped = self._measure(host, manager, connections, collector)
        tracer = self._trace(connections)
        listeners = self._listen(connections) + self._lend(host, connections)
        plugging = self._take_plugins(cri)
        collector.begin()
        monitor = Monitor(host.all(), manager, interval_s=self._places.restart_interval_s)
        monitor.begin()
        _settle_memory()
        _log.info("serving on %s", self._places.address)
        stop = _told_to_stop()  # before anybody hears that there is a daemon to stop
        _notify("READY=1")
        await stop.wait()
        _notify("STOPPING=1")
        for listener in listeners:
            listener.remove()
        monitor.close()
        if scraped is not None:
            await scraped.close()
        if plugging is not None:
            await plugging.close()
        await collector.close()
        await connections.stop(STOP_GRACE_S)
        if cri is not None:
            await cri.close()
        await manager.close()
        following.close()
        host.close()
        if tracer is not None:
            tracer.close()

    def _settle_content(self, host: Host) -> None:
        """Have the blobs be where the configuration says. Raises FailedPrecondition where they are not."""
        directory = f"{self._places.root}/content"
        place = elsewhere.settle(directory, next(iter(self._addresses(CONTENT).values()), ""))
        if place is not None:
            from cloche.daemon.remote_content import RemoteContent

            host.all().content = RemoteContent(directory, place)

    def _addresses(self, kind: str) -> dict[str, str]:
        """Sockets of the proxy plug-ins of a kind, by name."""
        return {each.name: each.address for each in self._places.proxies if each.kind == kind}

    def _tasks(self, host: Host, connections: Connections) -> TaskManager:
        async def run(function: Callable[..., Any], *arguments: Any, lane: object = None) -> Any:
            return await connections.lanes.run_in("general", lane, lambda: function(*arguments))

        places = self._places
        daemon = Daemon(
            places.address, places.ttrpc_address, os.path.abspath(sys.argv[0]), places.shim_environment
        )
        return TaskManager(places.root, places.state, daemon, publish=host.publish, run=run)

    def _cri(self, host: Host, manager: TaskManager, connections: Connections) -> Cri | None:
        settings = self._places.cri
        if settings is None:
            return None

        async def run(
            function: Callable[..., Any], *arguments: Any, lane: object = None, pool: str = "general"
        ) -> Any:
            return await connections.lanes.run_in(pool, lane, lambda: function(*arguments))

        return Cri(
            CriHost(
                settings,
                host.all(),
                manager,
                run=run,
                publish=host.publish,
                released=lambda digests: host.on_garbage(digests),
            )
        )

    def _add_services(self, services: Services, host: Host, manager: TaskManager, cri: Cri | None) -> None:
        for each in cri.services if cri else ():
            services.add(each)
        events = Events(host)
        services.add(Forwarding(events))
        if self._places.cri_only:
            return
        streaming = Streaming()
        for each in (
            *(kind(host) for kind in (Images, Containers, Namespaces, Leases, Mounts)),
            *self._stored(host),
            Tasks(host, manager),
            SandboxStore(host),
            self._sandboxes(host, manager),
            events,
            streaming,
            Transfer(host, streaming, self._places.transfers),
            VersionService(),
            IntrospectionService(
                self._places.root,
                self._plugins,
                lambda: self._places.selection.wanted(brought_plugins()),
                self._places.deprecated,
            ),
            HealthService(lambda: {service.full_name for service in services}),
        ):
            if self._places.selection.serves(each.SERVICE.full_name):
                services.add(each)
        reflection = ReflectionService(services)
        services.add(reflection)
        services.add(reflection, REFLECTION_ALPHA)

    def _stored(self, host: Host) -> tuple[Any, ...]:
        """Content, diffs and snapshots: what may be with others."""
        snapshots, diffs = Snapshots(host), Diff(host, sync=self._places.sync_diffs)
        snapshotters = self._addresses(SNAPSHOT)
        return (
            ContentElsewhere(host) if host.all().content.blocks else Content(host),
            diffs if self._places.differs == (OWN_DIFFER,) else Differs(self._differs(host, diffs)),
            ProxiedSnapshots(host, snapshots, snapshotters) if snapshotters else snapshots,
        )

    def _differs(self, host: Host, own: Diff) -> dict[str, Diff | RemoteDiffer]:
        addresses = self._addresses(DIFF)
        return {
            name: own
            if name == OWN_DIFFER
            else RemoteDiffer(host, addresses[name], elsewhere.noted(f"{self._places.root}/content"))
            if name in addresses
            else Diff(host, partial(brought, name), sync=self._places.sync_diffs)
            for name in self._places.differs
        }

    def _sandboxes(self, host: Host, manager: TaskManager) -> SandboxController | ProxiedSandboxes:
        own, addresses = SandboxController(host, manager), self._addresses(SANDBOX)
        return ProxiedSandboxes(host, own, addresses) if addresses else own

    def _lend(self, host: Host, connections: Connections) -> list[Listener]:
        """Listen for another containerd that has parts of us."""
        path, uid, gid = self._places.lent
        if not path:
            return []
        services = Services()
        for each in self._stored(host):
            services.add(Lent(each))

        def protocol(owner: Connections) -> GrpcProtocol:
            made = GrpcProtocol(owner)
            made.services = services
            return made

        listener = bind(path, uid=uid or -1, gid=gid or -1)
        connections.serve(listener.socket, protocol)
        return [listener]

    def _measure(
        self, host: Host, manager: TaskManager, connections: Connections, collector: Collector
    ) -> Acceptor | None:
        """Count calls, and listen for who wants to know."""
        settings = self._places.metrics
        if settings is None:
            return None
        from cloche.daemon.measuring import Measuring
        from cloche.daemon.metrics_server import serve

        measuring = Measuring(settings, manager, host.all(), collector)
        connections.observers += (measuring.calls,)
        return serve(settings.address, measuring.text)

    def _trace(self, connections: Connections) -> Tracer | None:
        """Follow calls, and what is done for them."""
        settings = self._places.traces
        if settings is None:
            return None
        from cloche.daemon.otlp import Exporter
        from cloche.daemon.tracing import Tracer

        tracer = Tracer(Exporter(settings), f"{self._places.state}/traces.sock", settings.ratio)
        connections.observers += (tracer,)
        return tracer

    def _take_plugins(self, cri: Cri | None) -> NriSocket | None:
        """Let NRI's plugins connect."""
        settings = self._places.cri.nri if self._places.cri else None
        if cri is None or settings is None or not settings.socket_path:
            return None
        return NriSocket.open(settings.socket_path, cri.nri)

    def _listen(self, connections: Connections) -> list[Listener]:
        listeners = inherited(os.environ)
        known = {listener.path for listener in listeners}
        places = self._places
        wanted = {places.address: places.owner, places.ttrpc_address: places.ttrpc_owner}
        for path, (uid, gid) in wanted.items():
            if path not in known:
                listeners.append(bind(path, uid=uid or -1, gid=gid or -1))
        for listener in listeners:
            protocol = TtrpcProtocol if listener.path == places.ttrpc_address else GrpcProtocol
            connections.serve(listener.socket, protocol)
        if places.tcp is not None:
            tcp.serve(connections, places.tcp)
        return listeners


def _settle_memory() -> None:
    """Have the collector of cycles leave alone what is there for good, and look less often at the rest.

    A call makes some hundred objects and no cycle that matters, and every look costs a part of it.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)


def _told_to_stop() -> asyncio.Event:
    """Is set by SIGTERM and SIGINT from now on."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


def _notify(text: str) -> None:
    """Tell systemd how we are (sd_notify(3)), where it asked to be told."""
    import socket

    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as teller:
        try:
            teller.sendto(text.encode(), "\0" + address[1:] if address.startswith("@") else address)
        except OSError as error:
            _log.warning("systemd cannot be told %s: %s", text, error)
