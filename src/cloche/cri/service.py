"""CRI put together: every part with what it needs, and which of them answer which calls."""

from __future__ import annotations

from cloche.cri.handlers import Handlers
from cloche.cri.image_service import ImageService
from cloche.cri.image_space import ImageSpace
from cloche.cri.images import Images
from cloche.cri.information import InformationService
from cloche.cri.pod_network import PodNetwork
from cloche.cri.pulling import Puller

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.cri.host import Host


class Cri:
    """One daemon's CRI. services: what is to be registered, under the names that they say."""

    def __init__(self, host: Host) -> None:
        images, puller, space = Images(host.context), Puller(host), ImageSpace(host)
        handlers, network = Handlers(host), PodNetwork(host)
        self.services: tuple[object, ...] = (
            InformationService(host, handlers, network, puller),
            ImageService(host, images, puller, space),
        )
