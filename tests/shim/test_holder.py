"""What stays of a shim: it makes and reaps children for a worker, and keeps what it is given."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloche.shim.holder import Gone, Holder
from tests.peers import command
from tests.shim.starting import NAME, alive, parent
from tests.waiting import wait_until


@pytest.fixture
def holder() -> Iterator[Holder]:
    """One of the test's own."""
    started = Holder.start(command(NAME), ["-id", "test"])
    yield started
    started.end()
    wait_until(lambda: not alive(started.pid))
    started.link.close()
    os.close(started.news)


def finish(holder: Holder, pid: int) -> int:
    """Its end, waited for."""
    ended = holder.waitid(os.P_PID, pid, os.WEXITED)
    assert ended.si_pid == pid
    status: int = ended.si_status
    return status


def held(pid: int) -> list[str]:
    """What a process has open."""
    found = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            found.append(os.readlink(f"/proc/{pid}/fd/{name}"))
        except FileNotFoundError:
            continue
    return found


def test_children_are_the_holder_s_and_have_what_they_were_given(holder: Holder) -> None:
    reading, writing = os.pipe()
    script = 'echo "$0 $1 $NAME $PPID"; exec sleep 1000'
    words = ["sh", "-c", script, "one", "two words"]
    actions = [(os.POSIX_SPAWN_DUP2, writing, 1), (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0)]
    pid = holder.posix_spawn("/bin/sh", words, {"NAME": "value"}, file_actions=actions, setpgroup=0)
    os.close(writing)
    assert os.read(reading, 100) == f"one two words value {holder.pid}\n".encode()
    assert parent(pid) == holder.pid
    assert os.getpgid(pid) == pid
    assert len(held(pid)) == 3
    status = Path(f"/proc/{pid}/status").read_text()
    assert "SigBlk:\t0000000000000000" in status
    assert holder.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG) is None
    os.kill(pid, signal.SIGTERM)
    assert finish(holder, pid) == signal.SIGTERM
    assert os.read(holder.news, 10)[0] == signal.SIGCHLD
    os.close(reading)


def test_a_pidfd_says_which_child_is_meant(holder: Holder) -> None:
    pid = holder.posix_spawn("sh", ["sh", "-c", "exit 5"], {}, search=True)
    handle = os.pidfd_open(pid)
    ended = holder.waitid(os.P_PIDFD, handle, os.WEXITED)
    assert (ended.si_pid, ended.si_code, ended.si_status) == (pid, os.CLD_EXITED, 5)
    with pytest.raises(ChildProcessError):
        holder.waitid(os.P_PIDFD, handle, os.WEXITED | os.WNOHANG)
    os.close(handle)


@pytest.mark.parametrize(
    ("path", "error"), [("/no/such", FileNotFoundError), ("/etc/passwd", PermissionError)]
)
def test_what_cannot_be_executed_is_said_and_leaves_no_child(
    holder: Holder, path: str, error: type[OSError]
) -> None:
    with pytest.raises(error):
        holder.posix_spawn(path, ["x"], {})
    with pytest.raises(ChildProcessError):
        holder.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG)


def test_a_program_without_a_path_is_executed_by_its_descriptor(holder: Holder) -> None:
    program = os.open("/bin/sh", os.O_RDONLY | os.O_CLOEXEC)
    path = f"/proc/self/fd/{program}"
    assert finish(holder, holder.posix_spawn(path, ["sh", "-c", "exit 8"], {})) == 8
    os.close(program)


def test_what_is_kept_replaces_what_was_kept(holder: Holder) -> None:
    """More at once than one message holds."""
    opened = [os.open("/dev/zero", os.O_RDONLY | os.O_CLOEXEC) for _ in range(450)]
    for count in (450, 3):
        holder.keep(opened[:count])
        wait_until(lambda: held(holder.pid).count("/dev/zero") == count)  # noqa: B023 - used at once
    for descriptor in opened:
        os.close(descriptor)


def test_who_has_more_than_it_may_hold_keeps_what_it_had(holder: Holder) -> None:
    import resource

    opened = [os.open("/dev/zero", os.O_RDONLY | os.O_CLOEXEC) for _ in range(60)]
    holder.keep(opened[:3])
    resource.prlimit(holder.pid, resource.RLIMIT_NOFILE, (40, 40))
    holder.keep(opened)
    assert not holder.rest(opened, [0] * len(opened), -1)
    assert held(holder.pid).count("/dev/zero") == 3
    for descriptor in opened:
        os.close(descriptor)


def test_nonsense_is_no_harm(holder: Holder) -> None:
    holder.link.sendall(b"\xff" * 800)
    holder.link.sendall(b"\x01\0\0\0" + b"\xff" * 12)
    assert int.from_bytes(holder.link.recv(1000)[4:8], "little", signed=True) == -errno.EINVAL
    with pytest.raises(ChildProcessError):
        holder.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG)


def test_a_holder_that_keeps_nothing_ends_with_its_worker() -> None:
    holder = Holder.start(command(NAME), ["-id", "test"])
    holder.link.close()
    os.close(holder.news)
    wait_until(lambda: not alive(holder.pid))


def test_a_worker_learns_that_its_holder_has_ended() -> None:
    holder = Holder.start(command(NAME), ["-id", "test"])
    os.kill(holder.pid, signal.SIGKILL)
    wait_until(lambda: not alive(holder.pid))
    with pytest.raises(Gone):
        holder.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOHANG)
    holder.link.close()
    os.close(holder.news)
