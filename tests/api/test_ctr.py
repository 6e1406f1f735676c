"""`cloche ctr` beside the real ctr: what both print, against our daemon and against containerd."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import leftovers, peers
from tests.api.conftest import IMAGE
from tests.daemons import Cloched, Containerd, Ctrd, Registry


@pytest.fixture(scope="module")
def containerd(archive: Path) -> Iterator[Containerd]:
    """Debian's containerd with the same image."""
    peers.require_root()
    directory = Path(tempfile.mkdtemp(prefix="c-"))
    with Containerd(directory) as daemon:
        daemon.ok("images", "import", str(archive))
        yield daemon
    leftovers.remove_tree(str(directory))


@pytest.fixture(params=["cloched", "containerd"])
def daemon(request: pytest.FixtureRequest, running: Cloched) -> Ctrd:
    """One daemon after the other."""
    if request.param == "cloched":
        return running
    found: Containerd = request.getfixturevalue("containerd")
    return found


@pytest.fixture
def ours(tmp_path: Path) -> tuple[str, ...]:
    """The words that `cloche ctr` begins with."""
    return (peers.command("cloche"), "--state", str(tmp_path), "ctr")


def said(
    client: tuple[str, ...], daemon: Ctrd, *words: str, given: bytes | None = None
) -> subprocess.CompletedProcess[bytes]:
    """What a client answers."""
    command = [*client, "--address", daemon.address, *words]
    return subprocess.run(command, input=given, capture_output=True, timeout=60, check=False)


def sorted_cells(output: bytes) -> list[list[str]]:
    """Lines with the labels of each in order, which Go prints in any."""
    return [
        [",".join(sorted(word.split(","))) for word in line.split()] for line in output.decode().split("\n")
    ]


@pytest.mark.parametrize(
    "words",
    [
        ("images", "ls"),
        ("images", "ls", "-q"),
        ("images", "check"),
        ("images", "check", "--quiet"),
        ("content", "ls"),
        ("content", "active"),
        ("snapshots", "ls"),
        ("snapshots", "usage"),
        ("snapshots", "usage", "-b"),
        ("snapshots", "tree"),
        ("containers", "ls"),
        ("tasks", "ls"),
        ("namespaces", "ls"),
        ("leases", "ls"),
        ("plugins", "ls"),
        ("plugin", "ls", "-q"),
    ],
    ids=" ".join,
)
def test_lists_are_printed_as_ctr_prints_them(
    daemon: Ctrd, ours: tuple[str, ...], words: tuple[str, ...]
) -> None:
    theirs, mine = said((peers.peer("ctr"),), daemon, *words), said(ours, daemon, *words)
    assert mine.returncode == theirs.returncode == 0, mine.stderr
    # An age in seconds may have changed meanwhile.
    drop = 3 if words == ("content", "ls") else None
    assert [line[:1] + line[drop:] for line in sorted_cells(mine.stdout)] == [
        line[:1] + line[drop:] for line in sorted_cells(theirs.stdout)
    ]
    assert len(mine.stdout) == len(theirs.stdout) or drop


def test_a_container_of_ours_is_told_as_one_of_theirs(daemon: Ctrd, ours: tuple[str, ...], name: str) -> None:
    words = (
        "--label",
        "tier=gold",
        "--env",
        "A=1",
        "--cwd",
        "/bin",
        "--read-only",
        "--memory-limit",
        "67108864",
    )
    described = []
    for client, own in ((("ctr",), f"{name}-a"), (ours, f"{name}-b")):
        made = said(client, daemon, "containers", "create", *words, "--", IMAGE, own, "sh", "-c", "true")
        assert made.returncode == 0, made.stderr
        shown = json.loads(said(ours, daemon, "containers", "info", own).stdout)
        assert said(ours, daemon, "c", "rm", own).returncode == 0
        described.append(json.loads(json.dumps(shown).replace(own, "NAME")))
    for each in described:
        for key in ("CreatedAt", "UpdatedAt"):
            del each[key]
        # Newer versions of containerd hide more, and name a newer specification.
        for key in ("maskedPaths", "readonlyPaths"):
            del each["Spec"]["linux"][key]
        del each["Spec"]["ociVersion"]
    theirs, mine = described
    theirs["Spec"]["linux"]["resources"].pop("cpu", None)  # ctr 1.6 gives a share even to `create`
    assert mine == theirs


def test_a_container_is_run_with_our_streams(daemon: Ctrd, ours: tuple[str, ...], name: str) -> None:
    done = said(
        ours, daemon, "run", "--rm", IMAGE, name, "sh", "-c", "cat; echo bad >&2; exit 7", given=b"typed"
    )
    assert (done.returncode, done.stdout, done.stderr) == (7, b"typed", b"bad\n")
    left = said(ours, daemon, "containers", "ls", "-q").stdout + said(ours, daemon, "snapshots", "ls").stdout
    assert name.encode() not in left


