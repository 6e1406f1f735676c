"""Logs that the shim writes itself: json-file://, cri:// and file://."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloche.errors import FailedPrecondition, InvalidArgument
from cloche.shim.stdio.opening import Stdio, Uris
from cloche.shim.stdio.pump import unread
from tests.shim.stdio.harness import Shim, fifo
from tests.waiting import wait_until


def both(uri: str) -> Uris:
    """One log for both streams."""
    return Uris(stdout=uri, stderr=uri)


def run(shim: Shim, uris: Uris, script: str) -> Stdio:
    """Run a shell script to its end, and its streams to theirs."""
    stdio = shim.open(uris)
    assert shim.spawn(stdio, "sh", "-c", script).wait(30) == 0
    assert shim.finish(stdio).wait(10)
    return stdio


def text(path: Path, stream: str = "") -> str:
    """What a Docker log says."""
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    return "".join(entry["log"] for entry in entries if stream in ("", entry["stream"]))


def test_a_json_file_has_each_line_with_its_stream(shim: Shim, tmp_path: Path) -> None:
    log = tmp_path / "deep" / "log.json"
    run(shim, both(f"json-file://{log}"), "echo one; sleep 0.1; echo two >&2; sleep 0.1; printf three")
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    found = [(entry["log"], entry["stream"]) for entry in entries]
    assert found == [("one\n", "stdout"), ("two\n", "stderr"), ("three", "stdout")]
    assert log.stat().st_mode & 0o777 == 0o640


def test_a_cri_log_tells_whole_lines_from_pieces(shim: Shim, tmp_path: Path) -> None:
    log = tmp_path / "0.log"
    run(shim, both(f"cri://{log}"), "printf '%40000s\\nend' x")
    lines = [line.split(" ", 3) for line in log.read_text().splitlines()]
    assert [(stream, tag, len(rest)) for _, stream, tag, rest in lines] == [
        ("stdout", "P", 16384),
        ("stdout", "P", 16384),
        ("stdout", "F", 40000 - 2 * 16384),
        ("stdout", "P", 3),
    ]


def test_the_beginning_of_a_line_is_in_the_log_before_its_end(shim: Shim, tmp_path: Path) -> None:
    log = tmp_path / "log"
    stdio = shim.open(both(f"json-file://{log}"))
    process = shim.spawn(stdio, "sh", "-c", "printf 'Password: '; exec sleep 100")
    wait_until(lambda: text(log) == "Password: ")
    process.kill()
    process.wait()
    assert shim.finish(stdio).wait(10)
    assert text(log) == "Password: "


def test_a_line_in_the_making_stays_in_the_pipe_where_no_death_of_ours_loses_it(
    shim: Shim, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    stdio = shim.open(both(f"json-file://{log}"))
    reading = os.dup(stdio.outputs[0].source)
    shim.spawn(stdio, "sh", "-c", "printf 'whole\\nbegun'; exec sleep 100")
    wait_until(lambda: text(log) == "whole\n")
    shim.call(lambda: None)  # what is in the log is out of the pipe a moment later
    # As kill -9 would: nothing is flushed, and who replaces the shim has a reading end.
    assert os.read(reading, 100) == b"begun"
    os.close(reading)
    shim.call(stdio.close)


def test_a_pipe_full_of_crumbs_does_not_stop_the_program(shim: Shim, tmp_path: Path) -> None:
    log = tmp_path / "log"
    script = (
        "import os\nr, w = os.pipe()\nfor n in range(40):\n os.write(w, b'%d,' % n)\n os.splice(r, 1, 100)\n"
    )
    stdio = shim.open(both(f"json-file://{log}"))
    assert shim.spawn(stdio, sys.executable, "-c", script).wait(20) == 0
    assert shim.finish(stdio).wait(10)
    assert text(log) == "".join(f"{n}," for n in range(40))


def test_a_log_rotates_before_it_is_too_large_and_keeps_so_many_files(shim: Shim, tmp_path: Path) -> None:
    log = tmp_path / "log"
    run(shim, both(f"cri://{log}?max-size=10k&max-file=3"), "seq 1 2000")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "log.1", "log.2"]
    assert all(path.stat().st_size <= 10240 for path in tmp_path.iterdir())
    numbers = [
        int(line.split(" ", 3)[3])
        for name in ("log.2", "log.1", "log")
        for line in (tmp_path / name).read_text().splitlines()
    ]
    assert numbers == list(range(numbers[0], 2001))
    assert len(numbers) > 300


def test_a_log_that_others_cut_short_goes_on_at_its_new_end(shim: Shim, tmp_path: Path) -> None:
    log = tmp_path / "log"
    stdio = shim.open(Uris(stdin=fifo(tmp_path, "in"), stdout=f"cri://{log}?max-size=4k&max-file=2"))
    process = shim.spawn(stdio, "cat")
    with open(tmp_path / "in", "wb", buffering=0) as typing:
        for number in range(3):
            typing.write(b"%d\n" % number * 50)
            wait_until(lambda: log.read_bytes().count(b"\n") == 50)
            os.truncate(log, 0)
        typing.write(b"last\n")
        shim.call(stdio.close_stdin)
    assert process.wait(10) == 0
    assert shim.finish(stdio).wait(10)
    assert log.read_bytes().endswith(b" F last\n")
    assert log.read_bytes().count(b"\n") == 1
    assert not (tmp_path / "log.1").exists()


def test_a_single_file_begins_anew(shim: Shim, tmp_path: Path) -> None:
    log = tmp_path / "log"
    run(shim, both(f"cri://{log}?max-size=4k"), "seq 1 1000")
    assert [path.name for path in tmp_path.iterdir()] == ["log"]
    assert log.stat().st_size <= 4096
    assert log.read_text().endswith(" 1000\n")


def test_a_log_goes_on_in_a_new_file_when_it_is_told_to(shim: Shim, tmp_path: Path) -> None:
    log = tmp_path / "log"
    stdio = shim.open(Uris(stdin=fifo(tmp_path, "in"), stdout=f"json-file://{log}"))
    process = shim.spawn(stdio, "cat")
    with open(tmp_path / "in", "wb", buffering=0) as typing:
        typing.write(b"old\n")
        wait_until(lambda: text(log) == "old\n")
        log.rename(tmp_path / "old")
        shim.call(stdio.reopen_logs)
        typing.write(b"new\n")
        shim.call(stdio.close_stdin)
    assert process.wait(10) == 0
    assert shim.finish(stdio).wait(10)
    assert (text(tmp_path / "old"), text(log)) == ("old\n", "new\n")


def test_two_streams_can_have_two_logs(shim: Shim, tmp_path: Path) -> None:
    uris = Uris(stdout=f"json-file://{tmp_path}/out", stderr=f"cri://{tmp_path}/err")
    run(shim, uris, "echo one; echo two >&2")
    assert text(tmp_path / "out") == "one\n"
    assert (tmp_path / "err").read_text().endswith(" stderr F two\n")


def test_a_terminal_can_be_logged(shim: Shim, tmp_path: Path) -> None:
    stdio = shim.open(Uris(stdout=f"json-file://{tmp_path}/log", terminal=True))
    assert shim.on_terminal(stdio, "sh", "-c", "seq 1 5000; echo error >&2").wait(10) == 0
    assert shim.finish(stdio).wait(10)
    assert text(tmp_path / "log") == "".join(f"{n}\r\n" for n in range(1, 5001)) + "error\r\n"


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ("max-size=ten", "max-size is a size like 10m"),
        ("max-size=0", "max-size is a size like 10m"),
        ("max-size=10mm", "max-size is a size like 10m"),
        ("max-size=", "max-size is a size like 10m"),
        ("max-file=0", "max-file is a number"),
        ("max-file=x", "max-file is a number"),
        ("compress=true", "unknown option 'compress'"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    shim: Shim, tmp_path: Path, options: str, complaint: str
) -> None:
    with pytest.raises(InvalidArgument, match=complaint):
        shim.open(both(f"json-file://{tmp_path}/log?{options}"))
    assert not (tmp_path / "log").exists()


def test_a_log_that_can_never_be_written_is_refused(shim: Shim, tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    with pytest.raises(FailedPrecondition, match="Is a directory"):
        shim.open(both(f"json-file://{tmp_path}/log"))
    (tmp_path / "link").symlink_to("elsewhere")
    with pytest.raises(FailedPrecondition, match="symbolic links"):
        shim.open(both(f"cri://{tmp_path}/link"))


@pytest.fixture
def small_disk(tmp_path: Path, root: None) -> Iterator[Path]:
    """A filesystem of 64 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "small", place], check=True)
    yield place
    subprocess.run(["umount", place], check=True)


