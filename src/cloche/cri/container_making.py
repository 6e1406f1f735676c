"""A container's row, snapshot, files and config.json: made, and removed again."""

from __future__ import annotations

import os
import shutil

from cloche.cri import container_spec, image_volumes, pod_spec, records, restoring, selinux, signals
from cloche.cri.container_spec import Facts
from cloche.cri.identity import identify
from cloche.cri.inventory import Container
from cloche.engine import rootfs, volumes
from cloche.engine.names import new_id
from cloche.errors import InvalidArgument, Unimplemented
from cloche.kernel import mapped_layers
from cloche.spec.document import dumps
from cloche.store import clock, faults
from cloche.store import containers as store
from cloche.wire.messages.cri.status import ContainerUser, LinuxContainerUser

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloche.cri.handlers import Handlers
    from cloche.cri.host import Host
    from cloche.cri.images import Image, Images
    from cloche.cri.inventory import Pod
    from cloche.cri.pod_files import PodFiles
    from cloche.cri.pulling import Puller
    from cloche.cri.settings import Handler
    from cloche.kernel.passwd import Identity
    from cloche.spec.config import Config, IDMapping
    from cloche.spec.mount import Mount
    from cloche.wire.messages.cri.containers import ContainerConfig


class Making:
    """See the module. Methods that are no coroutines block."""

    def __init__(
        self, host: Host, handlers: Handlers, images: Images, puller: Puller, files: PodFiles
    ) -> None:
        self._host = host
        self._puller = puller
        self._handlers = handlers
        self._images = images
        self._files = files

    def _directory(self, container_id: str) -> str:
        return f"{self._host.settings.root}/cri/containers/{container_id}"

    def checkpoint(self, container: Container) -> str:
        """Where criu's images are of what a container begins from; "" for one that begins anew."""
        if not container.kept.checkpoint:
            return ""
        return f"{self._directory(container.id)}/{restoring.IMAGES}"

    def _run_directory(self, container_id: str) -> str:
        return f"{self._host.settings.state}/cri/containers/{container_id}"

    async def check(self, config: ContainerConfig, handler: Handler) -> None:
        """Refuse what can be seen to be wrong before anything is made. Raises InvalidArgument."""
        if config.image is None or not config.image.image:
            raise InvalidArgument("config.image: a container needs an image")
        if restoring.is_archive(config.image.image) and not self._host.settings.criu:
            raise Unimplemented("checkpoints are switched off: enable_criu is false in the configuration")
        if any(mount.recursive_read_only for mount in config.mounts):
            features = await self._handlers.features(handler)
            if not features.recursive_read_only_mounts:
                raise InvalidArgument(
                    f"runtime handler {handler.name!r} does not support recursive read-only mounts"
                )

    async def make(self, pod: Pod, config: ContainerConfig, handler: Handler) -> Container:
        """All of it. Whatever fails, nothing is left."""
        container_id = new_id()
        image = await self._image_of(config)
        made: Container = await self._host.run(
            self._make, container_id, pod, config, handler, image, lane=container_id
        )
        return made

    async def prepare(self, pod: Pod, config: ContainerConfig, handler: Handler) -> tuple[Container, Config]:
        """All but its config.json, which `keep` writes when it is as it is to be; `discard` undoes it."""
        container_id = new_id()
        image = await self._image_of(config)
        begun: tuple[Container, Config] = await self._host.run(
            self._prepare, container_id, pod, config, handler, image, lane=container_id
        )
        return begun

    async def keep(self, container: Container, spec: Config) -> None:
        """Write the config.json of a container that was begun: then it is made."""
        await self._host.run(self._keep, container, spec, lane=container.id)

    async def discard(self, container: Container) -> None:
        """Remove one that was begun."""
        await self._host.run(self.remove, container, lane=container.id)

    async def _image_of(self, config: ContainerConfig) -> str:
        """The name of its image; of the one below a checkpoint, which is fetched where it is not here."""
        name = config.image.image if config.image else ""
        if not restoring.is_archive(name):
            return name
        names: list[str] = await self._host.run(restoring.images_of, name)
        for below in names:
            if await self._host.run(self._images.find, below) is not None:
                return below
        return await self._puller.pull(names[0], None)

    def _make(
        self, container_id: str, pod: Pod, config: ContainerConfig, handler: Handler, image_name: str
    ) -> Container:
        container, spec = self._prepare(container_id, pod, config, handler, image_name)
        self._keep_or_remove(container, spec)
        return container

    def _prepare(
        self, container_id: str, pod: Pod, config: ContainerConfig, handler: Handler, image_name: str
    ) -> tuple[Container, Config]:
        asked = config.image.image if config.image else ""
        image = self._images.need(image_name)
        kept = records.KeptContainer(
            pod=pod.id,
            config=config,
            image_id=image.id,
            image_ref=(image.digests or [image.id])[0],
            log_path=_log_path(pod, config),
            created_at=clock.now(),
            stop_signal=signals.name_of(config.stop_signal) or image.config.stop_signal,
            resources=config.linux.resources if config.linux else None,
            checkpoint=asked if restoring.is_archive(asked) else "",
        )
        container = Container(container_id, kept)
        self._begin(container, pod, image, handler)
        try:
            faults.point("cri.container-begun")
            return container, self._specify(container, pod, image, handler)
        except BaseException:
            self.remove(container)
            raise

    def _begin(self, container: Container, pod: Pod, image: Image, handler: Handler) -> None:
        """The row, which says that it is not made yet, and the snapshot."""
        context = self._host.context
        config = container.config
        snapshotter = context.snapshotter(handler.snapshotter or self._host.settings.snapshotter)
        row = store.Container(
            id=container.id,
            namespace=context.namespace,
            image=next(iter(image.tags or image.digests), image.id),
            snapshotter=snapshotter.name,
            snapshot_key=container.id,
            labels=records.labels(config.labels, records.CONTAINER),
            runtime=handler.runtime,
            sandbox=pod.id,
            extensions=records.extensions_of(container.kept),
        )
        with context.metadata.write(durable=False) as tx:
            snapshotter.prepare(tx, row.snapshot_key, image.found.chain_id or None)
            store.create(tx, row)

    def _specify(self, container: Container, pod: Pod, image: Image, handler: Handler) -> Config:
        """The user is looked up in the root file system; config.json."""
        context, kept = self._host.context, container.kept
        with context.metadata.read() as tx:
            row = store.get(tx, context.namespace, container.id)
        if row is None:
            raise InvalidArgument(f"container {container.id}: was removed while it was made")
        mounts = rootfs.mounts_of(context, row)
        if kept.checkpoint:
            restoring.unpack(kept.checkpoint, self.checkpoint(container), mounts)
        users = pod_spec.user_namespace(pod)
        if users is not None:
            _give(mounts, pod_spec.mappings(users.uids), pod_spec.mappings(users.gids))
        root = rootfs.assemble(mounts)
        try:
            who = identify(root, container.config, image.config)
            places = self._volumes(container, image, root)
        finally:
            os.close(root)
        mounted = image_volumes.mount(self._host, self._images, container, self._run_directory(container.id))
        facts = Facts(
            container.id,
            pod=pod,
            handler=handler,
            image=image.config,
            image_name=row.image,
            identity=who,
            files=self._files.directory(pod.id),
            shared_memory=self._files.shared_memory(pod.id),
            volumes=places,
            image_mounts=mounted,
        )
        spec = container_spec.build(container.config, facts, self._host.settings, self._target_pid)
        if label := selinux.of_container(pod, container.config).mount:
            for mount in container.config.mounts:
                if mount.selinux_relabel and mount.image is None:
                    selinux.relabel(os.path.realpath(mount.host_path), label)
        kept.user = _user(who, spec["process"]["user"].get("additionalGids", []))
        return spec

    def _keep_or_remove(self, container: Container, spec: Config) -> None:
        try:
            self._keep(container, spec)
        except BaseException:
            self.remove(container)
            raise

    def _keep(self, container: Container, spec: Config) -> None:
        context, kept = self._host.context, container.kept
        kept.made = True
        with context.metadata.write() as tx:
            row = store.get(tx, context.namespace, container.id)
            if row is None:
                raise InvalidArgument(f"container {container.id}: was removed while it was made")
            store.update(tx, row.replace(spec=dumps(spec), extensions=records.extensions_of(kept)))

    def _target_pid(self, container_id: str) -> int:
        """A process of the container whose pid namespace is joined."""
        context = self._host.context
        with context.metadata.read() as tx:
            row = store.get(tx, context.namespace, container_id)
        kept = records.container_of(row) if row else None
        if kept is None or not kept.pid:
            raise InvalidArgument(f"namespace_options.target_id: container {container_id!r} does not run")
        return kept.pid

    def _volumes(self, container: Container, image: Image, root: int) -> dict[str, str]:
        """A directory, with what the image has there, for each volume of the image that nothing covers."""
        if self._host.settings.ignore_image_volumes:
            return {}
        covered = {os.path.normpath(mount.container_path) for mount in container.config.mounts}
        found: dict[str, str] = {}
        for number, path in enumerate(image.config.volumes):
            target = os.path.normpath("/" + path).replace("//", "/")
            if target == "/" or target in covered:
                continue
            found[target] = f"{self._directory(container.id)}/volumes/{number}"
            os.makedirs(found[target], 0o755)
            volumes.fill(root, target, found[target])
        return found

    def what_to_start(self, container: Container, pod: Pod) -> tuple[bytes, tuple[Mount, ...]]:
        """Its config.json, and what its root file system is."""
        context = self._host.context
        with context.metadata.read() as tx:
            row = store.get(tx, context.namespace, container.id)
        if row is None:
            raise InvalidArgument(f"container {container.id}: its row is gone: remove it")
        mounts = rootfs.mounts_of(context, row)
        if pod_spec.user_namespace(pod) is not None:
            *others, last = mounts
            word = f"{mapped_layers.WORD}/proc/{pod.kept.pid}/ns/user"
            mounts = (*others, last.replace(options=(*last.options, word)))
        if label := selinux.of_container(pod, container.config).mount:
            *others, last = mounts
            # mount(2) splits its words at commas, which labels have; our own runtime does not use it.
            builtin = self._handlers.is_builtin(self._handlers.get(pod.kept.handler))
            word = f"context={label}" if builtin else f'context="{label}"'
            mounts = (*others, last.replace(options=(*last.options, word)))
        return row.spec, mounts

    def remove(self, container: Container) -> None:
        """Remove all that is a container's. Can be repeated."""
        context = self._host.context
        image_volumes.unmount(self._run_directory(container.id))
        snapshotters = set()
        with context.metadata.write() as tx:
            row = store.get(tx, context.namespace, container.id)
            if row is not None:
                snapshotter = context.snapshotter(row.snapshotter)
                for key in (row.snapshot_key, *container.kept.image_volumes):
                    if snapshotter.exists(tx, key):
                        snapshotter.remove(tx, key)
                snapshotters.add(snapshotter)
                store.delete(tx, context.namespace, container.id)
        for each in snapshotters:
            each.purge()
        shutil.rmtree(self._directory(container.id), ignore_errors=True)
        shutil.rmtree(self._run_directory(container.id), ignore_errors=True)


