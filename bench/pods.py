"""Pods as a kubelet makes them: the same client asks cloched and a containerd for the same ones."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Self

from bench.stage import Stage
from bench.table import Row
from cloche.daemon.blocking_client import BlockingChannel
from cloche.wire.messages.cri import containers, stats
from cloche.wire.messages.cri import pods as messages
from cloche.wire.messages.cri.values import NamespaceOption
from cloche.wire.protobuf import Message
from cloche.wire.service import Method, Service
from cloche.wire.services.cri import RUNTIME
from tests import leftovers
from tests.cri import images, nodes
from tests.cri.kubelet import Kubelet
from tests.cri.own_network import Network
from tests.cri.pods import Pod, container_config, pod_config
from tests.cri.tools import new_containerd
from tests.daemons import Registry

AT_ONCE = 8
CROWD = 110
MANY_PODS, EACH = 250, 2
_LIST_S, _STATS_S = 0.010, 0.250


@contextmanager
def _nodes(*, alone: bool = False) -> Iterator[list[nodes.Node]]:
    """Our node and containerd's, on one network of their own, with the image. alone: only ours."""
    place = Path(tempfile.mkdtemp(prefix="b-"))
    network = Network()
    with ExitStack() as stack:
        stack.callback(leftovers.remove_tree, str(place))
        stack.callback(network.close)
        stack.callback(leftovers.remove_parent_cgroup, "k8s.io")
        # Not for the whole block: this thread's network is no daemon's business afterwards.
        with network.entered():
            (place / "r").mkdir()
            registry = stack.enter_context(Registry(place / "r"))
            images.push_all(registry, place / "images", only=("busybox", "pause:3.10"))
            hosts = nodes.mirrors(place / "hosts", registry)
            found: list[nodes.Node] = []
            for number, kind in enumerate(("ours", "theirs")[: 1 if alone else 2]):
                (place / kind).mkdir()
                networks = nodes.network(place / f"{kind}-net", f"bench{number}", f"10.97.{number * 64}.0/18")
                found.append(
                    nodes.ClocheNode(place / kind, hosts, networks)
                    if kind == "ours"
                    else nodes.ContainerdNode(place / kind, hosts, networks, new_containerd())
                )
                stack.enter_context(found[-1])
        for node in found:
            with Kubelet(node.address) as kubelet:
                kubelet.pull(images.BUSYBOX)
        yield found


class _Round:
    """Pods made and removed on one node, several at once. up, down: seconds of each time."""

    def __init__(self, node: nodes.Node, at_once: int) -> None:
        self._clients = [Kubelet(node.address) for _ in range(at_once)]
        self._logs = node.directory / "logs"
        self.up: list[float] = []
        self.down: list[float] = []

    def run(self) -> None:
        with ThreadPoolExecutor(len(self._clients)) as threads:
            begun = time.perf_counter()
            made = list(threads.map(self._make, self._clients))
            self.up.append(time.perf_counter() - begun)
            begun = time.perf_counter()
            list(threads.map(self._remove, made))
            self.down.append(time.perf_counter() - begun)

    def _make(self, client: Kubelet) -> Pod:
        pod = Pod(client, pod_config(self._logs, options=NamespaceOption()))
        pod.run(container_config(images.BUSYBOX, "sleep", "6000"))
        return pod

    def _remove(self, pod: Pod) -> None:
        pod.stop()
        pod.remove()

    def close(self) -> None:
        for client in self._clients:
            client.close()


def rows(stage: Stage, rounds: int) -> list[Row]:
    """A pod with one container up, and down again: alone, and several at once."""
    with _nodes() as both:
        return [*_up_and_down(both, 1, max(3, rounds // 4)), *_up_and_down(both, AT_ONCE, 3)]


def crowd(stage: Stage, rounds: int) -> list[Row]:
    """As many pods as a kubelet has at most unless it is told otherwise, all at once."""
    with _nodes() as both:
        return _up_and_down(both, CROWD, 2)


def _up_and_down(both: list[nodes.Node], at_once: int, times: int) -> list[Row]:
    """times: how often, after the first, which is for what is kept from then on."""
    sides = [_Round(node, at_once) for node in both]
    for _ in range(times + 1):
        for side in sides:
            side.run()
    for side in sides:
        side.close()
    name = "a pod" if at_once == 1 else f"{at_once} pods at once"
    return [
        Row(
            f"{name} {verb}, cloched", "containerd", [statistics.median(each[1:]) for each in taken], 0.8, 0.4
        )
        for verb, taken in (("up", [side.up for side in sides]), ("down", [side.down for side in sides]))
    ]


def many(stage: Stage, rounds: int) -> list[Row]:
    """Lists and measurements of a node that is full."""
    with _nodes(alone=True) as (node,), ExitStack() as stack:
        clients = [stack.enter_context(Kubelet(node.address)) for _ in range(4)]
        logs = node.directory / "logs"

        def fill(number: int) -> Pod:
            pod = Pod(clients[number], pod_config(logs))
            for _ in range(EACH):
                pod.run(container_config(images.BUSYBOX, "sleep", "6000"))
            return pod

        with ThreadPoolExecutor(len(clients)) as threads:
            made = [pod for _ in range(MANY_PODS // 4 + 1) for pod in threads.map(fill, range(4))]
            asked = {
                "ListPodSandbox": (messages.ListPodSandboxRequest(), _LIST_S),
                "ListContainers": (containers.ListContainersRequest(), _LIST_S),
                "ListContainerStats": (stats.ListContainerStatsRequest(), _STATS_S),
            }
            channel = stack.enter_context(BlockingChannel(node.address))
            found = []
            for name, (request, limit_s) in asked.items():
                took = _median(partial(channel.unary, _unread(name), name, request), rounds)
                work = f"{name}, {len(made)} pods, {len(made) * EACH} containers"
                found.append(Row(work, "the limit", [took, limit_s], 1.0, 0.5))
            for at in range(0, len(made), 4):
                list(threads.map(lambda pair: _gone(*pair), zip(clients, made[at : at + 4], strict=False)))
    return found


class _Unread(Message):
    """An answer that is not looked into: how long that takes here says nothing of the node."""

    @classmethod
    def decode(cls, _data: bytes) -> Self:
        return cls()


def _unread(name: str) -> Service:
    return Service(RUNTIME.full_name, Method(name, RUNTIME.methods[name].request, _Unread))


def _gone(client: Kubelet, pod: Pod) -> None:
    pod.kubelet = client
    pod.stop()
    pod.remove()


def _median(work: Callable[[], object], rounds: int) -> float:
    times = []
    for _ in range(max(5, rounds // 4)):
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    return statistics.median(times)
