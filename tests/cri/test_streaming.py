"""exec, attach and port-forward into real containers, by the real crictl and by Python's Kubernetes client.

What the streaming server makes of clients by itself is in tests/cri_streaming.
"""

from __future__ import annotations

import os
import pty
import re
import socket
import subprocess
import termios
import threading
from collections.abc import Iterator

import pytest

from cloche.errors import FailedPrecondition, InvalidArgument, NotFound
from cloche.wire.messages.cri import streaming
from tests.cri.kubelet import Kubelet, KubernetesNode
from tests.cri.pods import Container, Pod, container_config, pod_config, running_pod
from tests.cri.tools import required, tool
from tests.cri_streaming.clients import SPDY, status
from tests.cri_streaming.test_kubernetes_client import Stream
from tests.waiting import wait_until

TRANSPORTS = pytest.mark.parametrize("transport", ["spdy", "websocket"])


@pytest.fixture(scope="module")
def shared(
    running: KubernetesNode, image: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Container]:
    """A container that waits, for tests that do it no harm."""
    logs = tmp_path_factory.mktemp("streams")
    with Kubelet(running.address) as kubelet, running_pod(kubelet, pod_config(logs)) as pod:
        yield pod.run(container_config(image, "exec sleep 1000"))


class Crictl:
    """The real one, towards a node."""

    def __init__(self, node: KubernetesNode) -> None:
        with required():
            self._program = tool("crictl")
        self._address = f"unix://{node.address}"

    def words(self, *words: str) -> list[str]:
        return [self._program, "--runtime-endpoint", self._address, "--timeout", "20s", *words]

    def run(self, *words: str, typed: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.words(*words), input=typed, capture_output=True, text=True, check=False, timeout=60
        )

    def begin(self, *words: str) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        return subprocess.Popen(self.words(*words), stdin=pipe, stdout=pipe, stderr=pipe, text=True)


@pytest.fixture
def crictl(running: KubernetesNode) -> Crictl:
    return Crictl(running)


@TRANSPORTS
def test_exec_has_streams_and_an_exit_code(crictl: Crictl, shared: Container, transport: str) -> None:
    script = "cat; echo wrong >&2; exit 3"
    done = crictl.run("exec", "-r", transport, "-i", shared.id, "sh", "-c", script, typed="words\n")
    assert done.stdout == "words\n"
    assert "wrong\n" in done.stderr
    assert "command terminated with exit code 3" in done.stderr
    assert done.returncode


def test_exec_that_waits_has_its_output(crictl: Crictl, shared: Container) -> None:
    done = crictl.run("exec", "--sync", shared.id, "sh", "-c", "echo out; echo err >&2")
    assert done.stdout.split() == ["out", "err"]


@TRANSPORTS
def test_exec_of_what_is_not_there_says_so(crictl: Crictl, shared: Container, transport: str) -> None:
    done = crictl.run("exec", "-r", transport, shared.id, "no-such-program")
    assert done.returncode
    assert "no-such-program" in done.stderr
    assert "not found" in done.stderr


