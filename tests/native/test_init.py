"""cloche-init's reader of plans: fuzzed, under the sanitizers, and fed plans of another build."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from cloche.runtime import operations as op
from cloche.runtime.compile import compile_create
from cloche.runtime.execute import FAILED, Report
from cloche.runtime.facts import CgroupFacts, Facts
from cloche.runtime.plan import STAGE_ONE, Plan, Step
from cloche.runtime.sealed import PROGRAM, sealed_memory
from cloche.spec.default import default_config
from tests.native.sanitized import SANITIZERS, build, fuzz


def encoded() -> bytes:
    facts = Facts("/bundle", CgroupFacts(("/cgroup/tasks",)), filter_program=bytes(16))
    return compile_create(default_config(), facts).encode()[0]


def test_no_plan_makes_the_reader_leave_its_bytes(peer: Callable[[str], str], tmp_path: Path) -> None:
    fuzz(peer("clang"), tmp_path, "fuzz_plan.c", {"default": encoded()})


def converse(program: str | Path, plan: bytes, slots: int = 0) -> list[Report]:
    """Start init, send it a plan and as many descriptors, and collect what it says."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        with theirs:
            child = subprocess.Popen([program, str(theirs.fileno())], pass_fds=[theirs.fileno()])
        memory = sealed_memory("plan", plan)
        null = os.open("/dev/null", os.O_RDONLY)
        socket.send_fds(ours, [b"P"], [memory, *[null] * slots])
        os.close(memory)
        os.close(null)
        reports = []
        while data := ours.recv(4096):
            reports.append(Report.parse(data))
        assert child.wait() == 1
    return reports


@pytest.fixture(scope="module")
def hosted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """init with libc, AddressSanitizer and UndefinedBehaviorSanitizer."""
    from tests.peers import peer

    directory = tmp_path_factory.mktemp("hosted")
    return build(peer("clang"), directory, "init.c", SANITIZERS)


def damaged() -> dict[str, bytes]:
    plan = encoded()
    header = struct.calcsize("<8s2I2Q2I")
    return {
        "another magic": b"X" + plan[1:],
        "a table of another build": plan[:8] + b"\0\0\0\0" + plan[12:],
        "an unknown operation": plan[:header] + struct.pack("<I", 9999) + plan[header + 4 :],
        "an operation too short for its arguments": plan[: header + 8]
        + struct.pack("<I", 16)
        + plan[header + 12 :],
        "more operations than there are": plan[:12] + struct.pack("<I", 10_000) + plan[16:],
        "strings beyond the end": plan[:header] + plan[header:].replace(b"\0\0\0\0", b"\xff\xff\xff\xff", 40),
    }


@pytest.mark.parametrize("name", damaged())
def test_a_damaged_plan_is_refused_before_anything_is_done(hosted: Path, name: str) -> None:
    for program in (hosted, PROGRAM):
        slots = struct.unpack_from("<I", encoded(), 32)[0]
        reports = converse(program, damaged()[name], slots)
        assert [report.kind for report in reports] == [FAILED]
        assert os.strerror(reports[0].error) == "Protocol error"


def test_a_failing_operation_is_named_with_its_system_call(hosted: Path) -> None:
    plan = Plan(
        (Step("here", STAGE_ONE, op.ForbidDumps()), Step("there", STAGE_ONE, op.JoinNamespace("x", 0, 0)))
    )
    data, slots = plan.encode()
    for program in (hosted, PROGRAM):
        (report,) = converse(program, data, len(slots))
        assert (report.kind, report.index, os.strerror(report.error)) == (FAILED, 1, "Invalid argument")
        assert report.call in (308, 268)  # setns


@pytest.mark.parametrize("arguments", [[], ["x"], ["1"], ["3", "4"]])
def test_wrong_arguments_end_it_at_once(arguments: list[str]) -> None:
    assert subprocess.run([PROGRAM, *arguments], check=False).returncode == 125
