"""Our daemon as a node, by the real crictl: the guide's walk, handlers, crio.conf, wrong order, bad input."""

from __future__ import annotations

import json
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests import leftovers, peers
from tests.cri import images, nodes
from tests.cri.own_network import Network
from tests.cri.tools import required, tool
from tests.daemons import Registry, accepts, free_port
from tests.leftovers import speaking_of
from tests.shim.runtimes import runtime
from tests.waiting import wait_until

CRIO = """
[crio.runtime]
default_runtime = "crun"
cgroup_manager = "cgroupfs"
pids_limit = 77
default_ulimits = ["nofile=512:1024"]
default_sysctls = ["net.ipv4.ip_default_ttl=77"]
default_env = ["FROM_CRIO=yes"]
conmon = "/usr/bin/conmon"
[crio.runtime.runtimes.crun]
runtime_path = "{crun}"
allowed_annotations = ["tests."]
[crio.runtime.runtimes.cloche]
[crio.runtime.workloads.small]
activation_annotation = "tests.small"
annotation_prefix = "tests.resources"
[crio.runtime.workloads.small.resources]
cpushares = 99
[crio.nri]
enable_nri = false
[crio.network]
network_dir = "{networks}"
plugin_dirs = ["{plugins}"]
"""


class World:
    """A node in a network of its own. place: for files."""

    def __init__(self, node: nodes.ClocheNode, place: Path) -> None:
        self.node = node
        self.place = place

    def ok(self, *words: str, stdin: str = "") -> str:
        done = self.node.crictl(*words, stdin=stdin)
        assert done.returncode == 0, f"{words}: {done.stderr}"
        return done.stdout

    def no(self, *words: str) -> str:
        done = self.node.crictl(*words)
        assert done.returncode == 1, f"{words}: {done.stdout}"
        return done.stderr

    def file(self, name: str, document: Any) -> str:
        path = self.place / f"{name}-{uuid.uuid4().hex[:8]}.json"
        path.write_text(json.dumps(document))
        return str(path)

    def pod(self, **more: Any) -> str:
        """The file of a pod that no other test has."""
        name = f"pod-{uuid.uuid4().hex[:8]}"
        metadata = {"name": name, "namespace": "guide", "uid": name}
        return self.file(
            "pod", {"metadata": metadata, "log_directory": f"{self.place}/logs", "linux": {}} | more
        )

    def container(self, *command: str, image: str = images.BUSYBOX, **more: Any) -> str:
        document = {
            "metadata": {"name": "one"},
            "image": {"image": image},
            "log_path": "one.log",
            "linux": {},
        }
        return self.file("container", document | ({"command": list(command)} if command else {}) | more)

    def run(self, container: str, pod: str, *flags: str) -> str:
        """A container that runs in a pod of its own; its id."""
        return self.ok("run", *flags, container, pod).strip()

    def cleared(self) -> None:
        """Nothing is left but images."""
        self.ok("rmp", "-fa")
        assert self.ok("ps", "-aq") == self.ok("pods", "-q") == ""


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    peers.require_root()
    with required():
        tool("crictl")
    path = Path(tempfile.mkdtemp(prefix="g-"))
    yield path
    leftovers.remove_tree(str(path))


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    made = Network()
    yield made
    made.close()


@pytest.fixture(scope="module")
def hosts(place: Path, network: Network) -> Iterator[Path]:
    """Mirrors of a registry that has what the guide pulls, in the same network as the node."""
    (place / "r").mkdir()
    with network.entered():
        registry = Registry(place / "r")
        images.push_all(registry, place / "images", only=("busybox", "nginx:", "pause:3.10"))
    with registry:
        yield nodes.mirrors(place / "hosts", registry)


@pytest.fixture(scope="module")
def networks(place: Path) -> Path:
    return nodes.network(place / "net", "guide0", "10.88.7.0/24")


@pytest.fixture(scope="module")
def running(place: Path, hosts: Path, networks: Path, network: Network) -> Iterator[World]:
    (place / "d").mkdir()
    with network.entered():
        node = nodes.ClocheNode(place / "d", hosts, networks)
    with node:
        world = World(node, place)
        world.ok("pull", images.BUSYBOX)
        yield world


@pytest.fixture
def entered(network: Network) -> Iterator[None]:
    """The test is in the node's network."""
    with network.entered():
        yield


@pytest.fixture
def world(running: World, entered: None) -> Iterator[World]:
    yield running
    running.cleared()


