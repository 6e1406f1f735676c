from __future__ import annotations

import pytest

from cloche.errors import AlreadyExists, InvalidArgument, NotFound
from cloche.store import images, namespaces
from cloche.store.images import Image, Resolution, Target
from cloche.store.metadata import Metadata

DIGEST = "sha256:" + "a" * 64
OTHER = "sha256:" + "b" * 64
TARGET = Target("application/vnd.oci.image.index.v1+json", DIGEST, 100, {"long": "x" * 9000})
IMAGE = Image("docker.io/library/busybox:latest", TARGET, {"a": "b"})


def test_an_image_comes_back_as_it_was_put(metadata: Metadata) -> None:
    with metadata.write() as tx:
        put = images.put(tx, "default", IMAGE)
    with metadata.read() as tx:
        found = images.get(tx, "default", IMAGE.name)
    assert found == put
    assert found == IMAGE.replace(created_at=put.created_at, updated_at=put.updated_at)
    assert 0 < put.created_at == put.updated_at


def test_a_name_put_again_points_elsewhere_and_keeps_its_birthday(metadata: Metadata) -> None:
    with metadata.write() as tx:
        first = images.put(tx, "default", IMAGE)
        second = images.put(tx, "default", Image(IMAGE.name, Target("type", OTHER, 1)))
        assert images.get(tx, "default", IMAGE.name) == second
    assert second.created_at == first.created_at
    assert second.updated_at >= first.updated_at
    assert second.target.digest == OTHER


def test_creating_a_name_that_is_taken_is_refused(metadata: Metadata) -> None:
    with metadata.write() as tx:
        images.create(tx, "default", IMAGE)
        with pytest.raises(AlreadyExists):
            images.create(tx, "default", IMAGE)
        images.create(tx, "other", IMAGE)


def test_images_are_listed_by_name_in_their_namespace(metadata: Metadata) -> None:
    with metadata.write() as tx:
        for name in ("b", "a"):
            images.put(tx, "default", IMAGE.replace(name=name))
        images.put(tx, "other", IMAGE.replace(name="c"))
        assert [image.name for image in images.list(tx, "default")] == ["a", "b"]
        assert namespaces.list(tx) == ("default", "other")


def test_a_deleted_image_is_gone(metadata: Metadata) -> None:
    with metadata.write() as tx:
        images.put(tx, "default", IMAGE)
        images.delete(tx, "default", IMAGE.name)
        assert images.get(tx, "default", IMAGE.name) is None
        with pytest.raises(NotFound):
            images.delete(tx, "default", IMAGE.name)


@pytest.mark.parametrize(
    "image",
    [
        IMAGE.replace(name=""),
        IMAGE.replace(target=Target("type", "sha256:short", 1)),
        IMAGE.replace(target=Target("type", DIGEST, -1)),
        IMAGE.replace(labels={"k": "v" * 5000}),
    ],
)
def test_what_cannot_be_an_image_is_refused(metadata: Metadata, image: Image) -> None:
    with metadata.write() as tx:
        with pytest.raises(InvalidArgument):
            images.put(tx, "default", image)
        with pytest.raises(InvalidArgument):
            images.put(tx, "../up", IMAGE)
    with metadata.read() as tx:
        assert images.list(tx, "default") == ()


def test_a_resolution_is_remembered_for_each_platform(metadata: Metadata) -> None:
    amd, arm = (Resolution(f"linux/{name}", DIGEST, OTHER, f"chain-{name}") for name in ("amd64", "arm64"))
    with metadata.write() as tx:
        assert images.resolution(tx, DIGEST, "linux/amd64") is None
        images.remember(tx, DIGEST, amd)
        images.remember(tx, DIGEST, arm)
        images.remember(tx, DIGEST, amd)
        assert images.resolution(tx, DIGEST, "linux/amd64") == amd
        assert images.resolution(tx, DIGEST, "linux/arm64") == arm
