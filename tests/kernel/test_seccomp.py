from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloche.engine.seccomp_profile import default
from cloche.errors import InvalidArgument
from cloche.kernel import enosys, seccomp
from tests.bundles import Bundle
from tests.kernel import bpf
from tests.waiting import wait_until

ENOSYS = bpf.ERRNO | 38
EPERM = bpf.ERRNO | 1
X86 = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]
DOCKER = ["CAP_CHOWN", "CAP_SETUID", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT"]

pytestmark = pytest.mark.skipif(os.uname().machine != "x86_64", reason="speaks of x86_64 numbers")


def profile(*rules: dict[str, Any], default_action: str = "SCMP_ACT_ERRNO", **more: Any) -> dict[str, Any]:
    return {"defaultAction": default_action, "architectures": X86, "syscalls": list(rules), **more}


def rule(*names: str, action: str = "SCMP_ACT_ALLOW", **more: Any) -> dict[str, Any]:
    return {"names": list(names), "action": action, **more}


def verdict(document: dict[str, Any], number: int, *arguments: int, arch: int = bpf.X86_64) -> int:
    return bpf.run(seccomp.compile(document)[0], number, arguments, arch)


def test_named_calls_are_allowed_and_others_get_eperm() -> None:
    document = profile(rule("read", "statx"))
    assert verdict(document, 0) == bpf.ALLOW
    assert verdict(document, 1) == EPERM


def test_the_default_errno_is_the_profiles_own() -> None:
    assert verdict(profile(rule("statx"), defaultErrnoRet=13), 1) == bpf.ERRNO | 13


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ("SCMP_ACT_KILL", 0),
        ("SCMP_ACT_KILL_THREAD", 0),
        ("SCMP_ACT_KILL_PROCESS", 0x80000000),
        ("SCMP_ACT_TRAP", 0x00030000),
        ("SCMP_ACT_ERRNO", EPERM),
        ("SCMP_ACT_TRACE", 0x7FF00001),
        ("SCMP_ACT_LOG", 0x7FFC0000),
        ("SCMP_ACT_NOTIFY", 0x7FC00000),
    ],
)
def test_every_action_reaches_the_kernel(action: str, expected: int) -> None:
    assert verdict(profile(rule("chmod", action=action), default_action="SCMP_ACT_ALLOW"), 90) == expected


def test_a_rules_errno_is_returned() -> None:
    document = profile(rule("chmod", action="SCMP_ACT_ERRNO", errnoRet=95), default_action="SCMP_ACT_ALLOW")
    assert verdict(document, 90) == bpf.ERRNO | 95


@pytest.mark.parametrize(
    ("operator", "value", "second", "passing", "failing"),
    [
        ("SCMP_CMP_EQ", 7, 0, [7], [6, 8, 1 << 32 | 7]),
        ("SCMP_CMP_NE", 7, 0, [6, 8], [7]),
        ("SCMP_CMP_LT", 7, 0, [0, 6], [7, 8]),
        ("SCMP_CMP_LE", 7, 0, [6, 7], [8, 1 << 40]),
        ("SCMP_CMP_GT", 7, 0, [8, 1 << 40], [7]),
        ("SCMP_CMP_GE", 7, 0, [7, 8], [6]),
        ("SCMP_CMP_MASKED_EQ", 0xF0, 0x30, [0x3F, 0x30], [0x2F, 0x130 + 0x40]),
        ("SCMP_CMP_EQ", 0xFFFFFFFFFFFFFFFF, 0, [0xFFFFFFFFFFFFFFFF], [0xFFFFFFFF]),
    ],
)
def test_arguments_are_compared(
    operator: str, value: int, second: int, passing: list[int], failing: list[int]
) -> None:
    argument = {"index": 1, "value": value, "valueTwo": second, "op": operator}
    program, _ = seccomp.compile(profile(rule("fchmod", args=[argument])))
    assert {bpf.run(program, 91, (0, each)) for each in passing} == {bpf.ALLOW}
    assert {bpf.run(program, 91, (0, each)) for each in failing} == {EPERM}


def test_conditions_on_different_arguments_must_all_hold() -> None:
    arguments = [{"index": i, "value": i, "op": "SCMP_CMP_EQ"} for i in (1, 2)]
    program, _ = seccomp.compile(profile(rule("fchmod", args=arguments)))
    assert bpf.run(program, 91, (0, 1, 2)) == bpf.ALLOW
    assert bpf.run(program, 91, (0, 1, 3)) == EPERM