def test_the_guides_walk_through_cri(world: World) -> None:
    assert "RuntimeApiVersion:  v1" in world.ok("version")
    assert [each["status"] for each in json.loads(world.ok("info"))["status"]["conditions"][:2]] == [
        True,
        True,
    ]
    world.ok("pull", images.NGINX)
    assert "e2e-test-images/nginx" in world.ok("images")
    assert json.loads(world.ok("inspecti", images.NGINX))["status"]["repoTags"] == [images.NGINX]
    assert json.loads(world.ok("imagefsinfo"))["status"]["imageFilesystems"]

    published = free_port()
    ports = [{"container_port": 80, "host_port": published}]
    file = world.pod(hostname="web", port_mappings=ports, labels={"app": "web"})
    pod = world.ok("runp", file).strip()
    container = world.ok("create", pod, world.container(image=images.NGINX), file).strip()
    assert world.ok("ps", "-q", "--state", "created").strip() == container
    world.ok("start", container)
    assert world.ok("pods", "-q", "--label", "app=web", "--state", "ready").strip() == pod
    assert "Running" in world.ok("ps", "--pod", pod)

    status = json.loads(world.ok("inspectp", pod))["status"]
    address = status["network"]["ip"]
    for place in ((address, 80), ("127.0.0.1", published)):
        wait_until(partial(accepts, socket.AF_INET, place), timeout_s=20)
        assert b"Welcome to nginx" in _page(*place)
    assert world.ok("exec", container, "hostname").strip() == "web"
    assert world.ok("exec", "-s", container, "cat", "/proc/self/comm").strip() == "cat"
    assert world.ok("exec", "-i", container, "cat", stdin="through\n") == "through\n"
    assert "one" in world.ok("stats", "--seconds", "1")
    assert container[:13] in world.ok("ps")
    world.ok("update", "--cpu-share", "512", container)
    told = json.loads(world.ok("inspect", container))
    assert told["status"]["state"] == "CONTAINER_RUNNING"
    assert told["status"]["resources"]["linux"]["cpuShares"] == "512"

    world.ok("stop", container)
    assert json.loads(world.ok("inspect", container))["status"]["reason"] in ("Completed", "Error")
    world.ok("rm", container)
    world.ok("stopp", pod)
    assert world.ok("pods", "-q", "--state", "notready").strip() == pod
    world.ok("rmp", pod)
    assert not accepts(socket.AF_INET, ("127.0.0.1", published))
    world.ok("rmi", images.NGINX)
    assert "nginx" not in world.ok("images")


def _page(host: str, port: int) -> bytes:
    with socket.create_connection((host, port), timeout=20) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_what_a_container_says_is_in_its_log(world: World) -> None:
    container = world.run(world.container("sh", "-c", "echo one; echo two >&2; printf three"), world.pod())
    wait_until(lambda: world.ok("ps", "-aq", "--state", "exited"))
    done = world.node.crictl("logs", container)
    assert (done.stdout, done.stderr.splitlines()[-1]) == ("one\nthree", "two")


@pytest.mark.parametrize("handler", ["cloche", "runc", "crun", "runsc"])
def test_each_handler_runs_a_pod(world: World, handler: str) -> None:
    container = world.run(world.container("sh", "-c", "echo by hand; sleep 100"), world.pod(), "-r", handler)
    assert handler in world.ok("pods")
    wait_until(lambda: "by hand" in world.ok("logs", container), timeout_s=60)
    assert world.ok("exec", container, "echo", "inside").strip() == "inside"


def test_an_unknown_handler_and_images_that_are_nowhere_are_refused(world: World) -> None:
    assert "no runtime handler 'kata'" in world.no("runp", "-r", "kata", world.pod())
    assert "nowhere" in world.no("pull", "registry.k8s.io/nowhere:1")


def test_every_verb_twice_and_in_the_wrong_order(world: World) -> None:
    file = world.pod()
    pod = world.ok("runp", file).strip()
    same = world.ok("runp", file).strip()
    assert same == pod
    config = world.container("sleep", "100")
    container = world.ok("create", pod, config, file).strip()
    assert world.ok("create", pod, config, file).strip() == container
    world.no("exec", container, "true")
    world.ok("start", container)
    world.no("start", container)
    assert "running" in world.no("rm", container)
    for _ in range(2):
        world.ok("stop", container)
    world.no("start", container)
    world.no("exec", container, "true")
    world.ok("rm", container)
    for verb in ("start", "exec", "inspect", "logs", "attach"):
        world.no(verb, container, *(["true"] if verb == "exec" else []))
    for _ in range(2):
        world.ok("stopp", pod)
    world.no("create", pod, config, file)
    world.ok("rmp", pod)
    world.no("inspectp", pod)
    world.no("port-forward", pod, "80")
    world.ok("stop", container)
    world.ok("stopp", pod)


