"""Plugins that the node starts itself, hooks in Python, and the validator of our own."""

from __future__ import annotations

import os
import shutil
import stat
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cloche.errors import ClocheError
from cloche.wire.messages.nri.containers import Hook, Hooks
from tests import leftovers, peers
from tests.cri.conftest import IMAGE
from tests.cri.kubelet import Kubelet, KubernetesNode, push
from tests.cri.nri.plugin import Plugin
from tests.cri.nri.test_plugins import adjusting
from tests.cri.pods import Pod, container_config, pod_config, running_pod
from tests.daemons import Registry

ROOT = Path(__file__).parents[3]
PROGRAM = """#!{python}
import os, socket, sys, threading
sys.path[:0] = [{root!r}]
from cloche.wire.messages.nri import adjustments, plugin as messages
from cloche.wire.messages.nri.values import Empty, KeyValue
from tests.cri.nri.plugin import Plugin

config = []

def configure(request):
    config.append(request.config)
    return messages.ConfigureResponse()

def create(request):
    name, index = os.environ["NRI_PLUGIN_NAME"], os.environ["NRI_PLUGIN_IDX"]
    words = [name, index, *config, os.environ.get("PATH", "bare")]
    env = [KeyValue(key="STARTED", value=" ".join(words))]
    return messages.CreateContainerResponse(adjust=adjustments.ContainerAdjustment(env=env))

def shut_down(request):
    open({mark!r}, "w").close()
    return Empty()

connection = socket.socket(fileno=int(os.environ["NRI_PLUGIN_SOCKET"]))
plugin = Plugin(connection, "99", "ignored", Configure=configure, CreateContainer=create, Shutdown=shut_down)
plugin.gone.wait()
"""
HOOKS = """
import time
from cloche.wire.messages.nri.adjustments import ContainerAdjustment
from cloche.wire.messages.nri.values import KeyValue

class Namer:
    def __call__(self, pod, container, spec):
        spec["process"]["env"].append("STOLEN=1")
        env = [KeyValue(key="HOOK", value=f"{pod.name} {container.name} {spec['process']['args'][-1]}")]
        return ContainerAdjustment(env=env)

def moody(pod, container, spec):
    if container.name == "raise":
        raise ValueError("not today")
    if container.name == "wrong":
        return 5
    if container.name == "hang":
        time.sleep(3600)
"""
NRI = """container_hooks = ["20-namer", "30-moody"]
[plugins."io.containerd.nri.v1.nri".default_validator]
enable = true
reject_oci_hook_adjustment = true
required_plugins = ["namer"]
"""


