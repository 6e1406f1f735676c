"""`cloche crictl` beside the real crictl: the same containerd, the same words, the same output."""

from __future__ import annotations

import json
import os
import pty
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests import leftovers, peers
from tests.cri import images, nodes
from tests.cri.tools import required, tool
from tests.daemons import Registry, accepts, free_port
from tests.waiting import wait_until

OURS = [str(Path(sys.prefix, "bin", "cloche")), "crictl"]
# What differs from one call to the next, or how often a machine sleeps.
VARYING = re.compile(
    r"(?<=TimeStamp\[0]: )\S+|(?<=Disk\[0]: )\S+|(?<=Inodes\[0]: )\S+"
    r"|(Less than a second|\d+ seconds?|About a minute|\d+ minutes) ago *|CREATED +"
)


class Both(NamedTuple):
    """A containerd and the two clients of it. pod, container: what runs there; place: their files."""

    node: nodes.ContainerdNode
    place: Path
    pod: str
    container: str

    def run(self, program: list[str], *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"CONTAINER_RUNTIME_ENDPOINT": self.node.endpoint}
        return subprocess.run(
            [*program, *words],
            capture_output=True,
            text=True,
            check=False,
            env=environment,
            timeout=60,
            **options,
        )

    def ours(self, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return self.run(OURS, *words, **options)

    def theirs(self, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return self.run([tool("crictl")], *words, **options)


@pytest.fixture(scope="module")
def both(registry: Registry) -> Iterator[Both]:
    peers.require_root()
    with required():
        tool("crictl")
    place = Path(tempfile.mkdtemp(prefix="x-"))
    images.push_all(registry, place / "images", only=("pause", "busybox"))
    (place / "d").mkdir()
    hosts = nodes.mirrors(place / "hosts", registry)
    (place / "net").mkdir()
    nodes.write_configs(place, images.BUSYBOX)
    try:
        with nodes.ContainerdNode(place / "d", hosts, place / "net") as node:
            yield from _with_a_pod(node, place)
    finally:
        leftovers.remove_parent_cgroup("k8s.io")
        leftovers.remove_tree(str(place))


def _with_a_pod(node: nodes.ContainerdNode, place: Path) -> Iterator[Both]:
    begun = Both(node, place, "", "")
    try:
        begun.ours("pull", images.BUSYBOX)
        container = begun.ours("run", str(place / "container.json"), str(place / "pod.yaml"))
        assert container.returncode == 0, container.stderr
        pod = begun.ours("pods", "-q").stdout.strip()
        yield begun._replace(pod=pod, container=container.stdout.strip())
    finally:
        node.crictl("rmp", "-fa")


SAME = [
    "pods",
    "pods --no-trunc --state ready --label app=web",
    "pods -q --name ^w --namespace fault$",
    "pods -q --name ^x",
    "pods -o yaml",
    "ps",
    "ps --no-trunc -a --label io.kubernetes.pod.name=web",
    "ps -q --state exited",
    "ps -v --pod POD",
    "ps -o yaml --latest",
    "ps -r --image busybox:IMAGE",
    "images",
    "images --digests --pinned --no-trunc",
    "images -o yaml",
    "images -v",
    "images -q --filter reference=busybox --filter dangling=false",
    "info",
    "info -q -o yaml",
    "info -o go-template --template {{.status.conditions}}",
    "version",
    "inspect CONTAINER",
    "inspect -q -o yaml",
    "inspect -o table CONTAINER",
    "inspect -o go-template --template {{.status.id}}:{{.info.pid}}",
    "inspectp POD",
    "inspectp -o yaml --latest",
    "inspectp -q -o table POD",
    "inspecti busybox:IMAGE",
    "inspecti -o yaml",
    "inspecti -q -o table busybox:IMAGE",
    "imagefsinfo -o table",
    "logs --tail 2 CONTAINER",
    "logs -t --tail 1 CONTAINER",
    "logs --limit-bytes 7 CONTAINER",
    "logs --stream stderr --limit-bytes 9 CONTAINER",
    "exec CONTAINER cat /etc/passwd",
    "exec --name ^one$ --quiet echo found",
    "update --cpu-share 512 CONTAINER",
]


@pytest.mark.parametrize("line", SAME)
def test_the_same_words_have_the_same_answer(both: Both, line: str) -> None:
    words = line.replace("CONTAINER", both.container).replace("POD", both.pod)
    words = words.replace("busybox:IMAGE", images.BUSYBOX)
    one, other = both.theirs(*words.split(" ")), both.ours(*words.split(" "))
    assert one.returncode == other.returncode == 0, one.stderr + other.stderr
    assert VARYING.sub("", other.stdout) == VARYING.sub("", one.stdout)


@pytest.mark.parametrize("line", ["pods -o json", "ps -o json", "images -o json"])
def test_documents_are_the_same_but_for_blanks(both: Both, line: str) -> None:
    one, other = both.theirs(*line.split(" ")), both.ours(*line.split(" "))
    # Pairs, since the order counts; how many blanks the other one puts between them is up to its build.
    documents = [json.loads(each.stdout, object_pairs_hook=list) for each in (one, other)]
    assert documents[0] == documents[1]


REFUSED = [
    "inspect nothing",
    "inspectp nothing",
    "inspecti nothing",
    "start nothing",
    "rm nothing",
    "rm CONTAINER",
    "rmp POD",
    "logs nothing",
    "logs -p CONTAINER",
    "exec nothing true",
    "exec CONTAINER not-a-program",
    "attach nothing",
    "port-forward nothing 80",
    "pull nothing.invalid/x",
    "checkpoint CONTAINER",
    "ps --state sleeping",
    "pods --state sleeping",
    "ps -o xml",
    "images --filter colour=red",
]


@pytest.mark.parametrize("line", REFUSED)
def test_what_is_refused_there_is_refused_here_in_one_line(both: Both, line: str) -> None:
    words = line.replace("CONTAINER", both.container).replace("POD", both.pod).split(" ")
    one, other = both.theirs(*words), both.ours(*words)
    assert one.returncode == other.returncode == 1, one.stdout + other.stdout
    assert other.stdout == ""
    assert len(other.stderr.splitlines()) <= 2
    assert "Traceback" not in other.stderr


def test_programs_have_their_streams_and_their_exit_code(both: Both) -> None:
    words = ("exec", "-i", both.container, "sh", "-c", "cat; echo wrong >&2; exit 3")
    sent = "".join(f"{number}\n" for number in range(100_000))
    done = both.ours(*words, input=sent)
    assert (done.returncode, done.stdout, done.stderr) == (3, sent, "wrong\n")
    done = both.ours("exec", "--sync", both.container, "sh", "-c", "echo right; echo wrong >&2; exit 4")
    assert (done.stdout, done.stderr) == ("right\n", "wrong\n") or done.returncode == 1
    assert done.returncode in (1, 4)


def test_attach_sees_what_is_written_and_writes_what_is_typed(both: Both) -> None:
    environment = os.environ | {"CONTAINER_RUNTIME_ENDPOINT": both.node.endpoint}
    attached = subprocess.Popen(
        [*OURS, "attach", "-i", both.container],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
    )
    assert attached.stdin
    assert attached.stdout
    attached.stdin.write("word\n")
    attached.stdin.flush()
    assert any(line == "heard word\n" for line in attached.stdout)
    attached.terminate()
    attached.communicate(timeout=20)


def test_a_terminal_has_its_size_and_is_left_by_its_keys(both: Both) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["CONTAINER_RUNTIME_ENDPOINT"] = both.node.endpoint
        os.execv(OURS[0], [*OURS, "exec", "-it", both.container, "sh"])
    seen = b""

    def shown(text: bytes) -> bool:
        nonlocal seen
        try:
            seen += os.read(terminal, 65536)
        except OSError:
            return True
        return text in seen

    wait_until(lambda: shown(b"# "), timeout_s=20)
    os.write(terminal, b"echo is-$((1+1)); tty\n")
    wait_until(lambda: shown(b"is-2"), timeout_s=20)
    os.write(terminal, b"\x10\x11")
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 0


def test_ports_lead_into_the_pod(both: Both) -> None:
    local = free_port()
    environment = os.environ | {"CONTAINER_RUNTIME_ENDPOINT": both.node.endpoint}
    words = [*OURS, "port-forward", both.pod, f"{local}:{nodes.PORT}"]
    forwarding = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert forwarding.stdout
        assert forwarding.stdout.readline() == f"Forwarding from 127.0.0.1:{local} -> {nodes.PORT}\n"
        wait_until(lambda: accepts(socket.AF_INET, ("127.0.0.1", local)))
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", local), timeout=20) as connection:
                connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
                answer = b"".join(iter(lambda: connection.recv(65536), b""))
            assert answer.endswith(b"\r\n\r\nhello\n"), answer
        assert forwarding.poll() is None
    finally:
        forwarding.terminate()
        forwarding.communicate(timeout=20)


def test_stats_are_sampled(both: Both) -> None:
    one, other = both.theirs("stats", "--seconds", "1"), both.ours("stats", "--seconds", "1")
    theirs, ours = one.stdout.removeprefix("\033[2J\033[H").splitlines(), other.stdout.splitlines()
    assert ours[0] == theirs[0]
    assert ours[1].split()[:2] == theirs[1].split()[:2]


def test_logs_are_followed_to_the_end_of_the_container(both: Both) -> None:
    environment = os.environ | {"CONTAINER_RUNTIME_ENDPOINT": both.node.endpoint}
    short = both.ours("create", both.pod, str(both.place / "short.json"), str(both.place / "pod.yaml"))
    container = short.stdout.strip()
    both.ours("start", container)
    words = [*OURS, "logs", "-f", container]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert done.stdout == "1\n2\n3\n"
    assert both.ours("rm", container).stdout.strip() == container


def test_the_configuration_file_says_where_the_daemon_is(both: Both, tmp_path: Path) -> None:
    file = tmp_path / "crictl.yaml"
    for program in ([tool("crictl")], OURS):
        file.write_text("")
        for words in (["--set", f"runtime-endpoint={both.node.endpoint},timeout=5"], ["debug", "false"]):
            done = subprocess.run([*program, "-c", str(file), "config", *words], capture_output=True)
            assert done.returncode == 0, done.stderr
        written = file.read_text()
        for reader in ([tool("crictl")], OURS):
            told = subprocess.run([*reader, "-c", str(file), "pods", "-q"], capture_output=True, text=True)
            assert told.stdout.strip() == both.pod, (written, told.stderr)
            got = subprocess.run(
                [*reader, "-c", str(file), "config", "--get", "timeout"], capture_output=True
            )
            assert got.stdout == b"5\n"


def test_what_is_wrong_with_a_configuration_is_said_with_its_place(both: Both, tmp_path: Path) -> None:
    path = tmp_path / "pod.yaml"
    for text, said in (
        ("metadata: {name: x, namespace: y}\nlabels: [a]\n", ".labels: must be a mapping"),
        ("metadata: {name: 5, namespace: y}\n", ".metadata.name: must be a text"),
        ("metadata: {name: x}\n", "name and namespace must be set"),
        ("metadata: [\n", "not YAML"),
        ("- x\n", "must be a mapping"),
        ("metadata: {name: x, namespace: y, attempt: -1}\n", ".metadata.attempt: must be a whole number"),
        ("metadata: {name: x, namespace: y}\nport_mappings: [{protocol: carrier}]\n", "[0].protocol"),
    ):
        path.write_text(text)
        done = both.ours("runp", str(path))
        assert done.returncode == 1
        assert said in done.stderr, done.stderr
        assert str(path) in done.stderr


def test_a_second_of_nothing_is_no_daemon(tmp_path: Path) -> None:
    begun = time.monotonic()
    words = [*OURS, "-r", f"unix://{tmp_path}/none.sock", "pods"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "no daemon answers" in done.stderr
    assert time.monotonic() - begun < 2
