"""CRI put together: every part with what it needs, and which of them answer which calls."""

from __future__ import annotations

import asyncio

from cloche.cri.checkpoints import CheckpointService
from cloche.cri.container_making import Making
from cloche.cri.container_service import ContainerService
from cloche.cri.containers import Containers
from cloche.cri.events import Events
from cloche.cri.execution import Execution
from cloche.cri.handlers import Handlers
from cloche.cri.image_service import ImageService
from cloche.cri.image_space import ImageSpace
from cloche.cri.images import Images
from cloche.cri.information import InformationService
from cloche.cri.inventory import Inventory
from cloche.cri.joining import Joining
from cloche.cri.measuring import Measuring
from cloche.cri.metrics_service import MetricsService
from cloche.cri.nri.service import Nri
from cloche.cri.pod_checkpoints import PodCheckpointService
from cloche.cri.pod_files import PodFiles
from cloche.cri.pod_network import PodNetwork
from cloche.cri.pod_root import PodRoot
from cloche.cri.pod_service import PodService, describe
from cloche.cri.pods import Pods
from cloche.cri.pulling import Puller
from cloche.cri.stats_service import StatsService
from cloche.cri.stream_service import Streams, StreamService
from cloche.cri.streaming.server import Settings as StreamingSettings
from cloche.cri.streaming.server import StreamingServer
from cloche.cri.tasks import Tasks
from cloche.cri.updating import Updating

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.cri.host import Host


class Cri:
    """One daemon's CRI. services: what is to be registered, under the names that they say.

    nri: what plugins connect to.
    """

    def __init__(self, host: Host) -> None:
        images, puller, space = Images(host.context), Puller(host), ImageSpace(host)
        handlers = Handlers(host)
        self._network = network = PodNetwork(host)
        self._trying: asyncio.Task[None] | None = None
        self._inventory = inventory = Inventory(host)
        tasks, measures = Tasks(host, handlers), Measuring(handlers)
        execution = Execution(host, tasks)
        events = Events(host, inventory)
        events.describe = describe
        files, joining = PodFiles(host.settings), Joining(host.settings.slow_stage_s, events.slow)
        updating = Updating(host, inventory, tasks)
        self.nri = nri = Nri(host, inventory, updating)
        self._containers = Containers(
            host,
            inventory,
            handlers=handlers,
            tasks=tasks,
            making=Making(host, handlers, images, puller, files),
            measures=measures,
            events=events,
            joining=joining,
            nri=nri,
            updating=updating,
        )
        nri.stop = self._containers.stop
        self._pods = Pods(
            host,
            inventory,
            handlers=handlers,
            tasks=tasks,
            files=files,
            root=PodRoot(host, images, files),
            network=network,
            containers=self._containers,
            events=events,
            joining=joining,
            puller=puller,
            nri=nri,
        )
        self._server = StreamingServer(Streams(inventory, tasks, execution), _streaming(host))
        checkpoints = CheckpointService(host, inventory, tasks)
        self._whole_pods = PodCheckpointService(
            host, inventory, tasks, images, checkpoints, self._pods, self._containers
        )
        self.services: tuple[object, ...] = (
            InformationService(host, handlers, network, puller),
            ImageService(host, images, puller, space),
            PodService(host, inventory, self._pods, nri),
            ContainerService(host, inventory, self._containers, tasks),
            StatsService(host, inventory, measures, space),
            MetricsService(host, inventory, measures, space),
            checkpoints,
            self._whole_pods,
            StreamService(inventory, execution, self._server),
            events,
        )

    async def begin(self) -> None:
        """Find again what there was when the last daemon ended. The tasks have to be loaded before."""
        self._inventory.load()
        await self._containers.recover()
        await self._pods.recover()
        await self._whole_pods.recover()
        await self.nri.begin()
        self._trying = asyncio.ensure_future(self._network.keep_trying())
        await self._server.start()

    async def close(self) -> None:
        """Hang up on those who are connected with containers; everything runs on.

        Nobody watches any more: that the connections to the shims end now says nothing about containers.
        """
        self._inventory.stop_watching()
        if self._trying is not None:
            self._trying.cancel()
        await self.nri.close()
        await self._server.stop()


def _streaming(host: Host) -> StreamingSettings:
    settings = host.settings
    return StreamingSettings(
        settings.stream_address,
        settings.stream_port,
        settings.stream_certificate,
        settings.stream_key,
        settings.stream_idle_s,
    )
