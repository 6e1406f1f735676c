"""What is large or many: an import of 1 GB, an image of 100,000 files, a store of 10,000 entries."""

from __future__ import annotations

import random
import shutil
import statistics
import subprocess

from bench.measure import command, side_by_side, timed
from bench.stage import Stage
from bench.table import Row
from cloche.daemon.blocking_client import BlockingChannel
from cloche.wire.messages.containers import (
    CONTAINERS,
    Container,
    ContainerRuntime,
    CreateContainerRequest,
    DeleteContainerRequest,
    GetContainerRequest,
)
from cloche.wire.messages.google import Any
from cloche.wire.messages.images import IMAGES, CreateImageRequest, DeleteImageRequest, Image
from cloche.wire.messages.types import Descriptor
from tests.layouts import MANIFEST, Layout, tar_directory

MEBIBYTE = 1 << 20
IMPORTED_LAYERS, LAYER_FILES, IMPORTED_FILE_BYTES = 4, 64, 4 * MEBIBYTE
FEW, MANY = 100, 10_000
MANY_FILES, MANY_FILE_BYTES, MANY_LAYERS = 100_000, 5_000, 8
NAMESPACE = {"containerd-namespace": ("bench-volume",)}
RUNTIME = ContainerRuntime(name="io.containerd.runc.v2")
SPEC = Any(type_url="types.containerd.io/opencontainers/runtime-spec/1/Spec", value=b"{}")
ROUNDS = 3
CALLS = 200


def rows(stage: Stage, _: int) -> list[Row]:
    """All of them; takes some minutes."""
    return [_import(stage), _files(stage), *_growth(stage)]


def _import(stage: Stage) -> Row:
    source = random.Random(1)
    layout = Layout(stage.directory("gigabyte"))
    layers = []
    for layer in range(IMPORTED_LAYERS):
        root = stage.directory(f"gigabyte-{layer}")
        for index in range(LAYER_FILES):
            (root / f"file-{layer}-{index}").write_bytes(source.randbytes(IMPORTED_FILE_BYTES))
        layers.append(tar_directory(root))
        shutil.rmtree(root)
    name = "bench.example/gigabyte:latest"
    layout.image(name, layers, compressed=False)
    archive = layout.archive(stage.path / "gigabyte.tar")
    shutil.rmtree(layout.path)
    both = (stage.cloched, stage.containerd)

    def clean() -> None:
        for daemon in both:
            daemon.run("images", "rm", "--sync", name)
        subprocess.run(["sync"], check=True)

    works = [command(*daemon.ctr("images", "import", str(archive))) for daemon in both]
    times = side_by_side(works, ROUNDS, between=clean)
    clean()
    return Row("ctr images import, 1 GB", "containerd", times, 1.5, 1.0)


def _files(stage: Stage) -> Row:
    layout = Layout(stage.directory("files"))
    layout.image("files:latest", [_layer(stage, number) for number in range(MANY_LAYERS)])
    reference = stage.registry.push(f"oci:{layout.path}:files:latest", "files:latest")
    shutil.rmtree(layout.path)
    both = (stage.disk_cloched, stage.disk_containerd)

    def clean() -> None:
        for daemon in both:
            daemon.run("images", "rm", "--sync", reference)
        subprocess.run(["sync"], check=True)

    works = [command(*daemon.ctr("images", "pull", "--plain-http", reference)) for daemon in both]
    times = side_by_side(works, ROUNDS, between=clean)
    clean()
    return Row("ctr images pull, 500 MB in 100,000 files", "containerd", times, 0.8, 0.4)


def _layer(stage: Stage, number: int) -> bytes:
    """Files that compress about as well as programs do: a third of each is the same in all."""
    source = random.Random(number)
    root = stage.directory(f"files-{number}")
    pattern = source.randbytes(64) * (MANY_FILE_BYTES // 192)
    for index in range(MANY_FILES // MANY_LAYERS):
        path = root / f"part-{number}-{index // 200}" / f"file-{index}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(source.randbytes(MANY_FILE_BYTES - len(pattern)) + pattern)
    layer = tar_directory(root)
    shutil.rmtree(root)
    return layer


def _growth(stage: Stage) -> list[Row]:
    """The same calls in a store of ten thousand images and containers, beside one of a hundred."""
    with BlockingChannel(stage.cloched.address) as channel:
        for number in range(FEW):
            _make(channel, number)
        few = _calls(channel)
        for number in range(FEW, MANY):
            _make(channel, number)
        many = _calls(channel)
        for number in range(MANY):
            _remove(channel, number)
    names = ("a container and an image made and removed", "a container looked at")
    return [
        Row(f"{name}, among {MANY:,}", f"among {FEW}", [ours, theirs], 2.0, 1.2, "µs")
        for name, ours, theirs in zip(names, many, few, strict=True)
    ]


def _make(channel: BlockingChannel, number: int) -> None:
    image = Image(
        name=f"image-{number}", target=Descriptor(media_type=MANIFEST, digest=f"sha256:{'0' * 64}", size=2)
    )
    channel.unary(IMAGES, "Create", CreateImageRequest(image=image), metadata=NAMESPACE)
    container = Container(id=f"container-{number}", runtime=RUNTIME, spec=SPEC)
    channel.unary(CONTAINERS, "Create", CreateContainerRequest(container=container), metadata=NAMESPACE)


def _remove(channel: BlockingChannel, number: int) -> None:
    channel.unary(IMAGES, "Delete", DeleteImageRequest(name=f"image-{number}"), metadata=NAMESPACE)
    gone = DeleteContainerRequest(id=f"container-{number}")
    channel.unary(CONTAINERS, "Delete", gone, metadata=NAMESPACE)


def _calls(channel: BlockingChannel) -> tuple[float, float]:
    """The median seconds of making and removing, and of a look, in a store as it is."""

    def made_and_removed() -> None:
        _make(channel, MANY)
        _remove(channel, MANY)

    def looked_at() -> None:
        request = GetContainerRequest(id=f"container-{FEW // 2}")
        channel.unary(CONTAINERS, "Get", request, metadata=NAMESPACE)

    made_s = statistics.median(timed(made_and_removed) for _ in range(CALLS))
    looked_s = statistics.median(timed(looked_at) for _ in range(CALLS))
    return made_s, looked_s
