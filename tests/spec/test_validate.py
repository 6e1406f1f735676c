"""Validation of config.json: one line with the place for what is wrong, and nothing else ever."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloche.errors import InvalidArgument
from cloche.spec.default import default_config
from cloche.spec.validate import validate, validate_id, validate_process, validate_resources

Change = Callable[[Any], object]


def config(**changes: Any) -> Any:
    return {**default_config(), **changes}


def changed(place: str, value: object) -> Any:
    """The default configuration with one member set, `a.b.0.c` naming it."""
    document: Any = default_config()
    *steps, last = place.split(".")
    inner = document
    for step in steps:
        inner = inner[int(step)] if isinstance(inner, list) else inner.setdefault(step, {})
    inner[int(last) if isinstance(inner, list) else last] = value
    return document


def refusal(document: object) -> str:
    with pytest.raises(InvalidArgument) as caught:
        validate(document)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("ociVersion", "2.0.0", 'ociVersion: "2.0.0" is not supported; 1.0.0 to 1.3 are'),
        ("ociVersion", "1", 'ociVersion: "1" is not a version such as 1.0.2'),
        ("ociVersion", 1, "ociVersion: must be a string, not a number"),
        ("process", None, "process: is missing"),
        ("process", [], "process: must be an object, not a list"),
        ("process.args", None, "process.args: is missing"),
        ("process.args", [], "process.args: must not be empty"),
        ("process.args", "sh", "process.args: must be a list, not a string"),
        ("process.args", ["sh", 3], "process.args[1]: must be a string, not a number"),
        ("process.args", ["sh\0"], "process.args[0]: must not hold a NUL character"),
        ("process.args", ["\ud800"], "process.args[0]: must not hold half of a surrogate pair"),
        ("process.cwd", "", "process.cwd: must not be empty"),
        ("process.cwd", "tmp", 'process.cwd: "tmp" must be an absolute path'),
        ("process.env", ["A"], 'process.env[0]: "A" must be NAME=VALUE'),
        ("process.env", ["=A"], 'process.env[0]: "=A" must be NAME=VALUE'),
        ("process.terminal", 1, "process.terminal: must be true or false, not a number"),
        ("process.user.uid", -1, "process.user.uid: must be a number from 0 to 4294967294, not -1"),
        (
            "process.user.uid",
            4294967295,
            "process.user.uid: must be a number from 0 to 4294967294, not 4294967295",
        ),
        ("process.user.uid", True, "process.user.uid: must be a whole number, not true or false"),
        ("process.user.gid", 1.5, "process.user.gid: must be a whole number, not 1.5"),
        (
            "process.user.gid",
            10**30,
            "process.user.gid: must be a number from 0 to 4294967294, not one of that size",
        ),
        ("process.user.umask", 0o1000, "process.user.umask: must be a number from 0 to 511, not 512"),
        (
            "process.oomScoreAdj",
            1001,
            "process.oomScoreAdj: must be a number from -1000 to 1000, not 1001",
        ),
        ("process.rlimits.0.soft", 2048, "process.rlimits[0].soft: 2048 is above hard, 1024"),
        (
            "process.rlimits",
            [{"type": "RLIMIT_CPU", "soft": 1, "hard": 1}] * 2,
            "process.rlimits[1]: there is a RLIMIT_CPU already",
        ),
        ("process.rlimits", [{"type": "RLIMIT_CPU", "soft": 1}], "process.rlimits[0].hard: is missing"),
        ("process.scheduler", {}, "process.scheduler.policy: is missing"),
        (
            "process.scheduler",
            {"policy": "SCHED_OTHER", "nice": 20},
            "process.scheduler.nice: must be a number from -20 to 19 with SCHED_OTHER",
        ),
        ("process.ioPriority", {"class": "IOPRIO_CLASS_BE", "priority": 8}, "process.ioPriority.priority: "),
        ("root", None, "root: is missing"),
        ("root", {}, "root.path: is missing"),
        ("root.path", "", "root.path: must not be empty"),
        ("mounts.2.destination", 3, "mounts[2].destination: must be a string, not a number"),
        ("mounts.1.options", ["ro", None], "mounts[1].options[1]: must be a string, not null"),
        ("mounts.0", {"type": "proc"}, "mounts[0].destination: is missing"),
        ("mounts.0.uidMappings", [{"containerID": 0, "hostID": 0, "size": 1}], "mounts[0]: must have both"),
        ("hostname", "h" * 65, "hostname: is longer than 64 bytes"),
        ("hooks", {"prestart": [{"path": "bin/x"}]}, 'hooks.prestart[0].path: "bin/x" must be an absolute'),
        (
            "hooks",
            {"poststop": [{"path": "/x", "timeout": 0}]},
            "hooks.poststop[0].timeout: must be a number",
        ),
        (
            "linux.namespaces.3.type",
            "nett",
            'linux.namespaces[3].type: "nett" is not known; it can be cgroup',
        ),
        ("linux.namespaces.1", {"type": "pid"}, "linux.namespaces[1]: there is a pid namespace already"),
        (
            "linux.namespaces.1",
            {"type": "network", "path": "proc/1/ns/net"},
            'linux.namespaces[1].path: "proc/1/ns/net" must be an absolute path',
        ),
        (
            "linux.uidMappings",
            [{"containerID": 0, "hostID": 0, "size": 1}],
            "linux.uidMappings: there is no user namespace in linux.namespaces",
        ),
        ("linux.namespaces.1.type", "user", "linux.uidMappings: must not be empty with a new user namespace"),
        ("linux.maskedPaths", ["proc"], 'linux.maskedPaths[0]: "proc" must be an absolute path'),
        ("linux.cgroupsPath", "/a/../../b", "linux.cgroupsPath: must not hold .."),
        (
            "linux.resources.devices.0.access",
            "rx",
            'linux.resources.devices[0].access: "rx" must be one or more of r, w and m',
        ),
        ("linux.resources.unified", {"../x": "1"}, 'linux.resources.unified["../x"]: must be the name'),
        ("linux.resources.memory", {"limit": "64m"}, "linux.resources.memory.limit: must be a whole number"),
        ("linux.devices", [{"path": "/dev/x", "type": "c"}], "linux.devices[0]: needs major and minor"),
        ("linux.devices", [{"path": "/dev/x", "type": "x"}], 'linux.devices[0].type: "x" is not known'),
        ("linux.timeOffsets", {"monotonic": {"secs": 1}}, "linux.timeOffsets: there is no time namespace"),
        ("linux.rootfsPropagation", "none", 'linux.rootfsPropagation: "none" is not known'),
        ("linux.seccomp", {"syscalls": []}, "linux.seccomp.defaultAction: is missing"),
        (
            "linux.seccomp",
            {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["x"], "action": "KILL"}]},
            'linux.seccomp.syscalls[0].action: "KILL" is not known; it can be SCMP_ACT_ALLOW',
        ),
        (
            "linux.seccomp",
            {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["amd64"]},
            'linux.seccomp.architectures[0]: "amd64" is not known',
        ),
        (
            "linux.seccomp",
            {
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [
                    {
                        "names": ["x"],
                        "action": "SCMP_ACT_KILL",
                        "args": [{"index": 6, "value": 1, "op": "SCMP_CMP_EQ"}],
                    }
                ],
            },
            "linux.seccomp.syscalls[0].args[0].index: must be a number from 0 to 5, not 6",
        ),
    ],
)
def test_a_wrong_member_is_named_with_its_place(place: str, value: object, message: str) -> None:
    assert refusal(changed(place, value)).startswith(f"config.json: {message}")


@pytest.mark.parametrize("document", [None, [], "config", 3, 1.5, True])
def test_what_is_no_object_is_refused(document: object) -> None:
    assert refusal(document).startswith("config.json: must be an object, not ")


def without(kind: str) -> Any:
    document = default_config()
    document["linux"]["namespaces"] = [n for n in document["linux"]["namespaces"] if n["type"] != kind]
    return document


def test_a_hostname_needs_its_own_uts_namespace() -> None:
    expected = "config.json: hostname: cannot be set: the container has no uts namespace of its own"
    assert refusal(without("uts")) == expected


def test_masked_paths_need_a_mount_namespace() -> None:
    assert refusal(without("mount")) == (
        "config.json: linux.maskedPaths: needs a mount namespace in linux.namespaces"
    )


@pytest.mark.parametrize(
    ("key", "lost", "problem"),
    [
        ("net.ipv4.ip_forward", "network", "has no network namespace"),
        ("net/ipv4/ip_forward", "network", "has no network namespace"),
        ("kernel.msgmax", "ipc", "has no ipc namespace"),
        ("fs.mqueue.msg_max", "ipc", "has no ipc namespace"),
        ("kernel.domainname", "uts", "has no uts namespace"),
        ("user.max_user_namespaces", "user", "has no user namespace"),
        ("kernel.hostname", "", "use hostname"),
        ("kernel.core_pattern", "", "would change the host"),
        ("kernel.msgmaxi", "", "would change the host"),
        ("vm.swappiness", "", "would change the host"),
        ("net/../kernel/core_pattern", "", "is not the name"),
        ("net.ipv4//../kernel", "", "is not the name"),
        ("net", "", "is not the name"),
        ("", "", "is not the name"),
        ("net.", "", "is not the name"),
        ("/net/ipv4", "", "is not the name"),
    ],
)
def test_a_sysctl_outside_the_containers_namespaces_is_refused(key: str, lost: str, problem: str) -> None:
    document = without(lost)
    if lost == "uts":
        del document["hostname"]
    document["linux"]["sysctl"] = {key: "1"}
    message = refusal(document)
    assert message.startswith("config.json: linux.sysctl[")
    assert problem in message


def test_sysctls_of_own_namespaces_are_accepted() -> None:
    keys = ("net.ipv4.conf.eno2/100.rp_filter", "net/core/somaxconn", "kernel.sem", "fs.mqueue.msg_max")
    assert validate(changed("linux.sysctl", dict.fromkeys(keys, "1"))) == []


def test_overlapping_id_mappings_are_refused() -> None:
    document = changed("linux.namespaces.1.type", "user")
    mapping = {"containerID": 0, "hostID": 1000, "size": 10}
    document["linux"]["uidMappings"] = [mapping, {"containerID": 20, "hostID": 1009, "size": 1}]
    document["linux"]["gidMappings"] = [mapping]
    assert refusal(document) == "config.json: linux.uidMappings: two mappings share hostID 1009"


def test_an_unknown_capability_is_a_warning() -> None:
    assert validate(changed("process.capabilities.bounding", ["CAP_KILL", "CAP_FOO"])) == [
        'config.json: process.capabilities: ignoring unknown "CAP_FOO"'
    ]


def test_a_newer_minor_version_another_platform_and_a_relative_mount_are_warnings() -> None:
    document = changed("mounts.0.destination", "proc")
    document |= {"ociVersion": "1.9.0", "windows": {}}
    assert len(validate(document)) == 3


@pytest.mark.parametrize("version", ["1.0.0", "1.0.2-dev", "1.0.0-rc5-dev", "1.1.0+dev", "1.2.1", "1.3.0"])
def test_the_published_versions_are_accepted(version: str) -> None:
    assert validate(config(ociVersion=version)) == []


def test_null_is_an_absent_member_and_is_removed() -> None:
    document = config(hooks=None, annotations={"a": None, "b": "c"}, linux=None, mounts=None, hostname=None)
    document["process"]["capabilities"] = None
    assert validate(document) == []
    assert document["annotations"] == {"b": "c"}
    assert "linux" not in document
    assert "capabilities" not in document["process"]


def test_unknown_members_are_left_alone() -> None:
    document = config(somethingNew={"x": [None]})
    assert validate(document) == []
    assert document["somethingNew"] == {"x": [None]}


def test_a_strangers_text_is_quoted_short_and_on_one_line() -> None:
    message = refusal(changed("linux.sysctl", {"a\nb\x1b" + "c" * 10000: "1"}))
    assert len(message) < 300
    assert "\x1b" not in message


def test_a_process_alone_is_checked_with_places_of_its_own() -> None:
    process: Any = default_config()["process"]
    assert validate_process(process) == []
    process["cwd"] = "x"
    with pytest.raises(InvalidArgument, match=r"^process.json: cwd: "):
        validate_process(process)


def test_resources_alone_are_checked() -> None:
    validate_resources({"memory": {"limit": 1 << 20}, "pids": None})
    with pytest.raises(InvalidArgument, match=r"^resources.json: memory.limit: must be a whole number"):
        validate_resources({"memory": {"limit": "1"}})


@pytest.mark.parametrize("container_id", ["a", "A-b_c.d+e", "...", "1" * 1024])
def test_ids_of_the_usual_letters_are_accepted(container_id: str) -> None:
    assert validate_id(container_id) == container_id


@pytest.mark.parametrize("container_id", ["", ".", "..", "a/b", "/", "../x", "ä", "a b", "a\n", "x" * 1025])
def test_other_ids_are_refused(container_id: str) -> None:
    with pytest.raises(InvalidArgument):
        validate_id(container_id)


def test_a_typical_configuration_is_validated_in_half_a_millisecond() -> None:
    syscalls: Any = [{"names": [f"call{i}" for i in range(400)], "action": "SCMP_ACT_ALLOW"}]
    document = changed("linux.seccomp", {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": syscalls})
    best = 1.0
    for _ in range(20):
        start = time.perf_counter()
        validate(document)
        best = min(best, time.perf_counter() - start)
    assert best < 0.0005


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def places(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Every place inside a JSON document."""
    found = [path]
    if isinstance(value, dict):
        for key, inner in value.items():
            found += places(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            found += places(inner, (*path, index))
    return found


RICH: Any = {
    **default_config(),
    "annotations": {"a": "b"},
    "hooks": {"prestart": [{"path": "/x", "args": ["x"], "env": ["A=B"], "timeout": 3}]},
}
RICH["process"] |= {
    "scheduler": {"policy": "SCHED_FIFO", "priority": 3, "flags": []},
    "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 3},
    "consoleSize": {"height": 3, "width": 4},
}
RICH["linux"] |= {
    "sysctl": {"net.ipv4.ip_forward": "1"},
    "uidMappings": [{"containerID": 0, "hostID": 0, "size": 1}],
    "gidMappings": [{"containerID": 0, "hostID": 0, "size": 1}],
    "devices": [{"path": "/dev/x", "type": "c", "major": 1, "minor": 3, "fileMode": 438}],
    "netDevices": {"eth0": {"name": "eth1"}},
    "timeOffsets": {"monotonic": {"secs": 1, "nanosecs": 2}},
    "seccomp": {
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [
            {
                "names": ["read"],
                "action": "SCMP_ACT_ALLOW",
                "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}],
            }
        ],
    },
}
RICH["linux"]["namespaces"] += [{"type": "user"}, {"type": "time"}]
RICH["linux"]["resources"] |= {"unified": {"memory.max": "1"}, "memory": {"limit": 3}, "rdma": {"x": {}}}
PLACES = places(RICH)[1:]


def test_the_document_that_is_varied_is_valid_itself() -> None:
    assert validate(copy.deepcopy(RICH)) == []


@given(st.sampled_from(PLACES), json_values)
@settings(max_examples=600, deadline=None)
def test_any_value_at_any_place_is_accepted_or_refused_in_one_line(
    place: tuple[str | int, ...], value: object
) -> None:
    document = copy.deepcopy(RICH)
    inner = document
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value
    try:
        warnings = validate(document)
    except InvalidArgument as error:
        warnings = [str(error)]
    assert all("\n" not in warning and warning.startswith("config.json: ") for warning in warnings)


@given(json_values)
@settings(max_examples=200, deadline=None)
def test_any_document_is_refused_in_one_line(document: object) -> None:
    refusal(document)


@given(st.text(max_size=40))
def test_an_accepted_id_is_one_name_of_a_directory(container_id: str) -> None:
    try:
        accepted = validate_id(container_id)
    except InvalidArgument as error:
        message = str(error)
    else:
        message = ""
        assert "/" not in accepted
        assert accepted not in ("", ".", "..")
    assert "\n" not in message
