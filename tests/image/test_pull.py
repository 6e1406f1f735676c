"""Whole pulls: from a real registry, over broken wires, by several at once."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cloche.errors import Cancelled, DataLoss, InvalidArgument, NotFound, Unavailable
from cloche.image import progress as news
from cloche.image import ranges
from cloche.image.credentials import Credentials
from cloche.image.hosts import Host
from cloche.image.progress import BlobStatus, Progress, Recorder
from cloche.image.pull import pull
from cloche.spec import platform
from cloche.store import blob_labels, images, leases
from cloche.store.collect import Store as CollectedStore
from cloche.store.collect import collect, released_now
from cloche.store.content import ContentStore
from cloche.store.metadata import Metadata
from cloche.store.snapshots.local import LocalSnapshotter
from cloche.store.snapshots.open import snapshotter
from tests import daemons
from tests.image.wire import INDEX, Answer, Asked, CuttingProxy, StubRegistry, descriptor, digest_of, times
from tests.layouts import Layout
from tests.peers import peer
from tests.waiting import wait_until

NOBODY = Credentials()


def layer_of(files: dict[str, bytes]) -> tuple[bytes, str]:
    """A compressed layer of some files, and its diff id."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return gzip.compress(buffer.getvalue(), 1, mtime=0), digest_of(buffer.getvalue())


NOISE = random.Random(1).randbytes(3 << 20)
LAYERS = [layer_of({"a": b"one", "noise": NOISE}), layer_of({"b": b"two"}), layer_of({"a": b"three"})]


class Store:
    """The stores of one root."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.content = ContentStore(f"{root}/content")
        self.metadata = Metadata(f"{root}/meta.db")

    def pull(self, reference: str, **options: Any) -> images.Image:
        options = {"auth": NOBODY, **options}
        return pull(reference, content=self.content, metadata=self.metadata, namespace="default", **options)

    def snapshotter(self, name: str = "overlayfs") -> LocalSnapshotter:
        return snapshotter(name, str(self.root))

    def image(self, name: str) -> images.Image | None:
        with self.metadata.read() as tx:
            return images.get(tx, "default", name)

    def leases(self) -> int:
        with self.metadata.read() as tx:
            return len(leases.list(tx))

    def blobs(self) -> set[str]:
        return {info.digest for info in self.content.walk()}

    def ingests(self) -> list[str]:
        return [status.ref for status in self.content.ingests()]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "root")
    yield made
    made.metadata.close()


@pytest.fixture
def stub() -> Iterator[StubRegistry]:
    with StubRegistry() as running:
        running.add_image("1", LAYERS)
        yield running


@pytest.fixture(scope="module")
def pushed(registry: daemons.Registry, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An image of three layers in the real registry; gives its reference."""
    layout = Layout(tmp_path_factory.mktemp("layout") / "image")
    layout.image("x", [gzip.decompress(data) for data, _ in LAYERS], Cmd=["/a"])
    return registry.push(f"oci:{layout.path}:x", "pulls/image:1")


def inspected(reference: str) -> dict[str, Any]:
    arguments = [peer("skopeo"), "inspect", "--tls-verify=false", f"docker://{reference}"]
    found: dict[str, Any] = json.loads(subprocess.run(arguments, check=True, capture_output=True).stdout)
    return found


def test_a_pull_brings_what_skopeo_sees(store: Store, pushed: str) -> None:
    image = store.pull(pushed)
    seen = inspected(pushed)
    assert image.name == pushed
    assert image.target.digest == seen["Digest"]
    manifest = json.loads(store.content.read(image.target.digest))
    assert [layer["digest"] for layer in manifest["layers"]] == seen["Layers"]
    assert {*seen["Layers"], seen["Digest"], manifest["config"]["digest"]} == store.blobs()
    assert store.image(pushed) == image
    assert (store.leases(), store.ingests()) == (0, [])


def test_a_second_pull_asks_one_thing_and_fetches_nothing(store: Store, stub: StubRegistry) -> None:
    first = store.pull(f"{stub.address}/a:1", hosts=[Host(stub.address, "http")])
    stub.asked.clear()
    second = store.pull(f"{stub.address}/a:1", hosts=[Host(stub.address, "http")])
    assert second.target == first.target
    assert [asked.method for asked in stub.asked] == ["HEAD"]


