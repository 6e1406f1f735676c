"""The client against Debian's docker-registry and against servers that misbehave, on real sockets."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cloche.errors import (
    Cancelled,
    ClocheError,
    DataLoss,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
)
from cloche.image.hosts import Host, of_domain
from cloche.image.registry import Registry
from cloche.spec import reference
from cloche.spec.image import OCI_LAYER_GZIP, Descriptor
from tests import daemons
from tests.image.wire import MANIFEST, Answer, StubRegistry, digest_of, times
from tests.layouts import Layout, tar_directory

BLOB = b"0123456789" * 1000


@pytest.fixture
def stub() -> Iterator[StubRegistry]:
    with StubRegistry() as running:
        running.add_blob(BLOB)
        running.add_image("1", [(BLOB, digest_of(BLOB))])
        yield running


def connect(stub: StubRegistry, name: str = "a/b:1", host: Host | None = None) -> Registry:
    named = reference.parse(f"{stub.address}/{name}")
    return Registry(named, [host or of_domain(named.domain)])


def layer(data: bytes, size: int | None = None) -> Descriptor:
    return Descriptor(OCI_LAYER_GZIP, digest_of(data), len(data) if size is None else size)


def read_all(registry: Registry, descriptor: Descriptor, offset: int = 0) -> bytes:
    with registry.blob(descriptor, offset) as blob:
        return b"".join(iter(blob.read, b""))


def test_a_real_registry_answers_as_skopeo_left_it(registry: daemons.Registry, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").write_text("hello")
    layout = Layout(tmp_path / "layout")
    pushed = layout.image("x", [tar_directory(tmp_path / "tree")])
    named = reference.parse(registry.push(f"oci:{layout.path}:x", "client/real:1"))
    with Registry(named, [of_domain(named.domain)]) as client:
        resolved = client.resolve()
        assert (resolved.descriptor.digest, resolved.descriptor.size) == (pushed["digest"], pushed["size"])
        data = client.document(resolved.descriptor)
        assert digest_of(data) == pushed["digest"]
        blob = json.loads(data)["layers"][0]
        found = Descriptor(blob["mediaType"], blob["digest"], blob["size"])
        whole = read_all(client, found)
        assert digest_of(whole) == blob["digest"]
        assert read_all(client, found, 10) == whole[10:]


def test_a_tag_costs_one_head_request(stub: StubRegistry) -> None:
    with connect(stub) as client:
        resolved = client.resolve()
    assert resolved.descriptor.digest == digest_of(stub.manifests["1"][0])
    assert resolved.descriptor.media_type == MANIFEST
    assert [asked.method for asked in stub.asked if "manifests" in asked.path] == ["HEAD"]


def test_a_registry_without_digests_in_its_answers_is_asked_for_the_whole(stub: StubRegistry) -> None:
    data = stub.manifests["1"][0]
    stub.faults.append(
        lambda asked: Answer(200, {"Content-Type": MANIFEST}, data) if "/1" in asked.path else None
    )
    with connect(stub) as client:
        resolved = client.resolve()
    assert (resolved.descriptor.digest, resolved.data) == (digest_of(data), data)


def test_a_digest_is_fetched_at_once_and_checked(stub: StubRegistry) -> None:
    data = stub.manifests["1"][0]
    with connect(stub, f"a/b@{digest_of(data)}") as client:
        assert client.resolve().data == data
    other = digest_of(b"something else")
    stub.manifests[other] = (data, MANIFEST)
    with (
        connect(stub, f"a/b@{other}") as client,
        pytest.raises(DataLoss, match="sent a manifest with digest"),
    ):
        client.resolve()


def test_a_manifest_that_is_not_what_the_header_says_is_refused(stub: StubRegistry) -> None:
    lie = {"Content-Type": "text/html", "Docker-Content-Digest": digest_of(b"x")}
    stub.faults.append(lambda asked: Answer(200, lie, b"{}") if "manifests" in asked.path else None)
    with connect(stub) as client, pytest.raises(DataLoss, match="sent a manifest with digest"):
        client.resolve()


def test_a_manifest_larger_than_allowed_is_cut_off(stub: StubRegistry) -> None:
    stub.add_manifest(b" " * (5 << 20), "1")
    with connect(stub) as client:
        descriptor = client.resolve().descriptor
        with pytest.raises(DataLoss, match="5242880 bytes"):
            client.document(descriptor)
        with pytest.raises(DataLoss, match="larger than 4194304"):
            client.document(descriptor.replace(size=100))


@pytest.mark.parametrize(
    ("answer", "kind", "parts"),
    [
        (
            StubRegistry.error(401, "UNAUTHORIZED", "who?"),
            PermissionDenied,
            ("asks for a login: who?", "401"),
        ),
        (
            StubRegistry.error(403, "DENIED", "no"),
            PermissionDenied,
            ("does not allow this user to pull: no",),
        ),
        (StubRegistry.error(404, "NAME_UNKNOWN", "gone"), NotFound, ("does not have it: gone", "the tag")),
        (Answer(404, {}, b"<html>\nnothing"), NotFound, ("does not have it (404)",)),
        (Answer(400, {}, b""), InvalidArgument, ("does not accept the request (400)",)),
        (Answer(418, {}, b""), FailedPrecondition, ("unexpected status (418)",)),
        (
            StubRegistry.error(429, "TOOMANYREQUESTS", "slow\ndown\x1b[0m", Retry_After="9999"),
            ResourceExhausted,
            ("too many requests: slow down [0m", "wait for 9999 s"),
        ),
    ],
)
def test_a_refusal_is_one_line_with_name_host_and_advice(
    stub: StubRegistry, answer: Answer, kind: type[ClocheError], parts: tuple[str, ...]
) -> None:
    stub.faults.append(lambda asked: answer if "manifests" in asked.path else None)
    with connect(stub) as client, pytest.raises(kind) as caught:
        client.resolve()
    message = str(caught.value)
    assert message.startswith(f"{stub.address}/a/b:1: {stub.address} ")
    assert all(part in message for part in parts), message
    assert message.isprintable()


def test_errors_of_the_server_are_borne_for_a_while(stub: StubRegistry) -> None:
    stub.faults.append(times(2, "manifests", Answer(503)))
    with connect(stub) as client:
        assert client.resolve().descriptor.size > 0
    assert len(stub.requests("HEAD")) == 3


def test_errors_of_the_server_that_stay_are_reported(stub: StubRegistry) -> None:
    stub.faults.append(times(99, "blobs", Answer(500)))
    with connect(stub) as client, pytest.raises(Unavailable, match=r"fails \(500\): try again later"):
        client.blob(layer(BLOB))
    assert 3 <= len(stub.requests("GET", "blobs")) <= 8


def test_too_many_requests_are_retried_when_the_registry_asks(stub: StubRegistry) -> None:
    stub.faults.append(times(1, "manifests", Answer(429, {"Retry-After": "1"})))
    began = time.monotonic()
    with connect(stub) as client:
        client.resolve()
    assert 1.0 <= time.monotonic() - began < 3.0


def test_nobody_listening_is_told_at_once() -> None:
    port = daemons.free_port()
    named = reference.parse(f"127.0.0.1:{port}/a")
    began = time.monotonic()
    with Registry(named, [of_domain(named.domain)]) as client, pytest.raises(Unavailable) as caught:
        client.resolve()
    assert (
        str(caught.value)
        == f"127.0.0.1:{port}/a:latest: 127.0.0.1:{port}: cannot connect: connection refused"
    )
    assert time.monotonic() - began < 2


def test_a_host_that_does_not_exist_is_told() -> None:
    named = reference.parse("no-such-host.invalid/a")
    with (
        Registry(named, [of_domain(named.domain)]) as client,
        pytest.raises(Unavailable, match="cannot connect"),
    ):
        client.resolve()


def test_a_server_that_is_no_http_server_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            for _ in range(2):
                peer, _address = listener.accept()
                with peer:
                    peer.recv(4096)
                    peer.sendall(b"SSH-2.0-OpenSSH\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        named = reference.parse(f"127.0.0.1:{listener.getsockname()[1]}/a")
        with Registry(named, [of_domain(named.domain)]) as client, pytest.raises(Unavailable):
            client.resolve()
        thread.join()


def test_a_range_is_asked_for_and_only_the_rest_comes(stub: StubRegistry) -> None:
    with connect(stub) as client:
        assert read_all(client, layer(BLOB), 4000) == BLOB[4000:]
    assert stub.requests("GET", "blobs")[0].headers["Range"] == "bytes=4000-"


def test_a_server_that_ignores_ranges_is_borne(stub: StubRegistry) -> None:
    stub.faults.append(lambda asked: Answer(200, {}, BLOB) if "blobs" in asked.path else None)
    with connect(stub) as client:
        assert read_all(client, layer(BLOB), 4000) == BLOB[4000:]


def test_a_server_that_sends_an_earlier_range_is_borne_and_a_later_one_refused(stub: StubRegistry) -> None:
    for start in (1000, 5000):
        length = len(BLOB)
        headers = {"Content-Range": f"bytes {start}-{length - 1}/{length}"}
        stub.faults = [lambda asked, h=headers, s=start: Answer(206, h, BLOB[s:])]  # type: ignore[misc]  # bound per turn
        with connect(stub, host=Host(stub.address, "http")) as client:
            if start < 4000:
                assert read_all(client, layer(BLOB), 4000) == BLOB[4000:]
            else:
                with pytest.raises(DataLoss, match="another range"):
                    client.blob(layer(BLOB), 4000)


def test_a_blob_of_another_length_is_refused_before_it_is_read(stub: StubRegistry) -> None:
    with connect(stub) as client, pytest.raises(DataLoss, match=r"offers 10000 bytes, not the 9999 "):
        client.blob(layer(BLOB, 9999))


def test_half_a_body_is_noticed(stub: StubRegistry) -> None:
    stub.faults.append(times(1, "blobs", Answer(200, {}, BLOB, cut=5000)))
    with connect(stub) as client, pytest.raises(Unavailable, match="broke"):
        read_all(client, layer(BLOB))


def test_credentials_do_not_follow_a_redirect_to_another_origin(stub: StubRegistry) -> None:
    with StubRegistry() as storage:
        storage.add_blob(BLOB)
        target = f"http://{storage.address}/v2/x/blobs/{digest_of(BLOB)}"
        stub.faults.append(times(1, "blobs", Answer(307, {"Location": target})))
        host = Host(stub.address, "http", headers={"Authorization": "Bearer secret", "Cookie": "secret"})
        with connect(stub, host=host) as client:
            assert read_all(client, layer(BLOB)) == BLOB
        assert stub.asked[-1].headers["Authorization"] == "Bearer secret"
        assert not [value for value in storage.asked[0].headers.values() if "secret" in value]


def test_credentials_stay_within_an_origin(stub: StubRegistry) -> None:
    target = f"/v2/other/blobs/{digest_of(BLOB)}"
    stub.faults.append(times(1, "a/b/blobs", Answer(302, {"Location": target})))
    host = Host(stub.address, "http", headers={"Authorization": "Bearer secret"})
    with connect(stub, host=host) as client:
        assert read_all(client, layer(BLOB)) == BLOB
    assert stub.asked[-1].path == target
    assert stub.asked[-1].headers["Authorization"] == "Bearer secret"


@pytest.mark.parametrize("location", ["file:///etc/passwd", "gopher://a/b", "mailto:me@a.example"])
def test_a_redirect_to_what_is_no_web_address_is_refused(stub: StubRegistry, location: str) -> None:
    stub.faults.append(times(1, "blobs", Answer(302, {"Location": location})))
    with connect(stub) as client, pytest.raises(Unavailable, match="no web address"):
        client.blob(layer(BLOB))


def test_redirects_in_a_circle_end(stub: StubRegistry) -> None:
    stub.faults.append(lambda asked: Answer(302, {"Location": asked.path}) if "blobs" in asked.path else None)
    with connect(stub) as client, pytest.raises(Unavailable, match="more than 10 redirects"):
        client.blob(layer(BLOB))
    assert len(stub.asked) < 20


def test_a_foreign_layer_comes_from_its_own_address_without_credentials(stub: StubRegistry) -> None:
    foreign = b"foreign" * 100
    with StubRegistry() as elsewhere:
        elsewhere.faults.append(lambda asked: Answer(200, {}, foreign))
        urls = ("ftp://ignored.example/x", f"http://{elsewhere.address}/layer")
        host = Host(stub.address, "http", headers={"Authorization": "Bearer secret"})
        with connect(stub, host=host) as client:
            assert read_all(client, layer(foreign).replace(urls=urls)) == foreign
        assert "Authorization" not in elsewhere.asked[0].headers


def test_mirrors_are_asked_first_and_told_whom_they_stand_for(stub: StubRegistry) -> None:
    with StubRegistry() as mirror:
        hosts = [
            Host(f"127.0.0.1:{daemons.free_port()}", "http", capabilities=frozenset({"pull"})),
            Host(mirror.address, "http", namespace="a.example"),
            Host(stub.address, "http"),
        ]
        with Registry(reference.parse("a.example/a/b:1"), hosts) as client:
            assert read_all(client, layer(BLOB)) == BLOB
            client.resolve()
        assert all("ns=a.example" in asked.path for asked in mirror.asked)
        assert len(mirror.requests("GET", "blobs")) == 1
        assert len(stub.requests("HEAD")) == 1


def test_connections_are_used_again(stub: StubRegistry) -> None:
    accepted: list[object] = []
    inner = stub._server.get_request

    def counted() -> Any:
        accepted.append(1)
        return inner()

    stub._server.get_request = counted  # type: ignore[method-assign]  # to count connections
    with connect(stub) as client:
        for _ in range(5):
            client.resolve()
            assert read_all(client, layer(BLOB)) == BLOB
    assert len(accepted) == 1


def test_a_transfer_that_waits_ends_when_it_is_cancelled(stub: StubRegistry) -> None:
    # The body is announced twice as long as it is, and the connection stays open.
    stub.faults.append(times(1, "blobs", Answer(200, {}, BLOB, announce=len(BLOB) * 2)))
    with connect(stub, host=Host(stub.address, "http")) as client:
        threading.Timer(0.2, client.cancel).start()
        began = time.monotonic()
        with pytest.raises(Unavailable):
            read_all(client, layer(BLOB, len(BLOB) * 2))
        assert time.monotonic() - began < 10
        with pytest.raises(Cancelled):
            client.resolve()


def test_hashes_of_the_longer_kind_are_understood(stub: StubRegistry) -> None:
    digest = "sha512:" + hashlib.sha512(stub.manifests["1"][0]).hexdigest()
    stub.manifests[digest] = stub.manifests["1"]
    with connect(stub, f"a/b@{digest}") as client:
        assert client.resolve().descriptor.digest == digest
