"""A runtime's command line with a state root of its own, for tests that ask two of them the same."""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from pathlib import Path
from types import TracebackType
from typing import Any, Self

TIMEOUT_S = 30

Result = subprocess.CompletedProcess[str]


class Runtime:
    """`program --root ROOT ...`; a context manager that removes all containers at its end."""

    def __init__(self, program: str, root: Path) -> None:
        self.program = program
        self.root = root
        self.name = Path(program).name

    def words(self, *arguments: str) -> list[str]:
        """The whole command."""
        return [self.program, "--root", str(self.root), *arguments]

    def __call__(
        self, *arguments: str, cwd: Path | None = None, environment: dict[str, str] | None = None
    ) -> Result:
        """Run one command to its end with its output captured; the result is not checked."""
        return subprocess.run(
            self.words(*arguments),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_S,
            cwd=cwd,
            env=environment,
        )

    def start_detached(self, *arguments: str) -> int:
        """The same for what leaves a process that keeps its output: that goes nowhere.

        Returns the exit code.
        """
        nowhere = subprocess.DEVNULL
        words = self.words(*arguments)
        result = subprocess.run(
            words, stdin=nowhere, stdout=nowhere, stderr=nowhere, check=False, timeout=TIMEOUT_S
        )
        return result.returncode

    def state(self, container_id: str) -> dict[str, Any]:
        """The parsed output of `state`."""
        result = self("state", container_id)
        assert result.returncode == 0, result.stderr
        document: dict[str, Any] = json.loads(result.stdout)
        return document

    def status(self, container_id: str) -> str:
        """created, running, paused or stopped."""
        return str(self.state(container_id)["status"])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for container_id in self("list", "-q").stdout.split():
            self("delete", "--force", container_id)


def session_prefix(name: str) -> str:
    """What the ids of one kind begin with in this session of tests, and in no other."""
    return f"cloche-test-{name}-{os.getpid()}-"


def unique(name: str) -> str:
    """A container id that no other test uses: cgroups are named after it."""
    return f"{session_prefix(name)}{uuid.uuid4().hex[:8]}"


def last_line(result: Result) -> str:
    """The last line on standard error."""
    lines = result.stderr.strip().splitlines()
    assert lines, result
    return lines[-1]
