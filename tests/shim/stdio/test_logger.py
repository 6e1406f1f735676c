"""Logging programs: binary:// and binary-v2://, as containerd starts them and nerdctl's expects."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from cloche.errors import DeadlineExceeded, FailedPrecondition, NotFound
from cloche.shim.stdio.opening import Stdio, Uris
from tests.shim.stdio.harness import Shim, fifo
from tests.waiting import wait_until

HEAD = """#!/bin/sh
here=$(dirname "$0")
echo $$ > "$here/pid"
"""
KEEPING = f"""{HEAD}
echo "$CONTAINER_ID $CONTAINER_NAMESPACE" > "$here/who"
printf '[%s]' "$@" > "$here/arguments"
tr '\\0' '\\n' < /proc/$$/environ > "$here/environment"
printf x >&5
exec 5>&-
cat <&3 > "$here/out" &
cat <&4 > "$here/err" &
wait
echo ended >> "$here/who"
"""


def program(directory: Path, text: str) -> str:
    """A logging program."""
    path = directory / "logger"
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


def ended(pid: int) -> bool:
    """Whether the process is gone, and reaped."""
    return not os.path.exists(f"/proc/{pid}")


def inherited(number: str) -> bool:
    """Whether whoever started the tests has left them this descriptor to hand on."""
    try:
        return os.get_inheritable(int(number))
    except OSError:
        return False


def pid_in(directory: Path) -> int:
    """Which process the program is."""
    return int(wait_until(lambda: (directory / "pid").exists() and (directory / "pid").read_text().strip()))


def both(uri: str) -> Uris:
    """As containerd's LogURI gives them."""
    return Uris(stdout=uri, stderr=uri)


@pytest.mark.parametrize("scheme", ["binary", "binary-v2"])
def test_it_gets_both_streams_their_ends_and_who_it_is_for(shim: Shim, tmp_path: Path, scheme: str) -> None:
    uri = f"{scheme}://{program(tmp_path, KEEPING)}?id=a+b&flag&path=%2Fvar%2Flib&id=again"
    stdio = shim.open(both(uri))
    process = shim.spawn(stdio, "sh", "-c", "echo one; echo two >&2")
    assert process.wait(10) == 0
    assert shim.finish(stdio).wait(10)
    assert (tmp_path / "out").read_text() == "one\n"
    assert (tmp_path / "err").read_text() == "two\n"
    assert (tmp_path / "who").read_text() == "c1 n1\nended\n"
    assert (tmp_path / "arguments").read_text() == "[id][a b][flag][][path][/var/lib]"
    environment = (tmp_path / "environment").read_text().splitlines()
    assert sorted(environment) == ["CONTAINER_ID=c1", "CONTAINER_NAMESPACE=n1"]
    assert ended(pid_in(tmp_path))


def test_it_has_three_descriptors_beside_dev_null_and_no_signal_is_ignored(
    shim: Shim, tmp_path: Path
) -> None:
    before = {number for number in os.listdir("/proc/self/fd") if inherited(number)}
    text = (
        f"{HEAD}\nls /proc/$$/fd > $here/descriptors\n"
        "grep SigIgn /proc/$$/status > $here/ignored\nexec 5>&-\n"
    )
    shim.open(both(f"binary://{program(tmp_path, text)}"))
    given = {number for number in (tmp_path / "descriptors").read_text().split() if number not in before}
    # From 10 on the shell puts things aside.
    assert {number for number in given if len(number) == 1} <= set("012345")
    assert set("345") <= given
    ignored = int((tmp_path / "ignored").read_text().split()[1], 16)
    assert not ignored & (1 << signal.SIGPIPE - 1 | 1 << signal.SIGXFSZ - 1)


def test_the_process_waits_until_it_is_ready(shim: Shim, tmp_path: Path) -> None:
    text = f"{HEAD}\nsleep 0.3\ntouch $here/ready\nexec 5>&-\ncat <&3 >/dev/null\n"
    shim.open(both(f"binary://{program(tmp_path, text)}"))
    assert (tmp_path / "ready").exists()


def test_one_that_never_gets_ready_is_ended_and_told_of(shim: Shim, tmp_path: Path) -> None:
    uri = f"binary://{program(tmp_path, HEAD + 'exec sleep 100')}"
    with pytest.raises(DeadlineExceeded, match="closing descriptor 5"):
        shim.open(both(uri), ready_s=0.5)
    assert ended(pid_in(tmp_path))


