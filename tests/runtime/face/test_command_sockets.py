"""Sockets of the caller's: pidfds, sd_notify; and the cgroups of exec."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import tempfile
import threading
from pathlib import Path

import pytest

from tests import peers
from tests.bundles import Bundle
from tests.runtime.face.runtimes import TIMEOUT_S, Runtime, last_line, unique


class Receiver:
    """Listens on a unix socket and keeps the first descriptor that it is sent."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.message = b""
        self.descriptor = -1
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._listener.settimeout(TIMEOUT_S)
        self._thread = threading.Thread(target=self._receive)
        self._thread.start()

    def _receive(self) -> None:
        connection, _ = self._listener.accept()
        with connection:
            self.message, (self.descriptor, *_), _, _ = socket.recv_fds(connection, 64, 4)

    def wait(self) -> int:
        self._thread.join(TIMEOUT_S)
        self._listener.close()
        assert self.descriptor >= 0
        return self.descriptor


def ended(pidfd: int) -> bool:
    return bool(select.select([pidfd], [], [], TIMEOUT_S)[0])


def test_the_pidfd_of_a_container_and_of_an_exec(ours: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    bundle.command("sleep", "300")
    container_id = unique("sock")
    receiver = Receiver(tmp_path / "one")
    flags = ("--pidfd-socket", str(receiver.path), "--bundle", str(bundle.path))
    assert ours.start_detached("create", *flags, container_id) == 0
    pidfd = receiver.wait()
    assert receiver.message == b"standard"
    assert ours("start", container_id).returncode == 0
    second = Receiver(tmp_path / "two")
    assert ours("exec", "--pidfd-socket", str(second.path), container_id, "true").returncode == 0
    exec_pidfd = second.wait()
    assert second.message == b"setns"
    assert ended(exec_pidfd)
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    assert ended(pidfd)
    os.close(exec_pidfd)
    os.close(pidfd)


def test_a_pidfd_socket_nobody_listens_on(ours: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    nobody = str(tmp_path / "nobody")
    result = ours("run", "--pidfd-socket", nobody, "--bundle", str(bundle.path), unique("sock"))
    assert result.returncode == 1
    assert f"--pidfd-socket {nobody}" in last_line(result)


def _said(manager: socket.socket, last: bytes = b"BARRIER") -> list[bytes]:
    """All that was said until `last`; the barrier's pipe is closed at once, as a manager does."""
    words = []
    while True:
        message, descriptors, _, _ = socket.recv_fds(manager, 4096, 4)
        for descriptor in descriptors:
            os.close(descriptor)
        if not message.startswith(b"BARRIER"):
            words.append(message.strip())
        if message.startswith(last):
            return words


def _notify(bundle: Bundle) -> None:
    """A program that says READY=1 by the C library's means: here busybox's nc with -U is not there."""
    sender = bundle.rootfs / "bin" / "notify"
    source = bundle.path / "notify.c"
    source.write_text(
        "#include <stdlib.h>\n#include <string.h>\n#include <sys/socket.h>\n#include <sys/un.h>\n"
        "#include <unistd.h>\nint main(void) { struct sockaddr_un a = { AF_UNIX };"
        'strcpy(a.sun_path, getenv("NOTIFY_SOCKET")); int s = socket(AF_UNIX, SOCK_DGRAM, 0);'
        'if (sendto(s, "STATUS=hello", 12, 0, (void *)&a, sizeof a) < 0) return 1;'
        'if (sendto(s, "READY=1", 7, 0, (void *)&a, sizeof a) < 0) return 1; sleep(300); return 0; }\n'
    )
    subprocess.run(["cc", "-static", "-o", str(sender), str(source)], check=True)
    bundle.command("notify")


@pytest.mark.parametrize("name", ["cloche-runc", "runc"])
def test_a_containers_readiness_reaches_the_service_manager(
    root: None, bundle: Bundle, tmp_path: Path, name: str
) -> None:
    _notify(bundle)
    container_id = unique("s")
    program = peers.peer(name) if name == "runc" else peers.command(name)
    # runc binds a socket below its root, whose name may have 107 bytes.
    place = tempfile.mkdtemp(dir="/run", prefix="n") if name == "runc" else str(tmp_path / "state")
    with Runtime(program, Path(place)) as runtime:
        _ask_for_readiness(runtime, bundle, tmp_path, container_id)
    if name == "runc":
        os.rmdir(place)


def _ask_for_readiness(runtime: Runtime, bundle: Bundle, tmp_path: Path, container_id: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "manager"))
        manager.settimeout(TIMEOUT_S)
        environment = os.environ | {"NOTIFY_SOCKET": str(tmp_path / "manager")}
        words = runtime.words("run", "--detach", "--bundle", str(bundle.path), container_id)
        nowhere = subprocess.DEVNULL
        with subprocess.Popen(words, env=environment, stdin=nowhere, stdout=nowhere, stderr=nowhere) as run:
            # Debian's runc knows no barrier yet.
            words_said = _said(manager, b"MAINPID" if runtime.name == "runc" else b"BARRIER")
            assert run.wait(TIMEOUT_S) == 0
    pid = runtime.state(container_id)["pid"]
    assert words_said == [b"READY=1", b"MAINPID=%d" % pid]


def test_start_waits_for_readiness(ours: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    _notify(bundle)
    container_id = unique("sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "manager"))
        manager.settimeout(TIMEOUT_S)
        environment = os.environ | {"NOTIFY_SOCKET": str(tmp_path / "manager")}
        words = ours.words("create", "--bundle", str(bundle.path), container_id)
        nowhere = subprocess.DEVNULL
        subprocess.run(words, env=environment, stdin=nowhere, stdout=nowhere, stderr=nowhere, check=True)
        with subprocess.Popen(ours.words("start", container_id), env=environment) as start:
            assert _said(manager)[0] == b"READY=1"
            assert start.wait(TIMEOUT_S) == 0


def test_a_container_that_ends_without_being_ready(ours: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    bundle.command("true")
    environment = os.environ | {"NOTIFY_SOCKET": str(tmp_path / "nobody")}
    for flags in ([], ["--detach"]):
        result = ours("run", *flags, "--bundle", str(bundle.path), unique("sock"), environment=environment)
        assert result.returncode == 0, result.stderr


def test_exec_in_a_cgroup_below(runtime: Runtime, bundle: Bundle) -> None:
    bundle.command("sleep", "300")
    container_id = unique("sock")
    assert runtime.start_detached("run", "--detach", "--bundle", str(bundle.path), container_id) == 0
    pid = runtime.state(container_id)["pid"]
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    line = next(line for line in lines if line.split(":")[1] == "pids")
    below = Path(f"/sys/fs/cgroup/pids{line.split(':')[2]}/below")
    below.mkdir()
    result = runtime("exec", "--cgroup", "pids:below", container_id, "cat", "/proc/self/cgroup")
    assert result.returncode == 0, result.stderr
    assert "/below" in next(line for line in result.stdout.splitlines() if ":pids:" in line)
    assert "/below" not in next(line for line in result.stdout.splitlines() if ":memory:" in line)
    for wrong in ("pids:nothing", "nonsense:below", ":below", "pids:../.."):
        result = runtime("exec", "--cgroup", wrong, container_id, "true")
        assert result.returncode == 255