@contextmanager
def installed_hooks() -> Iterator[None]:
    """A package with the hooks, installed beside Cloche for as long as the block lasts."""
    name = f"hooks_of_test_{os.getpid()}"
    packages = Path(sysconfig.get_path("purelib"))
    module, facts = packages / f"{name}.py", packages / f"{name}-1.dist-info"
    try:
        facts.mkdir()
        module.write_text(HOOKS)
        (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
        points = f"[cloche.container_hooks]\n20-namer = {name}:Namer\n30-moody = {name}:moody\n"
        (facts / "entry_points.txt").write_text(points)
        yield
    finally:
        module.unlink(missing_ok=True)
        shutil.rmtree(facts, ignore_errors=True)
        for compiled in packages.glob(f"__pycache__/{name}.*"):
            compiled.unlink()


def install(directory: Path) -> None:
    """Put plugins, and what one of them is told, where the node looks for them."""
    (directory / "nri").mkdir()
    (directory / "nri.d").mkdir()
    (directory / "nri.d" / "ours.conf").write_text("be good")
    words = {"python": sys.executable, "root": str(ROOT), "mark": str(directory / "shut-down")}
    for name, text in (
        ("40-ours", PROGRAM.format(**words)),
        ("4-badly-named", "#!/bin/sh\n"),
        ("50-ends", "#!/bin/sh\n"),
    ):
        path = directory / "nri" / name
        path.write_text(text)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    (directory / "nri" / "README").write_text("no program")


@pytest.fixture(scope="module")
def node(registry: Registry, layout: Path) -> Iterator[tuple[KubernetesNode, str]]:
    """A node with all of them, and an image on it."""
    peers.require_root()
    directory = Path(tempfile.mkdtemp(prefix="k-"))
    install(directory)
    with installed_hooks(), KubernetesNode(directory, nri=NRI) as found, Kubelet(found.address) as client:
        yield found, client.pull(push(registry, layout, IMAGE))
    assert (directory / "shut-down").exists(), "the plugin was not told of the end"
    leftovers.remove_tree(str(directory))


@contextmanager
def a_pod(node: KubernetesNode, tmp_path: Path, **more: Any) -> Iterator[Any]:
    """A pod on the node."""
    with Kubelet(node.address) as client, running_pod(client, pod_config(tmp_path, **more)) as pod:
        yield pod


def test_hooks_and_started_plugins_adjust_containers(
    node: tuple[KubernetesNode, str], tmp_path: Path
) -> None:
    with a_pod(node[0], tmp_path) as pod:
        env = pod.create(container_config(node[1], "true", name="one")).spec()["process"]["env"]
        assert f"HOOK={pod.config.metadata.name} one true" in env
        assert "STARTED=ours 40 be good bare" in env
        assert "STOLEN=1" not in env
    log = node[0].log.read_text()
    assert "4-badly-named is not started: plugin index '4'" in log
    assert "50-ends is dropped: its connection is gone" in log


@pytest.mark.parametrize(
    ("name", "message"),
    [("raise", "30-moody: ValueError: not today"), ("wrong", "30-moody: returned int")],
    ids=["raises", "returns a number"],
)
def test_a_hook_that_fails_fails_the_container(
    name: str, message: str, node: tuple[KubernetesNode, str], tmp_path: Path
) -> None:
    with a_pod(node[0], tmp_path) as pod, pytest.raises(ClocheError, match=message):
        pod.create(container_config(node[1], "true", name=name))


def test_the_validator_rejects_what_the_configuration_forbids(
    node: tuple[KubernetesNode, str], tmp_path: Path
) -> None:
    hooks = adjusting(hooks=Hooks(poststop=[Hook(path="/bin/true")]))
    rejected = pytest.raises(ClocheError, match="plugin 10-test must not add OCI hooks")
    plugin = Plugin(f"{node[0].directory}/nri.sock", CreateContainer=hooks)
    with a_pod(node[0], tmp_path) as pod, plugin, rejected:
        pod.create(container_config(node[1], "true"))


def test_a_hook_that_hangs_is_asked_no_more(node: tuple[KubernetesNode, str], tmp_path: Path) -> None:
    needs = {"required-plugins.noderesource.dev/container.hang": "[moody]"}
    missing = pytest.raises(ClocheError, match="required plugins are not there: moody")
    with a_pod(node[0], tmp_path, annotations=needs) as pod:
        with missing:
            pod.create(container_config(node[1], "true", name="hang"))
        pod.create(container_config(node[1], "true", name="raise"))
    assert "container hook 30-moody is dropped: no answer within 0.5 s" in node[0].log.read_text()


def test_a_hook_that_no_package_has_keeps_the_daemon_from_starting(short: Path) -> None:
    with pytest.raises(RuntimeError, match="no installed package has '10-nobody'"):
        KubernetesNode(short, nri='container_hooks = ["10-nobody"]')


def test_a_daemon_that_is_killed_leaves_what_runs_to_the_next_and_its_plugins(
    node: tuple[KubernetesNode, str], tmp_path: Path
) -> None:
    path = f"{node[0].directory}/nri.sock"
    with Kubelet(node[0].address) as client:
        pod = Pod(client, pod_config(tmp_path))
        pod.run(container_config(node[1], "sleep 1000"))
    node[0].kill()
    node[0].start()
    with Kubelet(node[0].address) as pod.kubelet, Plugin(path) as plugin:
        request = dict(plugin.told)["Synchronize"]
        pod.remove()
    assert ([each.id for each in request.pods], len(request.containers)) == ([pod.id], 1)
    assert plugin.happened == ["StopContainer", "StopPodSandbox", "RemoveContainer", "RemovePodSandbox"]
