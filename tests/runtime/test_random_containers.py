"""Configurations made up by hypothesis, given to the runtime for real.

What is valid and asks for nothing that is not there runs. What is broken is refused, with the place
in config.json. What is merely wild does one or the other. In no case is anything left.
"""

from __future__ import annotations

import copy
import os
import select
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloche.errors import ClocheError
from cloche.kernel.cgroups.cgroup import Cgroup
from cloche.kernel.cgroups.layout import layout
from cloche.runtime.sealed import sealed_init
from cloche.spec.rules import CAPABILITIES
from cloche.spec.validate import validate
from tests.bundles import Bundle
from tests.runtime.configurations import configurations, members, names, subset
from tests.runtime.containers import Runtime, pipe, read_all
from tests.waiting import wait_until

TIMEOUT_S = 30
real = settings(
    max_examples=40,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
    ],
)


class Place:
    """Where the containers of one test are made; knows what there was before."""

    def __init__(self, runtime: Runtime, bundle: Bundle, scratch: Path) -> None:
        self.runtime = runtime
        self.bundle = bundle
        self.scratch = scratch
        (scratch / "directory").mkdir()
        (scratch / "file").write_text("a file of the host")
        sealed_init()  # stays open, once it is
        self._before = self._held()
        self.base = copy.deepcopy(bundle.config)

    def _held(self) -> set[str]:
        """Mounts, descriptors and children, as lines that name them."""
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        # Of the machine's mounts those that concern us: others may be at work on it.
        mounts = [
            m for m in Path("/proc/self/mountinfo").read_text().splitlines() if str(self.scratch.parent) in m
        ]
        descriptors = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
        return {*children, *mounts, *(f"{d} {os.readlink(d)}" for d in descriptors if os.path.lexists(d))}

    def run(self, config: Any) -> tuple[int, str]:
        """Create, start, read all output, wait and delete: exit status and output.

        Raises what refuses it. Fails where anything is left, or takes too long.
        """
        config = copy.deepcopy(config)
        config["linux"]["cgroupsPath"] = f"{self.runtime.cgroup_parent}/random"
        self.bundle.config = config
        try:
            with pipe() as (reader, writer):
                container, process = self.runtime.create(self.bundle, gate=False, stdio=(writer,) * 3)
                os.close(writer)
                with process:
                    text = read_all(reader if process.console is None else process.console)
                    assert select.select([process], [], [], TIMEOUT_S)[0], "does not end"
                    status = process.wait()
                container.delete(force=True)
            return status, text
        finally:
            self.nothing_is_left()

    def nothing_is_left(self) -> None:
        """No descriptor, child, mount, state or cgroup."""
        assert self._held() - self._before == set()
        assert os.listdir(self.runtime.root) in ([], ["@filters"])
        left = Cgroup.plan(layout(), f"{self.runtime.cgroup_parent}/random").paths.values()
        wait_until(lambda: not any(map(os.path.exists, left)), what="the cgroups to go")


