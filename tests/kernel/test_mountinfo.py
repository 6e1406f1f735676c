from __future__ import annotations

import os
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.kernel import mountinfo

LINE = b"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 shared:7 - ext3 /dev/root rw,errors=continue\n"
NAME = st.binary(min_size=1, max_size=40).filter(lambda name: b"\0" not in name)


def escaped(path: bytes) -> bytes:
    """As the kernel writes paths: blanks, tabs, newlines and backslashes in octal."""
    return b"".join(b"\\%03o" % byte if byte in b" \t\n\\#" else bytes([byte]) for byte in path)


def test_the_example_of_the_manual() -> None:
    (mount,) = mountinfo.parse(LINE)
    assert mount == mountinfo.MountInfo(
        36,
        35,
        "98:0",
        "/mnt1",
        "/mnt2",
        ("rw", "noatime"),
        ("master:1", "shared:7"),
        "ext3",
        "/dev/root",
        ("rw", "errors=continue"),
    )


def test_optional_fields_may_be_missing() -> None:
    (mount,) = mountinfo.parse(b"1 0 0:1 / /proc rw - proc proc rw")
    assert mount.optional == ()


@given(point=NAME, root=NAME, source=NAME)
def test_paths_come_out_as_they_went_in(point: bytes, root: bytes, source: bytes) -> None:
    line = b"36 35 98:0 /%s /%s rw - ext3 %s rw" % (escaped(root), escaped(point), escaped(source))
    (mount,) = mountinfo.parse(line)
    assert [os.fsencode(path) for path in (mount.point, mount.root, mount.source)] == [
        b"/" + point,
        b"/" + root,
        source,
    ]


@given(st.binary(max_size=200))
def test_anything_else_is_a_value_error(text: bytes) -> None:
    try:
        list(mountinfo.parse(text))
    except ValueError:
        pass


@given(st.binary(max_size=40))
def test_unescaping_never_fails(text: bytes) -> None:
    mountinfo.unescape(text)


@pytest.mark.parametrize("line", [b"nonsense", b"1 2 3", LINE.replace(b" - ", b" "), b"x" + LINE])
def test_a_line_that_is_none_is_quoted(line: bytes) -> None:
    with pytest.raises(ValueError):
        list(mountinfo.parse(line))


def test_this_process_sees_what_findmnt_sees() -> None:
    theirs = subprocess.run(
        ["findmnt", "--kernel", "--noheadings", "--list", "--output", "TARGET"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split("\n")
    ours = [mount.point for mount in mountinfo.mounts()]
    assert sorted(ours) == sorted(line.strip() for line in theirs if line)


def test_lines_can_be_chosen_before_they_are_parsed() -> None:
    assert {mount.type for mount in mountinfo.mounts(containing=b" - proc ")} == {"proc"}
