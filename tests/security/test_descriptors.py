"""Every open descriptor of a container's processes, against what may be open there."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

from cloche.runtime.container import Container
from tests.bundles import Bundle
from tests.runtime.containers import Runtime, pipe, read_all
from tests.waiting import wait_until

AT_THE_GATE = re.compile(r"/dev/null|pipe:\[\d+\]|.*/(start|result)\.fifo")
EXEC = {"args": ["sleep", "1000"], "cwd": "/", "env": ["PATH=/bin"]}


def descriptors(pid: int) -> dict[int, str]:
    folder = Path(f"/proc/{pid}/fd")
    return {int(name): os.readlink(folder / name) for name in os.listdir(folder)}


def test_a_created_container_holds_its_streams_and_its_gate(
    runtime: Runtime, bundle: Bundle, tmp_path: Path
) -> None:
    bundle.config["mounts"].append({"destination": "/m", "source": str(tmp_path), "options": ["rbind"]})
    bundle.linux["sysctl"] = {"net.ipv4.ip_forward": "1"}
    null = os.open("/dev/null", os.O_RDWR)
    container, process = runtime.create(bundle.command("true"), stdio=(null, null, null))
    os.close(null)
    with process:
        # It hangs up the socket when it has heard that its pid is written down.
        wait_until(lambda: len(descriptors(process.pid)) <= 5)
        held = descriptors(process.pid)
        container.delete(force=True)
        process.wait()
    assert {0, 1, 2} <= set(held)
    assert len(held) == 5, held
    assert all(AT_THE_GATE.fullmatch(target) for target in held.values()), held


def test_a_started_container_holds_its_streams_only(runtime: Runtime, bundle: Bundle) -> None:
    with runtime.running(bundle) as container:
        assert set(descriptors(container.pid)) == {0, 1, 2}


def test_an_executed_process_holds_its_streams_only(runtime: Runtime, bundle: Bundle) -> None:
    with runtime.running(bundle) as container:
        assert set(executed_descriptors(container)) == {0, 1, 2}


def executed_descriptors(container: Container) -> dict[int, str]:
    """Those of one more process, which has ended when this returns."""
    with container.execute(EXEC) as process:  # type: ignore[arg-type]  # a literal
        try:
            return descriptors(process.pid)
        finally:
            process.kill(signal.SIGKILL)
            # Process 1 of a pid namespace does not end before all others were reaped.
            process.wait()


def test_a_terminals_master_stays_outside(runtime: Runtime, bundle: Bundle) -> None:
    bundle.process["terminal"] = True
    with runtime.running(bundle) as container:
        assert descriptors(container.pid) == dict.fromkeys(range(3), "/dev/pts/0")


def test_a_directory_left_inheritable_by_the_caller_does_not_get_in(runtime: Runtime, bundle: Bundle) -> None:
    """CVE-2024-21626: a leaked descriptor of the host, found by /proc/self/fd."""
    leaked = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    os.set_inheritable(leaked, True)
    try:
        with runtime.running(bundle) as container:
            assert set(descriptors(container.pid)) == {0, 1, 2}
            assert set(executed_descriptors(container)) == {0, 1, 2}
    finally:
        os.close(leaked)


def test_a_process_that_joins_cannot_be_read_from_inside(runtime: Runtime, bundle: Bundle) -> None:
    """CVE-2016-9962: between join and execve, root inside looks at whoever appears in /proc.

    With Docker's capabilities; CAP_SYS_PTRACE of the first user namespace is made to read anybody.
    """
    script = (
        "while :; do for p in /proc/[0-9]*; do case $p in /proc/1) continue;; esac;"
        " ls -l $p/fd 2>/dev/null | grep -E 'cgroup|fifo|memfd|socket' && echo seen; done; done"
    )
    bundle.process["capabilities"] = {
        kind: ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_SETUID", "CAP_KILL"]
        for kind in ("bounding", "effective", "permitted")
    }
    bundle.command("sh", "-c", script)
    with pipe() as (reader, writer):
        container, process = runtime.create(bundle, gate=False, stdio=(writer, writer, writer))
        os.close(writer)
        try:
            for _ in range(30):
                with container.execute({**EXEC, "args": ["true"]}) as executed:  # type: ignore[typeddict-item]  # a literal
                    executed.wait()
        finally:
            container.delete(force=True)
            process.wait()
            process.close()
        assert read_all(reader) == ""
