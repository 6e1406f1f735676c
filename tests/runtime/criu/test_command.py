"""`checkpoint` and `restore` through the command line, beside runc's."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloche.runtime.criu.rpc import Criu
from tests import peers
from tests.bundles import Bundle
from tests.runtime.face.runtimes import TIMEOUT_S, Result, Runtime, last_line, unique
from tests.runtime.face.test_command_terminal import ConsoleReceiver, Person, console, read_all
from tests.waiting import wait_until

__all__ = ["console"]

COUNTING = "i=0; while :; do i=$((i+1)); echo $i > /tmp/count; sleep 0.05; done"


@pytest.fixture
def ours(root: None, cloche_runc: str, tmp_path: Path) -> Iterator[Runtime]:
    """cloche-runc with a state root of the test's own."""
    with Runtime(cloche_runc, tmp_path / "ours") as runtime:
        yield runtime


@pytest.fixture
def theirs(root: None, tmp_path: Path) -> Iterator[Runtime]:
    """Debian's runc, likewise."""
    with Runtime(peers.peer("runc"), tmp_path / "theirs") as runtime:
        yield runtime


@pytest.fixture(params=["cloche-runc", "runc"])
def runtime(request: pytest.FixtureRequest) -> Runtime:
    """Each in turn: what the reference does not pass is no test."""
    chosen: Runtime = request.getfixturevalue("ours" if request.param == "cloche-runc" else "theirs")
    return chosen


def running(runtime: Runtime, bundle: Bundle, *args: str) -> str:
    """The id of a new container, which runs a command."""
    container_id = unique("criu")
    bundle.command(*args)
    assert runtime.start_detached("run", "-d", "-b", str(bundle.path), container_id) == 0
    return container_id


def count(bundle: Bundle) -> int:
    """How far a container has counted; -1 while the file is being written."""
    try:
        return int((bundle.rootfs / "tmp" / "count").read_text() or -1)
    except FileNotFoundError:
        return -1


def refused(result: Result, words: str) -> None:
    """It failed, and said why in one line."""
    assert result.returncode == 1
    assert words in last_line(result), result.stderr


def goes_on(runtime: Runtime, bundle: Bundle, container_id: str, pid_file: Path) -> None:
    """What was restored counts on, and looks as any other container does."""
    reached = count(bundle)
    wait_until(lambda: count(bundle) > reached)
    state = runtime.state(container_id)
    assert state["status"] == "running"
    assert int(pid_file.read_text()) == state["pid"]
    assert runtime("exec", container_id, "true").returncode == 0
    assert runtime("kill", container_id, "KILL").returncode == 0
    wait_until(lambda: runtime.status(container_id) == "stopped")
    assert runtime("delete", container_id).returncode == 0