def _log_path(pod: Pod, config: ContainerConfig) -> str:
    """Where its log is; "" for none. Raises InvalidArgument for a path that leads elsewhere."""
    directory = pod.config.log_directory
    if not directory or not config.log_path:
        return ""
    if not os.path.isabs(directory) or ".." in config.log_path.split("/"):
        raise InvalidArgument(f"log_path {config.log_path!r}: must be below an absolute log_directory")
    return os.path.normpath(f"{directory}/{config.log_path}")


def _user(who: Identity, groups: list[int]) -> ContainerUser:
    return ContainerUser(linux=LinuxContainerUser(uid=who.uid, gid=who.gid, supplemental_groups=groups))


def _give(mounts: Sequence[Mount], uids: list[IDMapping], gids: list[IDMapping]) -> None:
    """Make the pod's root the owner of what a container can write to: its layer appears as it is."""
    for mount in mounts:
        upper = [word.removeprefix("upperdir=") for word in mount.options if word.startswith("upperdir=")]
        if upper:
            os.chown(upper[0], _outside(uids), _outside(gids))


def _outside(mappings: list[IDMapping]) -> int:
    """The host's number for a user namespace's root."""
    for each in mappings:
        if each["containerID"] == 0:
            return each["hostID"]
    raise InvalidArgument("userns_options: the ids must have one for the container's root")
