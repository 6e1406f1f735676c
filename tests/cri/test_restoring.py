"""Containers that begin from a checkpoint's archive, up to where criu goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.cri import restoring
from cloche.errors import ClocheError, InvalidArgument
from tests.cri.archives import tar, write
from tests.cri.kubelet import KubernetesNode
from tests.cri.pods import Pod, container_config


@pytest.fixture
def archive(tmp_path: Path, image: str) -> Callable[..., str]:
    """archive(mode): the path of one of the node's image."""
    return lambda mode="w": write(tmp_path / "checkpoint.tar", image, mode)


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_container_is_made_of_an_archive_and_criu_is_asked(
    running: KubernetesNode, pod: Pod, archive: Callable[..., str], mode: str
) -> None:
    config = container_config(archive(mode), "sleep 100")
    container = pod.create(config)
    assert pod.create(config).id == container.id
    folder = running.directory / "root/cri/containers" / container.id
    assert sorted(each.name for each in (folder / "checkpoint").iterdir()) == [
        "descriptors.json",
        "inventory.img",
    ]
    written = list((running.directory / "root/snapshots/overlayfs/snapshots").glob("*/fs/restored"))
    assert [each.read_bytes() for each in written] == [b"yes"]
    with pytest.raises(ClocheError, match="criu"):
        container.start()
    assert container.status().reason == "StartError"
    container.remove()
    assert not folder.exists()


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "there is no config.dump"),
        ({"config.dump": b"{}"}, "names no image"),
        ({"config.dump": b"nonsense"}, "config.dump"),
        ({"config.dump": b"[]"}, "names no image"),
    ],
)
def test_what_is_no_checkpoint_is_refused(
    pod: Pod, tmp_path: Path, files: dict[str, bytes], words: str
) -> None:
    path = tmp_path / "some.tar"
    path.write_bytes(tar(files))
    with pytest.raises(InvalidArgument, match=words):
        pod.create(container_config(str(path), "true"))


def test_an_archive_that_is_not_there_is_named(pod: Pod, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=f"{tmp_path}/none: cannot be read: No such file"):
        pod.create(container_config(f"{tmp_path}/none", "true"))


@given(
    st.binary(max_size=600)
    | st.dictionaries(st.text(max_size=20), st.binary(max_size=50)).map(lambda files: tar(files))
)
def test_any_file_is_a_checkpoint_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("a") / "archive"
    path.write_bytes(data)
    with pytest.raises(InvalidArgument, match=str(path)):
        restoring.images_of(str(path))
