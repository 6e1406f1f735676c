"""Sandboxes over the API: kept, run, and given a container, which shares their shim."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from cloche.daemon.client import Channel
from cloche.errors import AlreadyExists, NotFound
from cloche.wire.messages import sandboxes as messages
from cloche.wire.messages.google import Any as Packed
from cloche.wire.messages.types import Sandbox, SandboxRuntime
from cloche.wire.protobuf import Message
from tests.daemons import Cloched

NAMESPACE = {"containerd-namespace": ["default"]}
SPEC = Packed(type_url="test", value=json.dumps({"ociVersion": "1.0.2"}).encode())


def sandbox(name: str, **labels: str) -> Sandbox:
    runtime = SandboxRuntime(name="io.containerd.runc.v2")
    return Sandbox(sandbox_id=name, runtime=runtime, spec=SPEC, labels=labels, sandboxer="shim")


def over(cloched: Cloched, work: Callable[[Channel], Awaitable[None]]) -> None:
    async def run() -> None:
        channel = await Channel.connect(cloched.address)
        try:
            await work(channel)
        finally:
            channel.close()

    asyncio.run(run())


def test_a_sandbox_is_kept_changed_and_forgotten(cloched: Cloched, name: str) -> None:
    async def work(channel: Channel) -> None:
        async def call(method: str, request: Message) -> Any:
            return await channel.unary(messages.STORE, method, request, metadata=NAMESPACE)

        await call("Create", messages.StoreCreateRequest(sandbox=sandbox(name, tier="gold")))
        with pytest.raises(AlreadyExists):
            await call("Create", messages.StoreCreateRequest(sandbox=sandbox(name)))
        changed = sandbox(name, tier="silver")
        await call("Update", messages.StoreUpdateRequest(sandbox=changed, fields=["labels"]))
        found = await call("List", messages.StoreListRequest(filters=["labels.tier==silver"]))
        assert [each.sandbox_id for each in found.list] == [name]
        assert found.list[0].runtime.name == "io.containerd.runc.v2"
        await call("Delete", messages.StoreDeleteRequest(sandbox_id=name))
        with pytest.raises(NotFound):
            await call("Get", messages.StoreGetRequest(sandbox_id=name))

    over(cloched, work)


def test_a_sandbox_is_run_and_leaves_nothing(cloched: Cloched, name: str) -> None:
    async def work(channel: Channel) -> None:
        async def call(method: str, request: Message) -> Any:
            return await channel.unary(messages.CONTROLLER, method, request, metadata=NAMESPACE)

        await call("Create", messages.ControllerCreateRequest(sandbox_id=name, sandbox=sandbox(name)))
        started = await call("Start", messages.ControllerStartRequest(sandbox_id=name))
        assert Path(f"/proc/{started.pid}").exists()
        status = await call("Status", messages.ControllerStatusRequest(sandbox_id=name))
        assert status.state == "SANDBOX_READY"
        waiting = asyncio.ensure_future(call("Wait", messages.ControllerWaitRequest(sandbox_id=name)))
        await call("Stop", messages.ControllerStopRequest(sandbox_id=name))
        await waiting
        await call("Shutdown", messages.ControllerShutdownRequest(sandbox_id=name))
        with pytest.raises(NotFound):
            await call("Status", messages.ControllerStatusRequest(sandbox_id=name))

    over(cloched, work)
    place = cloched.directory / "state" / "io.containerd.runtime.v2.task" / "default" / name
    assert not place.exists()
