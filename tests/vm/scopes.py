"""What must hold where systemd has the cgroups; run by pytest inside the guest (see test_systemd.py)."""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cloche.kernel.cgroups import device_filter
from cloche.kernel.cgroups.systemd_bus import Bus, Refused
from cloche.wire.dbus_values import Variant
from tests.bundles import Bundle
from tests.peers import command, peer
from tests.runtime.face.runtimes import Result, Runtime, last_line
from tests.waiting import wait_until

TREE = Path("/sys/fs/cgroup")
USER = 1000


class Scoped(Runtime):
    """A runtime that is told to use systemd."""

    def words(self, *arguments: str) -> list[str]:
        """The whole command."""
        return [self.program, "--root", str(self.root), "--systemd-cgroup", *arguments]


@pytest.fixture(scope="session", autouse=True)
def slices() -> Iterator[None]:
    """systemd keeps slices that are empty."""
    yield
    subprocess.run([peer("systemctl"), "stop", "cloche.slice"], check=True)


@pytest.fixture
def ours(tmp_path: Path, root: None) -> Iterator[Scoped]:
    """cloche-runc."""
    with Scoped(command("cloche-runc"), tmp_path / "ours") as runtime:
        yield runtime


@pytest.fixture
def theirs(tmp_path: Path, root: None) -> Iterator[Scoped]:
    """Debian's runc."""
    with Scoped(peer("runc"), tmp_path / "theirs") as runtime:
        yield runtime


@pytest.fixture
def unit(bundle: Bundle) -> str:
    """The scope that the bundle's container gets."""
    name = uuid.uuid4().hex[:8]
    bundle.linux["cgroupsPath"] = f"cloche-tests.slice:cloche:{name}"
    bundle.command("sleep", "1000")
    return f"cloche-{name}.scope"


def shown(unit: str, *names: str, user: bool = False) -> dict[str, str]:
    """Properties of a unit, as systemctl shows them."""
    words = [peer("systemctl"), *(["--user"] if user else []), "show", unit, f"--property={','.join(names)}"]
    said = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    return dict(line.partition("=")[::2] for line in said.splitlines())


def state_of(unit: str) -> str:
    """active, inactive or failed."""
    return shown(unit, "ActiveState")["ActiveState"]


def place_of(unit: str) -> Path:
    """The scope's cgroup."""
    return TREE / "cloche.slice/cloche-tests.slice" / unit


def files(place: Path, *names: str) -> dict[str, str]:
    """What files of a cgroup say."""
    return {name: (place / name).read_text().strip() for name in names}


def succeeded(result: Result) -> str:
    """What a command said that must have gone well."""
    assert result.returncode == 0, result.stderr
    return result.stdout


def made(runtime: Runtime, how: str, bundle: Bundle, container_id: str = "c1") -> None:
    """Make a container that stays: `create` it or `run` it."""
    words = ["create"] if how == "create" else ["run", "--detach"]
    log = str(bundle.path / "log")
    status = runtime.start_detached("--log", log, *words, "--bundle", str(bundle.path), container_id)
    assert status == 0, Path(log).read_text()


def membership(pid: int) -> str:
    """The cgroup of a process."""
    return Path(f"/proc/{pid}/cgroup").read_text().strip().removeprefix("0::")


def test_a_container_lives_and_ends_in_a_scope(ours: Scoped, bundle: Bundle, unit: str) -> None:
    made(ours, "create", bundle)
    assert state_of(unit) == "active"
    pid = ours.state("c1")["pid"]
    assert membership(pid) == f"/cloche.slice/cloche-tests.slice/{unit}"
    assert (place_of(unit) / "cgroup.procs").read_text().split() == [str(pid)]
    succeeded(ours("start", "c1"))
    assert succeeded(ours("exec", "c1", "cat", "/proc/self/cgroup")) == "0::/\n"
    succeeded(ours("pause", "c1"))
    assert ours.status("c1") == "paused"
    succeeded(ours("delete", "--force", "c1"))
    assert state_of(unit) == "inactive"
    assert not place_of(unit).exists()


def test_what_the_flag_said_is_remembered(ours: Scoped, bundle: Bundle, unit: str) -> None:
    """Callers pass it to create alone: kill, exec and delete know from the state."""
    made(ours, "run", bundle)
    plain = Runtime(ours.program, ours.root)
    succeeded(plain("update", "--pids-limit", "17", "c1"))
    assert shown(unit, "TasksMax") == {"TasksMax": "17"}
    succeeded(plain("delete", "--force", "c1"))
    assert state_of(unit) == "inactive"