HOSTILE: list[dict[str, Any]] = [
    {"log_path": "../../escape.log"},
    {"working_dir": "x" * 5000},
    {"envs": [{"key": "A=B", "value": "eA=="}]},
    {"mounts": [{"container_path": "relative", "host_path": "/"}]},
    {"mounts": [{"container_path": "/x", "host_path": "../.."}]},
    {"image": {"image": "sha256:" + "0" * 64}},
    {"linux": {"security_context": {"run_as_username": "nobody-of-that-name"}}},
    {"linux": {"security_context": {"seccomp": {"profile_type": 2, "localhost_ref": "../../etc/passwd"}}}},
    {"linux": {"security_context": {"capabilities": {"add_capabilities": ["CAP_NONSENSE"]}}}},
    {"linux": {"security_context": {"privileged": True}}},
    {"linux": {"resources": {"memory_limit_in_bytes": 1}}},
    {"linux": {"resources": {"cpuset_cpus": "9999"}}},
    {"devices": [{"host_path": "/dev/none-at-all", "container_path": "/dev/x", "permissions": "rwm"}]},
    {"cdi_devices": [{"name": "no/such=device"}]},
]


@pytest.mark.parametrize("fields", HOSTILE, ids=lambda fields: "-".join(fields))
def test_hostile_fields_are_refused_and_leave_the_pod_as_it_was(world: World, fields: dict[str, Any]) -> None:
    file = world.pod()
    pod = world.ok("runp", file).strip()
    config = world.container(**({"command": ["true"]} | fields))
    created = world.node.crictl("create", pod, config, file)
    if created.returncode == 0:
        # What only the kernel can refuse is refused at the start.
        said = world.no("start", created.stdout.strip())
        world.ok("rm", created.stdout.strip())
    else:
        said = created.stderr
    assert "Traceback" not in said
    assert "internal error" not in said
    assert world.ok("ps", "-aq") == ""
    assert world.ok("pods", "-q", "--state", "ready").strip() == pod


def test_a_daemon_killed_between_calls_goes_on_where_it_was(world: World) -> None:
    def again() -> None:
        world.node.kill()
        world.node.start()

    file = world.pod()
    pod = world.ok("runp", file).strip()
    again()
    container = world.ok("create", pod, world.container("sleep", "100"), file).strip()
    again()
    world.ok("start", container)
    again()
    assert world.ok("exec", container, "echo", "alive").strip() == "alive"
    world.ok("stop", container)
    again()
    world.ok("rm", container)
    world.ok("stopp", pod)
    again()
    world.ok("rmp", pod)
    assert speaking_of(pod) == []


def test_a_crio_conf_is_what_the_node_is(place: Path, hosts: Path, networks: Path, entered: None) -> None:
    directory = place / "o"
    directory.mkdir()
    file = directory / "crio.conf"
    file.write_text(CRIO.format(crun=runtime("crun", directory), networks=networks, plugins=nodes.PLUGINS))
    with nodes.ClocheNode(directory, hosts, networks, "--crio-config", str(file), "--cri-only") as node:
        assert "crio.runtime.conmon has no effect yet" in (directory / "log").read_text()
        world = World(node, place)
        world.ok("pull", images.BUSYBOX)
        script = "ulimit -n; echo $FROM_CRIO; cat /proc/sys/net/ipv4/ip_default_ttl; sleep 100"
        pod = world.pod(annotations={"tests.small": ""})
        container = world.run(world.container("sh", "-c", script), pod)
        wait_until(lambda: len(world.ok("logs", container).splitlines()) == 3)
        assert world.ok("logs", container).split() == ["512", "yes", "77"]
        spec = json.loads(world.ok("inspect", container))["info"]["runtimeSpec"]
        assert spec["linux"]["resources"]["pids"] == {"limit": 77}
        assert spec["linux"]["resources"]["cpu"]["shares"] == 99
        assert spec["annotations"]["tests.small"] == ""
        assert speaking_of(f"{directory}/crun") or "crun" in world.ok("info")
        world.run(world.container("sleep", "100"), world.pod(), "-r", "cloche")
        world.cleared()
        # Nothing but CRI is served.
        assert node.run("images", "ls").returncode == 1


def test_our_own_crictl_does_the_same(world: World) -> None:
    command = [peers.command("cloche"), "--address", world.node.address, "crictl"]

    def ours(*words: str) -> str:
        done = subprocess.run([*command, *words], capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    container = ours("run", world.container("sleep", "100"), world.pod()).strip()
    assert ours("exec", container, "echo", "inside") == "inside\n"
    for words in (
        ("ps", "-o", "yaml"),
        ("inspect", container),
        ("pods", "--no-trunc", "-o", "yaml"),
        ("inspecti", "-o", "yaml"),
    ):
        assert ours(*words) == world.ok(*words)
    assert ours("statsp", "--seconds", "1").splitlines()[1].split()[0].startswith("pod-")
    pod = ours("pods", "-q").strip()
    assert ours("rmp", "-f", pod) == f"Stopped sandbox {pod}\nRemoved sandbox {pod}\n"
