"""What takes room on the disk, and what removing it frees."""

from __future__ import annotations

import json
import re

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
