"""Nodes of Kubernetes: a daemon that serves the CRI, with mirrors of registries and a network of its own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from pathlib import Path
from typing import Any

from tests import peers
from tests.cri.images import HOSTS, PAUSE
from tests.cri.tools import tool
from tests.daemons import WITHOUT_NRI, Ctrd, Registry
from tests.peers import peer
from tests.shim.runtimes import runtime

PLUGINS = "/usr/lib/cni"
"""Where Debian's package has the CNI plugins."""

_CRI = 'plugins."io.containerd.grpc.v1.cri"'
# Version 2 of the format is what containerd 1.6, containerd 2 and cloched all read.
_CONFIG = """version = 2
root = "{directory}/root"
state = "{directory}/state"
disabled_plugins = ["io.containerd.internal.v1.opt"]
[grpc]
  address = "{directory}/d.sock"
[debug]
  level = "info"
[{cri}]
  {sandbox_image}
  restrict_oom_score_adj = true
  enable_unprivileged_ports = true
  enable_unprivileged_icmp = true
[{cri}.registry]
  config_path = "{hosts}"
[{cri}.cni]
  bin_dir = "{plugins}"
  conf_dir = "{networks}"
[{cri}.containerd]
  default_runtime_name = "{default}"
"""
_HANDLER = """[{cri}.containerd.runtimes.{name}]
  runtime_type = "io.containerd.runc.v2"
[{cri}.containerd.runtimes.{name}.options]
  BinaryName = "{program}"
"""


def mirrors(folder: Path, registry: Registry) -> Path:
    """A folder of hosts.toml files that sends every host of the images to one registry."""
    for host in HOSTS:
        (folder / host).mkdir(parents=True)
        (folder / host / "hosts.toml").write_text(
            f'server = "http://{registry.address}"\n\n[host."http://{registry.address}"]\n'
            'capabilities = ["pull", "resolve"]\n'
        )
    return folder


def network(folder: Path, bridge: str, subnet: str) -> Path:
    """A folder with the configuration of a bridge with published ports."""
    ranges = [[{"subnet": subnet}]]
    ipam = {"type": "host-local", "ranges": ranges, "routes": [{"dst": "0.0.0.0/0"}]}
    ipam["dataDir"] = str(folder / "addresses")
    plugins: list[dict[str, Any]] = [
        {
            "type": "bridge",
            "bridge": bridge,
            "isGateway": True,
            "ipMasq": True,
            "hairpinMode": True,
            "ipam": ipam,
        },
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ]
    folder.mkdir(parents=True)
    document = {"cniVersion": "0.4.0", "name": bridge, "plugins": plugins}
    (folder / "10-bridge.conflist").write_text(json.dumps(document))
    return folder


PORT = 18080
"""Where the container of `write_configs` serves a page, in the network of its pod."""
_TALK = (
    "mkdir -p /www && echo hello > /www/index.html && httpd -p 127.0.0.1:{port} -h /www; "
    "echo first; echo second >&2; while read word; do echo heard $word; done; sleep 1000"
)


def write_configs(place: Path, image: str, *, host_network: bool = True, port: int = PORT) -> None:
    """A pod `pod.yaml` and containers `container.json`, which talks, and `short.json`, for crictl."""
    options = "namespace_options: {network: 2}" if host_network else ""
    # A pod in the host's network has the host's name.
    hostname = "" if host_network else "hostname: web\n"
    (place / "pod.yaml").write_text(
        f"""metadata: {{name: web, namespace: default, uid: 00-11}}
{hostname}log_directory: {place}/logs
labels: {{app: web, number: "1"}}
annotations: {{note: "yes"}}
linux: {{cgroup_parent: "", security_context: {{{options}}}}}
"""
    )
    labels = {"io.kubernetes.pod.name": "web", "io.kubernetes.pod.namespace": "default"}
    for name, script in (
        ("container", _TALK.format(port=port)),
        ("short", "for n in 1 2 3; do echo $n; done"),
    ):
        document = {
            "metadata": {"name": "one" if name == "container" else name},
            "image": {"image": image},
            "command": ["sh", "-c", script],
            "log_path": f"{name}.log",
            "labels": labels,
            "stdin": True,
            "linux": {},
        }
        (place / f"{name}.json").write_text(json.dumps(document))


class Node(Ctrd):
    """A daemon with containerd's configuration format; `address` is its socket.

    directory: for everything that it keeps; short, since sockets are below it.
    hosts, networks: the folders that `mirrors` and `network` fill.
    """

    sandbox_image = f'sandbox_image = "{PAUSE}"'
    default = "runc"

    def __init__(self, directory: Path, hosts: Path, networks: Path) -> None:
        self.directory = directory
        self.address = str(directory / "d.sock")
        self.config = directory / "config.toml"
        places = {"directory": directory, "hosts": hosts, "networks": networks, "plugins": PLUGINS}
        main = _CONFIG.format(cri=_CRI, default=self.default, sandbox_image=self.sandbox_image, **places)
        handlers = [
            _HANDLER.format(cri=_CRI, name=name, program=program) for name, program in self.handlers().items()
        ]
        self.config.write_text(main + "".join(handlers) + WITHOUT_NRI)
        self.start()

    def handlers(self) -> dict[str, str]:
        """{name: OCI runtime} of the runtime handlers."""
        return {name: runtime(name, self.directory) for name in ("runc", "crun", "runsc")}

    def program(self) -> str:
        """The daemon's program."""
        return peer("containerd")

    def command(self) -> list[str]:
        """The words that start it."""
        return [self.program(), "--config", str(self.config)]

    def start(self) -> None:
        """Start it, for the first time or again."""
        program, *words = self.command()
        # The shim is looked for on PATH before it is looked for beside the daemon, and there may be two.
        environment = {"PATH": f"{os.path.dirname(program)}:{os.environ['PATH']}:/usr/sbin:/sbin"}
        super().__init__([program, *words], self.directory / "log", environment)
        self.wait_for(socket.AF_UNIX, self.address)

    @property
    def endpoint(self) -> str:
        """As crictl and critest want it."""
        return f"unix://{self.address}"

    def crictl(
        self, *arguments: str, timeout_s: float = 200, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run the real crictl; the result is not checked."""
        command = [tool("crictl"), "--timeout", "100s", "--runtime-endpoint", self.endpoint, *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=timeout_s, check=False, input=stdin
        )


class ContainerdNode(Node):
    """Debian's containerd, or another that stands at `path` with its shim beside it."""

    def __init__(self, directory: Path, hosts: Path, networks: Path, path: str = "") -> None:
        self.path = path or peer("containerd")
        super().__init__(directory, hosts, networks)

    def program(self) -> str:
        """The one given, else Debian's."""
        return self.path


class ClocheNode(Node):
    """Our own daemon: no pause image, and our runtime as the handler `cloche`."""

    sandbox_image = ""
    default = "cloche"

    def handlers(self) -> dict[str, str]:
        """Others' runtimes, and ours first."""
        return {"cloche": ""} | super().handlers()

    def __init__(self, directory: Path, hosts: Path, networks: Path, *flags: str) -> None:
        self.flags = flags
        super().__init__(directory, hosts, networks)

    def command(self) -> list[str]:
        """With what this node is started with."""
        return [*super().command(), *self.flags]

    def program(self) -> str:
        """The one installed beside the interpreter that runs the tests."""
        return peers.command("cloched")

    def kill(self) -> None:
        """End it as a crash would."""
        self.process.kill()
        self.process.wait()
