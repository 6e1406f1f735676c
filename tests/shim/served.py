"""A shim that serves its task service, and a client that knows its words."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cloche.shim.client import Client
from cloche.spec.document import dumps
from cloche.wire.messages import task
from cloche.wire.messages.google import Any as Packed
from cloche.wire.messages.runc_options import Options
from cloche.wire.services.task import TASK_V2, TASK_V3
from tests.bundles import Bundle

SOURCE = Path(__file__).parents[2] / "src"
TIMEOUT_S = 20.0
_PROGRAM = """
import sys, json
settings, source, descriptor = json.loads(sys.argv[1]), sys.argv[2], int(sys.argv[3])
sys.path.insert(0, source)
from _socket import socket
from cloche.shim.serving import Settings, serve
serve(Settings(**settings), socket(fileno=descriptor))
"""


class Served:
    """A shim in a process of its own, on a socket in a directory; a context manager that ends it.

    events: the path of a socket that takes its events. state: where the runtime keeps its own.
    """

    def __init__(
        self,
        directory: Path,
        *,
        events: str = "",
        forgotten_s: float = 60,
        limit: Callable[[], None] | None = None,
    ) -> None:
        self.directory = directory
        self.state = directory / "state"
        self.path = str(directory / "s")
        self.log = directory / "log"
        settings = {
            "shim_id": "test",
            "namespace": "tests",
            "address": "",
            "ttrpc_address": events,
            "bundle": str(directory),
            "socket_path": self.path,
            "forgotten_s": forgotten_s,
        }
        with socket.socket(socket.AF_UNIX) as listener, self.log.open("wb") as log:
            listener.bind(self.path)
            listener.listen(64)
            words = [sys.executable, "-I", "-S", "-c", _PROGRAM]
            self.process = subprocess.Popen(
                [*words, json.dumps(settings), str(SOURCE), str(listener.fileno())],
                pass_fds=[listener.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=limit,
            )
        self.client = Client(self.path)

    def connect(self) -> Client:
        """One more connection."""
        return Client(self.path)

    def call(self, method: str, request: Any, *, client: Client | None = None, v3: bool = False) -> Any:
        """Call a method of the task service and return its answer."""
        service = TASK_V3 if v3 else TASK_V2
        return (client or self.client).call(service, method, request, timeout_s=TIMEOUT_S)

    def create(self, bundle: Bundle, container_id: str = "one", **fields: Any) -> int:
        """Create a container of a bundle; returns its pid. fields: of CreateTaskRequest."""
        options = fields.pop("options", None) or Options()
        options.root = str(self.state)
        request = task.CreateTaskRequest(
            id=container_id, bundle=str(bundle.path), options=Packed.pack(options), **fields
        )
        pid: int = self.call("Create", request).pid
        return pid

    def run(self, bundle: Bundle, container_id: str = "one", **fields: Any) -> int:
        """Create and start; returns the pid."""
        pid = self.create(bundle, container_id, **fields)
        self.call("Start", task.StartRequest(id=container_id))
        return pid

    def add(
        self, bundle: Bundle, exec_id: str, *words: str, container_id: str = "one", **fields: Any
    ) -> None:
        """Exec: add a process, which is not started yet."""
        process = bundle.process | {"args": list(words)} | fields.pop("process", {})
        spec = Packed(
            type_url="types.containerd.io/opencontainers/runtime-spec/1/Process", value=dumps(process)
        )
        self.call("Exec", task.ExecProcessRequest(id=container_id, exec_id=exec_id, spec=spec, **fields))

    def start(self, exec_id: str = "", container_id: str = "one") -> int:
        """Start a process; returns its pid."""
        pid: int = self.call("Start", task.StartRequest(id=container_id, exec_id=exec_id)).pid
        return pid

    def wait(self, exec_id: str = "", container_id: str = "one") -> int:
        """Wait for a process; returns its exit status."""
        status: int = self.call("Wait", task.WaitRequest(id=container_id, exec_id=exec_id)).exit_status
        return status

    def delete(self, exec_id: str = "", container_id: str = "one") -> Any:
        """Delete a process or the container."""
        return self.call("Delete", task.DeleteRequest(id=container_id, exec_id=exec_id))

    def kill(self, number: int = signal.SIGKILL, exec_id: str = "", *, everyone: bool = False) -> None:
        """Signal a process of the container `one`, or all."""
        self.call("Kill", task.KillRequest(id="one", exec_id=exec_id, signal=number, all=everyone))

    def status(self, exec_id: str = "", container_id: str = "one") -> int:
        """The status of a process."""
        state = self.call("State", task.StateRequest(id=container_id, exec_id=exec_id))
        found: int = state.status
        return found

    def threads(self) -> int:
        """How many threads the shim has."""
        return len(os.listdir(f"/proc/{self.process.pid}/task"))

    def descriptors(self) -> int:
        """How many descriptors the shim has."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def said(self) -> str:
        """What it wrote where nobody is meant to look."""
        return self.log.read_text()

    def __enter__(self) -> Served:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
