"""`registry explain`, as people and programs read it."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.machine import IMAGE, Machine
from tests.daemons import Registry


def test_the_hosts_of_a_registry_are_explained(machine: Machine, registry: Registry, tmp_path: Path) -> None:
    machine.ok("tag", IMAGE, f"{registry.address}/told/image:1")
    machine.ok("push", "-q", f"{registry.address}/told/image:1")
    machine.ok("rmi", f"{registry.address}/told/image:1")
    file = tmp_path / "told.example" / "hosts.toml"
    file.parent.mkdir()
    file.write_text(
        f'server = "http://{registry.address}"\n\n[host."http://127.0.0.1:1"]\nskip_verfy = true\n'
    )
    told = ("registry", "explain", "--hosts-dir", str(tmp_path))
    lines = machine.ok(*told, "told.example/told/image:1").splitlines()
    assert lines[0] == "told.example/told/image:1"
    assert lines[2] == "1. http://127.0.0.1:1/v2 (mirror)"
    assert lines[3] == f"   why:     {file}:3"
    assert lines[4] == "   ignored: skip_verfy"
    assert "   TLS:     none (plain HTTP)" in lines
    assert "   answer:  127.0.0.1:1: cannot connect: connection refused" in lines
    assert f"   asked:   http://{registry.address}/v2/told/image/manifests/1?ns=told.example" in lines
    assert lines[-1] == "A pull takes it from host 2."
    document = json.loads(machine.ok(*told, "--format", "json", "told.example/told/image:1"))
    assert [(host["url"], host["status"]) for host in document["hosts"]] == [
        ("http://127.0.0.1:1/v2", 0),
        (f"http://{registry.address}/v2", 200),
    ]
    assert document["pulledFrom"] == f"http://{registry.address}/v2"
    # What is told is what happens.
    machine.ok("pull", "-q", "--hosts-dir", str(tmp_path), "told.example/told/image:1")
    machine.ok("rmi", "told.example/told/image:1")


def test_it_fails_where_a_pull_would(machine: Machine) -> None:
    done = machine.run("registry", "explain", "127.0.0.1:1/a/b")
    assert (done.returncode, done.stderr) == (1, b"")
    assert done.stdout.endswith(b"\nA pull fails: no host has it.\n")
    assert b"why:     the name says so" in done.stdout


def test_a_wrong_hosts_file_is_named(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "_default").mkdir()
    (tmp_path / "_default/hosts.toml").write_text("server = 1\n")
    said = machine.refused("registry", "explain", "--hosts-dir", str(tmp_path), "a.example/b")
    assert said == f"{tmp_path}/_default/hosts.toml.server: must be a string"
    assert "--format" in machine.refused("registry", "explain", "--format", "yaml", "a.example/b")
