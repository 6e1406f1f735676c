"""What takes room on the disk, and what removing it frees."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

from tests.cli.machine import IMAGE, Machine


def shown(machine: Machine) -> dict[str, dict[str, str]]:
    lines = machine.ok("system", "df", "--format", "json").splitlines()
    return {row["Type"]: row for row in map(json.loads, lines)}


def test_df_has_dockers_columns(machine: Machine) -> None:
    lines = machine.ok("system", "df").splitlines()
    assert re.split(r" {2,}", lines[0]) == ["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"]
    assert [line.partition("  ")[0] for line in lines[1:]] == ["Images", "Containers", "Local Volumes"]


def test_what_runs_or_is_mounted_is_active(machine: Machine, name: str) -> None:
    before = shown(machine)
    machine.ok("run", "-d", "--name", name, "-v", f"{name}:/v", IMAGE, "sleep", "60")
    during = shown(machine)
    assert (during["Containers"]["TotalCount"], during["Containers"]["Active"]) == ("1", "1")
    assert during["Containers"]["Reclaimable"].startswith("0B")
    assert int(during["Local Volumes"]["Active"]) == int(before["Local Volumes"]["Active"]) + 1
    assert during["Images"]["Active"] == "1"
    machine.ok("kill", name)
    assert shown(machine)["Containers"]["Active"] == "0"


def test_prune_says_what_it_has_freed(machine: Machine, name: str) -> None:
    machine.ok("run", "--name", name, IMAGE, "dd", "if=/dev/zero", "of=/x", "bs=1M", "count=3", "status=none")
    assert shown(machine)["Containers"]["Reclaimable"].endswith("(100%)")
    *_, last = machine.ok("container", "prune", "-f").splitlines()
    assert (found := re.fullmatch(r"Total reclaimed space: (3\.\d+)MB", last)), last
    assert 3.1 < float(found[1]) < 3.5
    assert machine.ok("container", "prune", "-f") == "Total reclaimed space: 0B\n"
    for words in (("image", "prune", "-f"), ("system", "prune", "-f")):
        assert machine.ok(*words).splitlines()[-1].startswith("Total reclaimed space: ")


def du(path: Path) -> int:
    command = ["du", "--summarize", "--one-file-system", "--block-size=1", str(path)]
    return int(subprocess.run(command, capture_output=True, check=True).stdout.split()[0])


def test_every_byte_has_an_owner(machine: Machine, name: str) -> None:
    machine.ok("tag", IMAGE, "second")
    machine.ok("run", "-d", "--name", name, "-v", f"{name}:/v", IMAGE, "sh", "-c", "echo said; sleep 60")
    machine.ok("exec", name, "dd", "if=/dev/zero", "of=/x", "bs=1M", "count=3", "status=none")
    machine.ok("exec", name, "dd", "if=/dev/zero", "of=/v/x", "bs=1M", "count=2", "status=none")
    machine.wait_for_log(name, "said")
    root, state = machine.place / "root", machine.place / "state"
    (root / "stray").write_bytes(bytes(10000))
    try:
        rows = [json.loads(line) for line in machine.ok("df", "--explain", "--format", "json").splitlines()]
    finally:
        (root / "stray").unlink()
    shares = {(row["Owner"], row["What"]): row["Bytes"] for row in rows if row["Place"] == str(root)}
    assert sum(shares.values()) == du(root) + 12288
    assert sum(row["Bytes"] for row in rows if row["Place"] == str(state)) == du(state)
    assert 3 << 20 <= shares[f"container {name}", "writable layer"] < 4 << 20
    assert 2 << 20 <= shares[f"volume {name}", "volume"] < 3 << 20
    assert shares[f"container {name}", "logs"] > 0
    assert shares["nobody", "unaccounted"] == 12288
    both = "shared by image docker.io/library/second:latest, image docker.io/library/tools:latest"
    assert shares[both, "compressed blobs"] > 1 << 20
    assert shares[both, "unpacked layers"] > 1 << 20
    *_, last = machine.ok("system", "df", "--explain").splitlines()
    assert re.split(r" {2,}", last)[:3] == ["all", "all of it", str(state)]
    machine.ok("rmi", "second")