@pytest.mark.parametrize("scheme", ["json-file", "cri", "file"])
def test_a_full_disk_costs_lines_and_not_the_program(small_disk: Path, shim: Shim, scheme: str) -> None:
    log = small_disk / "log"
    stdio = shim.open(Uris(stdin=fifo(small_disk.parent, "in"), stdout=f"{scheme}://{log}"))
    process = shim.spawn(stdio, "sh", "-c", "seq 1 50000; read go; echo after")
    wait_until(lambda: log.stat().st_size > 30000)
    with open(small_disk.parent / "in", "wb", buffering=0) as typing:
        # The shell has said all, and the shim has taken it: what it had no room for is lost.
        wait_until(lambda: idle(process.pid) and shim.call(lambda: unread(stdio.outputs[0].source)) == 0)
        log.write_bytes(b"")
        typing.write(b"go\n")
        assert process.wait(10) == 0
    assert shim.finish(stdio).wait(10)
    last = log.read_text().splitlines()[-1]
    assert "after" in last
    if scheme == "json-file":
        json.loads(last)


def idle(pid: int) -> bool:
    """Whether the shell waits for its input."""
    return "read" in Path(f"/proc/{pid}/wchan").read_text()


def test_what_a_full_disk_took_are_whole_entries(small_disk: Path, shim: Shim) -> None:
    run(shim, both(f"json-file://{small_disk}/log"), "seq 1 50000")
    lines = (small_disk / "log").read_text().splitlines()
    assert [json.loads(line)["log"] for line in lines][:3] == ["1\n", "2\n", "3\n"]


def test_a_plain_file_is_made_with_its_parents_and_appended_to(shim: Shim, tmp_path: Path) -> None:
    log = tmp_path / "a" / "b c" / "log"
    uris = both(f"file://{tmp_path}/a/b%20c/log")
    for _ in range(2):
        run(shim, uris, "echo one; sleep 0.1; echo two >&2")
    assert log.read_text() == "one\ntwo\none\ntwo\n"


def test_a_plain_file_takes_a_terminal_too(shim: Shim, tmp_path: Path) -> None:
    stdio = shim.open(Uris(stdout=f"file://{tmp_path}/log", terminal=True))
    assert shim.on_terminal(stdio, "sh", "-c", "echo one; echo two >&2").wait(10) == 0
    assert shim.finish(stdio).wait(10)
    assert (tmp_path / "log").read_bytes() == b"one\r\ntwo\r\n"
