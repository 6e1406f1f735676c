"""What other projects' runtimes say in their logs, and what their words mean."""

from __future__ import annotations

import json
import os
from errno import EACCES, ENOENT, ENOEXEC
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.errors import DeadlineExceeded, FailedPrecondition, NotFound
from cloche.shim.binary import checkpoint_flags
from cloche.shim.runtime_command import Flags, RuntimeCommand, last_error
from cloche.shim.runtime_errors import errno_of
from cloche.wire.messages.runc_options import CheckpointOptions


def script(directory: Path, text: str) -> RuntimeCommand:
    """The commands of a runtime that is a shell script."""
    program = directory / "runtime"
    program.write_text(f"#!/bin/sh\n{text}")
    program.chmod(0o755)
    return RuntimeCommand(Flags(str(program), str(directory / "root"), str(directory / "log.json")))


def run(command: RuntimeCommand, action: str = "kill", *arguments: str, data: bytes = b"") -> bytes:
    return command.run(action, *(arguments or ("one",)), what="it failed", deadline_s=5, data=data)


@pytest.mark.parametrize(
    ("log", "said"),
    [
        (b'{"level":"error","msg":"first"}\n{"level":"error","msg":"last"}\n', "last"),
        (b'{"level":"error","msg":"why"}\n{"level":"info","msg":"and on"}\n', "why"),
        (b'{"msg":"a","level":"error"}{"msg":"b }{ c","level":"error"}', "a"),  # runsc ends no lines
        (b'{"level":"ERROR","message":"what\\n\\nStack backtrace:\\n 0: x"}\n', "what"),  # youki
        (b'{"level":"fatal","msg":"two\\nlines"}', "two lines"),
        (b'{"level":"error","msg":7}\nnoise\n[]\n{"level":5}\n', ""),
        (b"", ""),
    ],
)
def test_the_last_error_of_a_log_is_what_counts(log: bytes, said: str) -> None:
    assert last_error(log) == said


@given(st.binary() | st.text().map(lambda text: json.dumps({"level": "error", "msg": text}).encode()))
def test_any_log_has_an_error_or_none(log: bytes) -> None:
    assert isinstance(last_error(log), str)


def test_what_it_prints_is_returned_and_what_it_reads_is_given(tmp_path: Path) -> None:
    assert run(script(tmp_path, "cat; echo more >&2"), data=b"x" * 100_000) == b"x" * 100_000


def test_only_what_this_command_logged_is_its_error(tmp_path: Path) -> None:
    (tmp_path / "log.json").write_text('{"level":"error","msg":"of yesterday"}\n')
    with pytest.raises(FailedPrecondition, match=r"^it failed: on stderr$"):
        run(script(tmp_path, "echo first >&2; echo on stderr >&2; exit 1"))
    with pytest.raises(FailedPrecondition, match="exit status 3, and nothing in"):
        run(script(tmp_path, "exit 3"))


def test_what_is_gone_is_told_apart_but_not_where_something_is_made(tmp_path: Path) -> None:
    command = script(tmp_path, "echo container one does not exist >&2; exit 1")
    with pytest.raises(NotFound):
        run(command)
    with pytest.raises(FailedPrecondition):
        run(command, "create")


def test_a_log_that_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "log.json")
    with pytest.raises(FailedPrecondition, match="no words"):
        run(script(tmp_path, "echo no words >&2; exit 1"))


def test_standard_streams_are_handed_on(tmp_path: Path) -> None:
    out = os.open(tmp_path / "out", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC)
    try:
        command = script(tmp_path, "for n in 0 1 2; do readlink /proc/$$/fd/$n; done")
        command.run("x", what="", deadline_s=5, stdio=(out, out, out))
    finally:
        os.close(out)
    assert (tmp_path / "out").read_text().split() == [str(tmp_path / "out")] * 3


def test_one_that_closes_its_streams_and_hangs_is_killed_too(tmp_path: Path) -> None:
    command = script(tmp_path, "exec >&- 2>&-; sleep 1000")
    with pytest.raises(DeadlineExceeded):
        command.run("x", what="", deadline_s=0.2)


@pytest.mark.parametrize(
    ("words", "errno"),
    [
        ('runc create failed: unable to start: exec: "x": executable file not found in $PATH', ENOENT),
        ("executable file `x` not found in $PATH: No such file or directory", ENOENT),
        ("failed to create container: exec process failed: executable 'x' not found in $PATH", ENOENT),
        ("exec container process `/x`: Exec format error", ENOEXEC),
        ('exec failed: unable to start container process: exec: "/x": permission denied', EACCES),
        ("error running createRuntime hook #0: fork/exec /x: no such file or directory", 0),
        ("rootfs is missing: no such file or directory", 0),
    ],
)
def test_runtimes_words_about_programs_are_understood(words: str, errno: int) -> None:
    assert errno_of(f"OCI runtime create failed: {words}") == errno


def test_options_of_a_checkpoint_are_flags() -> None:
    assert checkpoint_flags(CheckpointOptions()) == ["--leave-running"]
    options = CheckpointOptions(
        exit=True, open_tcp=True, file_locks=True, cgroups_mode="soft", empty_namespaces=["network"]
    )
    assert checkpoint_flags(options) == [
        *("--tcp-established", "--file-locks", "--manage-cgroups-mode", "soft", "--empty-ns", "network")
    ]