def test_a_container_is_taken_away_and_brought_back(
    criu: str, ours: Runtime, bundle: Bundle, tmp_path: Path
) -> None:
    """Paths count from where the command is given; without a word it is ./checkpoint."""
    container_id = running(ours, bundle, "sh", "-c", COUNTING)
    wait_until(lambda: count(bundle) > 2)
    done = ours("checkpoint", "--work-path", "work", container_id, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert container_id not in ours("list", "-q").stdout
    assert (tmp_path / "checkpoint" / "inventory.img").exists()
    assert (tmp_path / "work" / "dump.log").exists()
    flags = ("--work-path", "work", "--pid-file", "pid", "-d", "-b", str(bundle.path))
    nowhere = subprocess.DEVNULL
    words = ours.words("restore", *flags, container_id)
    subprocess.run(words, cwd=tmp_path, stdin=nowhere, stdout=nowhere, stderr=nowhere, check=True)
    assert (tmp_path / "work" / "restore.log").exists()
    goes_on(ours, bundle, container_id, tmp_path / "pid")


@pytest.mark.parametrize("from_ours", [True, False])
def test_what_one_has_written_the_other_restores(
    criu: str, ours: Runtime, theirs: Runtime, bundle: Bundle, tmp_path: Path, from_ours: bool
) -> None:
    writer, reader = (ours, theirs) if from_ours else (theirs, ours)
    (tmp_path / "shared").mkdir()
    shared = {
        "type": "bind",
        "source": str(tmp_path / "shared"),
        "destination": "/data",
        "options": ["rbind"],
    }
    bundle.config["mounts"].append(shared)
    container_id = running(writer, bundle, "sh", "-c", COUNTING)
    wait_until(lambda: count(bundle) > 2)
    image = str(tmp_path / "image")
    done = writer("checkpoint", "--image-path", image, container_id)
    assert done.returncode == 0, done.stderr
    flags = ("--image-path", image, "--pid-file", str(tmp_path / "pid"), "-d", "-b", str(bundle.path))
    assert reader.start_detached("restore", *flags, container_id) == 0
    goes_on(reader, bundle, container_id, tmp_path / "pid")


def test_who_stands_in_front_has_the_streams_and_the_exit_code(
    criu: str, ours: Runtime, bundle: Bundle, tmp_path: Path
) -> None:
    container_id = unique("criu")
    bundle.command("sh", "-c", "while read word; do echo pong $word; done; exit 7")
    words = ours.words("run", "-b", str(bundle.path), container_id)
    image = str(tmp_path / "image")
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdin is not None
        assert first.stdout is not None
        first.stdin.write("one\n")
        first.stdin.flush()
        assert first.stdout.readline() == "pong one\n"
        assert ours("checkpoint", "--image-path", image, container_id).returncode == 0
        assert first.wait(TIMEOUT_S) == 137
    words = ours.words("restore", "--image-path", image, "-b", str(bundle.path), container_id)
    done = subprocess.run(
        words, input="two\n", capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert (done.returncode, done.stdout) == (7, "pong two\n"), done.stderr
    assert ours("list", "-q").stdout == ""


def test_a_terminal_has_a_new_master(
    criu: str, ours: Runtime, bundle: Bundle, tmp_path: Path, console: ConsoleReceiver
) -> None:
    container_id = unique("criu")
    bundle.process["terminal"] = True
    bundle.command("sh", "-c", "stty -echo; while read word; do echo pong-$word; done")
    flags = ("--console-socket", str(console.path), "-b", str(bundle.path))
    assert ours.start_detached("run", "-d", *flags, container_id) == 0
    _, master = console.receive()
    os.write(master, b"one\n")
    read_all(master, b"pong-one")
    image = str(tmp_path / "image")
    done = ours("checkpoint", "--image-path", image, container_id)
    os.close(master)
    assert done.returncode == 0, done.stderr
    assert ours.start_detached("restore", "-d", "--image-path", image, *flags, container_id) == 0
    _, master = console.receive()
    os.write(master, b"two\n")
    read_all(master, b"pong-two")
    assert ours("checkpoint", "--image-path", image, container_id).returncode == 0
    os.close(master)
    words = ours.words("restore", "--image-path", image, "-b", str(bundle.path), container_id)
    with Person(words) as person:
        person.enter("three\n")
        person.read_until("pong-three")
        person.enter("\x04")
        assert person.process.wait(TIMEOUT_S) == 0


def test_pages_can_be_fetched_when_they_are_used(
    criu: str, ours: Runtime, bundle: Bundle, tmp_path: Path
) -> None:
    if Criu().version >= 40000:
        pytest.skip("the page server of criu 4.2 answers nobody on kernel 6.18, whichever runtime asks it to")
    container_id = running(ours, bundle, "sh", "-c", COUNTING)
    wait_until(lambda: count(bundle) > 0)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    image = str(tmp_path / "image")
    reader, writer = os.pipe()
    flags = ["--lazy-pages", "--page-server", f"127.0.0.1:{port}", "--status-fd", str(writer)]
    words = ours.words(
        "checkpoint", "--manage-cgroups-mode", "ignore", "--image-path", image, *flags, container_id
    )
    leaving = subprocess.Popen(words, pass_fds=[writer])
    os.close(writer)
    try:
        assert os.read(reader, 1) == b"\0"
        fetch = ["lazy-pages", "--page-server", "--address", "127.0.0.1", "--port", port, "-D", image]
        daemon = subprocess.Popen([criu, *fetch], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda: os.path.exists(f"{image}/lazy-pages.socket"))
        flags = ["--lazy-pages", "--manage-cgroups-mode", "ignore", "--image-path", image, "-d"]
        assert ours.start_detached("restore", *flags, "-b", str(bundle.path), unique("lazy")) == 0
        assert leaving.wait(TIMEOUT_S) == 0
        assert daemon.wait(TIMEOUT_S) == 0
    finally:
        os.close(reader)
        leaving.wait()
    assert container_id not in ours("list", "-q").stdout
    reached = count(bundle)
    wait_until(lambda: count(bundle) > reached)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--empty-ns", "user"], "is not supported: only network is"),
        (["--page-server", "here"], "--page-server ADDRESS:PORT"),
        (["--page-server", "::1:27"], "--page-server ADDRESS:PORT"),
        (["--page-server", "here:there"], "port number"),
        (["--manage-cgroups-mode", "gentle"], "invalid manage-cgroups-mode value"),
        (["--parent-path", "/tmp"], "--parent-path must be relative"),
        (["--parent-path", "nowhere"], "invalid --parent-path"),
        (["--lazy-pages", "--status-fd", "77"], "invalid --status-fd argument 77"),
    ],
)
def test_senseless_flags_are_refused_and_the_container_goes_on(
    ours: Runtime, bundle: Bundle, tmp_path: Path, flags: list[str], words: str
) -> None:
    container_id = running(ours, bundle, "sleep", "1000")
    refused(ours("checkpoint", "--image-path", str(tmp_path / "image"), *flags, container_id), words)
    assert ours.status(container_id) == "running"