@pytest.mark.system
def test_an_image_that_comes_again_while_it_is_collected_is_whole(
    store: Store, pushed: str, root: None
) -> None:
    overlayfs = store.snapshotter()
    first = store.pull(pushed, snapshotter=overlayfs)
    whole = store.blobs()
    with store.metadata.write() as removing:
        images.delete(removing, "default", first.name)
    released = released_now(first.target.digest)

    class Collecting(Progress):
        """Collects whenever there is news; of blobs that are there only when it is known what is unpacked."""

        def update(self, blob: BlobStatus) -> None:
            if blob.status == news.EXISTS:
                time.sleep(0.2)
            collect(collected, released=released)

    collected = CollectedStore(str(store.root), store.metadata, store.content)
    again = store.pull(pushed, snapshotter=overlayfs, progress=Collecting())
    assert again.target == first.target
    assert store.blobs() == whole
    with store.metadata.read() as tx:
        found = images.resolution(tx, again.target.digest, str(platform.of_machine(os.uname().machine)))
        assert found is not None
        assert overlayfs.exists(tx, found.chain_id)


def test_blobs_and_image_carry_the_labels_that_containerd_gives_them(store: Store, pushed: str) -> None:
    image = store.pull(pushed)
    manifest = json.loads(store.content.read(image.target.digest))
    host, _, path = pushed.partition("/")
    source = {f"containerd.io/distribution.source.{host}": path.partition(":")[0]}
    config, layers = manifest["config"]["digest"], [layer["digest"] for layer in manifest["layers"]]
    with store.metadata.read() as tx:
        assert blob_labels.get(tx, "default", image.target.digest) == {
            "containerd.io/gc.ref.content.config": config,
            **{f"containerd.io/gc.ref.content.l.{number}": digest for number, digest in enumerate(layers)},
            **source,
        }
        for digest, (_, diff_id) in zip(layers, LAYERS, strict=True):
            labels = blob_labels.get(tx, "default", digest)
            assert labels == {"containerd.io/uncompressed": diff_id, **source}
        found = images.resolution(tx, image.target.digest, str(platform.of_machine(os.uname().machine)))
    assert found is not None
    assert (found.manifest_digest, found.config_digest) == (image.target.digest, config)


@pytest.mark.system
@pytest.mark.parametrize("name", ["overlayfs", "native"])
def test_layers_are_unpacked_while_they_arrive(store: Store, pushed: str, root: None, name: str) -> None:
    image = store.pull(pushed, snapshotter=store.snapshotter(name))
    config = json.loads(store.content.read(image.target.digest))["config"]["digest"]
    with store.metadata.read() as tx:
        found = images.resolution(tx, image.target.digest, str(platform.of_machine(os.uname().machine)))
        assert found is not None
        assert store.snapshotter(name).exists(tx, found.chain_id)
        labels = blob_labels.get(tx, "default", config)
    assert labels[f"containerd.io/gc.ref.snapshot.{name}"] == found.chain_id


@pytest.mark.system
def test_a_layer_that_is_not_what_the_config_says_leaves_nothing(
    store: Store, stub: StubRegistry, root: None
) -> None:
    stub.add_image("bad", [LAYERS[0], (LAYERS[1][0], LAYERS[2][1])])
    with pytest.raises(DataLoss, match="uncompressed bytes"):
        store.pull(f"{stub.address}/a:bad", snapshotter=store.snapshotter())
    assert store.image(f"{stub.address}/a:bad") is None
    assert store.leases() == 0
    with store.metadata.read() as tx:
        assert store.snapshotter().walk(tx) == ()
    assert not list(store.root.glob("snapshots/*/snapshots/*"))


def index_of(stub: StubRegistry, tag: str, depth: int = 1) -> dict[str, str]:
    """An index of one image a platform, nested so deep; gives the manifests' digests."""
    entries, digests = [], {}
    for name in ("linux/amd64", "linux/arm64", "linux/arm/v7", "linux/arm/v6"):
        system, architecture, *variant = name.split("/")
        data = stub.add_image(None, [layer_of({name.replace("/", "-"): b""})], architecture)
        placed = {"os": system, "architecture": architecture, **({"variant": variant[0]} if variant else {})}
        entries.append(descriptor(data, "application/vnd.oci.image.manifest.v1+json", platform=placed))
        digests[name] = digest_of(data)
    for level in range(depth):
        document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}
        data = stub.add_manifest(document, tag if level == depth - 1 else None, INDEX)
        entries = [descriptor(data, INDEX)]
    return digests