def test_one_that_crashes_before_it_is_ready_is_told_of_in_the_second_version(
    shim: Shim, tmp_path: Path
) -> None:
    path = program(tmp_path, HEAD + "exit 3")
    with pytest.raises(FailedPrecondition, match="has it crashed"):
        shim.open(both(f"binary-v2://{path}"))
    assert ended(pid_in(tmp_path))


def test_one_that_does_not_exist_or_is_no_program_is_told_of(shim: Shim, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="does not exist"):
        shim.open(both(f"binary://{tmp_path}/nothing"))
    (tmp_path / "text").write_text("words")
    with pytest.raises(FailedPrecondition, match="Permission denied"):
        shim.open(both(f"binary://{tmp_path}/text"))


def test_its_death_costs_the_process_neither_sigpipe_nor_a_stop(shim: Shim, tmp_path: Path) -> None:
    text = HEAD + "exec 5>&-\nexec sleep 100\n"
    stdio = shim.open(both(f"binary://{program(tmp_path, text)}"))
    process = shim.spawn(stdio, "sh", "-c", "read go < $0; head -c 1000000 /dev/zero", fifo(tmp_path, "go"))
    os.kill(pid_in(tmp_path), signal.SIGKILL)
    wait_until(lambda: ended(pid_in(tmp_path)))
    (tmp_path / "go").write_text("\n")
    assert process.wait(10) == 0
    assert shim.finish(stdio).wait(10)


def test_its_death_under_a_blocked_process_lets_that_go_on(shim: Shim, tmp_path: Path) -> None:
    text = HEAD + "exec 5>&-\nexec sleep 100\n"
    stdio = shim.open(both(f"binary://{program(tmp_path, text)}"))
    process = shim.spawn(stdio, "head", "-c", "1000000", "/dev/zero")
    os.kill(pid_in(tmp_path), signal.SIGKILL)
    assert process.wait(10) == 0
    assert shim.finish(stdio).wait(10)


def test_one_that_does_not_end_is_told_to_and_then_made_to(shim: Shim, tmp_path: Path) -> None:
    text = HEAD + "trap 'echo told > $here/told' TERM\nexec 5>&-\nwhile :; do sleep 0.1; done\n"
    stdio = shim.open(both(f"binary://{program(tmp_path, text)}"), drain_s=0.2)
    assert shim.spawn(stdio, "true").wait(10) == 0
    done = shim.finish(stdio)
    assert done.wait(10)
    assert (tmp_path / "told").exists()
    assert ended(pid_in(tmp_path))


def test_closing_at_once_ends_it(shim: Shim, tmp_path: Path) -> None:
    stdio = shim.open(both(f"binary://{program(tmp_path, KEEPING)}"))
    pid = pid_in(tmp_path)
    shim.call(stdio.close)
    wait_until(lambda: ended(pid))


def _on_terminal(shim: Shim, uri: str, script: str) -> Stdio:
    stdio = shim.open(Uris(stdout=uri, terminal=True))
    assert shim.on_terminal(stdio, "sh", "-c", script).wait(10) == 0
    return stdio


def test_it_can_log_a_terminal(shim: Shim, tmp_path: Path) -> None:
    stdio = _on_terminal(shim, f"binary://{program(tmp_path, KEEPING)}", "echo one; echo two >&2")
    assert shim.finish(stdio).wait(10)
    assert (tmp_path / "out").read_bytes() == b"one\r\ntwo\r\n"
    assert (tmp_path / "err").read_bytes() == b""


def test_its_death_leaves_the_terminal_alone(shim: Shim, tmp_path: Path) -> None:
    text = HEAD + "exec 5>&-\nexit 0\n"
    stdio = _on_terminal(shim, f"binary://{program(tmp_path, text)}", "head -c 1000000 /dev/zero")
    assert shim.finish(stdio).wait(10)


def test_each_stream_can_have_one_of_its_own(shim: Shim, tmp_path: Path) -> None:
    places = [tmp_path / name for name in ("a", "b")]
    for place in places:
        place.mkdir()
        program(place, KEEPING)
    stdio = shim.open(Uris(stdout=f"binary://{places[0]}/logger", stderr=f"binary://{places[1]}/logger"))
    assert shim.spawn(stdio, "sh", "-c", "echo one; echo two >&2").wait(10) == 0
    assert shim.finish(stdio).wait(10)
    found = [[(place / name).read_text() for name in ("out", "err")] for place in places]
    assert found == [["one\n", ""], ["", "two\n"]]
