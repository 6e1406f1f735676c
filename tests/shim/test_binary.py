"""Other projects' runtimes, executed by the shim's driver."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from cloche.errors import ClocheError, DeadlineExceeded, FailedPrecondition, NotFound, Unimplemented
from cloche.kernel import mountinfo, pidfd
from cloche.runtime.failures import ExecFailed
from cloche.shim.binary import BinaryDriver, Runtime
from cloche.shim.claims import CLAIMS
from cloche.shim.driver import Spawned
from cloche.spec.mount import Mount
from tests.bundles import Bundle
from tests.shim.runtimes import NAMES, runtime
from tests.shim.subreaper import in_a_subreaper
from tests.waiting import wait_until

PATH = "PATH=/bin:/usr/bin"


class Case:
    """One container of a runtime: its driver, and files for what it prints."""

    def __init__(self, bundle: Bundle, driver: BinaryDriver, directory: Path) -> None:
        self.bundle = bundle
        self.driver = driver
        self.directory = directory
        self.id = driver.id
        self.input = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)

    def create(self, *command: str, terminal: bool = False) -> Spawned:
        self.bundle.process["terminal"] = terminal
        self.bundle.command(*command)
        return self.driver.create(stdio=self.stdio("out"), terminal=terminal)

    def run(self, *command: str) -> Spawned:
        process = self.create(*command)
        self.driver.start()
        return process

    def execute(self, *command: str, terminal: bool = False) -> Spawned:
        process: dict[str, Any] = self.bundle.process | {"args": list(command), "terminal": terminal}
        stdio = self.stdio("exec")
        return self.driver.execute("one", process, stdio=stdio, terminal=terminal)

    def stdio(self, name: str) -> tuple[int, int, int]:
        output = os.open(self.directory / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC)
        return self.input, output, output

    def printed(self, name: str = "out") -> str:
        return (self.directory / name).read_text()


def status(process: Spawned) -> int:
    """Reap a process: its exit status."""
    ended = pidfd.wait(process.pidfd)
    assert ended is not None
    CLAIMS.release(process.pid)
    return ended.status


def kill_and_reap(driver: BinaryDriver, process: Spawned) -> int:
    driver.kill(signal.SIGKILL, everyone=True)
    return status(process)


def is_mounted(path: Path) -> bool:
    return str(path) in {mount.point for mount in mountinfo.mounts()}


@pytest.fixture(params=NAMES)
def case(request: pytest.FixtureRequest, bundle: Bundle, tmp_path: Path, cgroup_parent: str) -> Case:
    return make_case(runtime(request.param, tmp_path), bundle, tmp_path, cgroup_parent)


def make_case(program: str, bundle: Bundle, directory: Path, cgroup_parent: str, **settings: Any) -> Case:
    bundle.linux["cgroupsPath"] = f"{cgroup_parent}/one"
    bundle.save()
    chosen = Runtime(program, str(directory / "root"), **settings)
    # runsc has a socket named after the id that all containers of the machine share.
    name = f"one-{os.urandom(4).hex()}"
    driver = BinaryDriver(chosen, bundle=str(bundle.path), container_id=name, namespace="tests", rootfs=())
    return Case(bundle, driver, directory)


@in_a_subreaper
def test_a_container_runs_with_an_exec_and_nothing_of_it_remains(case: Case) -> None:
    process = case.run("/bin/sh", "-c", "echo started; exec sleep 1000")
    try:
        other = case.execute("/bin/sh", "-c", "echo inside; exit 7")
        assert status(other) == 7
        assert case.printed("exec") == "inside\n"
        assert case.printed() == "started\n"
        assert case.driver.pids()
        cgroup = case.driver.cgroup()
        assert cgroup is None or cgroup.processes()
        assert kill_and_reap(case.driver, process) == 137
    finally:
        case.driver.delete()
    case.driver.delete()
    assert not [name for name in os.listdir(case.bundle.path) if name.startswith(".")]
    assert cgroup is None or not cgroup.exists()


@in_a_subreaper
def test_the_exit_status_is_the_programs_own(case: Case) -> None:
    process = case.run("/bin/sh", "-c", "exit 42")
    try:
        assert status(process) == 42
    finally:
        case.driver.delete()


@in_a_subreaper
def test_a_process_may_have_a_terminal(case: Case) -> None:
    process = case.create("/bin/sh", "-c", "test -t 0 && echo terminal; sleep 1000", terminal=True)
    try:
        case.driver.start()
        assert os.isatty(process.console)
        assert b"terminal" in os.read(process.console, 100)
        other = case.execute("/bin/sh", "-c", "test -t 0 && exit 5", terminal=True)
        assert status(other) == 5
        kill_and_reap(case.driver, process)
    finally:
        case.driver.delete()


@in_a_subreaper
def test_a_program_that_is_missing_is_named_whatever_the_runtime(case: Case) -> None:
    made: list[Spawned] = []

    def create_and_start() -> None:
        made.append(case.create("nowhere"))
        case.driver.start()

    with pytest.raises(FailedPrecondition, match=r"^OCI runtime (create|start) failed: .*nowhere"):
        create_and_start()
    for process in made:
        pidfd.send_signal(process.pidfd, signal.SIGKILL)
        status(process)
    case.driver.delete()


@in_a_subreaper
def test_a_paused_container_goes_on_when_it_is_resumed(case: Case) -> None:
    process = case.run("/bin/sleep", "1000")
    try:
        case.driver.pause()
        case.driver.resume()
        kill_and_reap(case.driver, process)
    finally:
        case.driver.delete()


@in_a_subreaper
def test_limits_change_while_it_runs(case: Case) -> None:
    process = case.run("/bin/sleep", "1000")
    try:
        try:
            case.driver.update({"pids": {"limit": 77}})
        except Unimplemented:
            return
        cgroup = case.driver.cgroup()
        assert cgroup is not None
        assert Path(cgroup.paths.get("pids", cgroup.paths.get("", "")), "pids.max").read_text() == "77\n"
    finally:
        kill_and_reap(case.driver, process)
        case.driver.delete()


@in_a_subreaper
def test_what_is_gone_is_not_found(case: Case) -> None:
    with pytest.raises(NotFound):
        case.driver.kill(signal.SIGTERM, everyone=False)


@in_a_subreaper
def test_the_root_filesystem_is_mounted_for_the_runtime_and_unmounted(
    bundle: Bundle, tmp_path: Path, cgroup_parent: str
) -> None:
    case = make_case(runtime("runc", tmp_path), bundle, tmp_path, cgroup_parent)
    elsewhere = tmp_path / "elsewhere"
    os.rename(bundle.rootfs, elsewhere)
    mounts = (Mount("bind", str(elsewhere), ("rbind", "rw")),)
    driver = BinaryDriver(
        case.driver.runtime, bundle=str(bundle.path), container_id=case.id, namespace="tests", rootfs=mounts
    )
    case.driver = driver
    process = case.run("/bin/ls", "/bin/busybox")
    try:
        assert status(process) == 0
        assert is_mounted(bundle.rootfs)
    finally:
        driver.delete()
    assert not is_mounted(bundle.rootfs)
    with pytest.raises(ClocheError):
        case.run("nowhere")
    assert not is_mounted(bundle.rootfs)


@in_a_subreaper
def test_a_runtime_that_hangs_is_killed_with_what_it_started(
    bundle: Bundle, tmp_path: Path, cgroup_parent: str
) -> None:
    script = tmp_path / "hangs"
    script.write_text(f"#!/bin/sh\nsleep 1000 &\necho $! > {tmp_path}/child\nwait\n")
    script.chmod(0o755)
    case = make_case(str(script), bundle, tmp_path, cgroup_parent, timeout_s=0.3, create_timeout_s=0.3)
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded, match=r"hangs did not finish in 0\.3 s"):
        case.create("/bin/true")
    with pytest.raises(DeadlineExceeded):
        case.driver.pids()
    assert time.monotonic() - began < 5
    child = int((tmp_path / "child").read_text())
    wait_until(lambda: pidfd.ended(child))


@in_a_subreaper
def test_a_runtime_that_is_not_there_is_named(bundle: Bundle, tmp_path: Path, cgroup_parent: str) -> None:
    case = make_case("/nowhere/runc", bundle, tmp_path, cgroup_parent)
    with pytest.raises(FailedPrecondition, match="'/nowhere/runc' is not there"):
        case.create("/bin/true")
    # Nobody may take this for a container that is gone.
    with pytest.raises(FailedPrecondition, match="is not there"):
        case.driver.delete()


@in_a_subreaper
def test_a_process_that_was_not_handed_to_the_shim_is_refused(
    bundle: Bundle, tmp_path: Path, cgroup_parent: str
) -> None:
    script = tmp_path / "lies"
    script.write_text('#!/bin/sh\nwhile [ "$1" != --pid-file ]; do shift; done\necho 1 > "$2"\n')
    script.chmod(0o755)
    case = make_case(str(script), bundle, tmp_path, cgroup_parent)
    with pytest.raises(FailedPrecondition, match="was not handed to the shim"):
        case.create("/bin/true")


@in_a_subreaper
def test_a_program_that_is_not_executable_is_an_error_of_its_own(
    bundle: Bundle, tmp_path: Path, cgroup_parent: str
) -> None:
    case = make_case(runtime("runc", tmp_path), bundle, tmp_path, cgroup_parent)
    with pytest.raises(ExecFailed) as caught:
        case.run("nowhere")
    assert caught.value.errno == 2
    process = case.run("/bin/sleep", "1000")
    try:
        with pytest.raises(ExecFailed, match="it is not executable") as caught:
            case.execute("/etc/passwd")
        assert caught.value.errno == 13
    finally:
        kill_and_reap(case.driver, process)
        case.driver.delete()


@in_a_subreaper
def test_what_a_program_lacks_is_added_to_the_runtimes_words(case: Case) -> None:
    script = case.bundle.rootfs / "run.sh"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o644)
    process = case.run("/bin/sleep", "1000")
    try:
        with pytest.raises(
            ExecFailed, match=r"^OCI runtime exec failed: .*it is not executable \(mode 0644\)"
        ):
            case.execute("/run.sh")
    finally:
        kill_and_reap(case.driver, process)
        case.driver.delete()
