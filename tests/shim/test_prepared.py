"""What the warm parent has imported is all that a container's life needs.

An import in a shim costs it a hundred pages of memory of its own, and each of them time.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from cloche.errors import ClocheError
from cloche.shim.client import Client
from cloche.wire.messages import task
from cloche.wire.messages.google import Any
from cloche.wire.messages.runc_options import Options
from cloche.wire.protobuf import Message
from cloche.wire.services.task import TASK_V2
from tests.bundles import Bundle

SOURCE = str(Path(__file__).parents[2] / "src")
REPORTING = """
import json, os, sys
settings, source, descriptor, report = json.loads(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
sys.path.insert(0, source)
from _socket import socket
from cloche.shim import warm
from cloche.shim.serving import Settings, serve
warm.import_all()
before = set(sys.modules)
leave = os._exit
def say(status):
    with open(f"{report}/{os.getpid()}", "w") as file:
        file.write("\\n".join(sorted(set(sys.modules) - before)))
    leave(status)
os._exit = say
serve(Settings(**settings), socket(fileno=descriptor))
"""


def test_a_container_that_runs_and_is_probed_makes_its_shim_import_nothing(
    sleeper: Bundle, tmp_path: Path
) -> None:
    path, report = str(tmp_path / "s"), tmp_path / "report"
    report.mkdir()
    settings = {
        "shim_id": "one",
        "namespace": "tests",
        "address": "",
        "ttrpc_address": "",
        "bundle": str(sleeper.path),
        "socket_path": path,
    }
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        words = [sys.executable, "-I", "-S", "-c", REPORTING, json.dumps(settings), SOURCE]
        shim = subprocess.Popen(
            [*words, str(listener.fileno()), str(report)], pass_fds=[listener.fileno()], cwd=sleeper.path
        )
    try:
        client = Client(path)
        live(client, sleeper, str(tmp_path / "state"))
        client.close()
        assert shim.wait(20) == 0
    finally:
        shim.kill()
        shim.wait()
    imported = {name for file in report.iterdir() for name in file.read_text().split()}
    assert not imported, sorted(imported)


def live(client: Client, bundle: Bundle, root: str) -> None:
    """Create, start, a probe, metrics, a kill, the end."""

    def call(method: str, request: Message) -> None:
        client.call(TASK_V2, method, request, timeout_s=20)

    log = f"file://{bundle.path}/out"
    options = Any.pack(Options(root=root))
    create = task.CreateTaskRequest(
        id="one", bundle=str(bundle.path), stdout=log, stderr=log, options=options
    )
    call("Create", create)
    call("Start", task.StartRequest(id="one"))
    process = json.dumps(bundle.process | {"args": ["/bin/true"]}).encode()
    spec = Any(type_url="types.containerd.io/opencontainers/runtime-spec/1/Process", value=process)
    call("Exec", task.ExecProcessRequest(id="one", exec_id="probe", spec=spec))
    call("Start", task.StartRequest(id="one", exec_id="probe"))
    call("Wait", task.WaitRequest(id="one", exec_id="probe"))
    call("Delete", task.DeleteRequest(id="one", exec_id="probe"))
    call("State", task.StateRequest(id="one"))
    call("Stats", task.StatsRequest(id="one"))
    call("Pids", task.PidsRequest(id="one"))
    call("Kill", task.KillRequest(id="one", signal=9))
    call("Wait", task.WaitRequest(id="one"))
    call("Delete", task.DeleteRequest(id="one"))
    with pytest.raises(ClocheError):
        call("State", task.StateRequest(id="one"))
    call("Shutdown", task.ShutdownRequest(id="one"))
