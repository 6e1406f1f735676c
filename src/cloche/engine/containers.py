"""The containers of an engine's namespace: made, found and listed."""

from __future__ import annotations

import os

from cloche.engine import (
    capabilities,
    devices,
    lifecycle,
    namespaces,
    resources,
    rootfs,
    security,
    specification,
    status,
)
from cloche.engine.container import Container
from cloche.engine.kept import Kept
from cloche.engine.names import new_id, new_name
from cloche.engine.options import Options
from cloche.engine.volumes import Volumes, wanted
from cloche.errors import AlreadyExists, ClocheError
from cloche.store import containers as store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cloche.engine.context import Context
    from cloche.engine.images import Image, Images
    from cloche.engine.terminal import Attached
    from cloche.store.metadata import WriteTransaction

_NAME_ATTEMPTS = 8


class Containers:
    """Makes and finds containers. A reference is an id, the beginning of one, or a name."""

    def __init__(self, context: Context, images: Images) -> None:
        self._context = context
        self._images = images

    def create(self, image: Image | str, options: Options | None = None) -> Container:
        """Make a container that does not run yet. image: a name or what `Images` gave.

        Raises NotFound for the image or a mount's source, AlreadyExists for the name,
        InvalidArgument for settings that cannot be; then nothing was made.
        """
        return self._create(self._resolved(image), options or Options())

    def _resolved(self, image: Image | str) -> Image:
        return self._images.get(image) if isinstance(image, str) else image

    def _create(self, image: Image, options: Options, *, lease: str = "") -> Container:
        check(image, options)
        volumes = Volumes(self._context)
        container_id = new_id()
        try:
            volumes.prepare(wanted(image.config, options.mounts))
            kept = Kept(
                options,
                image.config,
                image.id,
                image.digest,
                image.chain_id,
                volumes.names,
                tuple(volumes.anonymous),
            )
            row = store.Container(
                id=container_id,
                namespace=self._context.namespace,
                name=options.name,
                image=image.asked,
                snapshotter=self._context.snapshotter_name,
                snapshot_key=container_id,
                labels={**image.config.labels, **options.labels},
                options=kept.to_bytes(),
                lease=lease,
            )
            row = self._insert(row, image.chain_id)
            container = Container(self._context, row)
            self._fill(container, volumes)
        except BaseException:
            volumes.undo()
            raise
        return container

    def _insert(self, row: store.Container, chain_id: str) -> store.Container:
        """The container's rows, under the name that was asked for or one that is free."""
        snapshotter = self._context.snapshotter(row.snapshotter)
        for attempt in range(_NAME_ATTEMPTS):
            named = row if row.name else row.replace(name=new_name(attempt))
            try:
                # What dies with this process anyway need not survive a power cut.
                with self._context.metadata.write(durable=not row.lease) as tx:
                    self._lease(tx, row)
                    snapshotter.prepare(tx, row.snapshot_key, chain_id or None)
                    return store.create(tx, named)
            except AlreadyExists:
                if row.name:
                    raise
        raise AlreadyExists("no free name was found for the container: give it one")

    def _lease(self, tx: WriteTransaction, row: store.Container) -> None:
        if row.lease:
            from cloche.store import leases

            owner = self._context.owner().name
            leases.create(tx, leases.Lease(row.lease, self._context.namespace, owner=owner))

    def _fill(self, container: Container, volumes: Volumes) -> None:
        """Give new volumes the image's files; where that fails the container is not there."""
        if not volumes.fresh:
            return
        try:
            descriptor = rootfs.assemble(rootfs.mounts_of(self._context, container.row))
            try:
                volumes.copy_up(descriptor)
            finally:
                os.close(descriptor)
        except (ClocheError, OSError):
            container.remove(force=True)
            raise

    def get(self, reference: str) -> Container:
        """Raises NotFound, and FailedPrecondition where several ids begin so."""
        with self._context.metadata.read() as tx:
            return Container(self._context, store.find(tx, self._context.namespace, reference))

    def list(self, *, all: bool = False) -> list[Container]:  # noqa: A002 - docker's word
        """Containers, the newest first; only those that run unless `all`."""
        with self._context.metadata.read() as tx:
            rows = store.list(tx, self._context.namespace)
        if not all:
            rows = tuple(row for row in rows if status.of(self._context, row.id).running)
        return [Container(self._context, row) for row in reversed(rows)]

    def run(
        self,
        image: Image | str,
        options: Options | None = None,
        *,
        stdio: tuple[int, int, int] = (0, 1, 2),
        on_start: Callable[[Attached], None] | None = None,
        on_create: Callable[[Container], None] | None = None,
    ) -> int:
        """Make a container and run it attached, with this process as its parent; its exit code.

        With `auto_remove` it is removed at the end, and by the next engine on this root where this
        process is killed first.
        """
        options = (options or Options()).replace(stdin_once=True)
        resolved = self._resolved(image)
        if not options.auto_remove:
            container = self._create(resolved, options)
            if on_create is not None:
                on_create(container)
            return container.run(stdio=stdio, on_start=on_start)
        return self._run_once(resolved, options, stdio, on_start, on_create)

    def _run_once(
        self,
        image: Image,
        options: Options,
        stdio: tuple[int, int, int],
        on_start: Callable[[Attached], None] | None,
        on_create: Callable[[Container], None] | None,
    ) -> int:
        from cloche.engine import removal

        lease = f"run-{os.getpid()}-{os.urandom(8).hex()}"
        container = self._create(image, options, lease=lease)
        try:
            if on_create is not None:
                on_create(container)
            return lifecycle.run(self._context, container.row, stdio=stdio, on_start=on_start, durable=False)
        finally:
            removal.remove(self._context, container.row, force=True, volumes=True, lease=lease)

    # The same by reference, for faces that have one name to act on.

    def start(self, reference: str) -> int:
        """See `Container.start`."""
        return self.get(reference).start()

    def stop(
        self, reference: str, *, timeout_s: float | None = None, signal: str | int | None = None
    ) -> None:
        """See `Container.stop`."""
        self.get(reference).stop(timeout_s=timeout_s, signal=signal or None)

    def restart(
        self, reference: str, *, timeout_s: float | None = None, signal: str | int | None = None
    ) -> None:
        """See `Container.restart`."""
        self.get(reference).restart(timeout_s=timeout_s, signal=signal or None)

    def kill(self, reference: str, signal: str | int = "KILL") -> None:
        """See `Container.kill`."""
        self.get(reference).kill(signal)

    def pause(self, reference: str) -> None:
        """See `Container.pause`."""
        self.get(reference).pause()

    def resume(self, reference: str) -> None:
        """See `Container.resume`."""
        self.get(reference).resume()

    def wait(self, reference: str) -> int:
        """See `Container.wait`."""
        return self.get(reference).wait()

    def rename(self, reference: str, name: str) -> None:
        """See `Container.rename`."""
        self.get(reference).rename(name)

    def remove(self, reference: str, *, force: bool = False, volumes: bool = False) -> None:
        """See `Container.remove`."""
        self.get(reference).remove(force=force, volumes=volumes)

    def prune(self) -> Sequence[str]:
        """Remove every container that does not run; their ids."""
        removed = []
        for container in self.list(all=True):
            if not container.status().running:
                container.remove()
                removed.append(container.id)
        return removed


def check(image: Image, options: Options) -> None:
    """Refuse settings that can be seen to be wrong before anything is made. Raises InvalidArgument."""
    if options.name:
        lifecycle.validate_name(options.name)
    if options.stop_signal:
        from cloche.engine.signals import number_of

        number_of(options.stop_signal)
    specification.command(image.config, options)
    specification.working_directory(image.config, options)
    specification.check_environment(options)
    specification.check_sysctls(options)
    capabilities.choose(options.cap_add, options.cap_drop, privileged=options.privileged)
    namespaces.joined(options)
    security.parse(options.security_opt)
    _, rules = devices.build(options)
    resources.resources(options, rules, swap=True)
