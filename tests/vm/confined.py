"""A profile of AppArmor's acts on a container's processes; run inside the guest (see test_unified.py)."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloche.cri.container_security import apparmor
from cloche.cri.settings import Settings
from cloche.engine.apparmor import DEFAULT
from cloche.errors import InvalidArgument
from cloche.kernel import pidfd
from cloche.wire.messages.cri.containers import LinuxContainerSecurityContext
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


def test_containers_of_pods_have_the_default_profile_or_one_that_is_loaded(
    runtime: Runtime, bundle: Bundle
) -> None:
    settings = Settings("/nowhere", "/nowhere", {})
    context = LinuxContainerSecurityContext()
    bundle.process["apparmorProfile"] = apparmor(context, settings)
    assert bundle.process["apparmorProfile"] == DEFAULT
    script = """cat /proc/self/attr/apparmor/current
        echo yes > /tmp/allowed && cat /tmp/allowed && kill -0 1
        echo 7 > /proc/sys/kernel/shm_rmid_forced || :
        for denied in /proc/sys/vm/swappiness /proc/sys/kernel/panic /sys/kernel/mm/ksm/run; do
            echo 1 2>/dev/null > $denied || echo no
        done
        mount -t tmpfs none /tmp 2>/dev/null || echo no"""
    bundle.command("sh", "-c", script)
    # So that nothing but the profile is in the way.
    bundle.linux.pop("readonlyPaths", None)
    for each in bundle.config["mounts"]:
        each["options"] = [word for word in each.get("options", ()) if word != "ro"]
    for kind in ("bounding", "effective", "permitted"):
        bundle.process["capabilities"][kind].append("CAP_SYS_ADMIN")
    done = runtime("run", "--bundle", str(bundle.path), unique("confined"))
    assert done.stdout.splitlines() == [f"{DEFAULT} (enforce)", "yes", *["no"] * 4], done.stderr
    for context, wanted in (
        (LinuxContainerSecurityContext(apparmor_profile="unconfined"), ""),
        (LinuxContainerSecurityContext(privileged=True), ""),
        (LinuxContainerSecurityContext(apparmor_profile=f"localhost/{NAME}"), NAME),
    ):
        assert apparmor(context, settings) == wanted
    with pytest.raises(InvalidArgument, match="'none-such' is not loaded"):
        apparmor(LinuxContainerSecurityContext(apparmor_profile="localhost/none-such"), settings)
    with pytest.raises(InvalidArgument, match="disable_apparmor"):
        apparmor(
            LinuxContainerSecurityContext(apparmor_profile=f"localhost/{NAME}"),
            settings.replace(apparmor=False),
        )


def test_a_profile_that_is_not_loaded_is_refused(runtime: Runtime, bundle: Bundle) -> None:
    bundle.process["apparmorProfile"] = "cloche-test-none"
    bundle.command("true")
    done = runtime("run", "--bundle", str(bundle.path), unique("confined"))
    assert done.returncode == 1
    assert "apparmor" in last_line(done).lower()
    if runtime.name == "cloche-runc":
        assert "process.apparmorProfile" in last_line(done)
