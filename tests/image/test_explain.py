"""Registries that are set up wrongly, and what is said about them; real docker-registry where it can be."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cloche.errors import FailedPrecondition
from cloche.image import hosts_directory
from cloche.image.credentials import Credentials
from cloche.image.explain import Attempt, Explanation, explain, tls
from cloche.image.hosts import Host, of_domain
from cloche.image.registry import Registry
from cloche.spec import reference as references
from tests import daemons
from tests.image.certificates import make_authority, server_context
from tests.image.wire import StubRegistry, digest_of
from tests.layouts import Layout

ME = Credentials("me", "secret")
# bcrypt of "secret", at its lowest cost.
HTPASSWD = "me:$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW\n"
DEAD = "127.0.0.1:1"


@pytest.fixture(autouse=True)
def docker_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where Docker's configuration would be; there is none."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    return tmp_path / "docker"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[daemons.Registry]:
    """A docker-registry that only "me" with "secret" may use."""
    directory = tmp_path_factory.mktemp("guarded")
    (directory / "htpasswd").write_text(HTPASSWD)
    with daemons.Registry(directory, htpasswd=directory / "htpasswd") as running:
        yield running


@pytest.fixture(scope="module")
def pushed(registry: daemons.Registry, tmp_path_factory: pytest.TempPathFactory) -> str:
    layout = Layout(tmp_path_factory.mktemp("layout") / "image")
    layout.image("x", [b"\0" * 1024])
    registry.push(f"oci:{layout.path}:x", "explained/image:1")
    return "explained/image:1"


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StubRegistry]:
    authority = make_authority(tmp_path_factory.mktemp("ca"))
    with StubRegistry(server_context(authority)) as running:
        running.add_image("1", [(b"x", digest_of(b"x"))])
        yield running


def ask(
    address: str, name: str = "a/b:1", auth: Credentials | None = None, host: Host | None = None
) -> Attempt:
    """The one attempt at a registry by its own name."""
    reference = references.parse(f"{address}/{name}")
    (attempt,) = explain(reference, [host or of_domain(reference.domain)], auth).attempts
    return attempt


def test_a_registry_in_good_health(registry: daemons.Registry, pushed: str) -> None:
    attempt = ask(registry.address, pushed)
    assert (attempt.status, attempt.has_it, attempt.login, attempt.advice) == (200, True, "", "")
    assert attempt.url == f"http://{registry.address}/v2/explained/image/manifests/1"
    assert attempt.digest.startswith("sha256:")
    assert attempt.answer == f"has it: {attempt.digest}"


def test_a_repository_that_is_not_there(registry: daemons.Registry) -> None:
    attempt = ask(registry.address, "no/such:1")
    assert (attempt.status, attempt.has_it) == (404, False)
    assert "(404): check the name and the tag" in attempt.answer


def test_https_to_a_server_without_tls(registry: daemons.Registry) -> None:
    attempt = ask(registry.address, host=of_domain(registry.address, plain_http=False))
    assert attempt.status == 0
    assert "does not speak TLS" in attempt.answer
    assert attempt.url.startswith("https://")


def test_http_to_a_server_with_tls(secured: StubRegistry) -> None:
    attempt = ask(secured.address, host=of_domain(secured.address, plain_http=True))
    assert not attempt.has_it
    assert attempt.answer


def test_a_certificate_that_nobody_vouches_for(secured: StubRegistry) -> None:
    attempt = ask(secured.address)
    assert attempt.status == 0
    assert "its certificate is not trusted" in attempt.answer
    assert f"/etc/docker/certs.d/{secured.address}/ca.crt" in attempt.answer
    assert attempt.host.scheme == "https"


def test_a_certificate_of_another_authority(secured: StubRegistry, tmp_path: Path) -> None:
    other = make_authority(tmp_path)
    host = of_domain(secured.address, ca=(str(other / "ca.pem"),))
    attempt = ask(secured.address, host=host)
    assert "its certificate is not trusted" in attempt.answer
    assert tls(attempt.host) == f"checked by the system's certificates and {other}/ca.pem"


def test_an_authority_that_cannot_be_read(secured: StubRegistry, tmp_path: Path) -> None:
    attempt = ask(secured.address, host=of_domain(secured.address, ca=(str(tmp_path / "none.pem"),)))
    assert (attempt.status, attempt.url, attempt.is_unusable) == (0, "", True)
    assert "none.pem" in attempt.answer


def test_logins_and_where_they_are_from(guarded: daemons.Registry, docker_config: Path) -> None:
    assert ask(guarded.address).status == 401
    wrong = ask(guarded.address, auth=Credentials("me", "wrong"))
    assert (wrong.status, wrong.login) == (401, "me, from --user")
    assert "does not accept the user name or password" in wrong.answer
    docker_config.mkdir()
    path = docker_config / "config.json"
    path.write_text(f'{{"auths": {{"{guarded.address}": {{"username": "me", "password": "secret"}}}}}}')
    right = ask(guarded.address)
    assert right.status == 404
    assert right.login == f"me, from {path}: auths['{guarded.address}']"
    assert "secret" not in repr(right)


def test_an_address_where_nothing_listens() -> None:
    attempt = ask(DEAD)
    assert attempt.answer == f"{DEAD}: cannot connect: connection refused"
    assert attempt.advice == "check the name and the port, and whether the host is up"


def configured(certs: Path, text: str, name: str) -> Explanation:
    (certs / "registry.example").mkdir(parents=True)
    (certs / "registry.example/hosts.toml").write_text(text)
    reference = references.parse(f"registry.example/{name}")
    return explain(reference, hosts_directory.hosts_of(reference.domain, str(certs)))


def test_every_host_is_told_with_the_line_that_names_it(
    registry: daemons.Registry, pushed: str, tmp_path: Path
) -> None:
    with StubRegistry() as empty:
        found = configured(
            tmp_path,
            f'server = "http://{registry.address}"\n'
            f'[host."http://{DEAD}"]\n'
            f'[host."http://{empty.address}"]\n'
            f'[host."http://{registry.address}/"]\ncapabilities = ["pull"]\n',
            pushed,
        )
    dead, without, mirror, server = found.attempts
    file = f"{tmp_path}/registry.example/hosts.toml"
    assert [each.host.origin for each in found.attempts] == [f"{file}:{line}" for line in (2, 3, 4, 1)]
    assert (dead.status, without.status, mirror.status, server.status) == (0, 404, 200, 200)
    assert dead.advice.endswith("; a pull goes on to the next host")
    assert without.advice == "a pull goes on to the next host"
    assert without.url.endswith("/v2/explained/image/manifests/1?ns=registry.example")
    # It may not say what the tag means, but has what the server says it is.
    assert f"manifests/{server.digest}?ns=" in mirror.url
    assert found.resolved_by is server
    assert found.taken_from is mirror


def test_a_mirror_that_is_configured_wrongly_ends_every_pull(
    registry: daemons.Registry, pushed: str, tmp_path: Path
) -> None:
    text = f'server = "http://{registry.address}"\n[host."https://{DEAD}"]\nca = "none.pem"\n'
    found = configured(tmp_path, text, pushed)
    assert [each.has_it for each in found.attempts] == [False, True]
    assert (found.resolved_by, found.taken_from) == (None, None)
    with pytest.raises(FailedPrecondition, match=r"none\.pem"):
        Registry(found.reference, [each.host for each in found.attempts])


def test_a_host_that_may_not_resolve_is_not_asked_when_nobody_knows_the_image(tmp_path: Path) -> None:
    found = configured(
        tmp_path, f'server = "http://{DEAD}"\n[host."http://{DEAD}"]\ncapabilities = ["push"]\n', "a/b:1"
    )
    assert found.attempts[0].answer == "not asked what 1 means: its capabilities do not name resolve"
    assert (found.resolved_by, found.taken_from) == (None, None)
