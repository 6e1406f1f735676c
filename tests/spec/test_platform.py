from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.errors import InvalidArgument
from cloche.spec.platform import Platform, of_machine, parse


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("linux/amd64", "linux/amd64"),
        ("linux/x86_64", "linux/amd64"),
        ("amd64", "linux/amd64"),
        ("Linux/AMD64/v1", "linux/amd64"),
        ("linux/amd64/v3", "linux/amd64/v3"),
        ("arm64", "linux/arm64"),
        ("aarch64", "linux/arm64"),
        ("linux/arm64/8", "linux/arm64"),
        ("linux/arm", "linux/arm/v7"),
        ("armhf", "linux/arm/v7"),
        ("armel", "linux/arm/v6"),
        ("linux/arm/6", "linux/arm/v6"),
        ("linux", "linux"),
        ("windows/amd64", "windows/amd64"),
    ],
)
def test_platforms_are_read_into_their_normal_form(text: str, normal: str) -> None:
    assert str(parse(text)) == normal


@pytest.mark.parametrize(
    "text", ["", "/", "linux/", "linux/amd64/v1/x", "lin ux/amd64", "potato", "linux/a\n"]
)
def test_what_is_no_platform_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="platform"):
        parse(text)


@pytest.mark.parametrize(
    ("machine", "normal"),
    [
        ("x86_64", "linux/amd64"),
        ("aarch64", "linux/arm64"),
        ("armv7l", "linux/arm/v7"),
        ("i686", "linux/386"),
    ],
)
def test_the_kernels_words_are_understood(machine: str, normal: str) -> None:
    assert str(of_machine(machine)) == normal


@pytest.mark.parametrize(
    ("wanted", "offered_best_first"),
    [
        ("linux/arm/v7", ["linux/arm/v7", "linux/arm/v6", "linux/arm/v5"]),
        ("linux/arm64", ["linux/arm64/v8", "linux/arm/v8", "linux/arm/v7", "linux/arm/v6"]),
        ("linux/amd64/v3", ["linux/amd64/v3", "linux/amd64/v2", "linux/amd64", "linux/386"]),
        ("linux/amd64", ["linux/amd64/v1", "linux/386"]),
    ],
)
def test_older_variants_run_but_newer_ones_are_better(wanted: str, offered_best_first: list[str]) -> None:
    ranks = [parse(wanted).rank(parse(offered)) for offered in offered_best_first]
    assert None not in ranks
    assert ranks == sorted(ranks, key=lambda rank: -1 if rank is None else rank)
    assert len(set(ranks)) == len(ranks)


@pytest.mark.parametrize(
    ("wanted", "offered"),
    [
        ("linux/amd64", "linux/amd64/v2"),
        ("linux/arm/v6", "linux/arm/v7"),
        ("linux/amd64", "linux/arm64"),
        ("linux/amd64", "windows/amd64"),
        ("linux/386", "linux/amd64"),
    ],
)
def test_what_does_not_run_has_no_rank(wanted: str, offered: str) -> None:
    assert parse(wanted).rank(parse(offered)) is None


def test_another_version_of_the_system_does_not_run() -> None:
    wanted = Platform("windows", "amd64", os_version="10.0.1")
    assert wanted.rank(Platform("windows", "amd64", os_version="10.0.2")) is None
    assert wanted.rank(Platform("windows", "amd64")) == 0


_parts = st.text(alphabet="abcv0189_", max_size=8)


@given(_parts, _parts, _parts)
def test_the_normal_form_is_its_own_normal_form(system: str, architecture: str, variant: str) -> None:
    normal = Platform(system, architecture, variant).normalised()
    assert normal.normalised() == normal
    assert normal.rank(Platform(system, architecture, variant)) == 0
