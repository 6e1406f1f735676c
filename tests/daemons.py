"""Daemons of other projects, started by the tests on their own files and ended by pid."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from tests import peers
from tests.peers import peer
from tests.waiting import wait_until

STOP_TIMEOUT_S = 20


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def accepts(family: int, address: str | tuple[str, int]) -> bool:
    """Whether somebody listens there."""
    with socket.socket(family) as probe:
        return probe.connect_ex(address) == 0


class Daemon:
    """One running daemon: a context manager that ends it and waits for its end.

    log: receives what the daemon says; shown in the error where it does not come up.
    """

    def __init__(self, arguments: list[str], log: Path, environment: dict[str, str] | None = None) -> None:
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=os.environ | (environment or {}),
                start_new_session=True,
            )

    def wait_for(self, family: int, address: str | tuple[str, int]) -> None:
        """Wait until it listens at an address; RuntimeError with its log where it does not."""

        def listening() -> bool:
            return self.process.poll() is not None or accepts(family, address)

        try:
            wait_until(listening, timeout_s=30)
        except TimeoutError:
            self.stop()
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.process.args!r} did not come up:\n{self.log.read_text()[-4000:]}")

    def stop(self) -> None:
        """End it: SIGTERM, and SIGKILL where that does not help."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class Registry(Daemon):
    """A real docker-registry on a loopback port; `address` is "127.0.0.1:PORT".

    htpasswd: a file of users, for a registry that asks for basic authentication.
    """

    def __init__(self, directory: Path, *, htpasswd: Path | None = None) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        self.storage = directory / "storage"
        lines = [
            "version: 0.1",
            "log: {level: error}",
            f"storage: {{filesystem: {{rootdirectory: {self.storage}}}, delete: {{enabled: true}}}}",
            f"http: {{addr: {self.address}}}",
        ]
        if htpasswd:
            lines.append(f"auth: {{htpasswd: {{realm: test, path: {htpasswd}}}}}")
        config = directory / "config.yml"
        config.write_text("\n".join(lines) + "\n")
        super().__init__([peer("docker-registry"), "serve", str(config)], directory / "log")
        host, _, port = self.address.partition(":")
        self.wait_for(socket.AF_INET, (host, int(port)))

    def push(self, source: str, name: str) -> str:
        """Copy an image in with skopeo; returns its reference in this registry.

        source: as skopeo names it ("oci:/path:tag", "docker-archive:/path").
        """
        target = f"{self.address}/{name}"
        arguments = [peer("skopeo"), "copy", "--quiet", "--insecure-policy", "--dest-tls-verify=false"]
        subprocess.run([*arguments, source, f"docker://{target}"], check=True, capture_output=True)
        return target


class Ctrd(Daemon):
    """A daemon that ctr speaks with, at `address`."""

    address: str
    client: tuple[str, ...] = ()
    """The words that begin a command of ctr; the real one's where there are none."""

    def ctr(self, *arguments: str) -> list[str]:
        """The words of a ctr command against this daemon."""
        return [*(self.client or (peer("ctr"),)), "--address", self.address, *arguments]

    def run(self, *arguments: str, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
        """Run ctr; the result is not checked."""
        command = self.ctr(*arguments)
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)

    def ok(self, *arguments: str, timeout_s: float = 60) -> str:
        """What a ctr command that must succeed prints."""
        done = self.run(*arguments, timeout_s=timeout_s)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @contextmanager
    def listening(self, path: Path) -> Iterator[None]:
        """A block whose events `ctr events` writes to a file; it listens when the block begins."""
        with path.open("wb") as output:
            listener = subprocess.Popen(self.ctr("events"), stdout=output)
        try:
            wait_until(lambda: self.ok("namespaces", "label", "default", "heard=yes") or path.read_bytes())
            yield
        finally:
            listener.terminate()
            listener.wait()


