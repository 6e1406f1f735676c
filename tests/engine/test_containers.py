"""Containers with a parent of their own: the life of one, and what others may do to it meanwhile."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from cloche.engine.container import Container
from cloche.engine.engine import Engine
from cloche.engine.execution import ExecOptions
from cloche.engine.options import MountOption, Options
from cloche.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, Unavailable
from cloche.runtime.container import ExecFailed
from cloche.shim import ownership
from tests.leftovers import children
from tests.shim.starting import parent
from tests.waiting import wait_until

pytestmark = pytest.mark.system

FOREVER = ("sh", "-c", 'trap "exit 7" TERM; echo ready; while :; do sleep 0.05; done')


def _started(engine: Engine, *args: str, **settings: object) -> Container:
    container = engine.containers.create("tools", Options(args=args or FOREVER, **settings))  # type: ignore[arg-type]  # handed through as it is
    container.start()
    return container


def _log(container: Container) -> bytes:
    return b"".join(line.data for line in container.logs())


def _ready(container: Container) -> Container:
    wait_until(lambda: b"ready\n" in _log(container), what="the container's first line")
    return container


def test_the_life_of_a_container(engine: Engine) -> None:
    container = engine.containers.create("tools", Options(args=FOREVER, name="life"))
    assert container.status().state == "created"
    assert container.start() == container.status().pid
    _ready(container)
    status = container.status()
    assert (status.state, status.exit_code, status.finished_at) == ("running", 0, "")
    with pytest.raises(FailedPrecondition, match="running"):
        container.start()
    with pytest.raises(FailedPrecondition, match="running"):
        container.remove()
    container.pause()
    assert container.status().state == "paused"
    container.resume()
    container.stop()
    status = container.status()
    assert (status.state, status.exit_code, container.wait()) == ("exited", 7, 7)
    container.restart()
    assert container.status().running
    container.kill()
    assert container.status().exit_code == 137
    container.remove()
    with pytest.raises(NotFound):
        engine.containers.get("life")


def test_the_parent_is_a_process_of_its_own_under_process_one(engine: Engine) -> None:
    before = children()
    container = _started(engine)
    shim = parent(container.status().pid)
    assert shim != os.getpid()
    assert parent(shim) != os.getpid()
    descriptors = [os.readlink(path) for path in Path(f"/proc/{shim}/fd").iterdir()]
    assert descriptors.count("/dev/null") >= 3
    assert children() == before


def test_a_container_survives_the_engine_that_started_it(places: tuple[str, str]) -> None:
    with Engine(*places) as first:
        _started(first, name="survivor")
    with Engine(*places) as second:
        container = second.containers.get("survivor")
        assert container.status().running
        container.remove(force=True)


def test_a_container_whose_parents_were_killed_runs_on_and_has_no_known_code(engine: Engine) -> None:
    container = _ready(_started(engine, "sh", "-c", "echo ready; sleep 1000"))
    shim = parent(container.status().pid)
    # Who would take the shim's place goes first.
    os.kill(parent(shim), signal.SIGKILL)
    os.kill(shim, signal.SIGKILL)
    run_directory = engine._context.run_directory(container.id)
    wait_until(lambda: not ownership.held(run_directory), what="the lock of the parent")
    assert container.status().running
    for refused in (container.remove, container.start):
        with pytest.raises(FailedPrecondition):
            refused()
    container.stop(timeout_s=0)
    status = container.status()
    assert (status.state, status.exit_code, container.wait()) == ("exited", 255, 255)
    container.start()
    assert container.status().running


def test_names_are_given_found_and_not_given_twice(engine: Engine) -> None:
    named = engine.containers.create("tools", Options(name="only-one"))
    assert engine.containers.get("only-one").id == named.id
    assert engine.containers.get(named.id[:10]).name == "only-one"
    with pytest.raises(AlreadyExists, match="only-one"):
        engine.containers.create("tools", Options(name="only-one"))
    unnamed = engine.containers.create("tools")
    assert "_" in unnamed.name
    unnamed.rename("another")
    assert engine.containers.get("another").id == unnamed.id
    with pytest.raises(AlreadyExists):
        unnamed.rename("only-one")
    assert [each.name for each in engine.containers.list(all=True)] == ["another", "only-one"]


def test_a_refused_container_leaves_nothing(engine: Engine, places: tuple[str, str], tmp_path: Path) -> None:
    volumes = Path(places[0], "volumes")
    before = sorted(os.listdir(volumes)) if volumes.exists() else []
    wrong = (
        Options(mounts=(MountOption("volume", "/v"), MountOption("bind", "/x", "/nowhere/at/all"))),
        Options(memory=1),
        Options(name="a/b"),
        Options(args=("",)),
        Options(stop_signal="NOPE"),
        Options(security_opt=("seccomp=/nowhere",)),
    )
    for options in wrong:
        with pytest.raises((InvalidArgument, NotFound)):
            engine.containers.create("tools", options)
    assert engine.containers.list(all=True) == []
    assert (sorted(os.listdir(volumes)) if volumes.exists() else []) == before
    with engine._context.metadata.read() as tx:
        assert tx.execute("SELECT key FROM snapshots WHERE kind = 'active'") == []


@pytest.mark.parametrize(("program", "errno", "code"), [("nowhere", 2, 127), ("/etc/passwd", 13, 126)])
def test_a_program_that_cannot_be_run_is_told_and_recorded(
    engine: Engine, program: str, errno: int, code: int
) -> None:
    container = engine.containers.create("tools", Options(args=(program,)))
    with pytest.raises(ExecFailed) as caught:
        container.start()
    assert caught.value.errno == errno
    status = container.status()
    assert (status.state, status.exit_code) == ("created", code)
    assert program in status.error
    container.remove()


def test_output_is_logged_and_can_be_followed(engine: Engine) -> None:
    script = "echo one; sleep 0.3; echo two >&2; sleep 0.3; echo three; exit 5"
    container = _started(engine, "sh", "-c", script)
    lines = list(container.logs(follow=True))
    assert [(line.stream, line.data) for line in lines] == [
        ("stdout", b"one\n"),
        ("stderr", b"two\n"),
        ("stdout", b"three\n"),
    ]
    assert container.wait() == 5
    assert list(container.logs()) == lines
    assert list(container.logs(tail=1)) == lines[-1:]


def test_waiters_in_many_threads_get_the_code(engine: Engine) -> None:
    container = _ready(_started(engine))
    codes: list[int] = []
    waiters = [threading.Thread(target=lambda: codes.append(container.wait())) for _ in range(4)]
    for waiter in waiters:
        waiter.start()
    container.stop()
    for waiter in waiters:
        waiter.join(timeout=20)
    assert codes == [7] * 4


def test_an_end_can_be_awaited_in_an_event_loop(engine: Engine) -> None:
    import asyncio

    async def ended(container: Container) -> int | None:
        loop, over = asyncio.get_running_loop(), asyncio.Event()
        with container.watch() as watch:
            loop.add_reader(watch, over.set)
            container.kill("TERM")
            await asyncio.wait_for(over.wait(), 20)
            loop.remove_reader(watch)
            return watch.result()

    container = _ready(_started(engine))
    assert asyncio.run(ended(container)) == 7
    with pytest.raises(Unavailable):
        container.watch()


def test_one_that_does_not_listen_is_killed_after_the_timeout(engine: Engine) -> None:
    container = _ready(_started(engine, "sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.05; done"))
    container.stop(timeout_s=0.2)
    assert container.status().exit_code == 137


def test_a_paused_container_can_be_stopped(engine: Engine) -> None:
    container = _ready(_started(engine))
    container.pause()
    container.stop(timeout_s=5)
    assert container.status().exit_code == 7


def test_a_container_killed_for_its_memory_says_so(engine: Engine) -> None:
    hog = 'a=0123456789; while :; do a="$a$a"; done'
    container = _started(engine, "sh", "-c", hog, memory=16 << 20)
    assert container.wait() == 137
    assert container.status().oom_killed


def test_a_container_with_auto_remove_is_gone_after_its_end(engine: Engine) -> None:
    mounts = (MountOption("volume", "/v"),)
    container = _started(engine, "sh", "-c", "sleep 0.2; exit 4", auto_remove=True, mounts=mounts)
    (name,) = container.kept.anonymous
    assert container.wait() == 4
    wait_until(lambda: engine.containers.list(all=True) == [], what="the removal")
    wait_until(lambda: not os.path.exists(engine._context.volume(name)), what="the volume's removal")


def test_a_command_is_executed_in_a_running_container(
    engine: Engine, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    container = _ready(_started(engine))
    options = ExecOptions(user="1000:100", env=("A=b",), workdir="/usr")
    code = container.execute(
        ["sh", "-c", "id -u; id -g; echo $A $HOME $PWD; echo error >&2; exit 9"], options
    )
    out, err = capfdbinary.readouterr()
    assert (code, out, err) == (9, b"1000\n100\nb / /usr\n", b"error\n")
    with pytest.raises(ExecFailed):
        container.execute(["nowhere"])
    with pytest.raises(InvalidArgument):
        container.execute([])
    pid = container.execute_detached(["sleep", "30"])
    assert str(pid) in [row[1] for row in container.top()[1]]
    container.kill()
    with pytest.raises(FailedPrecondition):
        container.execute(["true"])


def test_top_and_stats_show_what_runs(engine: Engine) -> None:
    container = _ready(_started(engine))
    titles, rows = container.top()
    assert titles[-1] == "CMD"
    assert any("sh -c" in row[-1] for row in rows)
    stats = container.stats()
    assert stats.pids >= 1
    assert 0 < stats.memory_bytes < stats.memory_limit_bytes
    assert stats.cpu_ns > 0


def test_changes_are_listed_while_it_runs_and_after(engine: Engine) -> None:
    container = _ready(
        _started(engine, "sh", "-c", "touch /new; rm /bin/stat /usr/bin/stat; echo ready; sleep 60")
    )
    for _ in range(2):
        changes = container.diff()
        assert ("A", "/new") in changes
        assert any(kind == "D" and path.endswith("bin/stat") for kind, path in changes)
        container.kill() if container.status().running else None


def test_files_are_copied_in_and_out(engine: Engine, tmp_path: Path) -> None:
    import io
    import tarfile

    container = _ready(_started(engine))
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        data = tarfile.TarInfo("dir/file")
        data.size, data.mode, data.uid = 5, 0o640, 1000
        tar.addfile(data, io.BytesIO(b"hello"))
    for running in (True, False):
        archive.seek(0)
        container.copy_in("/tmp", archive)
        copied = b"".join(container.copy_out("/tmp/dir"))
        with tarfile.open(fileobj=io.BytesIO(copied)) as tar:
            assert [member.name for member in tar] == ["dir", "dir/file"]
            member = tar.getmember("dir/file")
            assert (member.mode, member.uid, tar.extractfile(member).read()) == (0o640, 1000, b"hello")  # type: ignore[union-attr]  # it is there, or the test fails
        assert container.stat_path("/tmp/dir/file")["size"] == 5
        with pytest.raises(NotFound):
            list(container.copy_out("/nowhere"))
        with pytest.raises(NotFound):
            container.copy_in("/nowhere", archive)
        if running:
            container.kill()
    exported = b"".join(container.export())
    with tarfile.open(fileobj=io.BytesIO(exported)) as tar:
        assert {"bin", "etc/passwd", "tmp/dir/file"} <= set(tar.getnames())


def test_a_link_in_the_container_does_not_lead_a_copy_out_of_it(engine: Engine) -> None:
    container = _ready(_started(engine, "sh", "-c", "ln -s / /out 2>/dev/null; echo ready; sleep 60"))
    exec_code = container.execute(["sh", "-c", "readlink /out >/dev/null || exit 1"])
    if exec_code == 0:
        data = b"".join(container.copy_out("/out/etc/hostname"))
        assert os.uname().nodename.encode() not in data or container.name.encode() in data


def test_a_volume_outlives_its_container_and_begins_with_the_images_files(engine: Engine) -> None:
    first = MountOption("volume", "/etc", "kept")
    container = _started(engine, "sh", "-c", "touch /etc/mine", mounts=(first,))
    container.wait()
    container.remove(volumes=True)
    again = _started(
        engine, "sh", "-c", "ls /there/passwd /there/mine", mounts=(MountOption("volume", "/there", "kept"),)
    )
    assert again.wait() == 0, _log(again)
    from cloche.engine import volumes

    again.remove()
    volumes.remove(engine._context, "kept")


def test_namespaces_of_another_container_are_joined(engine: Engine) -> None:
    first = _ready(_started(engine, name="first"))
    kinds = ("pid", "ipc", "net")
    script = "; ".join(f"readlink /proc/self/ns/{kind}" for kind in kinds)
    joined = dict.fromkeys(("pid", "ipc", "network"), "container:first")
    second = _started(engine, "sh", "-c", script, **joined)
    assert second.wait() == 0
    pid = first.status().pid
    assert _log(second).decode().split() == [os.readlink(f"/proc/{pid}/ns/{kind}") for kind in kinds]
    assert first.status().running
    alone = engine.containers.create("tools", Options(args=("true",), network="container:nobody"))
    with pytest.raises(NotFound):
        alone.start()


def test_inspect_is_json_in_dockers_shape(engine: Engine) -> None:
    container = _ready(_started(engine, memory=64 << 20, env=("A=b",), labels={"k": "v"}))
    document = json.loads(json.dumps(container.inspect()))
    assert document["State"]["Status"] == "running"
    assert document["State"]["Pid"] == container.status().pid
    assert document["HostConfig"]["Memory"] == 64 << 20
    assert "A=b" in document["Config"]["Env"]
    assert document["Config"]["Labels"]["k"] == "v"
    assert document["Config"]["Cmd"] == list(FOREVER)
    assert json.dumps(engine.information())
    assert json.dumps(engine.images.get("tools").inspect())


def test_an_attached_run_gives_code_and_output_and_is_logged(
    engine: Engine, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    seen: list[Container] = []
    options = Options(args=("sh", "-c", "echo out; echo err >&2; exit 9"))
    code = engine.containers.run("tools", options, on_create=seen.append)
    out, err = capfdbinary.readouterr()
    assert (code, out, err) == (9, b"out\n", b"err\n")
    assert sorted(line.data for line in seen[0].logs()) == [b"err\n", b"out\n"]
    assert seen[0].status().exit_code == 9
    code = engine.containers.run("tools", options.replace(auto_remove=True))
    assert code == 9
    assert [each.id for each in engine.containers.list(all=True)] == [seen[0].id]
    with engine._context.metadata.read() as tx:
        assert tx.execute("SELECT * FROM leases WHERE id LIKE 'run-%-%'") == []


def test_an_attached_run_that_cannot_start_is_told_and_removed(engine: Engine) -> None:
    with pytest.raises(ExecFailed):
        engine.containers.run("tools", Options(args=("nowhere",), auto_remove=True))
    assert engine.containers.list(all=True) == []


def test_a_signal_reaches_an_attached_container(engine: Engine) -> None:
    def later(attached: Any) -> None:
        threading.Timer(0.5, attached.kill, (15,)).start()

    assert engine.containers.run("tools", Options(args=FOREVER, auto_remove=True), on_start=later) == 7


_VICTIM = """
import os, sys
from cloche.engine.engine import Engine
from cloche.engine.options import Options
engine = Engine(sys.argv[1], sys.argv[2])
options = Options(args=("sh", "-c", "echo running; sleep 1000"), auto_remove=True, name="victim")
engine.containers.run("tools", options)
"""


def test_what_a_killed_attached_run_leaves_is_removed_by_the_next_engine(places: tuple[str, str]) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _VICTIM, *places],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": "src"},
    ) as victim:
        assert victim.stdout is not None
        assert victim.stdout.readline() == b"running\n"
        with Engine(*places) as beside:
            container = beside.containers.get("victim")
            pid = container.status().pid
            assert container.status().running, "another engine leaves alone what is alive"
        victim.kill()
    with Engine(*places) as engine:
        assert engine.containers.list(all=True) == []
        with engine._context.metadata.read() as tx:
            assert tx.execute("SELECT * FROM leases") == []
            assert tx.execute("SELECT * FROM snapshots WHERE kind != 'committed'") == []
    wait_until(lambda: not os.path.exists(f"/proc/{pid}"), what="the process's end")