LIMITS: dict[str, Any] = {
    "memory": {"limit": 64 << 20, "swap": 96 << 20, "reservation": 32 << 20},
    "cpu": {"quota": 50000, "period": 100000, "cpus": "0", "mems": "0"},
    "pids": {"limit": 33},
    "unified": {"memory.high": "60000000"},
}
PROPERTIES = (
    *("Slice", "Delegate", "DefaultDependencies", "MemoryAccounting", "CPUAccounting", "IOAccounting"),
    *("TasksAccounting", "MemoryMax", "MemoryLow", "MemoryHigh", "MemorySwapMax", "CPUQuotaPerSecUSec"),
    *("CPUQuotaPeriodUSec", "AllowedCPUs", "AllowedMemoryNodes", "TasksMax", "DevicePolicy"),
    *("TimeoutStopUSec", "CollectMode", "CPUWeight"),
)
FILES = (
    *("cpu.max", "cpu.weight", "cpuset.cpus", "cpuset.mems", "memory.high", "memory.low", "memory.max"),
    *("memory.swap.max", "pids.max"),
)


def _made(runtime: Scoped, bundle: Bundle, unit: str) -> tuple[dict[str, str], dict[str, str], set[str]]:
    made(runtime, "create", bundle)
    show = [peer("systemctl"), "show", unit, "--property=DeviceAllow"]
    said = subprocess.run(show, check=True, capture_output=True, text=True).stdout
    # Later runcs name the group by its number, as we do.
    allowed = set(said.replace("char-pts", "char-136").splitlines())
    found = shown(unit, *PROPERTIES), files(place_of(unit), *FILES), allowed
    succeeded(runtime("delete", "--force", "c1"))
    return found


def test_the_unit_is_as_runc_makes_it(ours: Scoped, theirs: Scoped, bundle: Bundle, unit: str) -> None:
    bundle.linux["resources"] |= LIMITS
    bundle.config["annotations"] = {
        "org.systemd.property.TimeoutStopSec": "uint64 7",
        "org.systemd.property.CollectMode": "'inactive-or-failed'",
    }
    bundle.save()
    if not Path("/proc/swaps").exists():
        bundle.linux["resources"]["memory"].pop("swap")
    assert _made(ours, bundle, unit) == _made(theirs, bundle, unit)


def test_limits_hold_after_systemd_has_written_them_anew(ours: Scoped, bundle: Bundle, unit: str) -> None:
    bundle.linux["resources"] |= LIMITS | {"cpu": {"quota": 33333, "period": 100000, "shares": 512}}
    bundle.save()
    made(ours, "run", bundle)
    before = files(place_of(unit), *FILES)
    subprocess.run([peer("systemctl"), "daemon-reload"], check=True)
    assert files(place_of(unit), *FILES) == before
    assert before["cpu.max"] == "34000 100000"  # whole percents


def test_update_reaches_the_unit_and_the_files(ours: Scoped, bundle: Bundle, unit: str) -> None:
    made(ours, "run", bundle)
    succeeded(ours("update", "--memory", "64m", "--cpu-quota", "20000", "--cpu-period", "100000", "c1"))
    assert shown(unit, "MemoryMax", "CPUQuotaPerSecUSec") == {
        "MemoryMax": str(64 << 20),
        "CPUQuotaPerSecUSec": "200ms",
    }
    assert files(place_of(unit), "memory.max", "cpu.max") == {
        "memory.max": str(64 << 20),
        "cpu.max": "20000 100000",
    }


def test_a_limit_of_one_process_lets_the_program_run_alone(ours: Scoped, bundle: Bundle, unit: str) -> None:
    bundle.linux["resources"]["pids"] = {"limit": 1}
    bundle.command("sh", "-c", "read limit </sys/fs/cgroup/pids.max; echo $limit; (true); echo")
    result = ours("run", "--bundle", str(bundle.path), "c1")
    assert result.stdout.startswith("1\n")
    assert "can't fork" in result.stderr
    bundle.command("sleep", "1000")
    made(ours, "run", bundle, "c2")
    assert shown(unit, "TasksMax") == {"TasksMax": "1"}
    assert "temporarily unavailable" in last_line(ours("exec", "c2", "true"))