class Containerd(Ctrd):
    """Debian's containerd with root, state and socket of its own below one directory.

    before: words of a program that executes it, such as ("unshare", "--mount"). metrics: where Prometheus
    asks it, as HOST:PORT. more: further lines of its config.toml. program: another containerd than Debian's.
    disabled: more plug-ins that are not to be.
    """

    def __init__(
        self,
        directory: Path,
        environment: dict[str, str] | None = None,
        before: tuple[str, ...] = (),
        *,
        metrics: str = "",
        more: str = "",
        program: str = "",
        disabled: tuple[str, ...] = (),
    ) -> None:
        self.directory = directory
        self.address = str(directory / "containerd.sock")
        config = directory / "config.toml"
        without = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt", *disabled]
        config.write_text(
            f"""version = 2
root = "{directory}/root"
state = "{directory}/state"
disabled_plugins = {json.dumps(without)}
[grpc]
  address = "{self.address}"
[metrics]
  address = "{metrics}"
  grpc_histogram = true
[debug]
  level = "warn"
{more}"""
        )
        command = [*before, program or peer("containerd"), "--config", str(config)]
        super().__init__(command, directory / "log", environment)
        self.wait_for(socket.AF_UNIX, self.address)


WITHOUT_NRI = '[plugins."io.containerd.nri.v1.nri"]\ndisable = true\n'
"""A table of config.toml: no socket for NRI's plugins, which by default has one path for all daemons."""


class Cloched(Ctrd):
    """Our own daemon, installed beside the interpreter that runs the tests.

    directory: its root, state and sockets; short, since shims' sockets are below it. Who gives it another
    configuration says there whether plugins of NRI may connect.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.plain = directory / "plain.toml"
        self.plain.write_text(f"version = 4\n{WITHOUT_NRI}")
        self.address = f"{directory}/state/cloched.sock"
        self.log_path = directory / "log"
        self.start()

    def start(self, *, fault: str = "", program: str = "") -> None:
        """Start it, for the first time or again.

        fault: the named place where it is to die. program: of another installation than this one.
        """
        first, *places = self.command()
        super().__init__(
            [program or first, *places], self.log_path, {"CLOCHE_FAULT": fault} if fault else None
        )
        self.wait_for(socket.AF_UNIX, self.address)

    def command(self) -> list[str]:
        """The words that start it."""
        places = ["--root", f"{self.directory}/root", "--state", f"{self.directory}/state"]
        words = ["--address", self.address, "--log-level", "info", "--config", str(self.plain)]
        return [peers.command("cloched"), *places, *words]

    def kill(self) -> None:
        """End it as a crash would."""
        self.process.kill()
        self.process.wait()


class Dockerd(Daemon):
    """Debian's dockerd below one directory, with cloche-runc as the runtime `cloche` and no networks.

    containerd: the address of the daemon to use instead of one of its own.
    """

    def __init__(self, directory: Path, runtime: str, *, containerd: str = "") -> None:
        self.address = f"unix://{directory}/sock"
        config = directory / "daemon.json"
        config.write_text(json.dumps({"runtimes": {"cloche": {"path": runtime}}}))
        places = [
            f"--data-root={directory}/data",
            f"--exec-root={directory}/exec",
            f"--pidfile={directory}/pid",
        ]
        networks = ["--iptables=false", "--ip6tables=false", "--bridge=none"]
        below = ["--containerd", containerd] if containerd else []
        command = [peer("dockerd"), "--config-file", str(config), *places, *networks, *below]
        command += ["--host", self.address]
        super().__init__(command, directory / "log")
        self.wait_for(socket.AF_UNIX, f"{directory}/sock")

    def docker(self, *arguments: str, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
        """Run Debian's docker, which is of the daemon's version; the result is not checked."""
        command = ["/usr/bin/docker", "--host", self.address, *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)

    def ok(self, *arguments: str) -> str:
        """What a docker command that must succeed prints."""
        done = self.docker(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()
