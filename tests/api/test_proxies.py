"""Snapshotters and sandbox controllers of one daemon used by another."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cloche.daemon.client import Channel
from cloche.errors import NotFound
from cloche.wire.messages import sandboxes
from cloche.wire.protobuf import Message
from tests import leftovers, peers
from tests.api.conftest import IMAGE
from tests.api.test_configuration import configured
from tests.api.test_sandboxes import NAMESPACE, over, sandbox
from tests.daemons import Cloched, Containerd


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A directory with a short name."""
    peers.require_root()
    directory = tempfile.mkdtemp(prefix="c-")
    yield Path(directory)
    leftovers.remove_tree(directory)


def test_containerd_uses_our_snapshotter(cloched: Cloched, elsewhere: Path, archive: Path, name: str) -> None:
    proxy = f'[proxy_plugins.cloche]\n  type = "snapshot"\n  address = "{cloched.address}"\n'
    ours = ("--snapshotter", "cloche")
    with Containerd(elsewhere, more=proxy) as containerd:
        containerd.ok("-n", name, "images", "import", *ours, str(archive))
        done = containerd.run("-n", name, "run", "--rm", *ours, IMAGE, name, "echo", "from cloche")
        assert done.stdout == "from cloche\n", done.stderr
        kept = cloched.ok("-n", "cloche", "snapshots", "ls")
        assert f"{name}/" in kept
        assert "Committed" in kept
        containerd.ok("-n", name, "images", "rm", "--sync", IMAGE)
        # containerd removes what is its own there, too.
        assert f"{name}/" not in cloched.ok("-n", "cloche", "snapshots", "ls")
    leftovers.remove_parent_cgroup(name)


def test_we_use_a_snapshotter_of_containerds(elsewhere: Path, archive: Path, name: str) -> None:
    with Containerd(elsewhere) as containerd:
        proxy = f'[proxy_plugins.native-there]\ntype = "snapshot"\naddress = "{containerd.address}"\n'
        with configured(proxy) as cloched:
            refused = cloched.run("snapshots", "--snapshotter", "native-there", "ls")
            # That daemon knows no snapshotter of this name: what it says comes through.
            assert "native-there" in refused.stderr
            assert "native-there" in cloched.ok("plugins", "ls")
    with configured("") as other:
        other.ok("images", "import", str(archive))
        proxy = f'[proxy_plugins.cloche]\ntype = "snapshot"\naddress = "{other.address}"\n'
        with configured(proxy) as cloched:
            theirs = ("--snapshotter", "cloche")
            cloched.client = (peers.command("cloche"), "ctr")
            cloched.ok("images", "import", "--local", *theirs, str(archive))
            done = cloched.run("run", "--rm", *theirs, IMAGE, name, "echo", "proxied")
            assert done.stdout == "proxied\n", done.stderr
            listed = cloched.ok("snapshots", *theirs, "ls")
            assert "Committed" in listed
            assert "default/" not in listed
            assert "default/sha256:" in other.ok("-n", "cloche", "snapshots", "ls")
            key = listed.splitlines()[1].split()[0]
            assert '"Committed"' in cloched.ok("snapshots", *theirs, "info", key)
            assert "tier=gold" in cloched.ok("snapshots", *theirs, "label", key, "tier=gold")
            cloched.ok("snapshots", *theirs, "rm", key)


def test_pods_are_made_by_the_controller_of_another_daemon(name: str) -> None:
    text = '[proxy_plugins.far]\ntype = "sandbox"\naddress = "{}"\n'
    with configured("") as other, configured(text.format(other.address)) as cloched:

        async def work(channel: Channel) -> None:
            async def call(method: str, request: Message) -> Any:
                return await channel.unary(sandboxes.CONTROLLER, method, request, metadata=NAMESPACE)

            far = {"sandbox_id": name, "sandboxer": "far"}
            await call("Create", sandboxes.ControllerCreateRequest(sandbox=sandbox(name), **far))
            started = await call("Start", sandboxes.ControllerStartRequest(**far))
            assert (other.directory / "state/io.containerd.runtime.v2.task/default" / name).is_dir()
            with pytest.raises(NotFound):
                await call("Status", sandboxes.ControllerStatusRequest(sandbox_id=name))
            assert (await call("Status", sandboxes.ControllerStatusRequest(**far))).pid == started.pid
            waiting = asyncio.ensure_future(call("Wait", sandboxes.ControllerWaitRequest(**far)))
            await call("Stop", sandboxes.ControllerStopRequest(**far))
            await waiting
            await call("Shutdown", sandboxes.ControllerShutdownRequest(**far))

        over(cloched, work)
        listed = cloched.ok("plugins", "ls", "id==far")
        assert "io.containerd.sandbox.controller.v1" in listed
