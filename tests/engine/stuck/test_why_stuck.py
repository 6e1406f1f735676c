"""Processes that are really stuck, what is said about each, and that the command it names frees it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cloche.engine.engine import Engine
from cloche.engine.options import Options
from cloche.engine.stuck.diagnosis import diagnose, explain
from cloche.engine.stuck.findings import Finding, Wait
from cloche.engine.stuck.targets import occupied
from cloche.errors import NotFound
from cloche.kernel.cgroups.cgroup import Cgroup
from cloche.kernel.cgroups.layout import layout
from cloche.kernel.threads import thread
from tests.bundles import Bundle
from tests.fuse import DeafMount
from tests.peers import peer, unavailable
from tests.waiting import wait_until

pytestmark = pytest.mark.usefixtures("root")

Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts processes that are killed at the end of the test."""
    started: list[subprocess.Popen[bytes]] = []

    def run(*command: str, python: str = "", **options: object) -> subprocess.Popen[bytes]:
        words = [sys.executable, "-S", "-c", python, *command] if python else list(command)
        process = subprocess.Popen(words, **({"stdin": subprocess.DEVNULL} | options))  # type: ignore[call-overload]  # passed on
        started.append(process)
        return process  # type: ignore[no-any-return]  # as above

    yield run
    # One that is traced is not reaped before its debugger is gone.
    for process in started:
        process.kill()
    for process in started:
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream:
                stream.close()


def stuck(pid: int, words: str) -> Wait:
    """What a process waits for, once that has these words in it."""
    seen: list[str] = []

    def look() -> Wait | None:
        found = thread(pid)
        wait = explain(found) if found else None
        if wait is not None:
            seen[:] = [wait.what]
        return wait if wait and words in wait.what else None

    try:
        found = wait_until(look, timeout_s=5)
    except TimeoutError:
        raise AssertionError(f"said {seen} of {thread(pid)}") from None
    assert found is not None
    return found


def obey(wait: Wait) -> None:
    """Run the command that is to free the process."""
    assert wait.remedy
    subprocess.run(["sh", "-c", wait.remedy], check=False, timeout=10, stderr=subprocess.DEVNULL)


def test_reading_an_empty_fifo_names_who_could_write(start: Start, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "jobs")
    writer = start("sh", "-c", f"exec 3<>{tmp_path}/jobs; exec sleep 1000")
    reader = start("cat", stdin=os.open(tmp_path / "jobs", os.O_RDWR | os.O_CLOEXEC))
    wait = stuck(reader.pid, f"data in the fifo {tmp_path}/jobs, which is empty")
    assert f"{writer.pid} (sleep)" in stuck(reader.pid, "which is empty").holder or wait.holder
    assert wait.stuck
    obey(wait)


def test_opening_a_fifo_waits_for_the_other_end(start: Start, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "jobs")
    reader = start("cat", str(tmp_path / "jobs"))
    wait = stuck(reader.pid, f"somebody to open the fifo {tmp_path}/jobs for writing")
    obey(wait)
    assert reader.wait(5) == 0
    writer = start("sh", "-c", f"echo hello > {tmp_path}/jobs")
    wait = stuck(writer.pid, f"somebody to open the fifo {tmp_path}/jobs for reading")
    obey(wait)
    assert writer.wait(5) == 0


def test_a_full_pipe_names_the_reader_that_does_not_read(start: Start) -> None:
    reading, writing = os.pipe()
    reader = start("sleep", "1000", stdin=reading)
    os.close(reading)
    writer = start("dd", "if=/dev/zero", "bs=64k", "count=2", stdout=writing, stderr=subprocess.DEVNULL)
    os.close(writing)
    wait = stuck(writer.pid, "which is full: its readers do not read")
    assert wait.holder == f"{reader.pid} (sleep)"
    obey(wait)
    assert writer.wait(5) == 0


@pytest.mark.parametrize("call", ["flock", "lockf"])
def test_a_file_lock_names_its_holder(start: Start, tmp_path: Path, call: str) -> None:
    lock = f"import fcntl, time; f = open({str(tmp_path / 'db')!r}, 'w'); fcntl.{call}(f, fcntl.LOCK_EX)"
    holder = start(python=f"{lock}; print('mine', flush=True); time.sleep(1000)", stdout=subprocess.PIPE)
    assert holder.stdout is not None
    holder.stdout.readline()
    waiter = start(python=lock)
    wait = stuck(waiter.pid, f"the lock of {tmp_path}/db, which another process holds")
    assert wait.holder.startswith(f"{holder.pid} (")
    obey(wait)
    assert waiter.wait(5) == 0