@pytest.mark.parametrize(
    ("asked", "chosen"),
    [
        ("linux/arm64", "linux/arm64"),
        ("linux/arm/v7", "linux/arm/v7"),
        ("linux/arm/v8", "linux/arm/v7"),
        ("linux/arm/v6", "linux/arm/v6"),
        (None, str(platform.of_machine(os.uname().machine))),
    ],
)
def test_of_an_index_only_the_image_for_the_platform_comes(
    store: Store, stub: StubRegistry, asked: str | None, chosen: str
) -> None:
    digests = index_of(stub, "multi")
    wanted = platform.parse(asked) if asked else None
    image = store.pull(f"{stub.address}/a:multi", platform=wanted)
    assert image.target.media_type == INDEX
    assert digests[chosen] in store.blobs()
    assert len(store.blobs()) == 4
    with store.metadata.read() as tx:
        found = images.resolution(
            tx, image.target.digest, str(wanted or platform.of_machine(os.uname().machine))
        )
    assert found is not None
    assert found.manifest_digest == digests[chosen]


def test_a_platform_that_is_not_there_is_told_with_those_that_are(store: Store, stub: StubRegistry) -> None:
    index_of(stub, "multi")
    with pytest.raises(NotFound, match=r"no image for linux/s390x; there is linux/amd64, linux/arm/v6, "):
        store.pull(f"{stub.address}/a:multi", platform=platform.parse("s390x"))
    stub.add_image("foreign", LAYERS, "s390x")
    with pytest.raises(NotFound, match="is for linux/s390x, not linux/"):
        store.pull(f"{stub.address}/a:foreign")


@pytest.mark.parametrize("depth", [8, 9])
def test_indexes_may_be_nested_but_not_without_end(store: Store, stub: StubRegistry, depth: int) -> None:
    index_of(stub, "deep", depth)
    if depth == 8:
        store.pull(f"{stub.address}/a:deep")
    else:
        with pytest.raises(InvalidArgument, match="nested deeper than 8"):
            store.pull(f"{stub.address}/a:deep")


def test_an_artifact_that_is_no_image_is_told(store: Store, stub: StubRegistry) -> None:
    data = stub.blobs[stub.add_blob(b"{}")]
    config = descriptor(data, "application/vnd.cncf.helm.config.v1+json")
    stub.add_manifest({"schemaVersion": 2, "config": config, "layers": []}, "chart")
    with pytest.raises(InvalidArgument, match="no container image but an artifact of type"):
        store.pull(f"{stub.address}/a:chart")


def test_a_config_of_another_number_of_layers_is_refused(store: Store, stub: StubRegistry) -> None:
    manifest = json.loads(stub.manifests["1"][0])
    manifest["layers"].pop()
    stub.add_manifest(manifest, "less")
    with pytest.raises(InvalidArgument, match="2 layers in the manifest, but 3 in the config"):
        store.pull(f"{stub.address}/a:less")


def test_a_download_goes_on_where_the_connection_broke(store: Store, pushed: str) -> None:
    address, _, name = pushed.partition("/")
    # The first connection carries the documents and, like the next two, a part of the first layer.
    with CuttingProxy(address, [700_000, 600_000, 500_000]) as proxy:
        image = store.pull(f"{proxy.address}/{name}", workers=1)
        assert proxy.cuts == 3
    assert image.target.digest == inspected(pushed)["Digest"]
    assert store.ingests() == []


