"""`cloche why-stuck`: what a person reads, and what a program does."""

from __future__ import annotations

import json

import pytest

from tests.cli.machine import IMAGE, Machine
from tests.waiting import wait_until

pytestmark = pytest.mark.usefixtures("root")


def test_a_stuck_process_is_shown_with_what_frees_it(machine: Machine, name: str) -> None:
    # A pipe whose only reader sleeps.
    machine.ok("run", "-d", "--name", name, IMAGE, "sh", "-c", "yes | sleep 1000")
    wait_until(lambda: "which is full" in machine.ok("why-stuck", name))
    text = machine.ok("why-stuck", name)
    table, _, details = text.partition("\n\n")
    assert table.splitlines()[0].split() == ["PID", "NAME", "STATE", "WAITS", "FOR"]
    assert "held by:" in details
    assert "freed by: timeout 1 cat /proc/" in details
    documents = [json.loads(line) for line in machine.ok("why-stuck", "--format", "json", name).splitlines()]
    (one,) = [document for document in documents if "which is full" in document["WaitsFor"]]
    assert one["Name"] == "yes"
    assert one["Stuck"]
    assert "sleep" in one["HeldBy"]
    assert any("pipe_write" in frame for frame in one["Stack"])


def test_a_container_that_is_idle_is_not_called_stuck(machine: Machine, name: str) -> None:
    machine.ok("run", "-d", "--name", name, IMAGE, "sleep", "1000")
    wait_until(lambda: "time to pass" in machine.ok("why-stuck", name))
    said = machine.ok("why-stuck", name)
    assert said.startswith("nothing is stuck")
    assert "SIGTERM does nothing" in said


def test_whoever_is_not_there_is_not_found(machine: Machine) -> None:
    assert "nobody" in machine.refused("why-stuck", "nobody")
