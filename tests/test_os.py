"""cloche.os beside os: the same names, the same answers."""

from __future__ import annotations

import os
import posixpath
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche import os as small

PATHS = st.text(alphabet="/.ab~\udcff", max_size=12)


def test_what_has_a_name_of_the_systems_is_that() -> None:
    for name in vars(small):
        if not name.startswith("__") and getattr(os, name, None) is not None and name not in OWN:
            assert getattr(small, name) is getattr(os, name), name


OWN = {"getenv", "fsencode", "fsdecode", "makedirs", "path", "environ", "sys", "annotations", "SEEK_SET"}


@given(PATHS, st.lists(PATHS, max_size=3))
def test_paths_are_put_together_alike(first: str, more: list[str]) -> None:
    assert small.path.join(first, *more) == posixpath.join(first, *more)


@given(PATHS)
def test_paths_are_taken_apart_alike(path: str) -> None:
    for function in ("split", "dirname", "basename", "normpath", "abspath", "exists", "isdir"):
        assert getattr(small.path, function)(path) == getattr(posixpath, function)(path), function
    assert small.fsencode(path) == os.fsencode(path)
    assert small.fsdecode(os.fsencode(path)) == path


def test_what_is_there_is_told_alike(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to("nowhere")
    for name in ("", "file", "dangling", "none", "file/below", "nul\0"):
        place = f"{tmp_path}/{name}"
        assert small.path.exists(place) == os.path.exists(place)
        assert small.path.isdir(place) == os.path.isdir(place)
    same, other = os.stat(tmp_path), os.stat(tmp_path / "file")
    assert small.path.samestat(same, os.stat(tmp_path))
    assert not small.path.samestat(same, other)
    assert small.SEEK_SET == os.SEEK_SET


def test_directories_are_made_alike(tmp_path: Path) -> None:
    for module in (small, os):
        place = tmp_path / module.__name__
        module.makedirs(f"{place}/a/b", 0o700, exist_ok=True)
        module.makedirs(f"{place}/a/b", 0o711, exist_ok=True)
        with pytest.raises(FileExistsError):
            module.makedirs(f"{place}/a/b")
        (place / "file").touch()
        with pytest.raises(FileExistsError):
            module.makedirs(f"{place}/file", exist_ok=True)
        assert [oct((place / name).stat().st_mode) for name in ("a", "a/b")] == ["0o40755", "0o40700"]


def test_a_variable_is_seen_as_it_is_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOCHE_TEST_VARIABLE", "später")
    assert small.getenv("CLOCHE_TEST_VARIABLE") == "später"
    monkeypatch.delenv("CLOCHE_TEST_VARIABLE")
    assert small.getenv("CLOCHE_TEST_VARIABLE", "none") == "none"
