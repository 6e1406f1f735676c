"""Logins: htpasswd at a real registry, tokens from a real server, certificates of one's own."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from cloche.errors import ClocheError, FailedPrecondition, PermissionDenied, Unavailable
from cloche.image.credentials import Credentials, encode_basic
from cloche.image.hosts import Host, of_domain
from cloche.image.registry import Registry
from cloche.spec import reference
from cloche.spec.image import OCI_LAYER_GZIP, Descriptor
from tests import daemons
from tests.image.certificates import make_authority, server_context
from tests.image.wire import Answer, Asked, StubRegistry, digest_of

ME = Credentials("me", "secret")
# bcrypt of "secret", at its lowest cost.
HTPASSWD = "me:$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW\n"
BLOB = b"0123456789" * 1000
BLOBS = [Descriptor(OCI_LAYER_GZIP, digest_of(BLOB), len(BLOB))] * 4


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[daemons.Registry]:
    """A docker-registry that only "me" with "secret" may use."""
    directory = tmp_path_factory.mktemp("guarded")
    (directory / "htpasswd").write_text(HTPASSWD)
    with daemons.Registry(directory, htpasswd=directory / "htpasswd") as running:
        yield running


class TokenServer(StubRegistry):
    """A registry that wants bearer tokens, and the server that gives them, in one.

    users: passwords by name; anonymous: whether strangers get tokens. given: the scopes of each token.
    """

    def __init__(self) -> None:
        super().__init__()
        self.users = {"me": "secret"}
        self.anonymous = True
        self.given: dict[str, str] = {}
        self.life_s: int | None = 300
        self.faults.append(self.guard)
        self.add_blob(BLOB)
        self.add_image("1", [(BLOB, digest_of(BLOB))])

    def guard(self, asked: Asked) -> Answer | None:
        if asked.path.startswith("/token"):
            return self.token(asked)
        repository = asked.path.split("/v2/")[-1].rpartition("/blobs")[0].rpartition("/manifests")[0] or "a/b"
        scope = f"repository:{repository}:pull"
        shown = asked.headers.get("Authorization", "").removeprefix("Bearer ")
        if self.given.get(shown) == scope:
            return None
        challenge = f'Bearer realm="http://{self.address}/token",service="stub",scope="{scope}"'
        return self.error(401, "UNAUTHORIZED", "authentication required", WWW_Authenticate=challenge)

    def token(self, asked: Asked) -> Answer:
        if asked.method == "POST":
            form = parse_qs(self.bodies[-1].decode())
            if form.get("refresh_token") != ["refresh"] or form.get("grant_type") != ["refresh_token"]:
                return Answer(401)
        else:
            form = parse_qs(urlsplit(asked.path).query)
            shown = asked.headers.get("Authorization")
            known = [encode_basic(Credentials(name, password)) for name, password in self.users.items()]
            if shown not in known and not (shown is None and self.anonymous):
                return Answer(401)
        assert form["service"] == ["stub"]
        token = f"token-{len(self.given)}"
        self.given[token] = form["scope"][0]
        life = {} if self.life_s is None else {"expires_in": self.life_s}
        key = "access_token" if asked.method == "POST" else "token"
        return Answer(200, {}, json.dumps({key: token, **life}).encode())


@pytest.fixture
def server() -> Iterator[TokenServer]:
    with TokenServer() as running:
        yield running


def connect(address: str, credentials: Credentials | None = None, host: Host | None = None) -> Registry:
    named = reference.parse(f"{address}/a/b:1")
    return Registry(named, [host or of_domain(named.domain)], credentials=credentials)


def read(registry: Registry, blob: Descriptor) -> bytes:
    with registry.blob(blob) as opened:
        return b"".join(iter(opened.read, b""))


def test_a_real_registry_with_passwords_lets_the_right_one_in(guarded: daemons.Registry) -> None:
    # 404: we are in, and there is nothing of that name.
    with connect(guarded.address, ME) as client, pytest.raises(ClocheError, match=r"\(404\)"):
        client.resolve()


def test_a_wrong_password_is_told_from_a_missing_one(guarded: daemons.Registry) -> None:
    with (
        connect(guarded.address, Credentials("me", "wrong")) as client,
        pytest.raises(PermissionDenied, match="does not accept the user name or password"),
    ):
        client.resolve()
    with connect(guarded.address) as client, pytest.raises(PermissionDenied, match="asks for a login"):
        client.resolve()


def test_strangers_get_a_token_where_that_is_allowed(server: TokenServer) -> None:
    with connect(server.address) as client:
        client.resolve()
        assert all(read(client, blob) == BLOB for blob in BLOBS)
    assert len(server.given) == 1
    asked = server.requests("GET", "/token")[0]
    assert "Authorization" not in asked.headers
    assert parse_qs(urlsplit(asked.path).query)["scope"] == ["repository:a/b:pull"]


def test_a_token_is_fetched_once_for_many_threads(server: TokenServer) -> None:
    with connect(server.address) as client:
        threads = [threading.Thread(target=read, args=(client, blob)) for blob in BLOBS]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(server.given) == 1


def test_a_name_and_password_buy_a_token(server: TokenServer) -> None:
    server.anonymous = False
    with connect(server.address, ME) as client:
        client.resolve()
    with (
        connect(server.address, Credentials("me", "wrong")) as client,
        pytest.raises(PermissionDenied, match="does not accept the user name or password"),
    ):
        client.resolve()
    with connect(server.address) as client, pytest.raises(PermissionDenied, match="without a login"):
        client.resolve()


def test_the_password_goes_to_the_token_server_alone(server: TokenServer) -> None:
    with connect(server.address, ME) as client:
        client.resolve()
        read(client, BLOBS[0])
    secret = encode_basic(ME)
    shown = {
        asked.path.split("?")[0] for asked in server.asked if asked.headers.get("Authorization") == secret
    }
    assert shown == {"/token"}


def test_an_identity_token_is_exchanged(server: TokenServer) -> None:
    server.anonymous = False
    with connect(server.address, Credentials(identity_token="refresh")) as client:
        client.resolve()
    assert len(server.requests("POST", "/token")) == 1
    with (
        connect(server.address, Credentials(identity_token="old")) as client,
        pytest.raises(PermissionDenied),
    ):
        client.resolve()


def test_a_registry_token_is_shown_as_it_is(server: TokenServer) -> None:
    server.given["mine"] = "repository:a/b:pull"
    with connect(server.address, Credentials(registry_token="mine")) as client:
        client.resolve()
    assert not server.requests("GET", "/token")


def test_a_token_that_is_no_longer_taken_is_renewed_once(server: TokenServer) -> None:
    with connect(server.address) as client:
        client.resolve()
        server.given = {f"spent-{number}": "" for number in range(5)}
        assert read(client, BLOBS[0]) == BLOB
        assert len(server.given) == 6


def test_a_server_that_takes_no_token_is_not_asked_for_ever(server: TokenServer) -> None:
    challenge = f'Bearer realm="http://{server.address}/token",service="stub",scope="repository:a/b:pull"'
    refuse = StubRegistry.error(401, "UNAUTHORIZED", "never", WWW_Authenticate=challenge)
    server.faults = [lambda asked: server.token(asked) if "/token" in asked.path else refuse]
    with connect(server.address) as client, pytest.raises(PermissionDenied, match="asks for a login: never"):
        client.resolve()
    assert len(server.asked) < 15


@pytest.mark.parametrize(
    "answer", [b"", b"[]", b"{}", b'{"token": 1}', b'{"token": "a\\nb"}', b'{"token": ""}']
)
def test_an_answer_without_a_token_is_refused(server: TokenServer, answer: bytes) -> None:
    server.token = lambda asked: Answer(200, {}, answer)  # type: ignore[method-assign]  # the fault under test
    with connect(server.address) as client, pytest.raises(ClocheError, match=r"token"):
        client.resolve()


@pytest.mark.parametrize("realm", ["file:///etc/passwd", "nonsense", ""])
def test_a_realm_that_is_no_web_address_is_refused(server: TokenServer, realm: str) -> None:
    refuse = StubRegistry.error(401, "UNAUTHORIZED", "", WWW_Authenticate=f'Bearer realm="{realm}"')
    server.faults = [lambda asked: refuse if "manifests" in asked.path else None]
    with connect(server.address, ME) as client, pytest.raises((Unavailable, PermissionDenied)):
        client.resolve()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate authority of the tests' own, with a certificate for 127.0.0.1: ca.pem, server.pem."""
    return make_authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def secured(authority: Path) -> Iterator[StubRegistry]:
    with StubRegistry(server_context(authority)) as running:
        running.add_blob(BLOB)
        running.add_image("1", [(BLOB, digest_of(BLOB))])
        yield running


