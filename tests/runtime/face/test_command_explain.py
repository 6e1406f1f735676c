"""`--explain` and `--trace`: the plan as text, without and with its execution."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.bundles import Bundle
from tests.runtime.face.runtimes import Runtime, unique


def test_a_plan_is_printed_and_nothing_is_made(ours: Runtime, bundle: Bundle) -> None:
    mark = bundle.rootfs / "made"
    bundle.command("touch", "/made")
    result = ours("run", "--explain", "--bundle", str(bundle.path), unique("plan"))
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert [int(line.split()[0]) for line in lines] == list(range(len(lines)))
    assert all(line.endswith(")") for line in lines)
    assert any("stage two: pivot root" in line and "(root.path)" in line for line in lines)
    assert "(mounts[3])" in result.stdout
    assert lines[-1].endswith("(process.args)")
    assert not mark.exists()
    assert not ours.root.exists() or not list(ours.root.iterdir())


def test_create_explains_its_gate(ours: Runtime, bundle: Bundle) -> None:
    result = ours("create", "--explain", "--bundle", str(bundle.path), unique("plan"))
    assert "await start" in result.stdout
    assert ours("list", "-q").stdout == ""


def test_what_cannot_be_compiled_is_refused(ours: Runtime, bundle: Bundle) -> None:
    bundle.config["mounts"].append({"destination": "/", "type": "tmpfs", "source": "tmpfs"})
    bundle.save()
    result = ours("run", "--explain", "--bundle", str(bundle.path), unique("plan"))
    assert result.returncode == 1
    assert "mounts[7]" in result.stderr


@pytest.mark.parametrize("filtered", [False, True])
def test_each_operation_is_timed(ours: Runtime, bundle: Bundle, tmp_path: Path, *, filtered: bool) -> None:
    if filtered:
        # Whoever looks at the clock is killed: so init must not, once the filter is there.
        rule = {"names": ["clock_gettime"], "action": "SCMP_ACT_KILL_PROCESS"}
        bundle.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
    bundle.command("true")
    place = tmp_path / "trace"
    result = ours("run", "--trace", str(place), "--bundle", str(bundle.path), unique("plan"))
    assert result.returncode == 0, result.stderr
    header, *rows, last = place.read_text().splitlines()
    assert header.split()[:2] == ["START", "ms"]
    explained = ours("run", "--explain", "--bundle", str(bundle.path), unique("plan")).stdout.splitlines()
    assert len(rows) == len(explained)
    assert last.endswith("done")
    before_filter = rows[: len(rows) // 2]
    starts = [float(row.split()[0]) for row in before_filter]
    assert starts == sorted(starts)
    total = float(last.split()[0])
    assert all(0 <= float(row.split()[1]) <= total for row in before_filter)


def test_a_container_in_another_time_is_timed_by_the_hosts_clock(
    ours: Runtime, bundle: Bundle, tmp_path: Path
) -> None:
    bundle.linux["namespaces"].append({"type": "time"})
    bundle.linux["timeOffsets"] = {"monotonic": {"secs": 86400}, "boottime": {"secs": 86400}}
    bundle.command("true")
    place = tmp_path / "trace"
    assert ours("run", "--trace", str(place), "--bundle", str(bundle.path), unique("plan")).returncode == 0
    rows = place.read_text().splitlines()[1:]
    assert all(float(row.split()[0]) < 60_000 for row in rows)


def test_a_failed_create_is_traced_too(ours: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    bundle.command("nonexistent")
    place = tmp_path / "trace"
    assert ours("run", "--trace", str(place), "--bundle", str(bundle.path), unique("plan")).returncode == 1
    assert "find program" in place.read_text()


def test_cloche_has_both(root: None, bundle: Bundle, cloche: str) -> None:
    bundle.command("echo", "it ran")
    results = [
        subprocess.run([cloche, word, str(bundle.path)], capture_output=True, text=True, check=True)
        for word in ("explain", "trace")
    ]
    assert "(root.path)" in results[0].stdout
    assert "it ran" not in results[0].stdout.splitlines()
    assert "(root.path)" in results[1].stdout
    assert "it ran" in results[1].stdout
