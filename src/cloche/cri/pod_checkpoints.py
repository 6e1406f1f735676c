"""Pods written into a folder, their containers as they were in one moment, and made again of it.

pod.dump     which containers there are, and the archive of each     N.tar   these (checkpoints.py)

All containers are paused before the first is written, and none goes on before the last one is. Of each a file
says so until it goes on: a daemon that finds some at its start has them go on.
"""

from __future__ import annotations

import asyncio
import logging
import os
from contextlib import AsyncExitStack, suppress

from cloche.cri import restoring
from cloche.cri.checkpoints import need_criu
from cloche.errors import ClocheError, FailedPrecondition, InvalidArgument
from cloche.spec.document import dumps, loads
from cloche.store import faults
from cloche.wire.messages import task
from cloche.wire.messages.cri import checkpoint as messages
from cloche.wire.messages.cri.containers import RUNNING, ContainerConfig
from cloche.wire.messages.cri.images import ImageSpec
from cloche.wire.messages.cri.values import CONTAINER
from cloche.wire.services.cri import RUNTIME

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cloche.cri.checkpoints import CheckpointService
    from cloche.cri.containers import Containers
    from cloche.cri.host import Host
    from cloche.cri.images import Images
    from cloche.cri.inventory import Container, Inventory
    from cloche.cri.pods import Pods
    from cloche.cri.tasks import Tasks

_log = logging.getLogger("cloche.cri")

_LIST = "pod.dump"
_LIST_LIMIT_BYTES = 1 << 20


class PodCheckpointService:
    """The part of RuntimeService that writes pods to disk, and brings them back."""

    SERVICE = RUNTIME

    def __init__(
        self,
        host: Host,
        inventory: Inventory,
        tasks: Tasks,
        images: Images,
        checkpoints: CheckpointService,
        pods: Pods,
        containers: Containers,
    ) -> None:
        self._host = host
        self._inventory = inventory
        self._tasks = tasks
        self._images = images
        self._checkpoints = checkpoints
        self._pods = pods
        self._containers = containers
        self._marks = f"{host.settings.state}/cri/paused"

    async def checkpoint_pod(
        self, _call: object, request: messages.CheckpointPodRequest
    ) -> messages.CheckpointPodResponse:
        """Write containers of a pod into a folder, which is there and empty; they run on.

        Raises Unimplemented where that is switched off, InvalidArgument, FailedPrecondition for what does
        not run, and what criu says where it cannot. Then the folder is empty again.
        """
        need_criu(self._host)
        _refuse_options(request.options)
        containers = self._selected(request)
        folder = _absolute(request.output_path, "output_path")
        await self._host.run(_need_empty, folder)
        async with AsyncExitStack() as changing:
            for each in containers:
                await changing.enter_async_context(each.changing)
            for each in containers:
                if each.state != RUNNING:
                    raise FailedPrecondition(f"container {each.id}: is not running")
            try:
                await self._write(containers, folder)
            except BaseException:
                await asyncio.shield(self._host.run(_empty, folder))
                raise
        return messages.CheckpointPodResponse()

    def _selected(self, request: messages.CheckpointPodRequest) -> list[Container]:
        pod = self._inventory.pod(request.pod_sandbox_id)
        if not pod.is_ready:
            raise FailedPrecondition(f"sandbox {pod.id}: is not running")
        chosen = {self._inventory.container(each).id for each in request.container_ids}
        if not chosen or len(chosen) < len(request.container_ids):
            raise InvalidArgument("container_ids: must name one container at least, and each of them once")
        for each in chosen - pod.containers.keys():
            raise InvalidArgument(f"container_ids: {each} is not in pod {pod.id}")
        # Always in the same order, so that two who want the same containers do not wait for each other.
        found = [pod.containers[each] for each in sorted(chosen)]
        sharing = [each.id for each in found if not _has_own_pids(each)]
        if len(sharing) > 1:
            raise FailedPrecondition(
                f"containers {', '.join(sharing)}: share their process ids, and criu needs the very same "
                "ones again: the first to be restored would take some of the second's"
            )
        return found

    async def _write(self, containers: Sequence[Container], folder: str) -> None:
        paused: list[Container] = []
        listed = []
        try:
            for each in containers:
                paused.append(each)
                await self._host.run(_mark, self._mark_of(each))
                await self._tasks.call(each.id, "Pause", task.PauseRequest(id=each.id))
            faults.point("cri.pod-paused")
            for number, each in enumerate(containers):
                await self._checkpoints.write(each, f"{folder}/{number}.tar")
                listed.append({"name": each.metadata.name, "archive": f"{number}.tar"})
            await self._host.run(_write_list, folder, listed)
        finally:
            # Whoever gives up waiting gets no frozen pod either.
            await asyncio.shield(self._resume(paused))

    async def _resume(self, containers: Sequence[Container]) -> None:
        for each in containers:
            try:
                await self._tasks.call(each.id, "Resume", task.ResumeRequest(id=each.id))
            except ClocheError as error:  # has ended, or could not be paused
                _log.info("container %s is not resumed: %s", each.id, error)
            await self._host.run(_unmark, self._mark_of(each))

    def _mark_of(self, container: Container) -> str:
        return f"{self._marks}/{container.id}"

    async def recover(self) -> None:
        """Have those go on that a daemon had paused when it was killed."""
        for name in await self._host.run(_names, self._marks):
            if name in self._inventory.containers:
                await self._resume([self._inventory.containers[name]])
            else:
                await self._host.run(_unmark, f"{self._marks}/{name}")

    async def restore_pod(
        self, _call: object, request: messages.RestorePodRequest
    ) -> messages.RestorePodResponse:
        """Make a pod, and in it containers that go on where they were written down once they are started.

        Raises Unimplemented where that is switched off, InvalidArgument for a folder or for configurations
        that do not belong together, and as RunPodSandbox and CreateContainer. Then nothing is left.
        """
        need_criu(self._host)
        _refuse_options(request.options)
        folder = _absolute(request.checkpoint_path, "checkpoint_path")
        archives = await self._host.run(_read_list, folder)
        configs = _by_name(request.container_configs)
        if configs.keys() != archives.keys():
            raise InvalidArgument(
                f"container_configs: {_words(configs)} are wanted, and {folder} has {_words(archives)}"
            )
        for name, config in configs.items():
            await self._host.run(self._compare, config, archives[name])
        known = set(self._inventory.pods)
        pod_id = await self._pods.run(request.config, request.runtime_handler)
        pod = self._inventory.pod(pod_id)
        try:
            restored = [
                messages.RestoredContainer(
                    name=name,
                    container_id=await self._containers.create(pod, _beginning(config, archives[name])),
                )
                for name, config in configs.items()
            ]
        except BaseException:
            if pod_id not in known:
                await asyncio.shield(self._pods.remove(pod))
            raise
        return messages.RestorePodResponse(pod_sandbox_id=pod_id, restored_containers=restored)

    def _compare(self, config: ContainerConfig, archive: str) -> None:
        """Raises InvalidArgument where a container of the archive is not what is asked for."""
        name = config.metadata.name if config.metadata else ""
        image = config.image.image if config.image else ""
        names = restoring.images_of(archive)
        if image and image not in names:
            found = self._images.find(image)
            if found is None or found.id not in names:
                raise InvalidArgument(f"container {name}: was of image {names[0]}, not {image}")
        arguments = [*config.command, *config.args]
        if config.command and arguments != (was := restoring.arguments_of(archive)):
            raise InvalidArgument(f"container {name}: its process is {was}, not {arguments}")


