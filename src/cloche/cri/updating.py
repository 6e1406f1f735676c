"""Limits of containers that are there, changed: in config.json, and where it runs in its cgroup."""

from __future__ import annotations

from cloche.cri import resources
from cloche.errors import FailedPrecondition, NotFound
from cloche.spec.document import dumps, loads
from cloche.store import containers as store
from cloche.wire.messages import task
from cloche.wire.messages.cri.containers import EXITED, RUNNING
from cloche.wire.messages.google import Any as Packed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from cloche.cri.host import Host
    from cloche.cri.inventory import Container, Inventory
    from cloche.cri.tasks import Tasks
    from cloche.wire.messages.cri.resources import LinuxContainerResources
    from cloche.wire.messages.nri.resources import LinuxResources as NriResources

_RESOURCES_TYPE = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources"


class Updating:
    """See the module."""

    def __init__(self, host: Host, inventory: Inventory, tasks: Tasks) -> None:
        self._host = host
        self._inventory = inventory
        self._tasks = tasks

    def known(
        self, asked: LinuxContainerResources | None, more: NriResources | None
    ) -> LinuxContainerResources | None:
        """What is kept of the limits that a client asked for, after NRI's plugins have changed them."""
        if more is None:
            return asked
        from cloche.cri.nri.limits import to_cri

        return resources.merged(asked, to_cri(more))

    async def change(
        self,
        container: Container,
        asked: LinuxContainerResources,
        *,
        more: Mapping[str, Any] | None = None,
        annotations: Mapping[str, str] | None = None,
    ) -> None:
        """Change limits: what is 0 or empty stays as it is. The caller holds `container.changing`.

        more: limits that CRI has no words for, as in config.json. Raises FailedPrecondition for a container
        that has exited.
        """
        if container.state == EXITED:
            raise FailedPrecondition(f"container {container.id}: has exited: its limits cannot be changed")
        now = resources.merged(container.kept.resources, asked)
        limits = overlaid(resources.limits(now, self._host.settings), more or {})
        await self._host.run(self._rewrite, container.id, limits, lane=("row", container.id))
        if container.state == RUNNING:
            packed = Packed(type_url=_RESOURCES_TYPE, value=dumps(limits))
            request = task.UpdateTaskRequest(
                id=container.id, resources=packed, annotations=dict(annotations or {})
            )
            await self._tasks.call(container.id, "Update", request)
        container.kept.resources = now
        await self._inventory.save_container(container)

    def _rewrite(self, container_id: str, limits: Mapping[str, Any]) -> None:
        """config.json says what holds, for the next start."""
        context = self._host.context
        with context.metadata.write() as tx:
            row = store.get(tx, context.namespace, container_id)
            if row is None:
                raise NotFound(f"container {container_id!r}: not found")
            spec = loads(row.spec, "config.json")
            spec["linux"]["resources"] = overlaid(spec["linux"]["resources"], limits)
            store.update(tx, row.replace(spec=dumps(spec)))


def overlaid(limits: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Limits (`linux.resources`) with others laid over: what is not said stays; pages go by their sizes."""
    found = dict(limits)
    for name, value in more.items():
        if name == "hugepageLimits":
            pages = {each["pageSize"]: each for each in (*found.get(name, ()), *value)}
            found[name] = list(pages.values())
        elif isinstance(value, dict):
            found[name] = found.get(name, {}) | value
        else:
            found[name] = value
    return found
