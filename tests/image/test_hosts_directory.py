"""certs.d of containerd and Docker, and pulls and pushes over the mirrors it names."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cloche.errors import ClocheError, FailedPrecondition, InvalidArgument, PermissionDenied, Unavailable
from cloche.image import hosts_directory
from cloche.image.credentials import Credentials, encode_basic
from cloche.image.pull import pull
from cloche.image.push import push
from cloche.store.content import ContentStore
from cloche.store.images import Image
from cloche.store.metadata import Metadata
from tests import daemons
from tests.image.certificates import make_authority, server_context
from tests.image.wire import StubRegistry, digest_of
from tests.layouts import Layout

DOMAIN = "registry.example"
NAME = f"{DOMAIN}/a/b:1"
LAYERS = [(b"one" * 1000, digest_of(b"one")), (b"two" * 1000, digest_of(b"two"))]
# Nothing listens at the port 1 of the loopback network.
DEAD = "http://127.0.0.1:1"


class Place:
    """A certs.d, and stores to pull into."""

    def __init__(self, directory: Path) -> None:
        self.certs = directory / "certs.d"
        self.certs.mkdir()
        self.content = ContentStore(f"{directory}/root/content")
        self.metadata = Metadata(f"{directory}/root/meta.db")

    def configure(self, text: str, name: str = DOMAIN) -> None:
        (self.certs / name).mkdir(exist_ok=True)
        (self.certs / name / "hosts.toml").write_text(text)

    def pull(self, name: str = NAME, **options: Any) -> Image:
        return pull(
            name, content=self.content, metadata=self.metadata, namespace="default",
            hosts_dir=str(self.certs), **options,
        )  # fmt: skip

    def push(self, name: str, image: str, **options: Any) -> None:
        push(
            name, content=self.content, metadata=self.metadata, namespace="default", image=image,
            hosts_dir=str(self.certs), **options,
        )  # fmt: skip


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    made = Place(tmp_path)
    yield made
    made.metadata.close()


@pytest.fixture
def stub() -> Iterator[StubRegistry]:
    with StubRegistry() as running:
        running.add_image("1", LAYERS)
        yield running


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def pushed(registry: daemons.Registry, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An image in the real registry; gives its name below the host's."""
    layout = Layout(tmp_path_factory.mktemp("layout") / "image")
    layout.image("x", [b"\0" * 1024])
    registry.push(f"oci:{layout.path}:x", "hosts/image:1")
    return "hosts/image:1"


def test_the_mirror_is_asked_first_and_told_whom_it_stands_for(
    place: Place, stub: StubRegistry, registry: daemons.Registry, pushed: str
) -> None:
    place.configure(
        f'server = "http://{registry.address}"\n[host."http://{stub.address}"]\n'
        f'[host."http://{stub.address}".header]\nX-Token = "shown"\n'
    )
    place.pull()
    assert stub.asked
    assert all("ns=registry.example" in asked.path for asked in stub.asked)
    assert all(asked.headers["X-Token"] == "shown" for asked in stub.asked)
    before = len(stub.asked)
    # What the mirror does not have (404) comes from the server.
    assert place.pull(f"{DOMAIN}/{pushed}").name == f"{DOMAIN}/{pushed}"
    assert len(stub.asked) > before


def test_a_real_registry_serves_as_mirror(place: Place, registry: daemons.Registry, pushed: str) -> None:
    place.configure(f'server = "{DEAD}"\n[host."http://{registry.address}"]\n')
    assert place.pull(f"{DOMAIN}/{pushed}").name == f"{DOMAIN}/{pushed}"


def test_a_dead_mirror_costs_one_attempt(place: Place, stub: StubRegistry) -> None:
    place.configure(f'server = "http://{stub.address}"\n[host."{DEAD}"]\ndial_timeout = "1s"\n')
    began = time.monotonic()
    assert place.pull().name == NAME
    assert time.monotonic() - began < 10


def test_a_mirror_that_only_pulls_is_not_asked_what_a_tag_means(place: Place, stub: StubRegistry) -> None:
    with StubRegistry() as mirror:
        mirror.add_image("1", LAYERS)
        place.configure(
            f'server = "http://{stub.address}"\n[host."http://{mirror.address}"]\ncapabilities = ["pull"]\n'
        )
        place.pull()
        assert not mirror.requests("HEAD")
        assert mirror.requests("GET", "/blobs/")
        assert stub.requests("HEAD", "/manifests/1")
        assert not stub.requests("GET", "/blobs/")


def test_a_push_goes_to_the_first_host_that_takes_it(
    place: Place, stub: StubRegistry, registry: daemons.Registry
) -> None:
    place.configure(f'server = "http://{stub.address}"\n')
    place.pull()
    place.configure(
        f'server = "http://{registry.address}"\n[host."{DEAD}"]\ncapabilities = ["pull", "resolve"]\n'
    )
    place.push(f"{DOMAIN}/pushed/image:1", NAME)
    place.configure(f'server = "http://{stub.address}"\ncapabilities = ["pull"]\n')
    with pytest.raises(FailedPrecondition, match="none of the configured hosts may be pushed to"):
        place.push(f"{DOMAIN}/pushed/image:1", NAME)


