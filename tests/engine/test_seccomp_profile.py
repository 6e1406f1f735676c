from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.engine import capabilities, seccomp_profile
from cloche.engine.seccomp_tables import NAMESPACE_FLAGS
from cloche.errors import InvalidArgument


def _allowed(profile: dict[str, Any], name: str) -> list[dict[str, Any]]:
    return [
        each for each in profile["syscalls"] if name in each["names"] and each["action"].endswith("ALLOW")
    ]


def test_what_is_not_listed_is_refused_with_eperm() -> None:
    profile = seccomp_profile.default(capabilities.DEFAULT, "x86_64")
    assert (profile["defaultAction"], profile["defaultErrnoRet"]) == ("SCMP_ACT_ERRNO", 1)
    for name in (
        "mount",
        "unshare",
        "setns",
        "bpf",
        "kexec_load",
        "add_key",
        "keyctl",
        "userfaultfd",
        "io_uring_setup",
    ):
        assert not _allowed(profile, name), name


def test_a_container_without_sys_admin_makes_no_namespaces_by_clone() -> None:
    (rule,) = _allowed(seccomp_profile.default(capabilities.DEFAULT, "x86_64"), "clone")
    assert rule["args"] == [{"index": 0, "value": NAMESPACE_FLAGS, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]
    # CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
    assert (
        NAMESPACE_FLAGS
        == 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000
    )


def test_clone3_answers_enosys_so_that_libraries_fall_back_to_clone() -> None:
    profile = seccomp_profile.default(capabilities.DEFAULT, "x86_64")
    (rule,) = [each for each in profile["syscalls"] if "clone3" in each["names"]]
    assert (rule["action"], rule["errnoRet"]) == ("SCMP_ACT_ERRNO", 38)


@pytest.mark.parametrize(
    ("capability", "name"),
    [
        ("CAP_SYS_ADMIN", "mount"),
        ("CAP_SYS_TIME", "settimeofday"),
        ("CAP_BPF", "bpf"),
        ("CAP_SYS_BOOT", "reboot"),
    ],
)
def test_a_capability_brings_its_system_calls(capability: str, name: str) -> None:
    assert not _allowed(seccomp_profile.default(capabilities.DEFAULT, "x86_64"), name)
    assert _allowed(seccomp_profile.default([*capabilities.DEFAULT, capability], "x86_64"), name)


def test_dropping_sys_chroot_takes_chroot_away() -> None:
    assert not _allowed(seccomp_profile.default([], "x86_64"), "chroot")


def test_af_alg_and_af_vsock_sockets_are_not_allowed() -> None:
    rules = _allowed(seccomp_profile.default(capabilities.DEFAULT, "x86_64"), "socket")
    tests = {"SCMP_CMP_LT": int.__lt__, "SCMP_CMP_EQ": int.__eq__, "SCMP_CMP_GT": int.__gt__}

    def allows(family: int) -> bool:
        return any(tests[rule["args"][0]["op"]](family, rule["args"][0]["value"]) for rule in rules)

    assert [family for family in range(64) if not allows(family)] == [38, 40]


def test_machines_have_their_own_calls_and_sub_architectures() -> None:
    intel, arm = (seccomp_profile.default([], machine) for machine in ("x86_64", "aarch64"))
    assert _allowed(intel, "arch_prctl")
    assert not _allowed(arm, "arch_prctl")
    assert arm["architectures"] == ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]


def test_a_profile_in_docker_format_is_resolved_for_the_container() -> None:
    document = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}],
        "syscalls": [
            {"names": ["read"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["bpf"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_BPF"]}},
            {"names": ["chroot"], "action": "SCMP_ACT_ALLOW", "excludes": {"caps": ["CAP_BPF"]}},
            {"names": ["new"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "9.0"}},
            {"names": ["arm"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["arm64"]}},
        ],
    }
    resolved = seccomp_profile.resolve(document, ["CAP_BPF"], "x86_64", "6.1.0-9-amd64")
    assert [each["names"] for each in resolved["syscalls"]] == [["read"], ["bpf"]]
    assert resolved["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]


@pytest.mark.parametrize(
    ("document", "place"),
    [
        ([], "defaultAction"),
        ({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": {}}, "syscalls: must be a list"),
        (
            {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"action": "SCMP_ACT_ALLOW"}]},
            r"syscalls\[0\]: names",
        ),
        ({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"]}]}, r"syscalls\[0\]: action"),
        (
            {"defaultAction": "A", "syscalls": [{"names": ["a"], "action": "A", "args": [{"index": "x"}]}]},
            "args: index",
        ),
    ],
)
def test_a_wrong_profile_is_refused_with_its_place(document: object, place: str) -> None:
    with pytest.raises(InvalidArgument, match=place):
        seccomp_profile.resolve(document, [], "x86_64", "6.1")


_KEYS = """
defaultAction syscalls names name action args includes excludes caps arches minKernel archMap architecture
subArchitectures architectures errnoRet index value
"""
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_KEYS.split()), inner, max_size=5)
    ),
    max_leaves=20,
)


@given(_json)
def test_any_json_is_a_profile_or_refused(document: object) -> None:
    try:
        resolved = seccomp_profile.resolve(document, ["CAP_BPF"], "x86_64", "6.1")
    except InvalidArgument:
        return
    assert isinstance(resolved["syscalls"], list)
