"""`update` on the command line; what runc can do too is asked of it as well."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cloche.runtime.face.limits import size_bytes
from cloche.runtime.update import merge
from tests.bundles import Bundle
from tests.runtime.face.runtimes import Runtime, last_line, unique


def started(runtime: Runtime, bundle: Bundle) -> str:
    bundle.linux["resources"] = {"memory": {"limit": 128 << 20}, "cpu": {"quota": 20000, "period": 100000}}
    bundle.command("sleep", "300")
    container_id = unique("limit")
    assert runtime.start_detached("run", "--detach", "--bundle", str(bundle.path), container_id) == 0
    return container_id


@pytest.fixture
def container(runtime: Runtime, bundle: Bundle) -> Iterator[tuple[Runtime, str]]:
    container_id = started(runtime, bundle)
    yield runtime, container_id
    assert runtime("delete", "--force", container_id).returncode == 0


def value(pid: int, controller: str, file: str) -> str:
    """What a file of the process's own v1 cgroup says."""
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        if controller in names.split(","):
            for root in (f"/sys/fs/cgroup/{controller}", f"/sys/fs/cgroup/{names}"):
                if Path(f"{root}{path}/{file}").exists():
                    return Path(f"{root}{path}/{file}").read_text().strip()
    pytest.skip(f"this machine has no v1 hierarchy of {controller}")


def test_each_flag_reaches_the_kernel(container: tuple[Runtime, str]) -> None:
    runtime, container_id = container
    flags = ["--memory", "64m", "--memory-reservation", "32m", "--pids-limit", "30", "--cpu-share", "512"]
    flags += ["--cpu-quota", "30000", "--cpuset-cpus", "0"]
    result = runtime("update", *flags, container_id)
    assert result.returncode == 0, result.stderr
    pid = runtime.state(container_id)["pid"]
    assert value(pid, "memory", "memory.limit_in_bytes") == str(64 << 20)
    assert value(pid, "memory", "memory.soft_limit_in_bytes") == str(32 << 20)
    assert value(pid, "pids", "pids.max") == "30"
    assert value(pid, "cpu", "cpu.shares") == "512"
    assert value(pid, "cpu", "cpu.cfs_quota_us") == "30000"
    assert value(pid, "cpu", "cpu.cfs_period_us") == "100000"
    assert value(pid, "cpuset", "cpuset.cpus") == "0"


def test_resources_come_from_standard_input(container: tuple[Runtime, str]) -> None:
    runtime, container_id = container
    document = json.dumps({"memory": {"limit": 96 << 20}, "pids": {"limit": 17}})
    subprocess.run(runtime.words("update", "-r", "-", container_id), input=document, text=True, check=True)
    pid = runtime.state(container_id)["pid"]
    assert value(pid, "memory", "memory.limit_in_bytes") == str(96 << 20)
    assert value(pid, "pids", "pids.max") == "17"


def test_what_the_kernel_refuses_changes_nothing(ours: Runtime, bundle: Bundle) -> None:
    container_id = started(ours, bundle)
    result = ours("update", "--memory", "64m", "--cpuset-cpus", "900", container_id)
    assert result.returncode == 1
    assert "cpuset.cpus" in last_line(result)
    assert "900" in last_line(result)
    pid = ours.state(container_id)["pid"]
    assert value(pid, "memory", "memory.limit_in_bytes") == str(128 << 20)
    stored = json.loads((ours.root / container_id / "config.json").read_text())
    assert stored["linux"]["resources"]["memory"] == {"limit": 128 << 20}


def test_new_limits_are_written_down(ours: Runtime, bundle: Bundle) -> None:
    container_id = started(ours, bundle)
    assert ours("update", "--pids-limit", "9", "--cpu-period", "50000", container_id).returncode == 0
    stored = json.loads((ours.root / container_id / "config.json").read_text())
    resources = stored["linux"]["resources"]
    assert resources["pids"] == {"limit": 9}
    assert resources["cpu"] == {"quota": 20000, "period": 50000}


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (["--memory", "lots"], "memory"),
        (["--cpu-quota", "much"], "cpu-quota"),
        (["--cpu-share", "-1"], "cpu-share"),
        (["-r", "/nonexistent"], "/nonexistent"),
        (["--l3-cache-schema", "L3:0=f"], "l3"),
    ],
)
def test_flags_that_make_no_sense(container: tuple[Runtime, str], flags: list[str], problem: str) -> None:
    runtime, container_id = container
    result = runtime("update", *flags, container_id)
    assert result.returncode == 1
    assert problem.lower() in last_line(result).lower()


def test_resources_that_are_no_resources(ours: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    container_id = started(ours, bundle)
    file = tmp_path / "resources.json"
    file.write_text('{"memory": {"limit": "64m"}}')
    result = ours("update", "--resources", str(file), container_id)
    assert result.returncode == 1
    assert "memory.limit: must be" in last_line(result)


def test_a_stopped_container_cannot_be_updated(runtime: Runtime, bundle: Bundle) -> None:
    bundle.command("true")
    container_id = unique("limit")
    assert runtime("run", "--keep", "--bundle", str(bundle.path), container_id).returncode == 0
    assert runtime("update", "--memory", "64m", container_id).returncode == 1


@pytest.mark.parametrize(
    ("old", "new", "merged"),
    [
        ({}, {"memory": {"limit": 5}}, {"memory": {"limit": 5}}),
        ({"memory": {"limit": 5}}, {"memory": {"limit": 0}}, {"memory": {"limit": 5}}),
        ({"memory": {"limit": 5, "swap": 9}}, {"memory": {"limit": -1}}, {"memory": {"limit": -1}}),
        ({"cpu": {"burst": 7}}, {"cpu": {"burst": 0}}, {"cpu": {"burst": 0}}),
        ({"pids": {"limit": 5}}, {"pids": {"limit": 0}}, {"pids": {"limit": 0}}),
        (
            {"blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1}]}},
            {"blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 2}]}},
            {"blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 2}]}},
        ),
    ],
)
def test_limits_are_merged(old: dict[str, Any], new: dict[str, Any], merged: dict[str, Any]) -> None:
    assert merge(old, new) == merged


@pytest.mark.parametrize(
    ("word", "size"),
    [("-1", -1), ("512", 512), ("64k", 65536), ("1.5g", 3 << 29), ("2MiB", 2 << 20), ("2 kb", 2048)],
)
def test_sizes(word: str, size: int) -> None:
    assert size_bytes(word) == size


@pytest.mark.parametrize("word", ["", "m", "1x", "1..5k", "-2", "٣k", "1e3"])
def test_words_that_are_no_sizes(word: str) -> None:
    with pytest.raises(ValueError, match=r"\A"):
        size_bytes(word or "z")
