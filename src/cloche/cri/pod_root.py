"""What the root directory of a pod's holder is: our own program's, or a configured pause image's."""

from __future__ import annotations

from cloche.cri import pod_spec
from cloche.spec.mount import Mount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.cri.host import Host
    from cloche.cri.images import Images
    from cloche.cri.inventory import Pod
    from cloche.cri.pod_files import PodFiles
    from cloche.store.metadata import WriteTransaction


class PodRoot:
    """Makes and removes it. All methods block."""

    def __init__(self, host: Host, images: Images, files: PodFiles) -> None:
        self._host = host
        self._images = images
        self._files = files

    def _image(self, pod: Pod) -> str:
        """The pause image; "" for our own program, which needs no files with the pod's own users."""
        return "" if pod_spec.user_namespace(pod) is not None else self._host.settings.pause_image

    def words(self, pod: Pod) -> list[str]:
        """What the holder executes. Raises NotFound where the pause image is not here."""
        name = self._image(pod)
        if not name:
            return ["/pause"]
        config = self._images.need(name).config
        return [*(config.entrypoint or ()), *(config.cmd or ())] or ["/pause"]

    def make(self, pod: Pod) -> tuple[Mount, ...]:
        """What to mount for a pod. Raises NotFound where the pause image is not here."""
        name = self._image(pod)
        if not name:
            return (Mount("bind", self._files.holder_root(), ("rbind", "ro")),)
        image = self._images.need(name)
        context = self._host.context
        snapshotter = context.snapshotter(self._host.settings.snapshotter)
        with context.metadata.write() as tx:
            # Not a view: runtimes make the places of mounts in it, before it becomes read-only.
            snapshotter.prepare(tx, pod.id, image.found.chain_id or None)
        with context.metadata.read() as tx:
            return snapshotter.mounts(tx, pod.id)

    def remove(self, tx: WriteTransaction, pod: Pod) -> None:
        """Forget it."""
        snapshotter = self._host.context.snapshotter(self._host.settings.snapshotter)
        if snapshotter.exists(tx, pod.id):
            snapshotter.remove(tx, pod.id)

    def purge(self, pod: Pod) -> None:
        """Delete what was forgotten."""
        if self._host.settings.pause_image:
            self._host.context.snapshotter(self._host.settings.snapshotter).purge()
