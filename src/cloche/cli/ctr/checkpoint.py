"""Checkpoints: a container, its files and its processes as an image, and a container made of one.

index  ├─ config of the container                   …checkpoint.config.v1+proto
       ├─ runtime's options                         …checkpoint.runtime.options+proto
       ├─ its image                                 --image
       ├─ what it wrote, as a layer                 --rw
       └─ its processes, as CRIU wrote them         --task
"""

from __future__ import annotations

import time

from cloche.cli.ctr import blobs, containers, scratch
from cloche.cli.ctr.command import CtrCommand, Invocation
from cloche.cli.ctr.image_content import Documents, get, platform_of, target_of
from cloche.cli.ctr.leases import Leased
from cloche.cli.ctr.snapshot_diff import between
from cloche.cli.ctr.snapshots import stat
from cloche.cli.output import line
from cloche.errors import InvalidArgument, NotFound
from cloche.spec import image as documents
from cloche.spec.document import dumps, loads
from cloche.spec.image import Descriptor, Index
from cloche.wire.messages import containers as container_messages
from cloche.wire.messages import snapshots, types
from cloche.wire.messages import tasks as messages
from cloche.wire.messages.containers import CONTAINERS
from cloche.wire.messages.diff import DIFF, ApplyRequest
from cloche.wire.messages.google import Any
from cloche.wire.messages.runc_options import CheckpointOptions
from cloche.wire.messages.snapshots import SNAPSHOTS
from cloche.wire.messages.tasks import TASKS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.cli.ctr.daemon import Daemon
    from cloche.wire.messages.containers import Container

_KIND = "application/vnd.containerd.container."
_PROCESSES = f"{_KIND}criu.checkpoint.criu.tar"
_CONFIG = f"{_KIND}checkpoint.config.v1+proto"
_OPTIONS = f"{_KIND}checkpoint.options.v1+proto"
_RUNTIME_OPTIONS = f"{_KIND}checkpoint.runtime.options+proto"
_RUNTIME = "io.containerd.checkpoint.runtime"
_SNAPSHOTTER = "io.containerd.checkpoint.snapshotter"
_NAME = "org.opencontainers.image.ref.name"


class _Paused:
    """A task that holds still in a `with` block, where there is one that runs."""

    def __init__(self, daemon: Daemon, name: str) -> None:
        self._daemon = daemon
        self._name = name
        self._paused = False

    def __enter__(self) -> None:
        found = self._daemon.find(TASKS, "Get", messages.GetRequest(container_id=self._name))
        if found is not None and found.process.status == types.RUNNING:
            self._daemon.ask(TASKS, "Pause", messages.PauseTaskRequest(container_id=self._name))
            self._paused = True

    def __exit__(self, *_: object) -> None:
        if self._paused:
            self._daemon.find(TASKS, "Resume", messages.ResumeTaskRequest(container_id=self._name))


def _stored(daemon: Daemon, kind: str, data: bytes) -> Descriptor:
    return Descriptor(kind, blobs.store_bytes(daemon, data), len(data))


def _processes(daemon: Daemon, name: str, options: CheckpointOptions) -> list[Descriptor]:
    """Have a task's processes written down; where in the content store."""
    request = messages.CheckpointTaskRequest(container_id=name, options=Any.pack(options))
    made = daemon.ask(TASKS, "Checkpoint", request).descriptors
    return [Descriptor(each.media_type, each.digest, each.size, dict(each.annotations)) for each in made]


def _written(daemon: Daemon, container: Container) -> Descriptor:
    """What a container wrote, as a layer."""
    key, snapshotter = container.snapshot_key, container.snapshotter
    lower = stat(daemon, snapshotter, key).parent
    made = between(daemon, snapshotter, lower, key, ref=f"checkpoint-rw-{key}")
    return Descriptor(made.media_type, made.digest, made.size)


def _indexed(daemon: Daemon, parts: list[Descriptor], annotations: dict[str, str]) -> Descriptor:
    document = {
        "schemaVersion": 2,
        "manifests": [each.to_dict() for each in parts],
        "annotations": annotations,
    }
    data = dumps(document)
    labels = {f"containerd.io/gc.ref.content.{number}": each.digest for number, each in enumerate(parts)}
    return Descriptor(documents.OCI_INDEX, blobs.store_bytes(daemon, data, labels=labels), len(data))


def _checkpoint(invocation: Invocation) -> None:
    name, reference = invocation.arguments
    daemon = invocation.daemon
    container = containers.get(daemon, name)
    runtime = container.runtime or container_messages.ContainerRuntime()
    with Leased(daemon), _Paused(daemon, name):
        parts = []
        if container.spec is not None:
            parts.append(_stored(daemon, _CONFIG, container.spec.encode()))
        if runtime.options is not None and runtime.options.value:
            parts.append(_stored(daemon, _RUNTIME_OPTIONS, runtime.options.encode()))
        if invocation.on("image"):
            parts.append(target_of(get(daemon, container.image)))
        if invocation.on("rw"):
            parts.append(_written(daemon, container))
        if invocation.on("task"):
            options = CheckpointOptions(file_locks=True)
            # The configuration comes with the processes once more.
            found = _processes(daemon, name, options)
            parts += [each for each in found if each.media_type != _CONFIG]
            parts.append(_stored(daemon, _OPTIONS, Any.pack(options).encode()))
        annotations = {_NAME: container.image, _RUNTIME: runtime.name, _SNAPSHOTTER: container.snapshotter}
        scratch.name(daemon, reference, _indexed(daemon, parts, annotations), {})