def test_only_the_rest_is_asked_for_after_a_break(store: Store, stub: StubRegistry) -> None:
    data, _ = LAYERS[0]
    half = len(data) // 2
    stub.faults.append(times(1, digest_of(data), Answer(200, {}, data, cut=half)))
    store.pull(f"{stub.address}/a:1")
    ranges = [asked.headers.get("Range") for asked in stub.requests("GET", digest_of(data))]
    assert len(ranges) == 2
    # What was in flight in the last chunk may be asked for again.
    start = int(str(ranges[1]).removeprefix("bytes=").removesuffix("-"))
    assert ranges[0] is None
    assert 0 < start <= half


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blobs from a megabyte on come in pieces."""
    monkeypatch.setattr(ranges, "PIECE_BYTES", 300_000)
    monkeypatch.setattr(ranges, "WORTH_BYTES", 1 << 20)


def asked_ranges(stub: StubRegistry, data: bytes) -> list[str | None]:
    return [asked.headers.get("Range") for asked in stub.requests("GET", digest_of(data))]


def test_a_large_blob_comes_in_pieces_by_several_requests(
    store: Store, stub: StubRegistry, small_pieces: None
) -> None:
    data, _ = LAYERS[0]
    image = store.pull(f"{stub.address}/a:1")
    assert store.content.read(digest_of(data)) == data
    assert image.target.digest
    starts = range(0, len(data), 300_000)
    wanted = {f"bytes={start}-{min(start + 300_000, len(data)) - 1}" for start in starts}
    assert set(asked_ranges(stub, data)) == wanted


def test_a_registry_without_ranges_gives_the_whole(
    store: Store, stub: StubRegistry, small_pieces: None
) -> None:
    data, _ = LAYERS[0]
    stub.faults.append(times(99, digest_of(data), Answer(200, {}, data)))
    store.pull(f"{stub.address}/a:1")
    assert store.content.read(digest_of(data)) == data
    assert asked_ranges(stub, data)[-1] is None


def test_a_piece_that_breaks_off_is_asked_for_again(
    store: Store, stub: StubRegistry, small_pieces: None
) -> None:
    data, _ = LAYERS[0]
    broken = Answer(
        206, {"Content-Range": f"bytes 600000-899999/{len(data)}"}, data[600_000:900_000], cut=1000
    )

    def fault(asked: Asked, once: list[int] = [1]) -> Answer | None:  # noqa: B006 - it remembers
        hit = asked.headers.get("Range") == "bytes=600000-899999" and digest_of(data) in asked.path
        return broken if hit and once and once.pop() else None

    stub.faults.append(fault)
    store.pull(f"{stub.address}/a:1")
    assert store.content.read(digest_of(data)) == data
    assert asked_ranges(stub, data).count("bytes=0-299999") == 1


def test_a_connection_that_always_breaks_is_given_up_and_resumed_later(
    store: Store, stub: StubRegistry
) -> None:
    data, _ = LAYERS[0]
    digest = digest_of(data)
    stub.faults.append(times(1, digest, Answer(200, {}, data, cut=2 << 20)))
    stub.faults.append(
        times(99, digest, Answer(206, {"Content-Range": f"bytes {2 << 20}-"}, data[2 << 20 :], cut=0))
    )
    with pytest.raises(Unavailable, match="broke"):
        store.pull(f"{stub.address}/a:1")
    assert store.image(f"{stub.address}/a:1") is None
    assert store.leases() == 0
    assert f"layer-{digest}" in store.ingests()
    stub.faults.clear()
    stub.asked.clear()
    store.pull(f"{stub.address}/a:1")
    assert [asked.headers.get("Range") for asked in stub.requests("GET", digest)] == [f"bytes={2 << 20}-"]


def test_what_was_left_damaged_is_fetched_anew(store: Store, stub: StubRegistry) -> None:
    data, _ = LAYERS[0]
    with store.content.writer(f"layer-{digest_of(data)}", digest=digest_of(data), size=len(data)) as writer:
        writer.write(b"x" * 1000)
    store.pull(f"{stub.address}/a:1")
    assert digest_of(data) in store.blobs()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda data: Answer(200, {}, bytes(len(data))), "digest is sha256:"),
        (lambda data: Answer(200, {}, data + b"x"), "offers"),
        (lambda data: Answer(200, {}, data + bytes(9 << 20), announce=-1), "more than the expected"),
        (lambda data: Answer(200, {}, data[:-1], announce=-1), "bytes arrived"),
    ],
)
def test_a_blob_that_is_not_its_digest_is_refused_and_not_kept(
    store: Store, stub: StubRegistry, answer: Callable[[bytes], Answer], message: str
) -> None:
    data, _ = LAYERS[0]
    stub.faults.append(times(99, digest_of(data), answer(data)))
    with pytest.raises((DataLoss, Unavailable), match=message):
        store.pull(f"{stub.address}/a:1")
    assert digest_of(data) not in store.blobs()
    assert store.image(f"{stub.address}/a:1") is None
    assert store.leases() == 0


def test_a_failure_of_one_layer_stops_the_others(store: Store, stub: StubRegistry) -> None:
    stub.faults.append(times(99, digest_of(LAYERS[1][0]), StubRegistry.error(404, "BLOB_UNKNOWN", "gone")))
    with pytest.raises(NotFound, match="gone"):
        store.pull(f"{stub.address}/a:1")
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("transfer")]


def test_a_pull_is_cancelled_from_another_thread(store: Store, stub: StubRegistry) -> None:
    cancelled = threading.Event()
    stub.faults.append(times(99, "blobs", Answer(503, {"Retry-After": "60"})))
    threading.Timer(0.3, cancelled.set).start()
    with pytest.raises(Cancelled):
        store.pull(f"{stub.address}/a:1", cancelled=cancelled)
    assert store.leases() == 0


def test_several_threads_that_want_one_image_download_it_once(store: Store, stub: StubRegistry) -> None:
    failures: list[BaseException] = []

    def run() -> None:
        try:
            store.pull(f"{stub.address}/a:1")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    for data, _ in LAYERS:
        assert len(stub.requests("GET", digest_of(data))) == 1


PROGRAM = """
import sys
from cloche.image.credentials import Credentials
from cloche.image.pull import pull
from cloche.store.content import ContentStore
from cloche.store.metadata import Metadata
root, reference = sys.argv[1:]
pull(reference, content=ContentStore(root + "/content"), metadata=Metadata(root + "/meta.db"),
     namespace="default", auth=Credentials())