def test_of_conditions_on_one_argument_any_will_do() -> None:
    arguments = [{"index": 0, "value": value, "op": "SCMP_CMP_EQ"} for value in (3, 5)]
    program, _ = seccomp.compile(profile(rule("fchmod", args=arguments)))
    assert [bpf.run(program, 91, (value,)) for value in (3, 4, 5)] == [bpf.ALLOW, EPERM, bpf.ALLOW]


def test_calls_newer_than_the_profile_do_not_exist() -> None:
    document = profile(rule("read", "statx"))  # statx: 332 on x86_64, 383 on i386
    assert verdict(document, 332) == bpf.ALLOW
    assert verdict(document, 331) == EPERM
    assert verdict(document, 333) == ENOSYS
    assert verdict(document, 384, arch=bpf.I386) == ENOSYS
    assert verdict(document, 382, arch=bpf.I386) == EPERM
    assert verdict(document, bpf.X32_BIT | 332) == bpf.ALLOW
    assert verdict(document, bpf.X32_BIT | 333) == ENOSYS


def test_without_x32_in_the_profile_its_calls_are_the_filters_business() -> None:
    document = profile(rule("read", "statx"))
    document["architectures"] = ["SCMP_ARCH_X86_64"]
    assert verdict(document, bpf.X32_BIT | 600) == 0
    assert verdict(document, 600) == ENOSYS


def test_an_unknown_architecture_is_killed() -> None:
    assert verdict(profile(rule("read")), 0, arch=0xC00000B7) == 0


@pytest.mark.parametrize("action", ["SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE"])
def test_a_default_that_lets_calls_through_keeps_new_ones_too(action: str) -> None:
    document = profile(rule("chmod", action="SCMP_ACT_ERRNO"), default_action=action)
    assert verdict(document, 600) != ENOSYS


def test_an_unknown_name_is_a_warning_that_names_its_place() -> None:
    warnings: list[str] = []
    program, _ = seccomp.compile(profile(rule("read"), rule("no_such_call")), warnings)
    assert bpf.run(program, 0) == bpf.ALLOW
    assert len(warnings) == 1
    assert warnings[0].startswith("linux.seccomp.syscalls[1].names: 'no_such_call'")


def test_a_rule_that_says_what_the_default_says_is_no_error() -> None:
    document = profile(rule("chmod", action="SCMP_ACT_ERRNO"), rule("read"))
    assert verdict(document, 90) == EPERM


def test_a_filter_without_rules_is_fine() -> None:
    assert verdict(profile(default_action="SCMP_ACT_ALLOW"), 90) == bpf.ALLOW


