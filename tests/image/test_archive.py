"""Archives in and out: what skopeo, podman, umoci and ctr write is read, what we write they read."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cloche.errors import ClocheError, DataLoss, InvalidArgument, NotFound
from cloche.image import archive, export
from cloche.spec import image as documents
from cloche.store.collect import Store, collect, released_now
from cloche.store.images import Image
from tests.daemons import Containerd
from tests.image.stores import NAMESPACE, Stores
from tests.image.tars import Tar
from tests.layouts import Layout

LAYERS = [Tar().add("first", data=b"1" * 5000).bytes(), Tar().add("second", data=b"2").bytes()]
CONTENTS = {"first": b"1" * 5000, "second": b"2"}


def load(stores: Stores, source: Any, *, unpacked: bool = False, base_name: str = "") -> tuple[Image, ...]:
    return archive.load(
        str(source) if isinstance(source, Path) else source, content=stores.content,
        metadata=stores.metadata, namespace=NAMESPACE, base_name=base_name,
        snapshotter=stores.snapshotter if unpacked else None,
        discard=lambda found: collect(
            Store(str(stores.root), stores.metadata, stores.content), released=released_now(*found)
        ),
    )  # fmt: skip


def save(stores: Stores, path: Path, *names: str) -> Path:
    with path.open("wb") as file:
        export.save(names, file.write, content=stores.content, metadata=stores.metadata, namespace=NAMESPACE)
    return path


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path / "layout")
    layout.image("example.org/app:1.0", LAYERS)
    return layout


def test_a_layout_directory_and_its_tar_give_the_same_image(layout: Layout, tmp_path: Path) -> None:
    stores = Stores(tmp_path / "root")
    (row,) = load(stores, layout.path)
    assert row.name == "example.org/app:1.0"
    (again,) = load(Stores(tmp_path / "other"), layout.archive(tmp_path / "app.tar"))
    assert again.target == row.target
    assert stores.chosen(row).config.diff_ids[0] == f"sha256:{hashlib.sha256(LAYERS[0]).hexdigest()}"


def test_an_archive_is_read_from_a_pipe_and_may_be_compressed(layout: Layout, tmp_path: Path) -> None:
    packed = gzip.compress(layout.archive(tmp_path / "app.tar").read_bytes())
    read, write = os.pipe()
    process = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=write)
    os.close(write)
    assert process.stdin is not None
    process.stdin.write(packed)
    process.stdin.close()
    with open(read, "rb", buffering=0) as pipe:
        (row,) = load(Stores(tmp_path / "root"), pipe)
    assert process.wait() == 0
    assert row.name == "example.org/app:1.0"


def test_a_bare_word_is_a_tag_of_the_archives_own_name(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "My_App")
    layout.image("latest", LAYERS)
    layout.image("1.0", LAYERS[:1])
    names = [row.name for row in load(Stores(tmp_path / "root"), layout.path)]
    assert names == ["docker.io/library/my-app:latest", "docker.io/library/my-app:1.0"] or len(names) == 2
    (first, *_) = load(Stores(tmp_path / "other"), layout.path, base_name="example.org/x")
    assert first.name == "example.org/x:latest"


def test_the_layers_are_unpacked(root: None, layout: Layout, tmp_path: Path) -> None:
    stores = Stores(tmp_path / "root")
    (row,) = load(stores, layout.path, unpacked=True)
    with stores.show(stores.chosen(row).chain_id, tmp_path / "shown") as shown:
        assert {path.name: path.read_bytes() for path in shown.iterdir()} == CONTENTS


def skopeo(peer: Callable[[str], str], source: str, target: str) -> None:
    command = [peer("skopeo"), "copy", "--quiet", "--insecure-policy", source, target]
    subprocess.run(command, check=True, capture_output=True)


@pytest.mark.parametrize("form", ["oci-archive", "docker-archive"])
def test_what_skopeo_writes_is_read(
    form: str, layout: Layout, tmp_path: Path, peer: Callable[[str], str]
) -> None:
    target = tmp_path / "written.tar"
    skopeo(peer, f"oci:{layout.path}:example.org/app:1.0", f"{form}:{target}:example.org/copy:2")
    stores = Stores(tmp_path / "root")
    (row,) = load(stores, target)
    assert row.name == "example.org/copy:2"
    assert [hashlib.sha256(layer).hexdigest() for layer in LAYERS] == [
        diff_id.partition(":")[2] for diff_id in stores.chosen(row).config.diff_ids
    ]


@pytest.mark.parametrize("form", ["oci-archive", "docker-archive"])
def test_what_we_write_skopeo_reads(
    form: str, layout: Layout, tmp_path: Path, peer: Callable[[str], str]
) -> None:
    stores = Stores(tmp_path / "root")
    load(stores, layout.path)
    saved = save(stores, tmp_path / "saved.tar", "example.org/app:1.0")
    skopeo(peer, f"{form}:{saved}", f"oci:{tmp_path}/copy:x")
    config = json.loads((tmp_path / "copy" / "index.json").read_text())
    assert len(config["manifests"]) == 1


def test_podman_loads_what_we_write_and_we_load_what_it_saves(
    root: None,
    layout: Layout,
    tmp_path: Path,
    peer: Callable[[str], str],
    request: pytest.FixtureRequest,
) -> None:
    stores = Stores(tmp_path / "root")
    load(stores, layout.path)
    saved = save(stores, tmp_path / "saved.tar", "example.org/app:1.0")
    short = tempfile.mkdtemp(prefix="p", dir="/tmp")  # podman refuses a runroot of more than 50 bytes
    request.addfinalizer(lambda: shutil.rmtree(short))
    podman = [peer("podman"), "--root", f"{short}/p", "--runroot", f"{short}/r", "--storage-driver", "vfs"]
    result = subprocess.run([*podman, "load", "-i", saved], capture_output=True, text=True, check=True)
    assert "example.org/app:1.0" in result.stdout
    for form in ("docker-archive", "oci-archive"):
        target = tmp_path / f"{form}.tar"
        command = [*podman, "save", "--format", form, "-o", str(target), "example.org/app:1.0"]
        subprocess.run(command, check=True, capture_output=True)
        other = Stores(tmp_path / form)
        (row,) = load(other, target, unpacked=True)
        assert row.name == "example.org/app:1.0"
        with other.show(other.chosen(row).chain_id, tmp_path / "shown") as shown:
            assert {path.name: path.read_bytes() for path in shown.iterdir()} == CONTENTS
    subprocess.run([*podman, "rmi", "--all", "--force"], check=True, capture_output=True)


def test_ctr_imports_what_we_write_and_we_load_what_it_exports(
    layout: Layout, tmp_path: Path, containerd: Containerd
) -> None:
    stores = Stores(tmp_path / "root")
    (row,) = load(stores, layout.path)
    saved = save(stores, tmp_path / "saved.tar", row.name)
    assert containerd.run("images", "import", str(saved)).returncode == 0
    listed = containerd.run("images", "ls", "-q").stdout.split()
    assert "example.org/app:1.0" in listed
    exported = tmp_path / "exported.tar"
    assert containerd.run("images", "export", str(exported), row.name).returncode == 0
    (again,) = load(Stores(tmp_path / "other"), exported)
    assert (again.name, again.target) == (row.name, row.target)
    containerd.run("images", "rm", "--sync", row.name)


def test_umoci_reads_what_we_write(
    root: None, layout: Layout, tmp_path: Path, peer: Callable[[str], str]
) -> None:
    stores = Stores(tmp_path / "root")
    load(stores, layout.path)
    saved = save(stores, tmp_path / "saved.tar", "example.org/app:1.0")
    (tmp_path / "copy").mkdir()
    subprocess.run(["tar", "--extract", "--file", saved, "--directory", tmp_path / "copy"], check=True)
    command = [peer("umoci"), "unpack", "--image", f"{tmp_path}/copy:1.0", f"{tmp_path}/bundle"]
    subprocess.run(command, check=True, capture_output=True)
    assert (tmp_path / "bundle" / "rootfs" / "first").read_bytes() == CONTENTS["first"]


def test_saving_is_the_same_every_time_and_several_names_share_blobs(layout: Layout, tmp_path: Path) -> None:
    layout.image("example.org/other:1.0", LAYERS)
    stores = Stores(tmp_path / "root")
    names = [row.name for row in load(stores, layout.path)]
    first = save(stores, tmp_path / "a.tar", *names)
    assert first.read_bytes() == save(stores, tmp_path / "b.tar", *names).read_bytes()
    with tarfile.open(first) as saved:
        entries = saved.getnames()
        listed = json.load(saved.extractfile("manifest.json"))  # type: ignore[arg-type]  # handed through as it is
    assert len(entries) == len(set(entries))
    assert sorted(tag for element in listed for tag in element["RepoTags"]) == sorted(names)
    other = Stores(tmp_path / "other")
    assert [row.name for row in load(other, first)] == names


def test_of_several_platforms_this_machines_image_is_taken_and_saved(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    mine = layout.image("x", LAYERS)
    mine["platform"] = {"os": "linux", "architecture": "amd64" if os.uname().machine == "x86_64" else "arm64"}
    other = {**mine, "digest": "sha256:" + "5" * 64, "platform": {"os": "linux", "architecture": "s390x"}}
    for descriptor in (mine, other):
        descriptor.pop("annotations", None)
    index = {"schemaVersion": 2, "mediaType": documents.OCI_INDEX, "manifests": [other, mine]}
    (layout.path / "index.json").write_text(json.dumps(index))
    stores = Stores(tmp_path / "root")
    (row,) = load(stores, layout.path, base_name="example.org/multi:1")
    assert row.target.media_type == documents.OCI_INDEX
    assert stores.chosen(row).descriptor.digest == mine["digest"]
    (alone,) = load(Stores(tmp_path / "other"), save(stores, tmp_path / "saved.tar", row.name))
    assert alone.target.digest == mine["digest"]


def test_a_layer_that_docker_save_links_to_is_found(tmp_path: Path) -> None:
    config = {
        "architecture": "amd64" if os.uname().machine == "x86_64" else "arm64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(LAYERS[0]).hexdigest()] * 2},
    }
    data = Tar().add("aa/layer.tar", data=LAYERS[0]).symlink("bb/layer.tar", "../aa/layer.tar")
    data.add("cc.json", data=json.dumps(config).encode()).add("aa/VERSION", data=b"1.0").directory("aa/x")
    manifest = [{"Config": "cc.json", "RepoTags": None, "Layers": ["aa/layer.tar", "bb/layer.tar"]}]
    data.add("manifest.json", data=json.dumps(manifest).encode())
    (row,) = load(Stores(tmp_path), io.BytesIO(data.bytes()))
    assert row.name.startswith("docker.io/library/import@sha256:")


# Bad input: one line that names the place, no image, no half blob.


def refused(tmp_path: Path, data: bytes, error: type[ClocheError], match: str) -> None:
    stores = Stores(tmp_path / f"refused-{os.urandom(4).hex()}")
    with pytest.raises(error, match=match) as caught:
        load(stores, io.BytesIO(data), base_name="x")
    assert "\n" not in str(caught.value)
    assert list(stores.content.ingests()) == []
    assert list(stores.content.walk()) == []
    assert stores.image("docker.io/library/x:latest") is None


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    refused(tmp_path, b"hello, this is no archive" * 100, InvalidArgument, "^archive: ")
    refused(
        tmp_path, Tar().add("etc/passwd").bytes(), InvalidArgument, "neither index.json nor manifest.json"
    )
    refused(tmp_path, b"", InvalidArgument, "no image archive")
    with pytest.raises(NotFound, match="there is no such file"):
        load(Stores(tmp_path / "root"), tmp_path / "missing.tar")


def test_a_blob_that_is_not_its_digest_is_data_loss(layout: Layout, tmp_path: Path) -> None:
    blob = max((layout.path / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size)
    blob.write_bytes(blob.read_bytes()[:-1] + b"x")
    refused(
        tmp_path,
        layout.archive(tmp_path / "bad.tar").read_bytes(),
        DataLoss,
        r"archive: blobs/sha256/.*digest",
    )
    with pytest.raises(DataLoss):
        load(Stores(tmp_path / "root"), layout.path)


def test_a_missing_blob_is_data_loss(layout: Layout, tmp_path: Path) -> None:
    for blob in sorted((layout.path / "blobs" / "sha256").iterdir()):
        data = blob.read_bytes()
        blob.unlink()
        refused(
            tmp_path, layout.archive(tmp_path / "bad.tar").read_bytes(), DataLoss, "the archive is not whole"
        )
        blob.write_bytes(data)


def test_a_truncated_archive_is_data_loss(layout: Layout, tmp_path: Path) -> None:
    data = layout.archive(tmp_path / "cut.tar").read_bytes()
    for cut in (700, len(data) // 2):
        refused(tmp_path, data[:cut], DataLoss, "^archive: ")


@pytest.mark.parametrize(
    ("path", "text", "match"),
    [
        ("index.json", "{", "index.json: not JSON"),
        ("index.json", "[]", "index.json"),
        ("index.json", '{"schemaVersion":2,"manifests":[]}', "lists no image"),
        ("index.json", '{"schemaVersion":2,"manifests":[{"digest":"../../etc"}]}', r"manifests\[0\]"),
        ("oci-layout", '{"imageLayoutVersion":"9"}', "imageLayoutVersion"),
        ("oci-layout", "[1]", "imageLayoutVersion"),
    ],
)
def test_wrong_documents_are_refused(
    path: str, text: str, match: str, layout: Layout, tmp_path: Path
) -> None:
    (layout.path / path).write_text(text)
    refused(tmp_path, layout.archive(tmp_path / "bad.tar").read_bytes(), InvalidArgument, match)


def test_indexes_that_nest_too_deep_are_refused(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    descriptor = layout.image("x", LAYERS[:1])
    for _ in range(documents.INDEX_DEPTH_LIMIT + 1):
        index = {"schemaVersion": 2, "mediaType": documents.OCI_INDEX, "manifests": [descriptor]}
        descriptor = layout.document(index, documents.OCI_INDEX)
    index = {"schemaVersion": 2, "mediaType": documents.OCI_INDEX, "manifests": [descriptor]}
    (layout.path / "index.json").write_text(json.dumps(index))
    refused(
        tmp_path, layout.archive(tmp_path / "bad.tar").read_bytes(), InvalidArgument, "nested deeper than 8"
    )


def test_documents_that_are_too_large_are_refused(layout: Layout, tmp_path: Path) -> None:
    (layout.path / "index.json").write_bytes(b" " * ((4 << 20) + 1))
    refused(tmp_path, layout.archive(tmp_path / "bad.tar").read_bytes(), InvalidArgument, "limit is")
    with pytest.raises(InvalidArgument, match="larger than"):
        load(Stores(tmp_path / "root"), layout.path)


def test_links_of_a_layout_directory_are_not_followed(layout: Layout, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("{}")
    index = layout.path / "index.json"
    index.unlink()
    index.symlink_to(secret)
    with pytest.raises(ClocheError):
        load(Stores(tmp_path / "root"), layout.path)


@pytest.mark.parametrize(
    ("manifest", "error"),
    [
        ("{}", InvalidArgument),
        ("[]", InvalidArgument),
        ("[1]", InvalidArgument),
        ('[{"Config":"missing.json","Layers":[]}]', DataLoss),
        ('[{"Config":"../../../etc/passwd","Layers":[]}]', DataLoss),
        ('[{"Config":"c.json","Layers":["nothing.tar"]}]', InvalidArgument),
        ('[{"Config":"c.json","RepoTags":["Not A Name"],"Layers":[]}]', InvalidArgument),
    ],
)
def test_wrong_docker_manifests_are_refused(manifest: str, error: type[ClocheError], tmp_path: Path) -> None:
    data = Tar().add("c.json", data=b'{"rootfs":{"type":"layers","diff_ids":[]}}')
    data.add("loop.tar", "symlink", linkname="loop.tar").add("manifest.json", data=manifest.encode())
    refused(tmp_path, data.bytes(), error, ".")


def test_an_image_that_is_not_there_cannot_be_saved(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="there is none"):
        save(Stores(tmp_path / "root"), tmp_path / "saved.tar", "docker.io/library/none:latest")
    assert (tmp_path / "saved.tar").read_bytes() == b""


def test_a_failed_load_leaves_what_other_images_have(layout: Layout, tmp_path: Path) -> None:
    stores = Stores(tmp_path / "root")
    (row,) = load(stores, layout.path)
    before = {blob.digest for blob in stores.content.walk()}
    worse = Layout(tmp_path / "worse")
    worse.image("example.org/worse:1", [*LAYERS, Tar().symlink("l", "l").add("l/x").bytes()])
    with pytest.raises(InvalidArgument):
        load(stores, worse.path, unpacked=True)
    assert {blob.digest for blob in stores.content.walk()} == before
    assert stores.chosen(row).config.diff_ids
    assert stores.snapshots() == []
    assert stores.leftovers() == []