def test_a_task_is_steered(daemon: Ctrd, ours: tuple[str, ...], name: str, tmp_path: Path) -> None:
    started = said(ours, daemon, "run", "-d", "--pid-file", f"{tmp_path}/pid", IMAGE, name, "sleep", "600")
    assert started.returncode == 0, started.stderr
    pid = (tmp_path / "pid").read_text()
    listed = said(ours, daemon, "tasks", "ls").stdout.decode().split("\n")
    assert [name, pid, "RUNNING"] in [line.split() for line in listed]
    done = said(ours, daemon, "t", "exec", "--exec-id", "x", "--cwd", "/bin", name, "sh", "-c", "pwd; exit 3")
    assert (done.returncode, done.stdout) == (3, b"/bin\n"), done.stderr
    assert said(ours, daemon, "t", "pause", name).returncode == 0
    assert b"PAUSED" in said(ours, daemon, "t", "ls").stdout
    assert said(ours, daemon, "t", "resume", name).returncode == 0
    assert b"pids.current" in said(ours, daemon, "t", "metrics", name).stdout
    assert "pids" in json.loads(said(ours, daemon, "t", "metrics", "--format", "json", name).stdout)
    refused = said(ours, daemon, "c", "rm", name)
    assert refused.returncode == 1
    assert b"kill it first" in refused.stderr
    assert said(ours, daemon, "t", "rm", "--force", name).returncode == 0
    assert said(ours, daemon, "c", "rm", name).returncode == 0
    assert not list((tmp_path / "fifo").iterdir())


