"""Pods: made once, stopped and removed as often as anybody likes, with nothing left."""

from __future__ import annotations

import json
import os
import re
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cloche.cri.pod_files import PodFiles, resolver
from cloche.cri.settings import Settings
from cloche.errors import AlreadyExists, InvalidArgument, NotFound
from cloche.wire.messages.cri import pods, values
from cloche.wire.messages.cri.pod_config import LinuxPodSandboxConfig, LinuxSandboxSecurityContext
from cloche.wire.messages.cri.values import NODE, POD, DNSConfig, IDMapping, NamespaceOption, UserNamespace
from tests.cri.kubelet import Kubelet, KubernetesNode
from tests.cri.networks import network
from tests.cri.pods import Pod, container_config, pod_config, running_pod


def left(node: KubernetesNode, pod_id: str) -> list[str]:
    """What of a pod is mounted or lies about."""
    mounted = [line for line in Path("/proc/self/mounts").read_text().splitlines() if pod_id[:32] in line]
    places = ("root/cri/pods", "state/cri/pods", "state/netns", "state/io.containerd.runtime.v2.task/k8s.io")
    lying = [
        f"{place}/{name}"
        for place in places
        if (node.directory / place).is_dir()
        for name in os.listdir(node.directory / place)
        if pod_id[:32] in name
    ]
    return mounted + lying


def test_a_pod_is_made_found_stopped_and_removed(
    kubelet: Kubelet, running: KubernetesNode, tmp_path: Path
) -> None:
    config = pod_config(tmp_path, labels={"tier": "gold"})
    pod = Pod(kubelet, config)
    assert pod.status().status.state == pods.READY
    assert Pod(kubelet, config).id == pod.id
    other = pod_config(tmp_path)
    other.metadata = config.metadata
    with pytest.raises(AlreadyExists, match=pod.id):
        Pod(kubelet, other)
    chosen = pods.PodSandboxFilter(id=pod.id[:12], label_selector={"tier": "gold"})
    found = kubelet("ListPodSandbox", pods.ListPodSandboxRequest(filter=chosen)).items
    assert [(each.id, each.metadata) for each in found] == [(pod.id, config.metadata)]
    for _ in range(2):
        pod.stop()
        assert pod.status().status.state == pods.NOT_READY
    for _ in range(2):
        pod.remove()
    pod.stop()
    with pytest.raises(NotFound):
        pod.status()
    assert not left(running, pod.id)


def test_those_who_ask_for_one_pod_at_a_time_get_the_same(running: KubernetesNode, tmp_path: Path) -> None:
    config = pod_config(tmp_path)
    found: list[str] = []

    def ask() -> None:
        with Kubelet(running.address) as client:
            found.append(Pod(client, config).id)

    asking = [threading.Thread(target=ask) for _ in range(4)]
    for each in asking:
        each.start()
    for each in asking:
        each.join()
    assert len(found) == 4
    assert len(set(found)) == 1
    with Kubelet(running.address) as client:
        client("RemovePodSandbox", pods.RemovePodSandboxRequest(pod_sandbox_id=found[0]))


def test_many_pods_at_once_have_the_holders_program_put_in_place_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = shutil.copyfile

    def slow_copy(source: str, target: str) -> None:
        copy(source, target)
        time.sleep(0.01)

    monkeypatch.setattr(shutil, "copyfile", slow_copy)
    files = PodFiles(Settings(f"{tmp_path}/root", f"{tmp_path}/state", {}))
    with ThreadPoolExecutor(8) as threads:
        (place,) = set(threads.map(lambda _: files.holder_root(), range(8)))
    assert sorted(os.listdir(place)) == ["dev", "pause", "proc"]
    assert os.access(f"{place}/pause", os.X_OK)


def test_the_holder_may_do_next_to_nothing(pod: Pod) -> None:
    told = json.loads(pod.status(verbose=True).info["info"])
    status = Path(f"/proc/{told['pid']}/status").read_text()
    assert re.search(r"^CapEff:\s+0+$", status, re.MULTILINE)
    assert re.search(r"^NoNewPrivs:\s+1$", status, re.MULTILINE)
    assert re.search(r"^Seccomp:\s+2$", status, re.MULTILINE)
    assert re.search(r"^Uid:\s+65535\s", status, re.MULTILINE)


