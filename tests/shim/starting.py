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

from cloche.wire.messages.task import DeleteResponse
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
        done = self.run(shim_id, before=before, data=data, **environment)
        assert (done.returncode, done.stderr) == (0, b""), done
        path = self.directory / shim_id / "shim.pid"
        pid = int(path.read_text()) if path.exists() else 0
        if pid:
            self.started.append(pid)
        return pid, done.stdout.decode()

    def delete(self, shim_id: str) -> DeleteResponse:
        """Delete, which must succeed."""
        done = self.run(shim_id, "delete")
        assert (done.returncode, done.stderr) == (0, b""), done
        return DeleteResponse.decode(done.stdout)

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
