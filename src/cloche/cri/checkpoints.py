"""Containers written into archives, laid out as containerd's and CRI-O's are.

checkpoint/        criu's images
config.dump        which container, of which image      spec.dump     its config.json
status.dump        how it was                            rootfs-diff.tar   what it had written
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tarfile

from cloche.errors import DeadlineExceeded, FailedPrecondition, InvalidArgument, Unimplemented
from cloche.image.diff import difference
from cloche.image.diff_layer import write_layer
from cloche.spec.document import dumps
from cloche.store import containers as store
from cloche.wire.messages import task
from cloche.wire.messages.cri import checkpoint as messages
from cloche.wire.messages.cri.containers import RUNNING
from cloche.wire.messages.google import Any as Packed
from cloche.wire.messages.runc_options import CheckpointOptions
from cloche.wire.services.cri import RUNTIME

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.cri.host import Host
    from cloche.cri.inventory import Container, Inventory
    from cloche.cri.tasks import Tasks


class CheckpointService:
    """The part of RuntimeService that writes containers to disk."""

    SERVICE = RUNTIME

    def __init__(self, host: Host, inventory: Inventory, tasks: Tasks) -> None:
        self._host = host
        self._inventory = inventory
        self._tasks = tasks

    async def checkpoint_container(
        self, _call: object, request: messages.CheckpointContainerRequest
    ) -> messages.CheckpointContainerResponse:
        """Write a container's state into an archive; it runs on.

        Raises Unimplemented where that is switched off, and what criu says where it cannot.
        """
        need_criu(self._host)
        container = self._inventory.container(request.container_id)
        if not os.path.isabs(request.location):
            raise InvalidArgument(f"location {request.location[:200]!r}: must be an absolute path")
        async with container.changing:
            if container.state != RUNNING:
                raise FailedPrecondition(f"container {container.id}: is not running")
            await self.write(container, request.location, request.timeout or None)
        return messages.CheckpointContainerResponse()

    async def write(self, container: Container, location: str, timeout_s: float | None = None) -> None:
        """The same of a container that runs or is paused, which nobody changes meanwhile."""
        folder = f"{self._host.settings.state}/cri/checkpoints/{container.id}"
        await self._host.run(_clear, folder, lane=container.id)
        try:
            request = task.CheckpointTaskRequest(
                id=container.id, path=f"{folder}/checkpoint", options=Packed.pack(CheckpointOptions())
            )
            try:
                async with asyncio.timeout(timeout_s):
                    await self._tasks.call(container.id, "Checkpoint", request)
            except TimeoutError:
                raise DeadlineExceeded(f"criu did not end within {timeout_s:g} s") from None
            await self._host.run(self._archive, container, folder, location, lane=container.id)
        finally:
            await self._host.run(_remove, folder, lane=container.id)

    def _archive(self, container: Container, folder: str, location: str) -> None:
        context, kept = self._host.context, container.kept
        with context.metadata.read() as tx:
            row = store.get(tx, context.namespace, container.id)
            if row is None:
                raise FailedPrecondition(f"container {container.id}: was removed meanwhile")
            mounts = context.snapshotter(row.snapshotter).mounts(tx, row.snapshot_key)
        config = {
            "id": container.id,
            "name": container.metadata.name,
            "rootfsImage": kept.image_id,
            "rootfsImageRef": kept.image_ref,
            "rootfsImageName": row.image,
            "runtime": row.runtime,
        }
        documents = {
            "config.dump": dumps(config),
            "spec.dump": row.spec,
            "status.dump": dumps({"createdAt": kept.created_at, "startedAt": kept.started_at}),
        }
        for name, data in documents.items():
            with open(f"{folder}/{name}", "wb") as file:
                file.write(data)
        with open(f"{folder}/rootfs-diff.tar", "wb") as file, difference(mounts) as changes:
            write_layer(changes, file.write)
        try:
            with tarfile.open(f"{location}.new", "w") as archive:
                for name in sorted(os.listdir(folder)):
                    archive.add(f"{folder}/{name}", name)
            os.chmod(f"{location}.new", 0o600)
            os.rename(f"{location}.new", location)
        except OSError as error:
            raise InvalidArgument(f"location {location}: {error.strerror}") from None


def need_criu(host: Host) -> None:
    """Raises Unimplemented where checkpoints are switched off."""
    if not host.settings.criu:
        raise Unimplemented("checkpoints are switched off: enable_criu is false in the configuration")


def _clear(folder: str) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(f"{folder}/checkpoint", 0o700)


def _remove(folder: str) -> None:
    shutil.rmtree(folder, ignore_errors=True)
