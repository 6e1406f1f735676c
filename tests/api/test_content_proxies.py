"""Content and differs of one daemon used by another: ours by containerd, others' by us."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests import leftovers, peers
from tests.api.conftest import IMAGE
from tests.api.test_configuration import Configured, configured
from tests.api.test_proxies import elsewhere
from tests.cri.tools import new_containerd, required
from tests.daemons import Containerd, Registry
from tests.waiting import wait_until

__all__ = ["elsewhere"]

BACKEND = '[plugins."io.cloche.server.v1.backend"]\naddress = "{}/backend"\n'
NO_CONTENT = "io.containerd.content.v1.content"


def lender(place: Path) -> str:
    return BACKEND.format(place)


def proxies(address: object, *kinds: str) -> str:
    return "".join(
        f'[proxy_plugins.{name}]\ntype = "{kind}"\naddress = "{address}"\n'
        for name, kind in (each.split(":") for each in kinds)
    )


@pytest.mark.parametrize("newer", [False, True], ids=["1.6", "2.x"])
def test_containerd_keeps_its_content_with_us(elsewhere: Path, archive: Path, name: str, newer: bool) -> None:
    (elsewhere / "them").mkdir()
    with configured(lender(elsewhere)) as cloched:
        with required():
            program = new_containerd() if newer else ""
        kinds = ["lent:content"]
        more = ""
        snapshotter: tuple[str, ...] = ()
        if newer:
            kinds += ["cloche:snapshot", "differ:diff"]
            more = '[plugins."io.containerd.service.v1.diff-service"]\ndefault = ["differ"]\n'
            snapshotter = ("--snapshotter", "cloche")
        with Containerd(
            elsewhere / "them",
            # Its shim is of its own version.
            {"PATH": f"{Path(program).parent}:{os.environ['PATH']}"} if program else None,
            more=proxies(elsewhere / "backend", *kinds) + more,
            program=program,
            disabled=(NO_CONTENT,),
        ) as containerd:
            containerd.ok("-n", name, "images", "import", *snapshotter, str(archive))
            done = containerd.run("-n", name, "run", "--rm", *snapshotter, IMAGE, name, "echo", "from afar")
            assert done.stdout == "from afar\n", done.stderr
            theirs = set(containerd.ok("-n", name, "content", "ls", "-q").split())
            assert theirs == set(cloched.ok("-n", "cloche", "content", "ls", "-q").split()) != set()
            assert not list((elsewhere / "them/root/io.containerd.content.v1.content").glob("blobs/*/*"))
            # Nobody else's: our own namespaces do not see it, nor do our collections take it.
            assert cloched.ok("content", "ls", "-q") == ""
            containerd.ok("-n", name, "images", "rm", "--sync", IMAGE)
            assert cloched.ok("-n", "cloche", "content", "ls", "-q") == ""
    leftovers.remove_parent_cgroup(name)


def uses_content(daemon: Configured, archive: Path, registry: Registry, name: str) -> set[str]:
    """Bring an image in and out by each way; what content it had."""
    daemon.ok("images", "import", str(archive))
    done = daemon.run("run", "--rm", IMAGE, name, "echo", "content is elsewhere")
    assert done.stdout == "content is elsewhere\n", done.stderr
    pushed = f"{registry.address}/elsewhere:1"
    daemon.ok("images", "tag", IMAGE, pushed)
    daemon.ok("images", "push", "--plain-http", pushed)
    # Manifest, config and layer; the archive's index goes when the client's lease is over.
    wait_until(lambda: len(daemon.ok("content", "ls", "-q").split()) == 3)
    digests = set(daemon.ok("content", "ls", "-q").split())
    daemon.ok("images", "rm", "--sync", IMAGE, pushed)
    assert daemon.ok("content", "ls", "-q") == ""
    ours = (peers.command("cloche"), "--state", f"{daemon.directory}/state", "ctr")
    theirs, daemon.client = daemon.client, ours
    daemon.ok("images", "pull", "--plain-http", pushed)
    daemon.client = theirs
    daemon.ok("images", "pull", "--plain-http", pushed)
    assert set(daemon.ok("content", "ls", "-q").split()) == digests
    (manifest,) = digests & set(daemon.ok("images", "ls").split())
    assert set(json.loads(daemon.ok("content", "get", manifest))) >= {"config", "layers"}
    done = daemon.run("run", "--rm", pushed, f"{name}-2", "echo", "again")
    assert done.stdout == "again\n", done.stderr
    return digests


@pytest.mark.parametrize("kind", ["containerd", "cloched"])
def test_we_keep_our_content_with_others(
    elsewhere: Path, archive: Path, registry: Registry, name: str, kind: str
) -> None:
    keeper = Containerd(elsewhere) if kind == "containerd" else None
    with keeper or configured("") as other:
        text = f'disabled_plugins = ["{NO_CONTENT}"]\n{proxies(other.address, "far:content")}'
        with configured(text) as daemon:
            digests = uses_content(daemon, archive, registry, name)
            assert "far " in daemon.ok("plugins", "ls")
            assert not (daemon.directory / "root/content/blobs").exists()
            (namespace,) = [each for each in other.ok("namespaces", "ls", "-q").split() if "cloche-" in each]
            # That daemon's own collector leaves it alone.
            assert set(other.ok("-n", namespace, "content", "ls", "-q").split()) == digests
            (config,) = (daemon.directory).glob("config.toml")
            daemon.stop()
            config.write_text("version = 4\n")
            with pytest.raises(RuntimeError, match=r"its blobs are kept at .*, and no proxy plug-in"):
                daemon.start()
            config.write_text(f"version = 4\n{text}")
            daemon.start()
            assert daemon.run("images", "ls", "-q").stdout.split() == [f"{registry.address}/elsewhere:1"]
            embedded = [peers.command("cloche"), "--root", f"{daemon.directory}/root", "pull", IMAGE]
            refused = subprocess.run(embedded, capture_output=True, text=True, timeout=20, check=False)
            assert "use `cloche ctr`, or another root" in refused.stderr
            daemon.ok("images", "rm", "--sync", f"{registry.address}/elsewhere:1")
            wait_until(lambda: other.ok("-n", namespace, "content", "ls", "-q") == "")
            other.stop()
            # Clients would wait for ever for what they are told to be unavailable.
            for words in (("images", "import", str(archive)), ("content", "ls")):
                assert "the daemon that keeps our content is away" in daemon.run(*words).stderr


def test_layers_are_made_and_applied_by_the_daemon_that_keeps_them(
    elsewhere: Path, archive: Path, name: str
) -> None:
    with Containerd(elsewhere) as keeper:
        text = f'disabled_plugins = ["{NO_CONTENT}"]\n'
        text += '[plugins."io.containerd.service.v1.diff-service"]\ndefault = ["differ"]\n'
        with configured(text + proxies(keeper.address, "far:content", "differ:diff")) as daemon:
            # Clients unpack, layer by layer: each is applied there.
            daemon.ok("images", "import", str(archive))
            daemon.ok("run", IMAGE, name, "touch", "/new")
            wanted = ("--keep", "--media-type", "application/vnd.oci.image.layer.v1.tar")
            before = set(daemon.ok("content", "ls", "-q").split())
            assert "new\0" in daemon.ok("snapshots", "diff", *wanted, name)
            (made,) = set(daemon.ok("content", "ls", "-q").split()) - before
            assert "new\0" in daemon.ok("content", "get", made)
            daemon.ok("containers", "rm", name)
            daemon.ok("content", "rm", made)
            assert made not in daemon.ok("content", "ls", "-q")