def _task_checkpoint(invocation: Invocation) -> None:
    daemon, name = invocation.daemon, invocation.argument(0)
    container = containers.get(daemon, name)
    options = CheckpointOptions(
        exit=invocation.on("exit"),
        image_path=invocation.text("image-path"),
        work_path=invocation.text("work-path"),
    )
    with Leased(daemon), _Paused(daemon, name):
        parts = _processes(daemon, name, options)
        if options.image_path:
            return
        if container.image:
            parts.append(target_of(get(daemon, container.image)))
        if container.snapshot_key:
            parts.append(_written(daemon, container))
        index = _indexed(daemon, parts, {"image.name": container.image} if container.image else {})
        # As ctr names it: by the container and the moment.
        reference = f"containerd.io/checkpoint/{name}:{time.strftime('%m-%d-%Y-%H:%M:%S')}"
        scratch.name(daemon, reference, index, {"containerd.io/checkpoint": "true"})
    line(reference)


def _restore(invocation: Invocation) -> int:
    from cloche.cli.ctr.task_start import run

    name, reference = invocation.arguments
    daemon = invocation.daemon
    data = blobs.document(daemon, target_of(get(daemon, reference)).digest)
    index = documents.parse(data, documents.OCI_INDEX, name=reference)
    if not isinstance(index, Index):
        raise InvalidArgument(f"{reference}: is no checkpoint")
    parts = {each.media_type: each for each in index.manifests}
    with Leased(daemon):
        container = _container(daemon, name, index, parts)
        if invocation.on("rw"):
            _apply(daemon, container, _part(parts, documents.OCI_LAYER_GZIP, "what the container wrote"))
        request = container_messages.CreateContainerRequest(container=container)
        container = daemon.ask(CONTAINERS, "Create", request).container
    live = None
    if invocation.on("live"):
        found = _part(parts, _PROCESSES, "the container's processes")
        live = types.Descriptor(media_type=found.media_type, digest=found.digest, size=found.size)
    detach = not containers.spec_of(container).get("process", {}).get("terminal")
    return run(invocation, container, live, detach=detach)


def _part(parts: dict[str, Descriptor], kind: str, what: str) -> Descriptor:
    if kind not in parts:
        raise NotFound(f"the checkpoint does not have {what}")
    return parts[kind]


def _container(daemon: Daemon, name: str, index: Index, parts: dict[str, Descriptor]) -> Container:
    """The container that was written down, with a snapshot of its own."""
    image = get(daemon, index.annotations.get(_NAME, ""))
    snapshotter = index.annotations.get(_SNAPSHOTTER, "")
    chosen = Documents(daemon).choose(image, platform_of(""))
    request = snapshots.PrepareSnapshotRequest(snapshotter=snapshotter, key=name, parent=chosen.chain_id)
    daemon.ask(SNAPSHOTS, "Prepare", request)
    options = None
    if _RUNTIME_OPTIONS in parts:
        options = Any.decode(blobs.document(daemon, parts[_RUNTIME_OPTIONS].digest))
    spec = Any.decode(blobs.document(daemon, _part(parts, _CONFIG, "a configuration").digest))
    return container_messages.Container(
        id=name,
        image=image.name,
        runtime=container_messages.ContainerRuntime(
            name=index.annotations.get(_RUNTIME, ""), options=options
        ),
        spec=Any(type_url=spec.type_url, value=dumps(_own_cgroup(loads(spec.value, "config.json"), name))),
        snapshotter=snapshotter,
        snapshot_key=name,
    )


def _own_cgroup(config: dict[str, object], name: str) -> dict[str, object]:
    """Two containers of one configuration must not share a cgroup named after the first of them."""
    linux = config.get("linux")
    if isinstance(linux, dict) and linux.get("cgroupsPath"):
        linux["cgroupsPath"] = f"{str(linux['cgroupsPath']).rpartition('/')[0]}/{name}"
    return config


def _apply(daemon: Daemon, container: Container, layer: Descriptor) -> None:
    request = snapshots.MountsRequest(snapshotter=container.snapshotter, key=container.snapshot_key)
    mounts = daemon.ask(SNAPSHOTS, "Mounts", request).mounts
    wanted = types.Descriptor(media_type=layer.media_type, digest=layer.digest, size=layer.size)
    daemon.ask(DIFF, "Apply", ApplyRequest(diff=wanted, mounts=mounts))


CHECKPOINT = CtrCommand(
    "[OPTIONS] CONTAINER NAME",
    _checkpoint,
    groups=(
        (
            "Options",
            (
                ("image", "", "bool", "With its image"),
                ("rw", "", "bool", "With what it wrote"),
                ("task", "", "bool", "With its processes"),
            ),
        ),
    ),
    minimum=2,
    maximum=2,
)
RESTORE = CtrCommand(
    "[OPTIONS] CONTAINER NAME",
    _restore,
    groups=(
        (
            "Options",
            (
                ("live", "", "bool", "With its processes as they were"),
                ("rw", "", "bool", "With what it wrote"),
            ),
        ),
    ),
    minimum=2,
    maximum=2,
)
TASK_CHECKPOINT = CtrCommand(
    "[OPTIONS] CONTAINER",
    _task_checkpoint,
    groups=(
        (
            "Options",
            (
                ("exit", "", "bool", "End it when it is written down"),
                ("image-path", "", "string", "Folder for it, instead of an image"),
                ("work-path", "", "string", "Folder for CRIU's log"),
            ),
        ),
    ),
    minimum=1,
    maximum=1,
)