def _has_own_pids(container: Container) -> bool:
    security = container.config.linux.security_context if container.config.linux else None
    options = security.namespace_options if security else None
    return options is not None and options.pid == CONTAINER


def _refuse_options(options: Mapping[str, str]) -> None:
    for name in options:
        raise InvalidArgument(f"options: {name[:100]!r} is not known: there are none")


def _absolute(path: str, field: str) -> str:
    if not os.path.isabs(path):
        raise InvalidArgument(f"{field} {path[:200]!r}: must be an absolute path")
    return path


def _mark(path: str) -> None:
    try:
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise FailedPrecondition(
            f"{path}, which says what is paused, cannot be made: {error.strerror}"
        ) from None


def _unmark(path: str) -> None:
    # Where there was no room for the mark there is none; the others are to go on all the same.
    with suppress(OSError):
        os.unlink(path)


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


def _need_empty(folder: str) -> None:
    try:
        names = os.listdir(folder)
    except OSError as error:
        raise InvalidArgument(f"output_path {folder}: {error.strerror}") from None
    if names:
        raise InvalidArgument(f"output_path {folder}: must be empty, and has {names[0]!r}")


def _empty(folder: str) -> None:
    for name in os.listdir(folder):
        os.unlink(f"{folder}/{name}")


def _write_list(folder: str, containers: list[dict[str, str]]) -> None:
    try:
        with open(f"{folder}/{_LIST}", "xb") as file:
            file.write(dumps({"containers": containers}))
    except OSError as error:
        raise InvalidArgument(f"output_path {folder}: {error.strerror}") from None


def _read_list(folder: str) -> dict[str, str]:
    """The archives in a folder, by the names of their containers."""
    try:
        with open(f"{folder}/{_LIST}", "rb") as file:
            document = loads(file.read(_LIST_LIMIT_BYTES), f"{folder}/{_LIST}")
    except OSError as error:
        raise InvalidArgument(f"{folder}/{_LIST}: {error.strerror}") from None
    entries = document.get("containers") if isinstance(document, dict) else None
    found: dict[str, str] = {}
    for each in entries if isinstance(entries, list) else []:
        name, archive = (each.get("name"), each.get("archive")) if isinstance(each, dict) else (None, None)
        if not isinstance(name, str) or not isinstance(archive, str) or "/" in archive:
            raise InvalidArgument(f"{folder}/{_LIST}: is damaged")
        found[name] = f"{folder}/{archive}"
    return found


def _by_name(configs: Sequence[ContainerConfig]) -> dict[str, ContainerConfig]:
    found = {each.metadata.name if each.metadata else "": each for each in configs}
    if not found or "" in found or len(found) < len(configs):
        raise InvalidArgument("container_configs: each container needs a name of its own")
    return found


def _words(names: Mapping[str, object]) -> str:
    return ", ".join(sorted(names)) or "nothing"


def _beginning(config: ContainerConfig, archive: str) -> ContainerConfig:
    """A copy that begins from an archive."""
    copy = ContainerConfig.decode(config.encode())
    copy.image = ImageSpec(image=archive)
    return copy
