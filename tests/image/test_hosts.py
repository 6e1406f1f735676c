from __future__ import annotations

import pytest

from cloche.image.hosts import is_loopback, of_domain


@pytest.mark.parametrize(
    "authority",
    ["localhost", "localhost:5000", "127.0.0.1", "127.9.9.9:80", "[::1]", "[::1]:5000", "a.localhost:1"],
)
def test_loopback_registries_are_spoken_to_in_plain_http_if_need_be(authority: str) -> None:
    assert is_loopback(authority)
    assert of_domain(authority).scheme == ""


@pytest.mark.parametrize(
    "authority", ["localhost.example", "10.0.0.1:5000", "a.example", "[2001:db8::1]:5000"]
)
def test_all_others_are_spoken_to_in_https(authority: str) -> None:
    assert not is_loopback(authority)
    assert of_domain(authority).scheme == "https"


def test_what_was_asked_for_wins() -> None:
    assert of_domain("a.example", plain_http=True).scheme == "http"
    assert of_domain("localhost", plain_http=False).scheme == "https"
    assert of_domain("localhost", skip_verify=True).scheme == "https"
    assert of_domain("localhost", ca=("/ca.pem",)).scheme == "https"
    assert of_domain("localhost:443").scheme == "https"


def test_docker_hub_has_another_host_than_name() -> None:
    assert of_domain("docker.io").authority == "registry-1.docker.io"
