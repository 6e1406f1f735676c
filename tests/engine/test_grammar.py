from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.engine import grammar
from cloche.engine.options import MountOption, Ulimit
from cloche.errors import InvalidArgument


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("64m", 64 << 20),
        ("1.5g", 3 << 29),
        ("4096", 4096),
        ("10kb", 10240),
        ("1GiB", 1 << 30),
        ("64 MB", 64 << 20),
    ],
)
def test_sizes_are_powers_of_1024(text: str, size: int) -> None:
    assert grammar.size(text) == size


@pytest.mark.parametrize("text", ["", "m", "-1", "+1", "1x", "nan", "0x10", "1e5", "1.2.3", "inf"])
def test_a_size_that_is_none_is_refused_with_its_text(text: str) -> None:
    with pytest.raises(InvalidArgument, match="memory"):
        grammar.size(text, "memory")


def test_a_relative_volume_source_is_made_absolute() -> None:
    option = grammar.volume("./data:/data:ro")
    assert (option.kind, option.source, option.read_only, option.create_source) == (
        "bind",
        str(Path("data").absolute()),
        True,
        True,
    )


def test_a_bare_name_is_a_volume_and_a_bare_path_an_anonymous_one() -> None:
    assert grammar.volume("cache:/c") == MountOption("volume", "/c", "cache")
    assert grammar.volume("/c") == MountOption("volume", "/c")


@pytest.mark.parametrize(
    "text", ["", ":", "a", "a:b", "/a:b", "/a:/", "/a:/../..", "/a:/b:zz", "a b:/c", "/a:/b:ro:x"]
)
def test_a_wrong_volume_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        grammar.volume(text)


def test_a_mount_takes_the_long_words() -> None:
    option = grammar.mount("type=bind,src=/a,dst=/b,ro,bind-propagation=rslave")
    assert option == MountOption("bind", "/b", "/a", read_only=True, propagation="rslave", copy_up=False)
    assert not option.create_source
    assert grammar.mount("type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=1777").tmpfs_options == (
        "size=1048576",
        "mode=1777",
    )


@pytest.mark.parametrize(
    "text",
    [
        "type=bind,src=a,dst=/b",
        "type=bind,src=/a",
        "type=nfs,dst=/b",
        "dst=/b,dst=/c",
        "type=tmpfs,dst=/b,src=/a",
        "type=bind,src=/a,dst=/b,readonly=maybe",
        "type=bind,src=/a,dst=/b,unknown=1",
    ],
)
def test_a_wrong_mount_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="mount"):
        grammar.mount(text)


def test_ulimits_have_a_soft_and_a_hard_limit() -> None:
    assert grammar.ulimit("nofile=1024") == Ulimit("nofile", 1024, 1024)
    assert grammar.ulimit("core=0:unlimited") == Ulimit("core", 0, -1)
    for text in ("nofile", "nofile=2:1", "files=1", "nofile=x"):
        with pytest.raises(InvalidArgument):
            grammar.ulimit(text)


def test_a_device_may_have_a_place_and_an_access() -> None:
    assert grammar.device("/dev/null:r").access == "r"
    assert grammar.device("/dev/null:/dev/x:rw").target == "/dev/x"
    for text in ("null", "/dev/null:/x:q", "/dev/a:/b:r:w"):
        with pytest.raises(InvalidArgument):
            grammar.device(text)


def test_a_bare_variable_takes_this_environments_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERE", "1")
    assert grammar.environment(["HERE", "NOT_HERE", "A=b=c"]) == ("HERE=1", "NOT_HERE", "A=b=c")


def test_an_env_file_has_comments_and_bare_names(tmp_path: Path) -> None:
    path = tmp_path / "env"
    path.write_text("# comment\n\nA=1\n  B=x y # kept\nNOWHERE_SET\n")
    assert grammar.environment_file(str(path)) == ("A=1", "B=x y # kept")
    path.write_text("A B=1\n")
    with pytest.raises(InvalidArgument, match="line 1"):
        grammar.environment_file(str(path))


_PARSERS: list[Callable[[str], object]] = [
    grammar.size,
    grammar.memory_swap,
    grammar.cpus,
    grammar.ulimit,
    grammar.device,
    grammar.volume,
    grammar.mount,
    grammar.tmpfs,
    lambda text: grammar.pair(text, "label"),
    lambda text: grammar.environment([text]),
]


@pytest.mark.parametrize("parse", _PARSERS)
@given(st.text(alphabet=st.sampled_from("abmgk019=:,/.-_ ~type=bindsrctargetvolumenofile\0é"), max_size=40))
def test_any_text_is_understood_or_refused(parse: Callable[[str], object], text: str) -> None:
    try:
        parse(text)
    except InvalidArgument:
        pass
