"""A client as the kubelet is one: our own channel to a node, with what every test asks for."""

from __future__ import annotations

import uuid
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cloche.daemon.blocking_client import BlockingCall, BlockingChannel
from cloche.wire.messages.cri import images
from cloche.wire.protobuf import Message
from cloche.wire.services.cri import IMAGES, RUNTIME
from tests import peers
from tests.daemons import Cloched, Registry

PLUGINS = "/usr/lib/cni"
CONFIG = """version = 3
[plugins."io.containerd.cri.v1.images"]
stats_collect_period = 0
{images}
[plugins."io.containerd.cri.v1.images".registry]
config_path = "{directory}/hosts"
[plugins."io.containerd.cri.v1.runtime"]
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true
cdi_spec_dirs = ["{directory}/cdi"]
[plugins."io.containerd.cri.v1.runtime".cni]
conf_dir = "{directory}/net"
bin_dirs = ["{plugins}"]
[plugins."io.containerd.nri.v1.nri"]
socket_path = "{directory}/nri.sock"
plugin_path = "{directory}/nri"
plugin_config_path = "{directory}/nri.d"
plugin_request_timeout = "500ms"
{nri}
{more}
"""


class KubernetesNode(Cloched):
    """cloched with a configuration of its own.

    flags: further words of its command line. images, nri, more: further lines, about images, about plugins,
    and at the end.
    plugins: where CNI's are.
    """

    def __init__(
        self,
        directory: Path,
        *,
        flags: tuple[str, ...] = (),
        images: str = "",
        nri: str = "",
        more: str = "",
        plugins: str = PLUGINS,
    ) -> None:
        self._flags = flags
        self.config = directory / "config.toml"
        self.config.write_text(
            CONFIG.format(directory=directory, images=images, nri=nri, more=more, plugins=plugins)
        )
        super().__init__(directory)

    def command(self) -> list[str]:
        """With the configuration."""
        return [*super().command(), "--config", str(self.config), *self._flags]


class Kubelet:
    """Calls of CRI, by name."""

    def __init__(self, address: str) -> None:
        self._channel = BlockingChannel(address)

    def __call__(self, name: str, request: Message, *, timeout_s: float = 60) -> Any:
        """Make a call; raises the error that is answered."""
        service = IMAGES if name in IMAGES.methods else RUNTIME
        return self._channel.unary(service, name, request, timeout_s=timeout_s)

    def stream(self, name: str, request: Message) -> BlockingCall:
        """Begin a call with many answers, to be iterated over in a `with`."""
        service = IMAGES if name in IMAGES.methods else RUNTIME
        call = self._channel.call(service, name)
        call.send(request, end=True)
        return call

    def pull(self, reference: str) -> str:
        """Have an image pulled; its id."""
        request = images.PullImageRequest(image=images.ImageSpec(image=reference))
        image_id: str = self("PullImage", request).image_ref
        return image_id

    def close(self) -> None:
        """Hang up."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def require() -> None:
    """What every test with a node needs."""
    peers.require_root()


def push(registry: Registry, layout: Path, reference: str) -> str:
    """Put an image of a layout into a registry under a name of its own; what to pull."""
    return registry.push(f"oci:{layout}:{reference}", f"cri-{uuid.uuid4().hex[:8]}:latest")
