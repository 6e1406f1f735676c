"""ImageService: names and ids as containerd's CRI gives them."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from cloche.cri.images import full_name, names
from cloche.errors import DeadlineExceeded, InvalidArgument, NotFound
from cloche.wire.messages.cri import images, version
from tests.cri.kubelet import Kubelet, KubernetesNode

DIGEST = "sha256:" + "a" * 64
IMAGE_ID = "sha256:" + "b" * 64


def status(kubelet: Kubelet, name: str, **more: bool) -> images.ImageStatusResponse:
    request = images.ImageStatusRequest(image=images.ImageSpec(image=name), **more)
    answer: images.ImageStatusResponse = kubelet("ImageStatus", request)
    return answer


def test_a_pulled_image_has_its_tag_its_digest_and_its_id() -> None:
    tagged = names("docker.io/library/web:1", DIGEST, IMAGE_ID)
    assert tagged == ("docker.io/library/web:1", f"docker.io/library/web@{DIGEST}", IMAGE_ID)
    by_digest = f"docker.io/library/web@{DIGEST}"
    assert names(by_digest, DIGEST, IMAGE_ID) == (by_digest, IMAGE_ID)
    assert full_name(f"web:1@{DIGEST}") == by_digest


def test_an_image_is_pulled_listed_found_and_removed(
    kubelet: Kubelet, reference: str, running: KubernetesNode
) -> None:
    image_id = kubelet.pull(reference)
    assert image_id.startswith("sha256:")
    listed = kubelet("ListImages", images.ListImagesRequest()).images
    (image,) = (each for each in listed if each.id == image_id)
    assert reference in image.repo_tags
    (by_digest,) = (each for each in image.repo_digests if each.startswith(reference.rpartition(":")[0]))
    assert image.uid.value == 1000
    assert not image.username
    assert image.size > 1000
    for name in (
        reference,
        image_id,
        image_id.removeprefix("sha256:"),
        image_id[7:19],
        by_digest,
    ):
        assert status(kubelet, name).image == image
    assert "chainID" in status(kubelet, image_id, verbose=True).info["info"]
    assert "managed" in running.ok("--namespace", "k8s.io", "images", "ls")
    usage = kubelet("ImageFsInfo", images.ImageFsInfoRequest()).image_filesystems[0]
    assert usage.used_bytes.value > 100_000
    assert usage.inodes_used.value > 2
    for _ in range(2):
        kubelet("RemoveImage", images.RemoveImageRequest(image=images.ImageSpec(image=image_id)))
        assert status(kubelet, reference).image is None


def test_streamed_images_are_those_of_the_list(kubelet: Kubelet, reference: str) -> None:
    kubelet.pull(reference)
    with kubelet.stream("StreamImages", images.StreamImagesRequest()) as call:
        found = [image for answer in call for image in answer.images]
    assert found == kubelet("ListImages", images.ListImagesRequest()).images


@pytest.mark.parametrize("name", ["", "web/UPPER", "a b", "web@sha256:1234", "http://x/y"])
def test_a_name_that_is_none_is_refused(kubelet: Kubelet, name: str) -> None:
    with pytest.raises(InvalidArgument):
        kubelet.pull(name)


def test_what_is_not_there_is_not_found(kubelet: Kubelet, reference: str) -> None:
    with pytest.raises(NotFound):
        kubelet.pull(reference.replace(":latest", ":none"))
    assert status(kubelet, "nobody/has:this").image is None


def test_a_pull_of_which_nothing_comes_is_given_up(short: Path) -> None:
    settings = 'image_pull_progress_timeout = "1s"'
    # Nobody accepts: the kernel takes the connection, and that is all that happens.
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        KubernetesNode(short, images=settings) as node,
        Kubelet(node.address) as client,
        pytest.raises(DeadlineExceeded, match="nothing came for 1 s"),
    ):
        client.pull(f"127.0.0.1:{silent.getsockname()[1]}/x:1")


def test_the_runtime_says_what_it_is_and_can_do(kubelet: Kubelet) -> None:
    told = kubelet("Version", version.VersionRequest())
    assert (told.runtime_name, told.runtime_api_version) == ("cloche", "v1")
    answer = kubelet("Status", version.StatusRequest(verbose=True))
    assert [each.type for each in answer.status.conditions] == ["RuntimeReady", "NetworkReady"]
    assert {handler.name for handler in answer.runtime_handlers} >= {"", "runc"}
    assert all(handler.features.recursive_read_only_mounts for handler in answer.runtime_handlers)
    assert answer.features.supplemental_groups_policy
    driver = kubelet("RuntimeConfig", version.RuntimeConfigRequest()).linux.cgroup_driver
    assert driver == version.CGROUPFS


def test_cri_can_be_all_that_is_served(short: Path) -> None:
    with KubernetesNode(short, flags=("--cri-only",)) as node, Kubelet(node.address) as client:
        assert client("Version", version.VersionRequest()).runtime_name == "cloche"
        assert "unknown service" in node.run("images", "ls").stderr
