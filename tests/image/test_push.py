"""Pushes into Debian's docker-registry, checked with skopeo, and into servers that refuse."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cloche.errors import ClocheError, NotFound, PermissionDenied, Unavailable
from cloche.image import progress as news
from cloche.image.credentials import Credentials
from cloche.image.hosts import Host
from cloche.image.progress import Recorder
from cloche.image.pull import pull
from cloche.image.push import push
from cloche.spec import platform
from cloche.spec.image import Descriptor
from cloche.store.content import ContentStore
from cloche.store.metadata import Metadata
from tests import daemons
from tests.image.wire import INDEX, MANIFEST, Answer, StubRegistry, descriptor, digest_of, times
from tests.peers import peer

NOBODY = Credentials()
# bcrypt of "secret", at its lowest cost.
HTPASSWD = "me:$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW\n"
LAYERS = [(bytes([number]) * 5000, digest_of(bytes([number]))) for number in range(4)]


class Store:
    """The stores of one root, with images in it."""

    def __init__(self, root: Path, origin: StubRegistry) -> None:
        self.content = ContentStore(f"{root}/content")
        self.metadata = Metadata(f"{root}/meta.db")
        self.origin = origin

    def have(self, tag: str, **options: Any) -> str:
        """Bring an image of the origin here; gives its name."""
        image = pull(
            f"{self.origin.address}/made/here:{tag}",
            content=self.content,
            metadata=self.metadata,
            namespace="default",
            auth=NOBODY,
            **options,
        )
        return image.name

    def push(self, reference: str, **options: Any) -> Descriptor:
        options = {"auth": NOBODY, **options}
        return push(reference, content=self.content, metadata=self.metadata, namespace="default", **options)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with StubRegistry() as origin:
        origin.add_image("1", LAYERS)
        made = Store(tmp_path / "root", origin)
        yield made
        made.metadata.close()


def skopeo(reference: str, *arguments: str) -> Any:
    command = [peer("skopeo"), "inspect", "--tls-verify=false", *arguments, f"docker://{reference}"]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def test_what_is_pushed_is_what_others_see(store: Store, registry: daemons.Registry) -> None:
    name = store.have("1")
    target = f"{registry.address}/pushed/plain:1"
    pushed = store.push(target, image=name)
    seen = skopeo(target)
    assert seen["Digest"] == pushed.digest == digest_of(store.origin.manifests["1"][0])
    assert seen["Layers"] == [digest_of(data) for data, _ in LAYERS]


def test_a_second_push_sends_no_blob(store: Store, registry: daemons.Registry) -> None:
    name = store.have("1")
    store.push(f"{registry.address}/pushed/twice:1", image=name)
    recorder = Recorder()
    store.push(f"{registry.address}/pushed/twice:2", image=name, progress=recorder)
    assert {blob.status for blob in recorder.blobs() if blob.kind != "manifest"} == {news.EXISTS}
    assert sorted(skopeo(f"{registry.address}/pushed/twice:2")["RepoTags"]) == ["1", "2"]


def test_blobs_are_mounted_from_a_repository_that_has_them(store: Store) -> None:
    name = store.have("1")
    with StubRegistry() as target:
        taken: list[str] = []
        target.faults.append(lambda asked: Answer(404) if asked.method == "HEAD" else None)
        target.faults.append(lambda asked: accept(target, asked.method, asked.path, taken))
        store.push(f"{target.address}/first:1", image=name)
        target.asked.clear()
        store.push(f"{target.address}/second:1", image=name)
        begun = target.requests("POST")
        assert len(begun) == 5
        assert all("mount=sha256%3A" in asked.path and "from=first" in asked.path for asked in begun)
        assert not target.requests("PUT", "uploads")


def accept(stub: StubRegistry, method: str, path: str, taken: list[str]) -> Answer | None:
    """Take blobs and manifests as a registry does, and mount what was taken before."""
    if method == "POST":
        mounted = "mount=" in path and taken
        return Answer(201) if mounted else Answer(202, {"Location": f"{path}1?state=a"})
    if method == "PUT":
        taken.append(path)
        return Answer(201, {"Docker-Content-Digest": digest_of(stub.bodies[-1])})
    return None


def test_uploads_carry_the_blob_whole_and_its_digest(store: Store) -> None:
    name = store.have("1")
    with StubRegistry() as target:
        target.faults.append(lambda asked: Answer(404) if asked.method == "HEAD" else None)
        target.faults.append(lambda asked: accept(target, asked.method, asked.path, []))
        store.push(f"{target.address}/a:1", image=name)
        sent = {
            asked.path.partition("digest=")[2]: digest_of(body)
            for asked, body in zip(target.asked, target.bodies, strict=True)
            if asked.method == "PUT" and "uploads" in asked.path
        }
        last = target.asked[-1]
    assert len(sent) == 5
    assert all(digest == found for digest, found in sent.items())
    assert (last.method, last.path) == ("PUT", "/v2/a/manifests/1")
    assert last.headers["Content-Type"] == MANIFEST


def test_an_upload_that_breaks_is_tried_again(store: Store, registry: daemons.Registry) -> None:
    name = store.have("1")
    with StubRegistry() as target:
        target.faults.append(lambda asked: Answer(404) if asked.method == "HEAD" else None)
        target.faults.append(times(2, "uploads/1", Answer(503)))
        target.faults.append(lambda asked: accept(target, asked.method, asked.path, []))
        store.push(f"{target.address}/a:1", image=name)
        assert len(target.requests("PUT", "uploads")) == 7


def test_storage_elsewhere_gets_the_blob_without_the_credentials(store: Store) -> None:
    name = store.have("1")
    with StubRegistry() as target, StubRegistry() as storage:
        storage.faults.append(lambda asked: Answer(201))
        target.faults.append(lambda asked: Answer(404) if asked.method == "HEAD" else None)
        elsewhere = {"Location": f"http://{storage.address}/store?a=b"}
        target.faults.append(lambda asked: Answer(202, elsewhere) if asked.method == "POST" else None)
        target.faults.append(lambda asked: accept(target, asked.method, asked.path, []))
        host = Host(target.address, "http", headers={"Authorization": "Bearer secret"})
        store.push(f"{target.address}/a:1", image=name, host=host)
        assert len(storage.requests("PUT", "/store?a=b&digest=sha256:")) == 5
        assert not any("Authorization" in asked.headers for asked in storage.asked)


def add_index(origin: StubRegistry, tag: str) -> list[str]:
    """An index of two images; gives their digests."""
    entries = []
    for architecture in ("amd64", "arm64"):
        data = origin.add_image(None, LAYERS[:2], architecture, Labels={"a": architecture})
        placed = {"os": "linux", "architecture": architecture}
        entries.append(descriptor(data, MANIFEST, platform=placed))
    origin.add_manifest({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}, tag, INDEX)
    return [entry["digest"] for entry in entries]


def test_an_index_that_is_here_whole_is_pushed_whole(store: Store, registry: daemons.Registry) -> None:
    digests = add_index(store.origin, "multi")
    name = store.have("multi", platform=platform.parse("amd64"))
    store.have("multi", platform=platform.parse("arm64"))
    target = f"{registry.address}/pushed/whole:1"
    assert store.push(target, image=name).media_type == INDEX
    assert [entry["digest"] for entry in skopeo(target, "--raw")["manifests"]] == digests


def test_of_an_index_that_is_not_the_image_for_the_platform_is_pushed(
    store: Store, registry: daemons.Registry
) -> None:
    digests = add_index(store.origin, "multi")
    name = store.have("multi", platform=platform.parse("arm64"))
    target = f"{registry.address}/pushed/part:1"
    assert store.push(target, image=name, platform=platform.parse("arm64")).digest == digests[1]
    assert skopeo(target, "--override-arch=arm64")["Architecture"] == "arm64"


def test_a_login_is_used_for_pushing(store: Store, tmp_path: Path) -> None:
    name = store.have("1")
    (tmp_path / "htpasswd").write_text(HTPASSWD)
    (tmp_path / "registry").mkdir()
    with daemons.Registry(tmp_path / "registry", htpasswd=tmp_path / "htpasswd") as guarded:
        target = f"{guarded.address}/a:1"
        with pytest.raises(PermissionDenied, match="asks for a login"):
            push(target, content=store.content, metadata=store.metadata, namespace="default", image=name)
        assert store.push(target, image=name, auth=Credentials("me", "secret")).size > 0
        assert skopeo(target, "--creds=me:secret")["Layers"] == [digest_of(data) for data, _ in LAYERS]


@pytest.mark.parametrize(
    ("answer", "kind", "part"),
    [
        (
            StubRegistry.error(403, "DENIED", "read only"),
            PermissionDenied,
            "does not allow this user to push",
        ),
        (StubRegistry.error(404, "NAME_UNKNOWN", "what?"), NotFound, "has no such repository"),
        (StubRegistry.error(500, "X", "broken"), Unavailable, "fails: broken (500)"),
    ],
)
def test_a_refusal_is_told_in_one_line(
    store: Store, answer: Answer, kind: type[ClocheError], part: str
) -> None:
    name = store.have("1")
    with StubRegistry() as target:
        target.faults.append(lambda asked: Answer(404) if asked.method == "HEAD" else answer)
        host = Host(target.address, "http")
        with pytest.raises(kind) as caught:
            store.push(f"{target.address}/a:1", image=name, host=host)
    assert part in str(caught.value)
    assert str(caught.value).startswith(f"{target.address}/a:1: ")
    assert str(caught.value).isprintable()


def test_an_image_that_is_not_here_cannot_be_pushed(store: Store) -> None:
    with pytest.raises(NotFound, match="none of that name here to push"):
        store.push("a.example/b:1")
