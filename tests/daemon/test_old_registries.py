"""Registries in the words of containerd 1.x: what hosts.toml files come of them, and what is refused."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.daemon.old_registries import OldRegistries, of_registry
from cloche.errors import InvalidArgument
from cloche.image import hosts_directory
from cloche.image.credentials import Credentials
from cloche.image.hosts import Host

EMPTY: dict[str, Any] = {"config_path": "", "mirrors": {}, "configs": {}, "auths": {}, "headers": {}}


def read(text: str) -> OldRegistries:
    return of_registry(EMPTY | tomllib.loads(text), "registry")


def test_without_a_word_there_is_nothing(tmp_path: Path) -> None:
    found = read('config_path = "/etc/certs.d"')
    assert (found.files, found.logins, found.deprecated) == ({}, {}, {})
    found.write(str(tmp_path / "hosts"))
    assert not (tmp_path / "hosts").exists()


def test_mirrors_are_asked_first_with_what_is_configured_for_their_hosts(tmp_path: Path) -> None:
    found = read("""
[mirrors."docker.io"]
endpoint = ["https://mirror.example:5000/docker", "http://10.0.0.1"]
[mirrors."*"]
endpoint = ["https://all.example"]
[configs."mirror.example:5000".tls]
insecure_skip_verify = true
[configs."mirror.example:5000".auth]
username = "u"
password = "p"
[configs."registry-1.docker.io".tls]
ca_file = "/ca.pem"
[configs."own.example".tls]
cert_file = "/cert.pem"
key_file = "/key.pem"
[auths."https://gcr.io/v1"]
auth = "dTpw"
[headers]
X-Meta = ["a", "b"]
""")
    found.write(str(tmp_path / "hosts"))
    found.write(str(tmp_path / "hosts"))

    def asked(domain: str) -> list[str]:
        return [f"{each.scheme}://{each.authority}{each.prefix}" for each in hosts_of(domain)]

    def hosts_of(domain: str) -> tuple[Host, ...]:
        return hosts_directory.hosts_of(domain, str(tmp_path / "hosts"))

    assert asked("docker.io") == [
        "https://mirror.example:5000/docker", "http://10.0.0.1/v2", "https://registry-1.docker.io/v2",
    ]  # fmt: skip
    first, second, own = hosts_of("docker.io")
    assert (first.verify, second.verify, own.ca) == (False, True, ("/ca.pem",))
    assert first.headers == {"X-Meta": "a, b", "Authorization": "Basic dTpw"}
    assert first.capabilities == {"pull", "resolve"}
    assert own.headers == second.headers == {"X-Meta": "a, b"}
    assert asked("own.example") == ["https://all.example/v2", "https://own.example/v2"]
    assert hosts_of("own.example")[1].client_certificates == (("/cert.pem", "/key.pem"),)
    assert asked("other.example") == ["https://all.example/v2", "https://other.example/v2"]
    assert found.logins["gcr.io"] == found.logins["mirror.example:5000"] == Credentials("u", "p")
    assert [each.partition("cri-registry-")[2] for each in found.deprecated] == [
        "mirrors", "configs", "auths", "headers",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('config_path = "/x"\n[mirrors.a]\nendpoint = ["https://b"]', "cannot be beside config_path"),
        ('config_path = "/x"\n[configs.a.tls]\nca_file = "/ca"', "cannot be beside config_path"),
        ('[mirrors.a]\nendpoint = ["b.example"]', r"mirrors.a.endpoint: 'b.example': must be http\[s\]://"),
        ('[mirrors.a]\nendpoint = ["https://["]', "must be http"),
        ('[mirrors."../a"]\nendpoint = []', "'../a' is no host"),
        ("[configs.a]\ntls = 1", "configs.a.tls: must be an object"),
        ('[configs.a.tls]\ninsecure_skip_verify = "yes"', "must be true or false"),
        ('[configs.a.auth]\nauth = "?"', "must be base64"),
        ("[configs.a.auth]\nusername = ''", "username and password, auth or"),
        ("[configs]\na = 1", "configs.a: must be an object"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_place(text: str, says: str) -> None:
    with pytest.raises(InvalidArgument, match=says):
        read(text)


VALUES = st.recursive(
    st.text(max_size=8) | st.booleans() | st.integers(),
    lambda inner: st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@given(
    st.dictionaries(st.text(max_size=5), st.lists(st.text(max_size=12), max_size=2), max_size=3),
    st.dictionaries(st.text(max_size=5), VALUES, max_size=3),
    st.dictionaries(st.text(max_size=5), VALUES, max_size=3),
)
def test_whatever_is_said_is_understood_or_refused(
    mirrors: dict[str, Any], configs: dict[str, Any], auths: dict[str, Any]
) -> None:
    endpoints = {name: {"endpoint": urls} for name, urls in mirrors.items()}
    try:
        found = of_registry(EMPTY | {"mirrors": endpoints, "configs": configs, "auths": auths}, "registry")
    except InvalidArgument:
        return
    assert all("/" not in name and name not in ("", ".", "..") for name in found.files)