def test_the_registrys_login_is_not_shown_to_its_mirrors(
    place: Place, stub: StubRegistry, tmp_path: Path
) -> None:
    refuse = StubRegistry.error(401, "UNAUTHORIZED", "", WWW_Authenticate='Basic realm="stub"')
    own, its = Credentials("me", "secret"), Credentials("mirror", "other")
    with StubRegistry() as mirror:
        mirror.add_image("1", LAYERS)
        expected = encode_basic(its)
        mirror.faults.append(lambda asked: None if asked.headers.get("Authorization") == expected else refuse)
        place.configure(f'server = "http://{stub.address}"\n[host."http://{mirror.address}"]\n')
        place.pull(auth=own)
        assert all("Authorization" not in asked.headers for asked in mirror.asked)
        assert stub.requests("GET", "/blobs/")
        (tmp_path / "docker").mkdir()
        (tmp_path / "docker/config.json").write_text(
            f'{{"auths": {{"{mirror.address}": {{"username": "mirror", "password": "other"}}}}}}'
        )
        stub.asked.clear()
        place.pull(auth=own)
        assert not stub.asked


def test_dockers_certificates_are_trusted_and_shown(place: Place, authority: Path) -> None:
    with StubRegistry(server_context(authority, asks_for_client=True)) as secured:
        secured.add_image("1", LAYERS)
        name = f"{secured.address}/a/b:1"
        directory = place.certs / secured.address
        directory.mkdir()
        with pytest.raises(Unavailable):
            place.pull(name)
        shutil.copy(authority / "ca.pem", directory / "ca.crt")
        with pytest.raises(Unavailable):
            place.pull(name)
        shutil.copy(authority / "server.pem", directory / "client.cert")
        with pytest.raises(FailedPrecondition, match=r"client\.cert: client\.key is missing beside it"):
            place.pull(name)
        shutil.copy(authority / "server.key", directory / "client.key")
        assert place.pull(name).name == name


def test_hosts_toml_names_certificates_too(place: Place, authority: Path) -> None:
    with StubRegistry(server_context(authority, asks_for_client=True)) as secured:
        secured.add_image("1", LAYERS)
        place.configure(
            f'server = "https://{secured.address}"\nca = "{authority}/ca.pem"\n'
            f'client = [["{authority}/server.pem", "{authority}/server.key"]]\n'
        )
        assert place.pull().name == NAME


def test_the_directory_for_all_others_is_called_default(place: Place, stub: StubRegistry) -> None:
    place.configure(f'[host."http://{stub.address}"]\n', "_default")
    assert place.pull("other.example/a/b:1").name == "other.example/a/b:1"
    place.configure('server = "http://127.0.0.1:1"\n', "other.example")
    with pytest.raises(ClocheError, match="cannot connect"):
        place.pull("other.example/a/b:1")


def test_the_first_directory_that_knows_a_registry_counts(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for path, server in ((first / "b.example_5000_", "one"), (second / "b.example:5000", "two")):
        path.mkdir(parents=True)
        (path / "hosts.toml").write_text(f'server = "https://{server}.example"\n')

    def asked(*directories: Path) -> str:
        return hosts_directory.hosts_of("b.example:5000", ":".join(map(str, directories)))[-1].authority

    assert asked(first, second) == "one.example"
    assert asked(tmp_path / "none", second, first) == "two.example"
    assert asked(tmp_path) == "b.example:5000"


def test_a_file_that_is_not_understood_ends_the_pull_before_anything_is_asked(
    place: Place, stub: StubRegistry
) -> None:
    place.configure(f'server = "http://{stub.address}"\nskip_verify = "yes"\n')
    with pytest.raises(InvalidArgument, match=rf"{place.certs}/{DOMAIN}/hosts\.toml\.skip_verify"):
        place.pull()
    assert not stub.asked


def test_flags_are_about_the_registry_itself(place: Place, authority: Path) -> None:
    with StubRegistry(server_context(authority)) as secured:
        secured.add_image("1", LAYERS)
        place.configure(f'server = "https://{secured.address}"\n')
        with pytest.raises(Unavailable, match="not trusted"):
            place.pull()
        place.pull(ca=(str(authority / "ca.pem"),))
        place.pull(skip_verify=True)


def test_the_environment_names_the_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CLOCHE_CERTS_D", raising=False)
    assert hosts_directory.directories() == ("/etc/containerd/certs.d", "/etc/docker/certs.d")
    monkeypatch.setenv("CLOCHE_CERTS_D", "/a:/b")
    assert hosts_directory.directories() == ("/a", "/b")
    assert hosts_directory.directories("/c") == ("/c",)
    assert os.environ["CLOCHE_CERTS_D"] == "/a:/b"


def test_a_refusal_of_the_server_is_what_counts(place: Place, stub: StubRegistry) -> None:
    stub.faults.append(lambda _asked: StubRegistry.error(403, "DENIED", "no"))
    place.configure(f'server = "http://{stub.address}"\n[host."{DEAD}"]\n')
    with pytest.raises(PermissionDenied, match=r"\(403\)"):
        place.pull()