def test_a_registry_with_an_authority_of_ones_own_is_trusted_when_told(
    secured: StubRegistry, authority: Path
) -> None:
    host = of_domain(secured.address, ca=(str(authority / "ca.pem"),))
    with connect(secured.address, host=host) as client:
        client.resolve()
        assert read(client, BLOBS[0]) == BLOB


def test_a_certificate_nobody_vouches_for_is_refused(secured: StubRegistry) -> None:
    host = of_domain(secured.address, plain_http=False)
    with (
        connect(secured.address, host=host) as client,
        pytest.raises(Unavailable, match=r"its certificate is not trusted \(unable to get local issuer"),
    ):
        client.resolve()
    assert not secured.asked


def test_verification_can_be_skipped(secured: StubRegistry) -> None:
    with connect(secured.address, host=of_domain(secured.address, skip_verify=True)) as client:
        client.resolve()


def test_a_loopback_registry_with_tls_is_not_taken_for_a_plain_one(secured: StubRegistry) -> None:
    with connect(secured.address) as client, pytest.raises(Unavailable, match="not trusted"):
        client.resolve()


def test_https_to_a_plain_server_says_what_to_allow() -> None:
    with (
        StubRegistry() as stub,
        connect(stub.address, host=of_domain(stub.address, plain_http=False)) as client,
        pytest.raises(Unavailable, match="does not speak TLS"),
    ):
        client.resolve()


