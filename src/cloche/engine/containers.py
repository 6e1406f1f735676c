"""The containers of an engine's namespace: made, found and listed."""

from __future__ import annotations

import os

from cloche.engine import status
from cloche.engine.container import Container
from cloche.engine.options import Options
from cloche.store import containers as store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cloche.engine.context import Context
    from cloche.engine.images import Image
    from cloche.engine.terminal import Attached


class Containers:
    """Makes and finds containers. A reference is an id, the beginning of one, or a name."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def create(self, image: Image | str, options: Options | None = None) -> Container:
        """Make a container that does not run yet. image: a name or what `Images` gave.

        Raises NotFound for the image or a mount's source, AlreadyExists for the name,
        InvalidArgument for settings that cannot be; then nothing was made.
        """
        from cloche.engine import creation

        return creation.create(self._context, self._resolved(image), options or Options())

    def _resolved(self, image: Image | str) -> Image:
        if not isinstance(image, str):
            return image
        from cloche.engine.images import Images

        return Images(self._context).get(image)

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
        from cloche.engine import creation

        options = (options or Options()).replace(stdin_once=True)
        resolved = self._resolved(image)
        if not options.auto_remove:
            container = creation.create(self._context, resolved, options)
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
        from cloche.engine import creation, removal, starting

        lease = f"run-{os.getpid()}-{os.urandom(8).hex()}"
        container = creation.create(self._context, image, options, lease=lease)
        try:
            if on_create is not None:
                on_create(container)
            return starting.run(self._context, container.row, stdio=stdio, on_start=on_start, durable=False)
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
