"""Scheduler, I/O priority, memory policy, personality, affinity and clocks, read inside."""

from __future__ import annotations

import os
import time

import pytest

from cloche.errors import InvalidArgument
from cloche.runtime.plan_scheduling import bit_mask
from tests.bundles import Bundle
from tests.runtime.containers import Runtime, pipe, read_all


def test_the_scheduler_is_set(runtime: Runtime, bundle: Bundle) -> None:
    bundle.process["scheduler"] = {"policy": "SCHED_BATCH", "nice": 7}
    with runtime.running(bundle) as container:
        assert os.sched_getscheduler(container.pid) == os.SCHED_BATCH
        assert os.getpriority(os.PRIO_PROCESS, container.pid) == 7


def test_the_io_priority_is_set(runtime: Runtime, bundle: Bundle) -> None:
    bundle.process["ioPriority"] = {"class": "IOPRIO_CLASS_BE", "priority": 6}
    assert "best-effort: prio 6" in runtime.output(bundle, "ionice -p $$")


def test_the_personality_is_set(runtime: Runtime, bundle: Bundle) -> None:
    bundle.linux["personality"] = {"domain": "LINUX32"}
    assert runtime.output(bundle, "uname -m").strip() != os.uname().machine


def test_the_memory_policy_is_set(runtime: Runtime, bundle: Bundle) -> None:
    bundle.linux["memoryPolicy"] = {"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}
    assert "bind=static:0" in runtime.output(bundle, "cat /proc/self/numa_maps | head -1")


def test_clocks_are_offset(runtime: Runtime, bundle: Bundle) -> None:
    bundle.linux["namespaces"].append({"type": "time"})
    bundle.linux["timeOffsets"] = {"boottime": {"secs": 1_000_000}}
    inside = float(runtime.output(bundle, "cut -d' ' -f1 /proc/uptime"))
    assert abs(inside - time.clock_gettime(time.CLOCK_BOOTTIME) - 1_000_000) < 60


def test_a_time_namespace_needs_no_offsets(runtime: Runtime, bundle: Bundle) -> None:
    bundle.linux["namespaces"].append({"type": "time"})
    ours = os.readlink("/proc/self/ns/time")
    assert runtime.output(bundle, "readlink /proc/self/ns/time").strip() != ours


def test_exec_runs_on_the_processors_it_was_given(runtime: Runtime, bundle: Bundle) -> None:
    process = {
        "args": ["grep", "Cpus_allowed_list", "/proc/self/status"],
        "cwd": "/",
        "env": ["PATH=/bin"],
        "execCPUAffinity": {"initial": "0", "final": "1"},
    }
    with runtime.running(bundle) as container, pipe() as (reader, writer):
        executed = container.execute(process, stdio=(writer, writer, writer))  # type: ignore[arg-type]  # a literal
        os.close(writer)
        assert read_all(reader).split()[1] == "1"
        assert executed.wait() == 0
        executed.close()


@pytest.mark.parametrize(
    ("ranges", "bits"), [("0", 1), ("0-3,7", 0b10001111), ("64", 1 << 64), ("", 0), ("1025", 1 << 1025)]
)
def test_lists_of_numbers_become_masks_of_any_size(ranges: str, bits: int) -> None:
    assert int.from_bytes(bit_mask(ranges, "x"), "little") == bits


@pytest.mark.parametrize("ranges", ["x", "3-1", "-1", "1-", "1,,2", "99999999"])
def test_what_is_no_list_of_numbers_is_refused(ranges: str) -> None:
    with pytest.raises(InvalidArgument, match=r"process\.x"):
        bit_mask(ranges, "process.x")