def test_a_redirect_from_https_to_http_is_refused(secured: StubRegistry, authority: Path) -> None:
    with StubRegistry() as plain:
        plain.add_blob(BLOB)
        location = f"http://{plain.address}/v2/a/b/blobs/{digest_of(BLOB)}"
        secured.faults.append(
            lambda asked: Answer(307, {"Location": location}) if "blobs" in asked.path else None
        )
        host = of_domain(secured.address, ca=(str(authority / "ca.pem"),))
        with (
            connect(secured.address, host=host) as client,
            pytest.raises(FailedPrecondition, match="redirects from HTTPS to plain HTTP"),
        ):
            client.blob(BLOBS[0])
        assert not plain.asked


def test_credentials_are_not_sent_in_the_clear_for_an_https_registry(
    secured: StubRegistry, authority: Path
) -> None:
    with TokenServer() as tokens:
        challenge = f'Bearer realm="http://{tokens.address}/token",service="stub"'
        refuse = StubRegistry.error(401, "UNAUTHORIZED", "", WWW_Authenticate=challenge)
        secured.faults.append(lambda asked: refuse)
        host = of_domain(secured.address, ca=(str(authority / "ca.pem"),))
        with (
            connect(secured.address, ME, host) as client,
            pytest.raises(PermissionDenied, match="sent over plain HTTP"),
        ):
            client.resolve()
        assert not tokens.asked


def test_an_authority_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.pem").write_text("no certificate")
    for name in ("bad.pem", "missing.pem"):
        with pytest.raises(FailedPrecondition, match=name):
            connect("a.example", host=of_domain("a.example", ca=(str(tmp_path / name),)))
