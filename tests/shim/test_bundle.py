"""What is kept in a bundle."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloche.shim import bundle
from cloche.wire.messages.runc_options import Options


def test_options_come_back_as_they_were_given(tmp_path: Path) -> None:
    options = Options(binary_name="/usr/bin/crun", root="/run/crun", io_uid=7, systemd_cgroup=True)
    bundle.keep_options(str(tmp_path), options)
    assert bundle.options_of(str(tmp_path)) == options


@pytest.mark.parametrize("text", [None, "", "[]", "null", '{"unknown": 1', "7"])
def test_options_that_cannot_be_read_count_as_absent(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / bundle.OPTIONS).write_text(text)
    assert bundle.options_of(str(tmp_path)) in (None, Options())


@pytest.mark.parametrize(("text", "pid"), [("123", 123), ("123\n", 123), ("", 0), ("x", 0), (None, 0)])
def test_a_pid_file_that_says_nothing_is_0(tmp_path: Path, text: str | None, pid: int) -> None:
    if text is not None:
        (tmp_path / bundle.INIT_PID).write_text(text)
    assert bundle.pid_in(str(tmp_path), bundle.INIT_PID) == pid


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    for data in (b"a longer text", b"short"):
        bundle.write(str(tmp_path), bundle.ADDRESS, data)
        assert (tmp_path / bundle.ADDRESS).read_bytes() == data
    assert [path.name for path in tmp_path.iterdir()] == [bundle.ADDRESS]