def test_devices_are_filtered_by_one_program_of_ours(ours: Scoped, bundle: Bundle, unit: str) -> None:
    node = {"path": "/dev/disk", "type": "b", "major": 254, "minor": 0, "fileMode": 0o666}
    bundle.linux["devices"] = [node]
    bundle.save()
    made(ours, "run", bundle)
    directory = os.open(place_of(unit), os.O_RDONLY)
    try:
        assert len(device_filter.attached(directory)) == 1
    finally:
        os.close(directory)
    assert "Operation not permitted" in ours("exec", "c1", "head", "-c1", "/dev/disk").stderr


def test_the_name_comes_from_the_id_where_nothing_is_said(ours: Scoped, bundle: Bundle) -> None:
    bundle.command("sleep", "1000")
    made(ours, "create", bundle)
    assert membership(ours.state("c1")["pid"]) == "/system.slice/runc-c1.scope"


def test_a_container_that_ends_by_itself_leaves_no_unit(ours: Scoped, bundle: Bundle, unit: str) -> None:
    bundle.command("true")
    succeeded(ours("run", "--bundle", str(bundle.path), "c1"))
    assert state_of(unit) == "inactive"
    made(ours, "run", bundle, "c2")
    wait_until(lambda: ours.status("c2") == "stopped")
    succeeded(ours("delete", "c2"))


def test_a_create_that_fails_leaves_no_unit(ours: Scoped, bundle: Bundle, unit: str) -> None:
    bundle.command("/no/such/program")
    assert ours("create", "--bundle", str(bundle.path), "c1").returncode == 1
    assert state_of(unit) == "inactive"
    assert not place_of(unit).exists()
    bundle.linux["namespaces"].append({"type": "network", "path": "/no/such/namespace"})
    bundle.linux["namespaces"] = [
        n for n in bundle.linux["namespaces"] if n["type"] != "network" or n.get("path")
    ]
    bundle.command("true")
    assert "/no/such/namespace" in last_line(ours("create", "--bundle", str(bundle.path), "c1"))
    assert state_of(unit) == "inactive"


def test_a_unit_of_the_same_name_is_told_of(ours: Scoped, bundle: Bundle, unit: str) -> None:
    made(ours, "create", bundle)
    refused = last_line(ours("create", "--bundle", str(bundle.path), "c2"))
    assert f"systemd has a unit '{unit}' already" in refused
    assert ours.status("c1") == "created"


def test_what_systemd_refuses_is_told_in_its_words(ours: Scoped, bundle: Bundle, unit: str) -> None:
    bundle.config["annotations"] = {"org.systemd.property.NoSuchThing": "true"}
    bundle.save()
    refused = last_line(ours("run", "--bundle", str(bundle.path), "c1"))
    assert "systemd: Cannot set property NoSuchThing" in refused
    assert state_of(unit) == "inactive"


def test_the_plan_shows_what_systemd_does(ours: Scoped, bundle: Bundle, unit: str) -> None:
    text = succeeded(ours("run", "--explain", "--bundle", str(bundle.path), "c1"))
    assert text.splitlines()[0].strip() == (
        f"0 caller: start scope name='{unit}' slice='cloche-tests.slice'  (linux.cgroupsPath)"
    )
    assert state_of(unit) == "inactive"


def test_the_systems_bus_does_where_the_managers_socket_is_not_reached(
    monkeypatch: pytest.MonkeyPatch, root: None
) -> None:
    monkeypatch.setattr("cloche.kernel.cgroups.systemd_bus._PRIVATE", "/no/such/socket")
    with Bus.connect() as bus:
        assert bus.property("ControlGroup") == ""
        process = subprocess.Popen(["sleep", "1000"])
        try:
            (job,) = bus.call(
                "StartTransientUnit",
                "ssa(sv)a(sa(sv))",
                "cloche-bus.scope",
                "replace",
                [("PIDs", Variant("au", [process.pid]))],
                [],
            )
            assert bus.job_result(job) == "done"
            with pytest.raises(Refused, match="not loaded"):
                bus.call("StopUnit", "ss", "cloche-none.scope", "replace")
            (job,) = bus.call("StopUnit", "ss", "cloche-bus.scope", "replace")
            assert bus.job_result(job) == "done"
        finally:
            process.kill()
            process.wait()