@pytest.fixture
def place(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> Place:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    os.makedirs(runtime.root, exist_ok=True)
    return Place(runtime, bundle, scratch)


# --- valid ------------------------------------------------------------------------------------------

targets = st.lists(st.sampled_from(["a", "b b", "ä", "..", "x/y"]), min_size=1, max_size=3).map(
    lambda parts: "/made/" + "/".join(parts)
)
options = subset(["ro", "nosuid", "nodev", "noexec", "rro", "noatime", "nodiratime", "rslave", "rprivate"])


def binds(kind: str) -> st.SearchStrategy[Any]:
    """Of the host's directory or file, to places that do not collide with the other kind's."""
    return st.builds(
        lambda target, words: {
            "destination": f"{target}/{kind}",
            "source": kind,
            "type": "bind",
            "options": ["rbind", *words],
        },
        targets,
        options,
    )


new_ones = st.builds(
    lambda target, kind, words: {
        "destination": f"{target}/{kind}",
        "type": kind,
        "source": kind,
        "options": words,
    },
    targets,
    st.sampled_from(["tmpfs", "proc", "sysfs", "mqueue"]),
    options,
)
copies = st.builds(
    lambda target: {"destination": target, "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]},
    st.sampled_from(["/etc", "/home", "/made/up"]),
)
own_devices = st.lists(
    members(
        {
            "path": st.builds("/dev/{}".format, names),
            "type": st.sampled_from("cup"),
            "major": st.just(1),
            "minor": st.just(3),
        },
        fileMode=st.integers(0, 0o777),
        uid=st.integers(0, 1000),
    ),
    max_size=2,
    unique_by=lambda device: device["path"],
)
small_limits = st.lists(st.sampled_from(["CORE", "MSGQUEUE", "SIGPENDING", "NOFILE"]), unique=True).map(
    lambda kinds: [{"type": f"RLIMIT_{kind}", "soft": 20, "hard": 30} for kind in kinds]
)
process_changes = members(
    {},
    user=members(
        {"uid": st.integers(0, 2**31), "gid": st.integers(0, 2**31)},
        additionalGids=st.lists(st.integers(0, 2**31), max_size=3),
        umask=st.integers(0, 0o777),
    ),
    env=st.lists(st.builds("{}={}".format, names, names), max_size=4),
    noNewPrivileges=st.booleans(),
    rlimits=small_limits,
    oomScoreAdj=st.integers(0, 1000),
    cwd=st.sampled_from(["/", "/tmp", "/home", "/etc"]),
    capabilities=subset(set(CAPABILITIES) - {"CAP_SYS_RESOURCE"}).map(
        lambda some: dict.fromkeys(("bounding", "effective", "permitted", "inheritable", "ambient"), some)
    ),
    terminal=st.booleans(),
)
linux_changes = members(
    {},
    maskedPaths=st.lists(
        st.sampled_from(["/proc/kcore", "/etc", "/nowhere", "/proc/keys", "/proc/1"]), max_size=3
    ),
    readonlyPaths=st.lists(st.sampled_from(["/proc/sys", "/etc", "/nowhere", "/bin"]), max_size=3),
    devices=own_devices,
    rootfsPropagation=st.sampled_from(["rslave", "rprivate", "private", "unbindable"]),
    sysctl=st.sampled_from([{}, {"net.ipv4.ip_forward": "1"}, {"kernel.shm_rmid_forced": "1"}]),
    personality=st.just({"domain": "LINUX"}),
    seccomp=st.sampled_from(
        [
            {"defaultAction": "SCMP_ACT_ALLOW"},
            {
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": ["mount", "no_such_call"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}],
            },
        ]
    ),
    resources=members(
        {},
        pids=st.builds(lambda limit: {"limit": limit}, st.integers(10, 1000)),
        memory=st.builds(lambda limit: {"limit": limit}, st.integers(64 << 20, 1 << 40)),
        cpu=st.builds(lambda shares: {"shares": shares}, st.integers(2, 1 << 18)),
    ),
)


@st.composite
def changes(draw: st.DrawFn) -> dict[str, Any]:
    """What a valid configuration has beyond that of `runc spec`."""
    mounts = draw(st.lists(st.one_of(binds("directory"), binds("file"), new_ones, copies), max_size=6))
    return {
        "mounts": mounts,
        "process": draw(process_changes),
        "linux": draw(linux_changes),
        "time": draw(st.booleans()),
        "readonly": draw(st.booleans()),
        "annotations": draw(st.dictionaries(names, names, max_size=2)),
    }


def applied(base: Any, changed: dict[str, Any], scratch: Path) -> Any:
    """The configuration of `runc spec` with the changes made."""
    config = copy.deepcopy(base)
    config["process"] |= copy.deepcopy(changed["process"])
    config["process"]["args"] = ["/bin/sh", "-c", "echo it ran"]
    config["linux"] |= copy.deepcopy(changed["linux"])
    config["root"]["readonly"] = changed["readonly"]
    config["annotations"] = changed["annotations"]
    if changed["time"]:
        config["linux"]["namespaces"].append({"type": "time"})
        config["linux"]["timeOffsets"] = {"boottime": {"secs": 1000}}
    for mount in copy.deepcopy(changed["mounts"]):
        if mount["type"] == "bind":
            mount["source"] = str(scratch / mount["source"])
        config["mounts"].append(mount)
    return config


@given(changed=changes())
@real
def test_what_is_valid_and_there_runs(place: Place, changed: dict[str, Any]) -> None:
    config = applied(place.base, changed, place.scratch)
    validate(config)
    assert place.run(config)[1].strip() == "it ran"


# --- broken -----------------------------------------------------------------------------------------

# None is what null is in JSON: as good as nothing. Extensions may be anywhere and are left alone.
wrong = st.sampled_from([-1, 1.5, "wrong", "", [], ["wrong"], [{}], {}, {"wrong": 1}, True, 1 << 70])


def leaves(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The way to every value in a document."""
    if path:
        yield path
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, inner in steps:
        yield from leaves(inner, (*path, step))


def replaced(document: Any, path: tuple[str | int, ...], value: Any) -> Any:
    """A copy with one value changed."""
    changed = copy.deepcopy(document)
    inner = changed
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    return changed


@given(changed=changes(), data=st.data())
@real
def test_what_is_broken_is_refused_and_names_the_place_or_runs(
    place: Place, changed: dict[str, Any], data: st.DataObject
) -> None:
    config = applied(place.base, changed, place.scratch)
    path = data.draw(st.sampled_from(list(leaves(config))))
    value = data.draw(wrong)
    broken = replaced(config, path, value)
    kind = type(replaced_value(config, path))
    try:
        validate(broken)
        place.run(broken)
    except ClocheError as refused:
        assert "config.json: " in str(refused)  # noqa: PT017 - not to be refused is as good
    else:
        # What ran was of the right type at least.
        assert isinstance(value, kind), f"{path} = {value!r} was taken"


def replaced_value(document: Any, path: tuple[str | int, ...]) -> Any:
    """What is there now."""
    for step in path:
        document = document[step]
    return document


# --- wild -------------------------------------------------------------------------------------------


@given(config=configurations(), shell=st.booleans())
@real
def test_what_is_wild_runs_or_is_refused_and_leaves_nothing(place: Place, config: Any, shell: bool) -> None:
    config["root"]["path"] = "rootfs"
    if shell:
        config["process"]["args"] = ["/bin/sh", "-c", "exit 7"]
    if config["linux"].get("rootfsPropagation") == "shared":
        # What is mounted below the root would be mounted on the host too, as is asked for.
        del config["linux"]["rootfsPropagation"]
    try:
        validate(config)
        place.run(config)
    except ClocheError as refused:
        assert "config.json: " in str(refused)  # noqa: PT017 - not to be refused is as good