def test_a_signal_to_the_client_reaches_the_process(daemon: Ctrd, ours: tuple[str, ...], name: str) -> None:
    script = "trap 'echo caught; exit 9' TERM; echo ready; while :; do sleep 0.1; done"
    command = [*ours, "--address", daemon.address, "run", "--rm", IMAGE, name, "sh", "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == b"ready\n"
        client.terminate()
        assert client.stdout.read() == b"caught\n"
        assert client.wait(20) == 9


@pytest.mark.parametrize("local", [(), ("--local",)], ids=["transfer", "local"])
def test_archives_go_in_and_out(
    daemon: Ctrd, ours: tuple[str, ...], archive: Path, tmp_path: Path, name: str, local: tuple[str, ...]
) -> None:
    own = ("-n", name)
    done = said(ours, daemon, *own, "images", "import", *local, str(archive))
    assert done.returncode == 0, done.stderr
    checked = said(ours, daemon, *own, "images", "check", "-q").stdout
    assert checked.split() == [IMAGE.encode()]
    target = tmp_path / "out.tar"
    done = said(ours, daemon, *own, "images", "export", *local, str(target), IMAGE)
    assert done.returncode == 0, done.stderr
    names = subprocess.run(["tar", "-tf", target], capture_output=True, text=True, check=True).stdout
    assert "index.json" in names.split()
    piped = said(ours, daemon, *own, "images", "export", *local, "-", IMAGE)
    assert piped.stdout == target.read_bytes()
    assert said(ours, daemon, *own, "images", "rm", "--sync", IMAGE).returncode == 0


@pytest.mark.parametrize("local", [(), ("--local",)], ids=["transfer", "local"])
def test_images_come_from_and_go_to_a_registry(
    daemon: Ctrd, ours: tuple[str, ...], registry: Registry, archive: Path, name: str, local: tuple[str, ...]
) -> None:
    reference = registry.push(f"oci-archive:{archive}", f"busybox:{name}")
    own = ("-n", name)
    done = said(ours, daemon, *own, "images", "pull", *local, "--plain-http", reference)
    assert done.returncode == 0, done.stderr
    assert said(ours, daemon, *own, "images", "check", "-q").stdout.split() == [reference.encode()]
    pushed = f"{registry.address}/pushed:{name}"
    done = said(ours, daemon, *own, "images", "push", *local, "--plain-http", pushed, reference)
    assert done.returncode == 0, done.stderr
    document = said(ours, daemon, *own, "content", "fetch-object", "--plain-http", pushed)
    manifest = json.loads(document.stdout)
    layer = manifest["layers"][0]["digest"]
    blob = said(ours, daemon, *own, "content", "fetch-blob", "--plain-http", pushed, layer).stdout
    assert blob == said(ours, daemon, *own, "content", "get", layer).stdout
    assert said(ours, daemon, *own, "images", "rm", "--sync", reference).returncode == 0


def test_an_image_is_converted(daemon: Ctrd, ours: tuple[str, ...], name: str) -> None:
    made = f"test.example/{name}:plain"
    done = said(ours, daemon, "images", "convert", "--uncompress", "--oci", IMAGE, made)
    assert done.returncode == 0, done.stderr
    tree = said(ours, daemon, "images", "inspect", "--content", made).stdout.decode()
    assert "application/vnd.oci.image.layer.v1.tar @sha256:" in tree
    done = said(ours, daemon, "run", "--rm", made, name, "echo", "plain")
    assert done.stdout == b"plain\n", done.stderr
    assert said(ours, daemon, "images", "rm", "--sync", made).returncode == 0


def test_a_container_is_written_down_and_made_again(daemon: Ctrd, ours: tuple[str, ...], name: str) -> None:
    done = said(ours, daemon, "run", "-d", IMAGE, name, "sh", "-c", "echo kept > /kept; sleep 600")
    assert done.returncode == 0, done.stderr
    again = f"{name}-again"
    while said(ours, daemon, "t", "exec", "--exec-id", "look", name, "cat", "/kept").stdout != b"kept\n":
        pass
    made = f"test.example/{name}:checkpoint"
    done = said(ours, daemon, "containers", "checkpoint", "--rw", "--image", name, made)
    assert done.returncode == 0, done.stderr
    done = said(ours, daemon, "containers", "restore", "--rw", again, made)
    assert done.returncode == 0, done.stderr
    assert said(ours, daemon, "t", "exec", "--exec-id", "look", again, "cat", "/kept").stdout == b"kept\n"
    for each in (name, again):
        assert said(ours, daemon, "t", "rm", "-f", each).returncode == 0
        assert said(ours, daemon, "c", "rm", each).returncode == 0
    assert said(ours, daemon, "i", "rm", "--sync", made).returncode == 0


def test_programs_are_installed_out_of_an_image(daemon: Ctrd, ours: tuple[str, ...], tmp_path: Path) -> None:
    done = said(ours, daemon, "install", "--path", str(tmp_path), IMAGE)
    assert done.returncode == 0, done.stderr
    assert os.access(tmp_path / "bin" / "busybox", os.X_OK)
    again = said(ours, daemon, "install", "--path", str(tmp_path), IMAGE)
    assert again.returncode == 1
    assert b"--replace" in again.stderr


def test_a_runtime_says_what_it_is(running: Cloched, ours: tuple[str, ...]) -> None:
    done = said(ours, running, "plugins", "inspect-runtime")
    assert done.returncode == 0, done.stderr
    assert "version" in json.loads(done.stdout)
    missing = said(ours, running, "plugins", "inspect-runtime", "--runtime", "io.containerd.nobody.v7")
    assert b"nobody" in missing.stderr


def test_mistakes_are_told_in_one_line(running: Cloched, ours: tuple[str, ...]) -> None:
    for words, told in (
        (("images", "explode"), "unknown command"),
        (("explode",), "unknown command"),
        (("run",), "an image is needed"),
        (("run", IMAGE), "a container id is needed"),
        (("run", "--rm", "-d", IMAGE, "x"), "do not go together"),
        (("run", "--mount", "type=bind,src=/", IMAGE, "x"), "dst"),
        (("run", "--with-ns", "net", IMAGE, "x"), "KIND:PATH"),
        (("tasks", "exec", "x", "true"), "--exec-id"),
        (("tasks", "kill", "--all", "--exec-id", "y", "x"), "do not go together"),
        (("pprof", "heap"), "Go"),
        (("content", "get", "nonsense"), "nonsense"),
        (("--timeout", "soon", "images", "ls"), "length of time"),
    ):
        done = said(ours, running, *words)
        lines = done.stderr.decode().splitlines()
        assert done.returncode == 1, (words, lines)
        assert len(lines) == 1, lines
        assert told in lines[0]
    nobody = subprocess.run([*ours, "-a", "/no/such.sock", "images", "ls"], capture_output=True, check=False)
    assert nobody.returncode == 1
    assert b"/no/such.sock" in nobody.stderr


@pytest.mark.parametrize(
    "group", ["images", "content", "snapshots", "tasks", "containers", "sandboxes", "shim"]
)
def test_every_command_has_a_page(ours: tuple[str, ...], group: str) -> None:
    from cloche.cli.ctr.tree import TREE

    page = subprocess.run([*ours, group, "--help"], capture_output=True, text=True, check=True).stdout
    for word, (_, _, _, summary) in TREE[group][3].items():
        assert word in page
        shown = subprocess.run(
            [*ours, group, word, "--help"], capture_output=True, text=True, check=True
        ).stdout
        assert f"Usage:  cloche ctr {group} {word}" in shown
        assert summary in page