def test_flags_become_those_of_the_system_call() -> None:
    names = [f"SECCOMP_FILTER_FLAG_{name}" for name in ("TSYNC", "LOG", "SPEC_ALLOW", "WAIT_KILLABLE_RECV")]
    assert seccomp.compile(profile(rule("read"), flags=names))[1] == 1 << 1 | 1 << 2 | 1 << 5
    assert seccomp.flags(profile(rule("chmod", action="SCMP_ACT_NOTIFY"))) == 1 << 3


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"defaultAction": "SCMP_ACT_SING"}, "linux.seccomp.defaultAction"),
        ({"defaultAction": "SCMP_ACT_NOTIFY"}, "linux.seccomp.defaultAction"),
        ({"architectures": ["SCMP_ARCH_VAX"]}, "linux.seccomp.architectures[0]"),
        ({"flags": ["SECCOMP_FILTER_FLAG_NEW"]}, "linux.seccomp.flags[0]"),
        ({"syscalls": [rule("read", action="no")]}, "linux.seccomp.syscalls[0].action"),
        (
            {"syscalls": [rule("read", args=[{"index": 0, "value": 1, "op": "="}])]},
            "linux.seccomp.syscalls[0].args[0].op",
        ),
        (
            {"syscalls": [rule("read", args=[{"index": 6, "value": 1, "op": "SCMP_CMP_EQ"}])]},
            "linux.seccomp.syscalls[0].args[0].index",
        ),
        ({"syscalls": [rule("write", action="SCMP_ACT_NOTIFY")]}, "linux.seccomp.syscalls[0].names"),
    ],
)
def test_what_cannot_be_is_refused_by_its_place(change: dict[str, Any], place: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        seccomp.compile(profile(rule("read")) | change)
    assert str(caught.value).startswith(f"{place}: ")


@given(
    last=st.dictionaries(
        st.sampled_from(sorted(seccomp.ARCHITECTURES.values())), st.integers(1, 5000), min_size=1
    ),
    number=st.integers(0, 6000),
)
@settings(max_examples=300)
def test_the_stub_refuses_exactly_what_is_above_the_last_call(last: dict[int, int], number: int) -> None:
    if enosys.SCMP_X32 in last:
        last[enosys.SCMP_X32] |= bpf.X32_BIT
    program = enosys.encode([*enosys.stub(last), (0x06, 0, 0, bpf.ALLOW)])
    for name, arch in seccomp.ARCHITECTURES.items():
        audit, sent = (bpf.X86_64, number | bpf.X32_BIT) if name == "SCMP_ARCH_X32" else (arch, number)
        multiplexed = name in ("SCMP_ARCH_S390", "SCMP_ARCH_S390X") and number == 0
        refused = arch in last and (sent > last[arch] or multiplexed)
        assert bpf.run(program, sent, arch=audit) == (ENOSYS if refused else bpf.ALLOW)


LOADER = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
program, flags = open(sys.argv[1], "rb").read(), int(sys.argv[2])
class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]
libc.prctl(38, 1, 0, 0, 0)
if libc.syscall(317, 1, flags, ctypes.byref(Program(len(program) // 8, program))):
    sys.exit(f"seccomp: {os.strerror(ctypes.get_errno())}")
for number in (90, 161, 155, 1000, 39):
    ctypes.set_errno(0)
    libc.syscall(number, 0, 0, 0, 0, 0, 0)
    print(number, ctypes.get_errno())
"""


def test_the_kernel_takes_the_filter_and_answers_as_told(tmp_path: Path) -> None:
    program, flags = seccomp.compile(default(DOCKER) | {"flags": ["SECCOMP_FILTER_FLAG_LOG"]})
    (tmp_path / "program").write_bytes(program)
    child = subprocess.run(
        [sys.executable, "-c", LOADER, str(tmp_path / "program"), str(flags)],
        capture_output=True,
        text=True,
        check=True,
    )
    answers = dict(line.split() for line in child.stdout.splitlines())
    # chmod(NULL): EFAULT, so it ran; chroot is allowed with its capability: EFAULT; pivot_root and
    # an unknown number are not: EPERM and ENOSYS; getpid: fine.
    assert answers == {"90": "14", "161": "14", "155": "1", "1000": "38", "39": "0"}


@pytest.mark.system
def test_the_filter_decides_as_the_one_that_runc_loads(bundle: Bundle, peer: Callable[[str], str]) -> None:
    document = default(DOCKER)
    bundle.linux["seccomp"] = document
    bundle.process["noNewPrivileges"] = True
    bundle.linux.pop("resources", None)
    bundle.command("sleep", "60")
    runc = [peer("runc"), "--root", str(bundle.path / "state")]
    name = f"seccomp-{os.getpid()}"
    started = subprocess.run(
        [*runc, "run", "--detach", "--bundle", bundle.path, name], stdin=subprocess.DEVNULL, timeout=30
    )
    assert started.returncode == 0
    try:
        state = json.loads(subprocess.run([*runc, "state", name], check=True, capture_output=True).stdout)
        pid = state["pid"]
        wait_until(lambda: Path(f"/proc/{pid}/comm").read_text() == "sleep\n", what="the container's program")
        (theirs,) = bpf.filters_of(pid)
    finally:
        subprocess.run([*runc, "delete", "--force", name], check=True)
    ours, _ = seccomp.compile(document)
    for arch, numbers in {
        bpf.X86_64: range(700),
        bpf.I386: range(700),
    }.items():
        assert bpf.verdicts(ours, numbers, arch) == bpf.verdicts(theirs, numbers, arch)
    x32 = range(bpf.X32_BIT, bpf.X32_BIT + 700)
    assert bpf.verdicts(ours, x32) == bpf.verdicts(theirs, x32)
    for flags in (0, 0x10000000, 0x7E020000, 0x00020000):  # clone's namespaces are denied
        assert bpf.run(ours, 56, (flags,)) == bpf.run(theirs, 56, (flags,))
    for domain in (0, 0xFFFFFFFF, 8, 0x20000, 9):  # personality
        assert bpf.run(ours, 135, (domain,)) == bpf.run(theirs, 135, (domain,))
