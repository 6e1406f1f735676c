"""Shims as containerd starts them: by the installed command, in a bundle, with a state folder of our own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import uuid
from pathlib import Path
from types import TracebackType
from typing import Self

from cloche.shim.client import Client
from cloche.wire.messages.task import ConnectRequest, DeleteResponse
from cloche.wire.services.task import TASK_V2
from tests.peers import command
from tests.waiting import wait_until

NAME = "containerd-shim-cloche-v1"
# Part of a socket's name: two sessions at once must not find each other's shims.
ADDRESS = f"/run/no-containerd-{uuid.uuid4().hex[:8]}.sock"


def environment_at_birth(pid: int) -> dict[str, str]:
    """What a process, or whoever it was forked from, was executed with."""
    text = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")
    return dict(entry.split("=", 1) for entry in text.split("\0") if "=" in entry)


def parent(pid: int) -> int:
    """The pid of a process's parent."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def workers(shim_id: str) -> list[int]:
    """Those who serve for a shim of our containerd, as `ps` shows them."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = (
                Path("/proc", entry, "cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
            )
        except OSError:
            continue
        if words[:1] == [NAME] and words[3:7] == ["-id", shim_id, "-address", ADDRESS] and alive(int(entry)):
            found.append(int(entry))
    return found


class Shims:
    """Starts shims, and kills whatever is left of them at the end."""

    def __init__(self, directory: Path) -> None:
        self.program = command(NAME)
        self.directory = directory
        self.state = directory / "state"
        self.started: list[int] = []

    def bundle(self, shim_id: str, **annotations: str) -> Path:
        """A bundle whose config.json has these annotations, with dots for underscores."""
        path = self.directory / shim_id
        path.mkdir(exist_ok=True)
        named = {key.replace("__", "-").replace("_", "."): value for key, value in annotations.items()}
        (path / "config.json").write_text(json.dumps({"annotations": named}))
        return path

    def words(self, shim_id: str, action: str) -> list[str]:
        """The command line of a containerd."""
        return [self.program, "-namespace", "test", "-address", ADDRESS, "-id", shim_id, action]

    def environment(self, **more: str) -> dict[str, str]:
        """Ours with that state folder."""
        return {**os.environ, "CLOCHE_STATE": str(self.state), **more}

    def run(
        self,
        shim_id: str,
        action: str = "start",
        *,
        before: tuple[str, ...] = (),
        data: bytes = b"",
        **environment: str,
    ) -> subprocess.CompletedProcess[bytes]:
        """Start or delete in the bundle of that name. before: a program that executes the command."""
        return subprocess.run(
            [*before, *self.words(shim_id, action)],
            input=data,
            cwd=self.directory / shim_id,
            env=self.environment(**environment),
            capture_output=True,
            check=False,
            timeout=60,
        )

    def start(
        self, shim_id: str, *, before: tuple[str, ...] = (), data: bytes = b"", **environment: str
    ) -> tuple[int, str]:
        """Start one, which must succeed; its pid and its address as printed."""
        if not (self.directory / shim_id).exists():
            self.bundle(shim_id)
        (self.directory / shim_id / "shim.pid").unlink(missing_ok=True)
        done = self.run(shim_id, before=before, data=data, **environment)
        assert (done.returncode, done.stderr) == (0, b""), done
        pid = self.pid(shim_id)
        return pid, done.stdout.decode()

    def delete(self, shim_id: str) -> DeleteResponse:
        """Delete, which must succeed."""
        done = self.run(shim_id, "delete")
        assert (done.returncode, done.stderr) == (0, b""), done
        return DeleteResponse.decode(done.stdout)

    def pid(self, shim_id: str) -> int:
        """The pid of a shim that was started. It writes that down a moment after its answer."""
        path = self.directory / shim_id / "shim.pid"
        wait_until(path.exists, what="a shim to hold")
        self.started.append(int(path.read_text()))
        return self.started[-1]

    def worker(self, shim_id: str) -> int:
        """The process that serves for a shim now: it is woken where it rested."""
        address = (self.directory / shim_id / "address").read_text().removeprefix("unix://")
        with Client(address) as client:
            client.call(TASK_V2, "Connect", ConnectRequest(id=shim_id))
        (worker,) = workers(shim_id)
        return worker

    def warm_parents(self) -> list[int]:
        """Those of this state folder."""
        found = []
        for entry in filter(str.isdigit, os.listdir("/proc")):
            try:
                words = Path("/proc", entry, "cmdline").read_bytes().split(b"\0")
                if words[:2] == [NAME.encode(), b"warm parent"]:
                    ours = environment_at_birth(int(entry)).get("CLOCHE_STATE") == str(self.state)
                    found += [int(entry)] if ours and alive(int(entry)) else []
            except OSError:
                continue
        return found

    def kill(self, *pids: int) -> None:
        """SIGKILL, until they are gone."""
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        wait_until(lambda: not any(alive(pid) for pid in pids), what="killed shims to be gone")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill(*self.warm_parents(), *filter(alive, self.started))
        for path in self.directory.glob("*/address"):
            Path(path.read_text().removeprefix("unix://")).unlink(missing_ok=True)