def test_a_pod_with_a_network_of_its_own_is_connected_and_let_go(
    kubelet: Kubelet, running: KubernetesNode, image: str, tmp_path: Path
) -> None:
    network(running.directory)
    options = NamespaceOption()
    security = LinuxSandboxSecurityContext(namespace_options=options)
    linux = LinuxPodSandboxConfig(security_context=security, sysctls={"net.ipv4.ip_forward": "1"})
    dns = DNSConfig(servers=["10.0.0.10"], searches=["a.example", "b.example"], options=["ndots:5"])
    config = pod_config(tmp_path, linux=linux, hostname="wendy", dns_config=dns)
    with running_pod(kubelet, config) as pod:
        address = pod.status().status.network.ip
        assert address.startswith("10.87.93.")
        container = pod.run(container_config(image, "sleep 100"))
        assert address in container.execute("ip", "addr").stdout.decode()
        assert container.execute("hostname").stdout == b"wendy\n"
        assert container.execute("cat", "/etc/hostname").stdout == b"wendy\n"
        text = container.execute("cat", "/etc/resolv.conf").stdout.decode()
        assert text == "search a.example b.example\nnameserver 10.0.0.10\noptions ndots:5\n"
        assert container.execute("cat", "/proc/sys/net/ipv4/ip_forward").stdout == b"1\n"
        assert container.execute("cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start").stdout == b"0\n"
        kept = running.directory / "addresses" / "tests"
        assert address in os.listdir(kept)
        pod.stop()
        assert address not in os.listdir(kept)
    assert not left(running, pod.id)


def test_a_pod_can_have_users_of_its_own(kubelet: Kubelet, image: str, tmp_path: Path) -> None:
    ids = [IDMapping(host_id=200_000, container_id=0, length=65536)]
    users = UserNamespace(mode=POD, uids=ids, gids=ids)
    options = NamespaceOption(network=NODE, userns_options=users)
    with running_pod(kubelet, pod_config(tmp_path, options=options)) as pod:
        container = pod.run(container_config(image, "touch /mine; stat -c %u /mine /bin; sleep 100"))
        assert container.execute("stat", "-c", "%u", "/mine", "/bin/busybox").stdout == b"0\n0\n"
        assert b"200000" in container.execute("cat", "/proc/self/uid_map").stdout


def test_a_shared_pid_namespace_has_the_holder_as_its_first_process(
    kubelet: Kubelet, image: str, tmp_path: Path
) -> None:
    options = NamespaceOption(network=NODE, pid=values.POD)
    with running_pod(kubelet, pod_config(tmp_path, options=options)) as pod:
        config = container_config(image, "sleep 100")
        assert config.linux is not None
        assert config.linux.security_context is not None
        config.linux.security_context.namespace_options = options
        container = pod.run(config)
        assert container.execute("cat", "/proc/1/cmdline").stdout == b"/pause\0"


@pytest.mark.parametrize(
    "change",
    [
        {"hostname": "x" * 65},
        {"dns_config": DNSConfig(servers=["1.2.3.4\nnameserver 6.6.6.6"])},
        {"metadata": None},
    ],
)
def test_a_pod_that_cannot_be_leaves_nothing(
    kubelet: Kubelet, running: KubernetesNode, tmp_path: Path, change: dict[str, Any]
) -> None:
    config = pod_config(tmp_path)
    for name, value in change.items():
        setattr(config, name, value)
    before = len(kubelet("ListPodSandbox", pods.ListPodSandboxRequest()).items)
    with pytest.raises(InvalidArgument):
        Pod(kubelet, config)
    assert len(kubelet("ListPodSandbox", pods.ListPodSandboxRequest()).items) == before
    assert "sandbox" not in running.ok("--namespace", "k8s.io", "containers", "ls").partition("\n")[2]


def test_an_unknown_handler_is_named_with_those_there_are(kubelet: Kubelet, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="there are: runc"):
        Pod(kubelet, pod_config(tmp_path), "none")


def test_without_wishes_a_pod_resolves_as_the_machine_does() -> None:
    assert resolver(None) == Path("/etc/resolv.conf").read_text()
