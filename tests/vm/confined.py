"""A profile of AppArmor's acts on a container's processes; run inside the guest (see test_unified.py)."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloche.kernel import pidfd
from tests.bundles import Bundle
from tests.peers import command, peer
from tests.runtime.face.runtimes import Runtime, last_line, unique
from tests.vm.apparmor import PARSER

NAME = "cloche-test-confined"
DEAF = "cloche-test-deaf"
RULES = """
    file,
    capability,
    network,
    deny /tmp/denied w,
"""
PROFILES = f"""
profile {NAME} flags=(attach_disconnected) {{ {RULES} signal (receive) peer=unconfined, }}
profile {DEAF} flags=(attach_disconnected) {{ {RULES} }}
"""
SCRIPT = "cat /proc/self/attr/apparmor/current; echo yes > /tmp/allowed; echo no > /tmp/denied"
CONFINED = f"{NAME} (enforce)"


@pytest.fixture(scope="module", autouse=True)
def profiles() -> Iterator[None]:
    """The profiles, known to the kernel."""
    parser = [PARSER, "--skip-cache"]
    subprocess.run([*parser, "--add"], input=PROFILES, text=True, check=True)
    yield
    subprocess.run([*parser, "--remove"], input=PROFILES, text=True, check=True)


@pytest.fixture(params=["cloche-runc", "runc"])
def runtime(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Runtime]:
    """Each in turn: what the reference does not pass is no test."""
    name = request.param
    with Runtime(peer(name) if name == "runc" else command(name), tmp_path / "state") as running:
        yield running


def test_a_program_may_not_write_what_its_profile_denies(runtime: Runtime, bundle: Bundle) -> None:
    bundle.process["apparmorProfile"] = NAME
    bundle.command("sh", "-c", SCRIPT)
    done = runtime("run", "--bundle", str(bundle.path), unique("confined"))
    assert done.stdout.splitlines() == [CONFINED]
    assert done.returncode != 0
    assert "/tmp/denied: Permission denied" in done.stderr
    assert (bundle.rootfs / "tmp" / "allowed").read_text() == "yes\n"
    assert not (bundle.rootfs / "tmp" / "denied").exists()


def test_exec_is_confined_by_the_containers_profile_or_by_its_own(runtime: Runtime, bundle: Bundle) -> None:
    for profile, flags in ((NAME, ()), ("", ("--apparmor", NAME))):
        bundle.process["apparmorProfile"] = profile
        bundle.command("sleep", "1000")
        name = unique("confined")
        assert runtime.start_detached("create", "--bundle", str(bundle.path), name) == 0
        assert runtime("start", name).returncode == 0
        done = runtime("exec", *flags, name, "sh", "-c", SCRIPT)
        assert done.stdout.splitlines() == [CONFINED]
        assert done.returncode != 0
        assert "/tmp/denied: Permission denied" in done.stderr
        assert runtime("delete", "--force", name).returncode == 0


def test_who_may_receive_no_signal_is_killed_by_its_cgroup(bundle: Bundle, tmp_path: Path) -> None:
    """runc leaves it running."""
    bundle.process["apparmorProfile"] = DEAF
    bundle.command("sleep", "1000")
    name = unique("confined")
    with Runtime(command("cloche-runc"), tmp_path / "state") as ours:
        assert ours.start_detached("create", "--bundle", str(bundle.path), name) == 0
        assert ours("start", name).returncode == 0
        pid = ours.state(name)["pid"]
        assert "may not be signalled: Permission denied" in last_line(ours("kill", name, "TERM"))
        assert ours.status(name) == "running"
        assert ours("delete", "--force", name).returncode == 0
        assert pidfd.ended(pid)


def test_a_profile_that_is_not_loaded_is_refused(runtime: Runtime, bundle: Bundle) -> None:
    bundle.process["apparmorProfile"] = "cloche-test-none"
    bundle.command("true")
    done = runtime("run", "--bundle", str(bundle.path), unique("confined"))
    assert done.returncode == 1
    assert "apparmor" in last_line(done).lower()
    if runtime.name == "cloche-runc":
        assert "process.apparmorProfile" in last_line(done)
