from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from cloche.errors import FailedPrecondition, InvalidArgument
from cloche.image import credentials
from cloche.image.credentials import Credentials


def config(directory: Path, document: object) -> str:
    path = directory / "config.json"
    path.write_text(json.dumps(document))
    return str(path)


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A credential helper `docker-credential-test` that logs what it is asked, and answers a file."""
    program = tmp_path / "bin" / "docker-credential-test"
    program.parent.mkdir()
    program.write_text(
        f"#!/bin/sh\ncat >> {tmp_path}/asked; echo >> {tmp_path}/asked\n"
        f"if [ -f {tmp_path}/answer ]; then cat {tmp_path}/answer; else\n"
        'echo "credentials not found in native keychain"; exit 1; fi\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    return tmp_path


@pytest.mark.parametrize(
    ("key", "domain"),
    [
        ("localhost:5000", "localhost:5000"),
        ("https://a.example/v2/", "a.example"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("docker.io", "docker.io"),
    ],
)
def test_a_login_is_found_by_the_name_of_its_registry(tmp_path: Path, key: str, domain: str) -> None:
    path = config(tmp_path, {"auths": {key: {"auth": encoded("me:pass:word")}}})
    assert credentials.find(domain, path) == Credentials("me", "pass:word")
    assert credentials.find("other.example", path) is None


def test_an_identity_token_is_found(tmp_path: Path) -> None:
    entry = {"auth": encoded("00000000-0000-0000-0000-000000000000:"), "identitytoken": "refresh"}
    found = credentials.find("a.example", config(tmp_path, {"auths": {"a.example": entry}}))
    assert found is not None
    assert found.identity_token == "refresh"


def test_without_a_configuration_there_are_no_credentials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    assert credentials.find("a.example") is None
    config(tmp_path, {"auths": {"a.example": {"username": "u", "password": "p"}}})
    assert credentials.find("a.example") == Credentials("u", "p")


def test_an_empty_login_is_none(tmp_path: Path) -> None:
    assert credentials.find("a.example", config(tmp_path, {"auths": {"a.example": {}}})) is None


def test_a_helper_is_asked_for_its_registry(helper: Path) -> None:
    (helper / "answer").write_text(json.dumps({"ServerURL": "a.example", "Username": "u", "Secret": "s"}))
    path = config(
        helper, {"credHelpers": {"a.example": "test"}, "auths": {"b.example": {"auth": encoded("x:y")}}}
    )
    assert credentials.find("a.example", path) == Credentials("u", "s")
    assert credentials.find("b.example", path) == Credentials("x", "y")
    assert (helper / "asked").read_text() == "a.example\n"


def test_the_store_is_asked_for_all_and_may_hold_tokens(helper: Path) -> None:
    (helper / "answer").write_text(json.dumps({"Username": "<token>", "Secret": "refresh"}))
    path = config(helper, {"credsStore": "test"})
    assert credentials.find("docker.io", path) == Credentials(identity_token="refresh")
    assert (helper / "asked").read_text() == "https://index.docker.io/v1/\n"


def test_what_a_helper_does_not_know_may_be_in_the_file(helper: Path) -> None:
    path = config(helper, {"credsStore": "test", "auths": {"a.example": {"auth": encoded("u:p")}}})
    assert credentials.find("a.example", path) == Credentials("u", "p")


def test_a_helper_that_is_missing_or_fails_is_named(helper: Path) -> None:
    with pytest.raises(FailedPrecondition, match="docker-credential-nope: is not installed"):
        credentials.find("a.example", config(helper, {"credsStore": "nope"}))
    (helper / "bin" / "docker-credential-test").write_text("#!/bin/sh\necho the keyring is locked; exit 3\n")
    with pytest.raises(FailedPrecondition, match="the keyring is locked"):
        credentials.find("a.example", config(helper, {"credsStore": "test"}))


@pytest.mark.parametrize(
    ("document", "part"),
    [
        ([], "must be an object"),
        ({"auths": []}, "auths"),
        ({"auths": {"a.example": 1}}, "auths"),
        ({"auths": {"a.example": {"auth": "?"}}}, "base64"),
        ({"credHelpers": {"a.example": 1}}, "credHelpers"),
        ({"credsStore": "../evil"}, "plain name"),
    ],
)
def test_a_configuration_of_wrong_types_is_refused(tmp_path: Path, document: object, part: str) -> None:
    with pytest.raises(InvalidArgument, match=part):
        credentials.find("a.example", config(tmp_path, document))


def test_a_user_is_read_from_a_command_line() -> None:
    assert Credentials.from_user("u:p:q") == Credentials("u", "p:q")
    for text in ("u", ":p", ""):
        with pytest.raises(InvalidArgument, match="user:password"):
            Credentials.from_user(text)


def test_secrets_are_not_in_representations() -> None:
    assert "secret" not in repr(Credentials("u", "secret", "secret", "secret"))
