"""Images out of root file systems in tar archives."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import pytest

from cloche.errors import ClocheError, InvalidArgument, ResourceExhausted
from cloche.image.layer import LayerLimits
from cloche.image.root_archive import Archive, build, holds_images
from cloche.store.images import Image
from tests.image.stores import NAMESPACE, Stores
from tests.image.tars import Tar

DIGITS = "0123456789abcdef" * 4
ROOT = Tar().directory("./").directory("./bin/").add("./bin/tool", data=b"x").bytes()


def taken(data: bytes) -> bool:
    with Archive(io.BytesIO(data), "test") as archive:
        return holds_images(archive)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (f"blobs/sha256/{DIGITS}", True),
        ("./oci-layout", True),
        ("manifest.json", True),
        (f"{DIGITS}.json", True),
        (f"{DIGITS}/layer.tar", True),
        (f"{DIGITS}.tar.gz", True),
        (f"sha256:{DIGITS}", True),
        ("etc/passwd", False),
        ("blobs/mine", False),
        ("bin", False),
    ],
)
def test_an_archive_of_images_is_told_by_its_first_file(name: str, expected: bool) -> None:
    assert taken(Tar().directory("./").add(name, data=b"{}").bytes()) is expected


def test_looking_at_an_archive_takes_nothing_from_it() -> None:
    with Archive(io.BytesIO(gzip.compress(ROOT)), "test") as archive:
        assert not holds_images(archive)
        assert b"".join(iter(archive.read, b"")) == ROOT


def made(stores: Stores, data: bytes, **options: object) -> Image:
    with Archive(io.BytesIO(data), "test") as archive:
        return build(
            archive,
            name="made:1",
            content=stores.content,
            metadata=stores.metadata,
            namespace=NAMESPACE,
            snapshotter=stores.snapshotter,
            **options,  # type: ignore[arg-type]  # handed through as it is
        )


def test_the_files_become_one_layer_with_the_settings_asked_for(tmp_path: Path) -> None:
    stores = Stores(tmp_path)
    image = made(stores, gzip.compress(ROOT), changes=['CMD ["/bin/tool"]'], message="mine")
    chosen = stores.chosen(image)
    assert image.name == "docker.io/library/made:1"
    assert (len(chosen.manifest.layers), chosen.config.cmd) == (1, ("/bin/tool",))
    assert chosen.config.history[0]["comment"] == "mine"
    assert stores.content.read(chosen.manifest.layers[0].digest) == ROOT


@pytest.mark.parametrize(
    ("data", "options", "error"),
    [
        (b"", {}, InvalidArgument),
        (Tar().add("cut", data=b"x" * 1000).bytes()[:700], {}, ClocheError),
        (ROOT, {"changes": ["RUN x"]}, InvalidArgument),
        (ROOT, {"limits": LayerLimits(bytes=100)}, ResourceExhausted),
    ],
)
def test_what_is_refused_leaves_no_image_and_no_snapshot(
    tmp_path: Path, data: bytes, options: dict[str, object], error: type[ClocheError]
) -> None:
    stores, discarded = Stores(tmp_path), list[str]()
    with pytest.raises(error):
        made(stores, data, discard=discarded.extend, **options)
    assert stores.image("docker.io/library/made:1") is None
    assert (stores.snapshots(), stores.leftovers()) == ([], [])