@TRANSPORTS
def test_exec_gives_a_terminal_of_the_clients_size(crictl: Crictl, shared: Container, transport: str) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        words = crictl.words("exec", "-r", transport, "-it", shared.id, "sh")
        os.execv(words[0], words)
    termios.tcsetwinsize(terminal, (41, 97))
    seen = b""

    def shown(pattern: bytes) -> bool:
        nonlocal seen
        seen += os.read(terminal, 65536)
        return re.search(pattern, seen) is not None

    os.write(terminal, b"while ! stty size | grep '41 97'; do sleep 0.1; done; tty; exit 7\n")
    wait_until(lambda: shown(rb"/dev/pts/\d+"), timeout_s=20)
    assert b"\r\n41 97\r\n" in seen
    _, ended = os.waitpid(pid, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(ended)


@TRANSPORTS
def test_attach_reads_and_writes(crictl: Crictl, pod: Pod, image: str, transport: str) -> None:
    script = 'while read -r line; do echo "heard $line"; echo "error" >&2; done; sleep 1000'
    container = pod.run(container_config(image, script, stdin=True))
    attached = crictl.begin("attach", "-r", transport, "-i", container.id)
    try:
        assert attached.stdin
        assert attached.stdout
        attached.stdin.write("this\n")
        attached.stdin.flush()
        assert attached.stdout.readline() == "heard this\n"
    finally:
        attached.kill()
        attached.communicate(timeout=20)
    assert container.status().state == 1, "who leaves ends nothing"
    wait_until(lambda: "heard this" in container.log())


@TRANSPORTS
def test_the_end_of_a_container_ends_who_is_attached(
    crictl: Crictl, pod: Pod, image: str, transport: str
) -> None:
    container = pod.run(container_config(image, "read -r line; echo last", stdin=True))
    attached = crictl.begin("attach", "-r", transport, "-i", container.id)
    assert attached.stdin
    attached.stdin.write("go\n")
    attached.stdin.flush()
    assert attached.stdout
    assert attached.stdout.read() == "last\n"
    attached.communicate(timeout=20)


@TRANSPORTS
def test_ports_are_forwarded(crictl: Crictl, shared: Container, transport: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        remote = listener.getsockname()[1]
        serving = threading.Thread(target=lambda: answer(listener, 3))
        serving.start()
        forwarding = crictl.begin("port-forward", "-r", transport, shared.pod.id, f":{remote}")
        try:
            assert forwarding.stdout
            line = forwarding.stdout.readline()
            found = re.match(r"Forwarding from 127\.0\.0\.1:(\d+) -> ", line)
            assert found, line
            for number in range(3):
                payload = os.urandom(100_000 * number)
                with socket.create_connection(("127.0.0.1", int(found[1])), timeout=20) as connection:
                    connection.sendall(payload)
                    connection.shutdown(socket.SHUT_WR)
                    assert all_of(connection) == b"back " + payload
        finally:
            forwarding.terminate()
            forwarding.communicate(timeout=20)
            serving.join()


def answer(listener: socket.socket, times: int) -> None:
    for _ in range(times):
        connection, _ = listener.accept()
        with connection:
            connection.sendall(b"back " + all_of(connection))


def all_of(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(65536), b""))


def test_pythons_kubernetes_client_executes(kubelet: Kubelet, shared: Container) -> None:
    request = streaming.ExecRequest(
        container_id=shared.id,
        cmd=["sh", "-c", "read x; echo $x; exit 5"],
        stdin=True,
        stdout=True,
        stderr=True,
    )
    client = Stream(kubelet("Exec", request).url)
    client.write_stdin("hello\n")
    client.finish()
    assert client.read_stdout() == "hello\n"
    assert client.returncode == 5


def test_a_program_whose_client_goes_is_ended(kubelet: Kubelet, shared: Container, crictl: Crictl) -> None:
    client = crictl.begin("exec", "-i", shared.id, "sleep", "4711")

    def programs() -> str:
        return str(shared.execute("sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '").stdout.decode())

    wait_until(lambda: "sleep 4711" in programs())
    client.kill()
    client.communicate(timeout=20)
    wait_until(lambda: "sleep 4711" not in programs())


def test_what_can_never_be_streamed_has_no_url(
    kubelet: Kubelet, shared: Container, pod: Pod, image: str
) -> None:
    ended = pod.run(container_config(image, "true"))
    ended.ended()
    both = {"tty": True, "stdout": True, "stderr": True}
    for name, request, error in (
        ("Exec", streaming.ExecRequest(container_id="nobody", cmd=["true"], stdout=True), NotFound),
        ("Exec", streaming.ExecRequest(container_id=shared.id, cmd=["true"]), InvalidArgument),
        ("Exec", streaming.ExecRequest(container_id=shared.id, cmd=["true"], **both), InvalidArgument),
        ("Exec", streaming.ExecRequest(container_id=ended.id, cmd=["true"], stdout=True), FailedPrecondition),
        ("Attach", streaming.AttachRequest(container_id=ended.id, stdout=True), FailedPrecondition),
        ("PortForward", streaming.PortForwardRequest(pod_sandbox_id="nobody"), NotFound),
    ):
        with pytest.raises(error):
            kubelet(name, request)


def test_a_url_is_good_once(kubelet: Kubelet, shared: Container) -> None:
    request = streaming.ExecRequest(container_id=shared.id, cmd=["true"], stdout=True)
    url = kubelet("Exec", request).url
    headers = SPDY | {"X-Stream-Protocol-Version": "v4.channel.k8s.io"}
    assert [status(url, headers), status(url, headers)] == [101, 404]


def test_a_log_is_not_disturbed_by_who_is_attached(crictl: Crictl, pod: Pod, image: str) -> None:
    """A client that reads nothing holds up neither the container nor its log."""
    script = "read -r go; i=0; while [ $i -lt 20000 ]; do echo line-$i-of-many; i=$((i+1)); done"
    container = pod.run(container_config(image, script, stdin=True))
    attached = crictl.begin("attach", "-i", container.id)
    assert attached.stdin
    attached.stdin.write("go\n")
    attached.stdin.flush()
    container.ended()
    assert container.log().count(" stdout F line-") == 20000
    attached.kill()
    attached.communicate(timeout=20)
