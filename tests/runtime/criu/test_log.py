"""Reasons found in criu's logs."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from cloche.runtime.criu.log import first_error, reason

OLD = b"""(00.000026) Version: 3.17.1 (gitid 0)
(00.013244) vdso: nbucket 3 nchain e bucket 7f01b59d5128 chain 7f01b59d5134
(00.013248) Error (criu/vdso.c:381): vdso: Unexpected rt vDSO area bounds
(00.013250) Error (criu/vdso.c:613): vdso: Failed to fill self vdso symtable
"""
HARMLESS = b"(00.004460) Error (criu/util.c:1534): rlimit: Can't setup RLIMIT_NOFILE for self: Denied\n"


def test_the_first_error_is_the_reason() -> None:
    assert first_error(OLD.splitlines(keepends=True)) == "vdso: Unexpected rt vDSO area bounds"


def test_what_criu_does_without_is_no_reason() -> None:
    assert first_error([HARMLESS]) == ""
    assert first_error([HARMLESS, *OLD.splitlines()]).startswith("vdso: ")


def test_what_criu_finds_out_about_the_kernel_is_no_reason_once_it_works() -> None:
    lines = [b"(0.1) Error (criu/libnetlink.c:54): -95 reported by netlink: Operation not supported"]
    assert first_error(lines).startswith("-95")
    lines += [b"(0.2) Dumping processes (pid: 5 comm: sh)", b"(0.3) Error (criu/a.c:1): unix: Can't", *lines]
    assert first_error(lines) == "unix: Can't"


def test_a_criu_that_is_older_than_the_kernel_is_called_so(tmp_path: Path) -> None:
    log = tmp_path / "dump.log"
    log.write_bytes(OLD)
    text = reason(str(log), "")
    assert f"this criu is older than kernel {os.uname().release}: install a newer one" in text
    assert str(log) in text


def test_without_a_log_the_answer_counts(tmp_path: Path) -> None:
    assert reason(str(tmp_path / "none"), "Pid 5 is\n not there") == "Pid 5 is not there"
    assert reason(str(tmp_path / "none"), "") == "it does not say why"


@given(st.lists(st.binary(max_size=60).map(lambda part: part.replace(b"\n", b"")), max_size=8), st.binary())
def test_any_log_gives_one_short_line(lines: list[bytes], tail: bytes) -> None:
    text = first_error([*lines, b"(00.1) Error (" + tail])
    assert "\n" not in text
    assert len(text) <= 300