"""


def test_several_processes_that_want_one_image_download_it_once(store: Store, stub: StubRegistry) -> None:
    command = [sys.executable, "-c", PROGRAM, str(store.root), f"{stub.address}/a:1"]
    running = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(3)]
    errors = [process.communicate(timeout=60)[1] for process in running]
    assert [process.returncode for process in running] == [0, 0, 0], errors
    for data, _ in LAYERS:
        assert len(stub.requests("GET", digest_of(data))) == 1


def test_a_download_whose_process_was_killed_is_taken_over(store: Store, stub: StubRegistry) -> None:
    data, _ = LAYERS[0]
    digest = digest_of(data)
    # The body is announced whole, but only half of it comes, and the connection stays open.
    stub.faults.append(times(1, digest, Answer(200, {}, data[: 2 << 20], announce=len(data))))
    command = [sys.executable, "-c", PROGRAM, str(store.root), f"{stub.address}/a:1"]
    with subprocess.Popen(command) as first:
        wait_until(lambda: any(s.offset >= 1 << 20 for s in store.content.ingests()), timeout_s=30)
        waiting = Recorder()
        second = threading.Thread(
            target=store.pull, args=(f"{stub.address}/a:1",), kwargs={"progress": waiting}
        )
        second.start()
        wait_until(lambda: any(b.digest == digest for b in waiting.blobs()), timeout_s=30)
        first.kill()
        second.join(60)
    assert digest in store.blobs()
    assert len(stub.requests("GET", digest)) == 2


class Everything(Progress):
    """Keeps all news, in order."""

    def __init__(self) -> None:
        self.seen: list[BlobStatus] = []

    def update(self, blob: BlobStatus) -> None:
        self.seen.append(blob)

    def steps(self, digest: str) -> list[str]:
        """The statuses of a blob, repetitions left out."""
        found = [blob.status for blob in self.seen if blob.digest == digest]
        return [status for number, status in enumerate(found) if not number or found[number - 1] != status]


@pytest.mark.system
def test_progress_tells_what_becomes_of_each_layer(store: Store, stub: StubRegistry, root: None) -> None:
    everything = Everything()
    unpacked = store.snapshotter()
    store.pull(f"{stub.address}/a:1", progress=everything, snapshotter=unpacked)
    for data, _ in LAYERS:
        steps = [news.WAITING, news.DOWNLOADING, news.EXTRACTING, news.DONE]
        assert everything.steps(digest_of(data)) == steps
    again = Everything()
    store.pull(f"{stub.address}/a:1", progress=again, snapshotter=unpacked)
    assert again.steps(digest_of(LAYERS[0][0])) == [news.WAITING, news.EXISTS]
    offsets = [blob.offset for blob in everything.seen if blob.digest == digest_of(LAYERS[0][0])]
    assert max(offsets) == len(LAYERS[0][0])


def test_a_reference_by_digest_is_named_so(store: Store, stub: StubRegistry) -> None:
    digest = digest_of(stub.manifests["1"][0])
    image = store.pull(f"{stub.address}/a@{digest}")
    assert image.name == f"{stub.address}/a@{digest}"
    assert image.target.digest == digest


@pytest.mark.parametrize("name", ["", "UPPER", "a:b:c", "a b"])
def test_what_is_no_reference_touches_nothing(store: Store, name: str) -> None:
    with pytest.raises(InvalidArgument):
        store.pull(name)
    assert not store.root.exists()


def test_layers_that_repeat_are_fetched_once(store: Store, stub: StubRegistry) -> None:
    stub.add_image("twice", [LAYERS[1], LAYERS[1], LAYERS[2]])
    store.pull(f"{stub.address}/a:twice")
    assert len(stub.requests("GET", digest_of(LAYERS[1][0]))) == 1
