"""Commands that speak with registries: pull, push."""

from __future__ import annotations

import re
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.machine import IMAGE, Machine, Terminal
from tests.daemons import Registry
from tests.image.wire import Answer, Asked, StubRegistry, digest_of
from tests.waiting import wait_until

LAYER = b"never comes whole" * 1000


@pytest.fixture
def stalling() -> Iterator[StubRegistry]:
    """A registry whose layer stops in the middle, with the connection open."""

    def fault(asked: Asked) -> Answer | None:
        if digest_of(LAYER) not in asked.path:
            return None
        return Answer(200, {}, LAYER[:100], announce=len(LAYER))

    with StubRegistry() as stub:
        stub.add_image("1", [(LAYER, digest_of(LAYER))], architecture="amd64")
        stub.faults.append(fault)
        yield stub


def leases(machine: Machine) -> int:
    database = sqlite3.connect(machine.place / "root" / "meta.db")
    try:
        count: int = database.execute("SELECT count(*) FROM leases WHERE id LIKE 'pull-%'").fetchone()[0]
        return count
    finally:
        database.close()


def test_an_interrupted_pull_ends_at_once_and_leaves_no_lease(
    machine: Machine, stalling: StubRegistry
) -> None:
    pull = machine.start("pull", f"{stalling.address}/slow/image:1")
    wait_until(lambda: stalling.requests("GET", digest_of(LAYER)), what="the layer's request")
    assert leases(machine) == 1
    pull.send_signal(signal.SIGINT)
    _, stderr = pull.communicate(timeout=10)
    assert (pull.returncode, stderr, leases(machine)) == (-signal.SIGINT, b"", 0)


def test_ctrl_c_ends_a_pull_with_bars(machine: Machine, stalling: StubRegistry) -> None:
    with Terminal(machine, "pull", f"{stalling.address}/slow/image:1") as terminal:
        terminal.expect(b"Downloading")
        terminal.type(b"\x03")
        terminal.expect(b"\x1b[?25h")  # the cursor is there again
        assert terminal.wait() == -signal.SIGINT
    assert leases(machine) == 0


def test_the_lease_of_a_killed_pull_ends_with_it(machine: Machine, stalling: StubRegistry) -> None:
    pull = machine.start("pull", f"{stalling.address}/slow/image:1")
    wait_until(lambda: stalling.requests("GET", digest_of(LAYER)), what="the layer's request")
    pull.kill()
    pull.communicate(timeout=10)
    assert leases(machine) == 1
    machine.ok("run", "--rm", IMAGE, "true")
    assert leases(machine) == 0


def test_push_tells_dockers_lines(machine: Machine, registry: Registry) -> None:
    repository = f"{registry.address}/cli/pushed"
    machine.ok("tag", IMAGE, f"{repository}:1")
    machine.ok("tag", IMAGE, repository)
    lines = machine.ok("push", f"{repository}:1").splitlines()
    assert lines[0] == f"The push refers to repository [{repository}]"
    assert re.fullmatch(r"[0-9a-f]{12}: Preparing", lines[1])
    assert re.fullmatch(r"[0-9a-f]{12}: (Pushed|Layer already exists)", lines[2])
    assert re.fullmatch(r"1: digest: sha256:[0-9a-f]{64} size: \d+", lines[3])
    again = machine.ok("push", repository).splitlines()
    assert again[0] == "Using default tag: latest"
    assert again[3].endswith(": Layer already exists")
    assert machine.ok("push", "-q", repository) == f"{repository}:latest\n"
    both = machine.ok("push", "--all-tags", repository).splitlines()
    assert [line.partition(":")[0] for line in both if "digest" in line] == ["1", "latest"]
    machine.ok("rmi", f"{repository}:1", f"{repository}:latest")
    machine.ok("pull", "-q", f"{repository}:1")
    assert machine.ok("run", "--rm", f"{repository}:1", "echo", "there and back") == "there and back\n"
    machine.ok("rmi", f"{repository}:1")


def test_only_a_tag_that_is_here_can_be_pushed(machine: Machine) -> None:
    result = machine.run("push", "localhost:1/none:1")
    assert (result.returncode, result.stderr) == (
        1,
        b"cloche: an image does not exist locally with the tag: localhost:1/none:1\n",
    )
    digest = f"localhost:1/none@sha256:{'0' * 64}"
    assert machine.refused("push", digest) == "cannot push a digest reference: give the image a tag"


def test_flags_of_registries_are_checked_before_anything_is_asked(machine: Machine, tmp_path: Path) -> None:
    reference, missing = "localhost:1/none:1", str(tmp_path / "none.pem")
    assert machine.refused("pull", "--tlscacert", missing, reference).endswith("there is no such file")
    assert "--plain-http" in machine.refused("pull", "--plain-http", "-k", reference)
    assert "user:password" in machine.refused("pull", "--user", "me", reference)


def test_a_registry_without_tls_is_told_with_the_flag_that_helps(
    machine: Machine, registry: Registry
) -> None:
    result = machine.run("pull", "--skip-verify", f"{registry.address}/a/b:1")
    assert result.returncode == 1
    assert b"--plain-http" in result.stderr
    assert "(404)" in machine.run("pull", "--plain-http", f"{registry.address}/a/b:1").stderr.decode()
