"""Where `cp` puts things: docker's rules, without copying anything."""

from __future__ import annotations

import pytest

from cloche.cli.copy import Landing, Place, landing, place
from cloche.errors import FailedPrecondition, NotFound

KINDS = {"/": "directory", "/dir": "directory", "/dir/": "directory", "/file": "file", ".": "directory"}


def kind_of(path: str) -> str:
    return KINDS.get(path, "")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name:/path", Place("name", "/path")),
        ("name:relative", Place("name", "relative")),
        ("name:", Place("name", "/")),
        ("name:/a:b", Place("name", "/a:b")),
        ("/abs:olute", Place("", "/abs:olute")),
        ("./name:x", Place("", "./name:x")),
        ("../name:x", Place("", "../name:x")),
        ("folder/name:x", Place("", "folder/name:x")),
        ("file", Place("", "file")),
        ("-", Place("", "-")),
        (":x", Place("", ":x")),
    ],
)
def test_a_side_is_a_container_or_this_machine(text: str, expected: Place) -> None:
    assert place(text) == expected


@pytest.mark.parametrize(
    ("source", "target", "is_directory", "expected"),
    [
        ("/a/x", "/new", False, Landing("/", "new")),
        ("/a/x", "/dir", False, Landing("/dir", "x")),
        ("/a/x", "/dir/", False, Landing("/dir/", "x")),
        ("/a/x", "/file", False, Landing("/", "file")),
        ("/a/x", "new", False, Landing(".", "new")),
        ("/a", "/new", True, Landing("/", "new")),
        ("/a", "/dir", True, Landing("/dir", "a")),
        ("/a/", "/dir", True, Landing("/dir", "a")),
        ("/a/.", "/dir", True, Landing("/dir", "")),
        ("/a/.", "/new", True, Landing("/", "new")),
        (".", "/dir", True, Landing("/dir", "")),
    ],
)
def test_where_something_lands(source: str, target: str, is_directory: bool, expected: Landing) -> None:
    assert landing(source, target, is_directory=is_directory, kind_of=kind_of) == expected


@pytest.mark.parametrize(
    ("target", "is_directory", "error"),
    [
        ("/file", True, FailedPrecondition),
        ("/new/", False, NotFound),
        ("/none/new", False, NotFound),
        ("/file/new", False, NotFound),
    ],
)
def test_what_cannot_be_is_refused(target: str, is_directory: bool, error: type[Exception]) -> None:
    with pytest.raises(error, match=target.rstrip("/").rpartition("/")[0] or target.rstrip("/")):
        landing("/a/x", target, is_directory=is_directory, kind_of=kind_of)
