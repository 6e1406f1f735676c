"""The lifecycle of containers against the kernel."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from cloche.errors import AlreadyExists, FailedPrecondition, NotFound, Unimplemented
from cloche.runtime.container import Container, ExecFailed, containers
from cloche.runtime.create import create
from tests.bundles import Bundle
from tests.runtime.containers import Runtime, pipe, read_all

EXEC = {"args": ["sh", "-c", "exit 5"], "cwd": "/", "env": ["PATH=/bin"]}


def test_a_container_goes_through_its_states(runtime: Runtime, bundle: Bundle) -> None:
    bundle.command("sleep", "1000")
    container, process = runtime.create(bundle)
    with process:
        assert container.status() == "created"
        container.start()
        assert container.status() == "running"
        container.pause()
        assert container.status() == "paused"
        container.resume()
        assert container.status() == "running"
        container.kill(signal.SIGKILL)
        assert process.wait() == 128 + signal.SIGKILL
        assert container.status() == "stopped"
        container.delete()
    assert containers(runtime.root) == []


def test_the_program_does_not_run_before_start(runtime: Runtime, bundle: Bundle) -> None:
    bundle.command("sh", "-c", "echo ran > /started")
    container, process = runtime.create(bundle)
    with process:
        assert not (bundle.rootfs / "started").exists()
        container.start()
        assert process.wait() == 0
    assert (bundle.rootfs / "started").read_text() == "ran\n"
    container.delete()


def test_exit_codes_are_the_programs_own(runtime: Runtime, bundle: Bundle) -> None:
    assert runtime.run(bundle, "sh", "-c", "exit 42")[0] == 42
    assert runtime.run(bundle, "sh", "-c", "kill -TERM $$")[0] in (0, 128 + signal.SIGTERM)


def test_an_id_in_use_is_refused_and_its_owner_left_alone(runtime: Runtime, bundle: Bundle) -> None:
    with runtime.running(bundle) as container:
        bundle.linux["cgroupsPath"] = f"{runtime.cgroup_parent}/other"
        with pytest.raises(AlreadyExists):
            create(runtime.root, container.id, bundle.config, bundle=str(bundle.path))  # type: ignore[arg-type]  # read from JSON
        assert container.status() == "running"


def test_a_container_is_started_once(runtime: Runtime, bundle: Bundle) -> None:
    with runtime.running(bundle) as container, pytest.raises(FailedPrecondition, match="running"):
        container.start()


def test_a_container_that_runs_is_deleted_only_by_force(runtime: Runtime, bundle: Bundle) -> None:
    with runtime.running(bundle) as container, pytest.raises(FailedPrecondition, match="not stopped"):
        container.delete()


def test_start_after_the_process_was_killed_is_refused(runtime: Runtime, bundle: Bundle) -> None:
    container, process = runtime.create(bundle.command("true"))
    with process:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        with pytest.raises(FailedPrecondition, match="stopped"):
            container.start()
    container.delete()


def test_an_unknown_container_is_not_found(runtime: Runtime) -> None:
    with pytest.raises(NotFound, match="does not exist"):
        Container.load(runtime.root, "nobody")


@pytest.mark.parametrize(
    ("args", "errno", "words"),
    [
        (["missing"], 2, "executable file not found"),
        (["/bin/missing"], 2, "no such file"),
        (["/etc/passwd"], 13, "permission denied"),
        (["/etc"], 13, "permission denied"),
    ],
)
def test_a_program_that_cannot_run_fails_the_create_and_leaves_nothing(
    runtime: Runtime, bundle: Bundle, args: list[str], errno: int, words: str
) -> None:
    with pytest.raises(ExecFailed, match=words) as failure:
        runtime.create(bundle.command(*args))
    assert failure.value.errno == errno
    assert containers(runtime.root) == []


def test_a_program_in_the_wrong_format_fails_the_start(runtime: Runtime, bundle: Bundle) -> None:
    broken = bundle.rootfs / "broken"
    broken.write_bytes(b"\x00\x01not a program")
    broken.chmod(0o755)
    container, process = runtime.create(bundle.command("/broken"))
    with process:
        with pytest.raises(ExecFailed, match="exec format error"):
            container.start()
        process.wait()
    assert container.status() == "stopped"
    container.delete()


def test_a_missing_rootfs_is_named_by_its_place(runtime: Runtime, bundle: Bundle) -> None:
    bundle.config["root"]["path"] = "nowhere"
    with pytest.raises(NotFound, match=r"root\.path.*nowhere"):
        runtime.create(bundle)
    assert containers(runtime.root) == []


def test_a_missing_mount_source_is_named_by_its_place(runtime: Runtime, bundle: Bundle) -> None:
    bundle.config["mounts"].append({"destination": "/x", "source": "/no/such", "options": ["bind"]})
    with pytest.raises(NotFound, match=r"mounts\[7\].*/no/such"):
        runtime.create(bundle)
    assert containers(runtime.root) == []


def test_an_option_the_filesystem_does_not_know_is_told_in_its_words(
    runtime: Runtime, bundle: Bundle
) -> None:
    bundle.config["mounts"].append(
        {"destination": "/x", "type": "tmpfs", "source": "tmpfs", "options": ["colour=red"]}
    )
    with pytest.raises(FailedPrecondition, match=r"mounts\[7\].*colour"):
        runtime.create(bundle)


def test_what_is_not_supported_is_refused_rather_than_left_out(runtime: Runtime, bundle: Bundle) -> None:
    bundle.linux["intelRdt"] = {"schemata": ["L3:0=f"]}
    with pytest.raises((FailedPrecondition, Unimplemented), match=r"intelRdt: .* not (enabled|supported)"):
        runtime.create(bundle)


def test_exec_runs_in_the_container_and_returns_its_code(runtime: Runtime, bundle: Bundle) -> None:
    with runtime.running(bundle) as container, container.execute(EXEC) as process:  # type: ignore[arg-type]  # a literal
        assert process.wait() == 5


def test_exec_joins_every_namespace_and_cgroup(runtime: Runtime, bundle: Bundle) -> None:
    script = "hostname; for n in net pid mnt; do readlink /proc/self/ns/$n; done; cat /proc/self/cgroup"
    bundle.config["hostname"] = "inside"
    bundle.linux["namespaces"] = [n for n in bundle.linux["namespaces"] if n["type"] != "cgroup"]
    with runtime.running(bundle) as container, pipe() as (reader, writer):
        process = container.execute({**EXEC, "args": ["sh", "-c", script]}, stdio=(writer, writer, writer))  # type: ignore[typeddict-item]  # a literal
        os.close(writer)
        said = read_all(reader).splitlines()
        with process:
            assert process.wait() == 0
        theirs = [os.readlink(f"/proc/{container.pid}/ns/{kind}") for kind in ("net", "pid", "mnt")]
        cgroups = Path(f"/proc/{container.pid}/cgroup").read_text()
    assert said[:4] == ["inside", *theirs]
    assert said[4:] == cgroups.splitlines()


def test_exec_of_a_missing_program_says_so(runtime: Runtime, bundle: Bundle) -> None:
    with runtime.running(bundle) as container:
        with pytest.raises(ExecFailed, match="executable file not found") as failure:
            container.execute({**EXEC, "args": ["missing"]})  # type: ignore[typeddict-item]  # a literal
        assert failure.value.errno == 2
        assert container.status() == "running"


def test_exec_in_a_stopped_container_is_refused(runtime: Runtime, bundle: Bundle) -> None:
    container, process = runtime.create(bundle.command("true"), gate=False)
    with process:
        process.wait()
        with pytest.raises(FailedPrecondition, match="stopped"):
            container.execute(EXEC)  # type: ignore[arg-type]  # a literal
    container.delete()


def test_a_terminal_is_the_containers_own(runtime: Runtime, bundle: Bundle) -> None:
    bundle.process.update(terminal=True, consoleSize={"width": 101, "height": 33})
    bundle.command("sh", "-c", "tty; stty size; ls -l /dev/console | cut -c1; echo to-console > /dev/console")
    container, process = runtime.create(bundle, gate=False)
    with process:
        assert process.console is not None
        lines = read_all(process.console).split()
        assert process.wait() == 0
    container.delete()
    assert lines == ["/dev/pts/0", "33", "101", "c", "to-console"]


def test_preserved_descriptors_go_along_and_no_others(
    runtime: Runtime, bundle: Bundle, tmp_path: Path
) -> None:
    given = tmp_path / "given"
    given.write_text("from outside")
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]);"
        "import os, json; from cloche.runtime.create import create\n"
        "other = os.open('/etc', os.O_RDONLY); os.set_inheritable(other, True)\n"
        "config = json.load(open(sys.argv[3] + '/config.json'))\n"
        "c, p = create(sys.argv[2], 'kept', config, bundle=sys.argv[3], preserve_fds=1, gate=False)\n"
        "status = p.wait(); c.delete(); sys.exit(status)"
    )
    bundle.linux["cgroupsPath"] = f"{runtime.cgroup_parent}/kept"
    bundle.command("sh", "-c", "cat <&3; ls /proc/self/fd")
    import subprocess
    import sys

    import cloche

    packages = str(Path(cloche.__path__[0]).parent)
    # Through a shell, which can put a file at descriptor 3.
    command = [sys.executable, "-c", script, packages, runtime.root, str(bundle.path)]
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" 3<{given}', "sh", *command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    content, *numbers = done.stdout.split("\n")[:-1]
    assert content.startswith("from outside")
    # 4 is ls's own, of the folder it lists.
    assert [content.removeprefix("from outside"), *numbers] == ["0", "1", "2", "3", "4"]


def test_what_a_killed_creator_leaves_can_be_deleted(runtime: Runtime, bundle: Bundle) -> None:
    """Killed while init waits for an answer: state, cgroups and process are there, and are found."""
    import subprocess
    import sys

    bundle.linux["cgroupsPath"] = f"{runtime.cgroup_parent}/killed"
    bundle.command("sleep", "1000")
    for step in range(1, 4):
        script = (
            "import sys, os, json\n"
            "from cloche.runtime import execute\n"
            "from cloche.runtime.create import create\n"
            "answer, count = execute._Conversation._answer, 0\n"
            "def counted(self, *values):\n"
            "    global count\n"
            "    count += 1\n"
            f"    if count == {step}: os.kill(os.getpid(), 9)\n"
            "    answer(self, *values)\n"
            "execute._Conversation._answer = counted\n"
            "config = json.load(open(sys.argv[2] + '/config.json'))\n"
            "create(sys.argv[1], 'killed', config, bundle=sys.argv[2])\n"
            "os.kill(os.getpid(), 9)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, runtime.root, str(bundle.path)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        )
        assert done.returncode == -9
        container = Container.load(runtime.root, "killed")
        container.delete(force=True)
        assert not container.cgroup.exists()
        assert containers(runtime.root) == []