def test_only_what_runs_is_checkpointed_and_only_what_was_is_restored(
    runtime: Runtime, bundle: Bundle, tmp_path: Path
) -> None:
    bundle.command("sleep", "1000")
    container_id = unique("criu")
    assert runtime.start_detached("create", "-b", str(bundle.path), container_id) == 0
    refused(runtime("checkpoint", container_id), "Container cannot be checkpointed in created state")
    refused(runtime("checkpoint", "none"), "container does not exist")
    missing = str(tmp_path / "missing")
    other = unique("criu")
    assert runtime("restore", "--image-path", missing, "-d", "-b", str(bundle.path), other).returncode == 1
    assert other not in runtime("list", "-q").stdout


def test_without_criu_it_is_said_what_is_missing(ours: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    container_id = running(ours, bundle, "sleep", "1000")
    nowhere = {**os.environ, "PATH": str(tmp_path)}
    result = ours("checkpoint", "--image-path", str(tmp_path / "image"), container_id, environment=nowhere)
    refused(result, "install it (package criu)")
    assert ours.status(container_id) == "running"


def test_debians_criu_does_its_work_or_the_reason_is_given(
    ours: Runtime, bundle: Bundle, tmp_path: Path
) -> None:
    checked = subprocess.run([peers.peer("criu"), "check"], capture_output=True, check=False)
    container_id = running(ours, bundle, "sleep", "1000")
    result = ours("checkpoint", "--image-path", str(tmp_path / "image"), container_id)
    if checked.returncode == 0:
        assert result.returncode == 0, result.stderr
        return
    refused(result, f"criu's log: {tmp_path}/image/dump.log")
    assert len(result.stderr.strip().splitlines()) == 1
    if b"vdso" in checked.stderr:
        refused(result, f"older than kernel {os.uname().release}: install a newer one")
    assert ours.status(container_id) == "running"


def test_what_a_killed_restore_leaves_is_deleted(
    criu: str, ours: Runtime, bundle: Bundle, tmp_path: Path
) -> None:
    container_id = running(ours, bundle, "sleep", "1000")
    image = str(tmp_path / "image")
    assert ours("checkpoint", "--image-path", image, container_id).returncode == 0
    begun, go = tmp_path / "begun", tmp_path / "go"
    os.mkfifo(go)
    hook = {"path": "/bin/sh", "args": ["sh", "-c", f"touch {begun}; read word < {go}"]}
    bundle.config["hooks"] = {"createRuntime": [hook]}
    bundle.save()
    words = ours.words("restore", "--image-path", image, "-d", "-b", str(bundle.path), container_id)
    nowhere = subprocess.DEVNULL
    restoring = subprocess.Popen(words, stdin=nowhere, stdout=nowhere, stderr=nowhere)
    wait_until(begun.exists)
    restoring.kill()
    restoring.wait()
    go.write_text("on\n")
    assert str(ours.root) in Path("/proc/self/mountinfo").read_text()
    assert ours("delete", "--force", container_id).returncode == 0
    assert str(ours.root) not in Path("/proc/self/mountinfo").read_text()
    assert (bundle.rootfs / "bin" / "busybox").exists()


def test_what_a_killed_restore_has_mounted_is_not_removed_with_its_state(
    ours: Runtime, bundle: Bundle
) -> None:
    container_id = running(ours, bundle, "sleep", "1000")
    place = ours.root / container_id / ".mount-0123456789abcdef"
    place.mkdir()
    subprocess.run(["mount", "--bind", bundle.rootfs, place], check=True)
    assert ours("delete", "--force", container_id).returncode == 0
    assert not place.exists()
    assert (bundle.rootfs / "bin" / "busybox").exists()


def test_the_runtime_says_that_it_can(ours: Runtime) -> None:
    annotations = json.loads(ours("features").stdout)["annotations"]
    assert annotations["org.opencontainers.runc.checkpoint.enabled"] == "true"
    for command in ("checkpoint", "restore"):
        assert ours(command, "--help").returncode == 0
