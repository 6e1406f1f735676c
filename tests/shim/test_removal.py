"""`delete` after a shim that died."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloche.errors import InvalidArgument
from cloche.shim import exits
from cloche.shim.bootstrap import parse_flags
from cloche.shim.exits import Exit
from cloche.shim.removal import KILLED, remove


def flags_for(bundle: Path) -> list[str]:
    return ["-namespace", "tests", "-id", "gone", "-bundle", str(bundle), "delete"]


def test_an_end_that_was_written_down_is_what_containerd_is_told(root: None, tmp_path: Path) -> None:
    (tmp_path / "init.pid").write_text("4711")
    exits.record(str(tmp_path), Exit(4711, 7, 1_700_000_000_000_000_005))
    answer = remove(parse_flags(flags_for(tmp_path)))
    assert (answer.pid, answer.exit_status) == (4711, 7)
    assert answer.exited_at
    assert answer.exited_at.ns() == 1_700_000_000_000_000_005


@pytest.mark.parametrize("left", [b"", b"{", b"[]", b'{"pid": 1}', b'{"pid": "x", "status": 1, "at_ns": 1}'])
def test_an_end_that_cannot_be_read_counts_as_none(root: None, tmp_path: Path, left: bytes) -> None:
    (tmp_path / exits.FILE).write_bytes(left)
    assert remove(parse_flags(flags_for(tmp_path))).exit_status == KILLED


@pytest.mark.parametrize("missing", ["-namespace", "-id"])
def test_whose_remains_they_are_must_be_said(tmp_path: Path, missing: str) -> None:
    words = flags_for(tmp_path)
    del words[words.index(missing) : words.index(missing) + 2]
    with pytest.raises(InvalidArgument, match=missing):
        remove(parse_flags(words))