def test_a_lock_of_an_open_file_that_was_handed_on_is_found_where_it_is(start: Start, tmp_path: Path) -> None:
    taking = f"exec 3>{tmp_path}/db; flock 3; echo mine; exec sleep 1000"
    holder = start("sh", "-c", taking, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    holder.stdout.readline()
    waiter = start("flock", "--exclusive", str(tmp_path / "db"), "true")
    # `flock 3` took it and ended; the shell that lent it the descriptor has it still.
    wait = stuck(waiter.pid, "which another process holds")
    assert wait.holder == f"{holder.pid} (sleep)"


def test_a_fuse_mount_that_never_answers_is_named_and_aborted(start: Start, tmp_path: Path) -> None:
    with DeafMount(tmp_path / "deaf") as mount:
        reader = start("ls", str(tmp_path / "deaf" / "inside"), stderr=subprocess.DEVNULL)
        mount.swallow()
        # The server has the request, so that not even SIGKILL ends the wait for its answer.
        reader.kill()
        wait_until(lambda: (found := thread(reader.pid)) and found.state == "D")
        wait = stuck(reader.pid, f"the FUSE mount {tmp_path}/deaf (deaf), which does not answer")
        assert str(os.getpid()) in wait.holder
        found = diagnose([reader.pid], first=reader.pid)
        assert any("it was killed already" in one.waits_for for one in found)
        obey(wait)
        reader.wait(5)


def test_a_process_stopped_by_a_signal_goes_on_by_another(start: Start) -> None:
    process = start("sleep", "0.2")
    process.send_signal(signal.SIGSTOP)
    wait = stuck(process.pid, "a SIGCONT: it was stopped by a signal")
    obey(wait)
    assert process.wait(5) == 0


def test_a_traced_process_names_its_debugger(start: Start) -> None:
    process = start("sleep", "1000")
    attach = "ctypes.CDLL(None).ptrace(16, int(sys.argv[1]), None, None)"
    debugger = start(str(process.pid), python=f"import ctypes, sys, time; {attach}; time.sleep(1000)")
    wait = stuck(process.pid, "its debugger to let it go on")
    assert wait.holder.startswith(f"{debugger.pid} (")


def test_a_zombie_names_the_parent_that_does_not_reap_it(start: Start) -> None:
    parent = start(
        python="import os, time\npid = os.fork() or os._exit(0)\nprint(pid, flush=True)\ntime.sleep(1000)",
        stdout=subprocess.PIPE,
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    wait = stuck(child, "its parent to reap it: it has ended")
    assert wait.holder.startswith(f"{parent.pid} (")
    assert f"kill -CHLD {parent.pid}" in wait.remedy


def test_a_parent_waits_for_a_vfork_whose_child_hangs(start: Start, tmp_path: Path) -> None:
    with DeafMount(tmp_path / "deaf"):
        parent = start(
            str(tmp_path / "deaf" / "hook"),
            python="import os, sys; os.posix_spawn(sys.argv[1], [sys.argv[1]], {})",
            stderr=subprocess.DEVNULL,
        )
        wait = stuck(parent.pid, "its child to execute a program (vfork); the child is in execve")
        child = int(wait.holder.partition(" ")[0])
        assert "FUSE mount" in stuck(child, "FUSE").what
        obey(wait)
        parent.wait(5)


def test_a_mutex_names_the_thread_that_holds_it(start: Start) -> None:
    program = (
        "import ctypes, threading, time\n"
        "libc = ctypes.CDLL('libc.so.6')\n"
        "mutex = ctypes.create_string_buffer(64)\n"
        "libc.pthread_mutex_init(mutex, None)\n"
        "threading.Thread(target=lambda: (libc.pthread_mutex_lock(mutex), time.sleep(1000))).start()\n"
        "time.sleep(0.3)\n"
        "libc.pthread_mutex_lock(mutex)\n"
    )
    process = start(python=program)
    wait = stuck(process.pid, "a lock of its own program (futex), which another of its threads holds")
    assert wait.holder.startswith("thread ")


def test_a_worker_that_waits_for_work_is_not_called_stuck(start: Start) -> None:
    process = start(python="import threading; threading.Event().wait()")
    assert not stuck(process.pid, "another thread to wake it (futex)").stuck
    assert not stuck(start("sleep", "1000").pid, "time to pass").stuck


@pytest.fixture
def cgroup(cgroup_parent: str) -> Iterator[Cgroup]:
    made = Cgroup.create(layout(), f"{cgroup_parent}/one")
    yield made
    made.kill()
    made.destroy()


def joins(cgroup: Cgroup, rest: str) -> str:
    """A shell's words that first enter the cgroup."""
    unified = cgroup.unified_directory()
    files = [*cgroup.task_files(), *([f"{unified}/cgroup.procs"] if unified else [])]
    return "".join(f"echo $$ > {file}; " for file in files) + rest


def of_container(found: list[Finding]) -> list[Finding]:
    return [finding for finding in found if not finding.pid]


def test_a_frozen_cgroup_is_named_with_what_thaws_it(start: Start, cgroup: Cgroup) -> None:
    process = start("sh", "-c", joins(cgroup, "echo in; exec sleep 0.1"), stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    cgroup.freeze()
    (condition,) = of_container(diagnose([process.pid], first=process.pid))
    assert "/one to be thawed" in condition.waits_for
    subprocess.run(["sh", "-c", condition.remedy], check=True)
    assert process.wait(5) == 0


def test_a_frozen_cgroup_of_version_2_above_the_process_is_found_too(start: Start, cgroup: Cgroup) -> None:
    unified = cgroup.unified_directory()
    if unified is None:
        unavailable("needs cgroup2: mount it")
    process = start("sh", "-c", joins(cgroup, "echo in; exec sleep 0.1"), stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    above = Path(unified).parent
    (above / "cgroup.freeze").write_text("1")
    wait_until(lambda: "frozen 1" in (above / "cgroup.events").read_text())
    (condition,) = of_container(diagnose([process.pid], first=process.pid))
    assert condition.waits_for == f"the cgroup {above} to be thawed"
    subprocess.run(["sh", "-c", condition.remedy], check=True)
    assert process.wait(5) == 0


def test_a_cgroup_without_room_for_processes_says_so(start: Start, cgroup: Cgroup) -> None:
    cgroup.apply({"pids": {"limit": 2}})
    script = "sleep 1000 & exec sleep 1000"
    process = start("sh", "-c", joins(cgroup, script), stderr=subprocess.DEVNULL)

    def full() -> list[Finding]:
        return [
            one
            for one in of_container(diagnose([process.pid], first=process.pid))
            if "2 of 2" in one.waits_for
        ]

    (condition,) = wait_until(full)
    assert "room for processes" in condition.waits_for
    subprocess.run(["sh", "-c", condition.remedy], check=True)


def test_a_process_that_ignores_sigterm_is_told_apart(start: Start) -> None:
    process = start(
        python="import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); time.sleep(99)",
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.readline()
    found = diagnose([process.pid], first=process.pid)
    (note,) = [one for one in found if "ignores SIGTERM" in one.waits_for]
    assert not note.stuck
    subprocess.run(["sh", "-c", note.remedy], check=True)
    assert process.wait(5) == -signal.SIGKILL


@pytest.mark.parametrize("runtime", ["cloche-runc", "runc"])
def test_a_created_container_waits_at_its_gate(
    bundle: Bundle, cgroup_parent: str, tmp_path: Path, cloche_runc: str, runtime: str
) -> None:
    program = cloche_runc if runtime == "cloche-runc" else peer("runc")
    bundle.linux["cgroupsPath"] = f"{cgroup_parent}/one"
    bundle.command("/bin/sleep", "1000")
    command = [program, "--root", str(tmp_path / "root")]
    create = [*command, "create", "--bundle", str(bundle.path), "--pid-file", str(tmp_path / "pid"), "gated"]
    subprocess.run(create, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=20)
    try:
        pid = int((tmp_path / "pid").read_text())
        at_gate = [one for one in diagnose([pid], first=pid) if "to be started" in one.waits_for]
        assert at_gate
    finally:
        subprocess.run([*command, "delete", "--force", "gated"], check=True, timeout=20)


def test_a_hook_that_hangs_is_named_while_its_container_is_being_made(
    start: Start, bundle: Bundle, cgroup_parent: str, tmp_path: Path, cloche_runc: str
) -> None:
    bundle.linux["cgroupsPath"] = f"{cgroup_parent}/one"
    hook = {"path": "/bin/sleep", "args": ["sleep", "1000"]}
    bundle.config["hooks"] = {"createRuntime": [hook]}
    bundle.command("/bin/true")
    root = tmp_path / "root"
    command = [cloche_runc, "--root", str(root)]
    creating = start(*command, "create", "--bundle", str(bundle.path), "hooked", stderr=subprocess.DEVNULL)
    found = wait_until(lambda: occupied(str(root / "hooked"), set()))
    assert f"{creating.pid} (" in found[0].waits_for
    wait_until(lambda: "sleep 1000" in occupied(str(root / "hooked"), set())[0].waits_for)
    subprocess.run(["sh", "-c", occupied(str(root / "hooked"), set())[0].remedy], check=True)
    assert creating.wait(10) != 0


def test_a_container_is_found_by_name_and_by_process(engine: Engine) -> None:
    container = engine.containers.create("tools", Options(args=("sleep", "1000"), name="sleeper"))
    with pytest.raises(NotFound, match="does not run"):
        engine.why_stuck("sleeper")
    pid = container.start()
    by_name = engine.why_stuck("sleeper")
    assert any("process 1 of its pid namespace" in one.waits_for for one in by_name)
    assert {one.pid for one in engine.why_stuck(str(pid))} == {pid}
    container.pause()
    (condition,) = of_container(engine.why_stuck("sleeper"))
    assert "to be thawed" in condition.waits_for
    container.resume()
    with pytest.raises(NotFound):
        engine.why_stuck("nobody")
