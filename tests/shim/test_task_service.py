"""The task service, asked as containerd asks it."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from cloche.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, Unimplemented
from cloche.shim import exits
from cloche.wire.messages import events, metrics_v1, metrics_v2, task
from cloche.wire.messages.google import Any as Packed
from cloche.wire.messages.runc_options import ProcessDetails
from cloche.wire.messages.types import CREATED, PAUSED, RUNNING, STOPPED
from cloche.wire.status import UNKNOWN, StatusError
from tests.bundles import Bundle
from tests.shim.eventsink import EventSink
from tests.shim.served import Served
from tests.waiting import wait_until


def test_a_container_lives_from_create_to_delete(shim: Served, sleeper: Bundle, sink: EventSink) -> None:
    out = sleeper.path / "out"
    sleeper.command("/bin/sh", "-c", "echo out; exit 7")
    pid = shim.create(sleeper, stdout=f"file://{out}")
    assert shim.status() == CREATED
    assert (sleeper.path / "init.pid").read_text() == str(pid)
    assert shim.start() == pid
    assert shim.wait() == 7
    state = shim.call("State", task.StateRequest(id="one"))
    assert (state.id, state.pid, state.status, state.exit_status) == ("one", pid, STOPPED, 7)
    gone = shim.delete()
    assert (gone.pid, gone.exit_status) == (pid, 7)
    assert gone.exited_at.ns() == state.exited_at.ns()
    assert out.read_text() == "out\n"
    sink.wait_for("create", "start", "exit", "delete")
    with pytest.raises(NotFound, match="container not created"):
        shim.status()


def test_version_3_is_the_same_service(shim: Served, sleeper: Bundle) -> None:
    pid = shim.run(sleeper)
    answer = shim.call("Connect", task.ConnectRequest(id="one"), v3=True)
    assert (answer.shim_pid, answer.task_pid) == (shim.process.pid, pid)
    assert answer.version


def test_the_end_is_written_down_before_anybody_is_told(shim: Served, sleeper: Bundle) -> None:
    sleeper.command("/bin/sh", "-c", "kill -TERM $$")
    pid = shim.run(sleeper)
    status = shim.wait()
    found = exits.recorded(str(sleeper.path))
    assert found is not None
    assert (found.pid, found.status) == (pid, status)
    shim.delete()
    assert exits.recorded(str(sleeper.path)) is None


def test_an_id_is_taken_once(shim: Served, sleeper: Bundle) -> None:
    shim.run(sleeper)
    with pytest.raises(AlreadyExists, match="one"):
        shim.create(sleeper)
    shim.add(sleeper, "probe", "/bin/true")
    with pytest.raises(AlreadyExists, match="id probe"):
        shim.add(sleeper, "probe", "/bin/true")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../../x", "n" * 300])
def test_an_id_that_would_leave_its_folder_is_refused(shim: Served, sleeper: Bundle, name: str) -> None:
    with pytest.raises(InvalidArgument):
        shim.create(sleeper, name)


def test_exec_runs_a_process_and_tells_of_it(shim: Served, sleeper: Bundle, sink: EventSink) -> None:
    shim.run(sleeper)
    out = sleeper.path / "out"
    shim.add(sleeper, "probe", "/bin/sh", "-c", "echo $$ in; exit 3", stdout=f"file://{out}")
    assert shim.status("probe") == CREATED
    pid = shim.start("probe")
    assert shim.wait("probe") == 3
    gone = shim.delete("probe")
    assert (gone.pid, gone.exit_status) == (pid, 3)
    assert out.read_text().endswith(" in\n")
    with pytest.raises(NotFound, match="process does not exist probe"):
        shim.status("probe")
    sink.wait_for("create", "start", "exec-added", "exec-started", "exit")
    last = sink.messages()[-1]
    assert isinstance(last, events.TaskExit)
    assert (last.container_id, last.id, last.pid, last.exit_status) == ("one", "probe", pid, 3)


def test_a_program_that_is_missing_is_said_in_the_words_engines_look_for(
    shim: Served, sleeper: Bundle
) -> None:
    shim.run(sleeper)
    shim.add(sleeper, "bad", "no-such-program")
    with pytest.raises(
        StatusError, match=r'OCI runtime exec failed: .*"no-such-program": executable file not found in'
    ) as e:
        shim.start("bad")
    assert e.value.code == UNKNOWN
    assert shim.delete("bad").exit_status == 0
    shim.add(sleeper, "bad", "/bin/true")
    shim.start("bad")
    assert shim.wait("bad") == 0


def test_a_container_whose_program_is_missing_is_not_created(shim: Served, sleeper: Bundle) -> None:
    sleeper.command("/no/such/program")
    with pytest.raises(StatusError, match=r"OCI runtime create failed: .*no such file or directory"):
        shim.create(sleeper)


def test_a_container_whose_program_cannot_be_executed_is_stopped(shim: Served, sleeper: Bundle) -> None:
    script = sleeper.rootfs / "script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    sleeper.command("/script")
    shim.create(sleeper)
    with pytest.raises(StatusError, match=r"OCI runtime start failed: .*no such file or directory"):
        shim.start()
    assert shim.wait() != 0
    shim.delete()


def test_a_create_that_fails_leaves_nothing(shim: Served, sleeper: Bundle, sink: EventSink) -> None:
    sleeper.config["mounts"].append(
        {"destination": "/x", "type": "bind", "source": "/no/such", "options": ["bind"]}
    )
    sleeper.save()
    descriptors = set()
    for _ in range(3):
        with pytest.raises(StatusError, match=r"OCI runtime create failed: .*/no/such") as e:
            shim.create(sleeper, stdout=f"file://{sleeper.path}/out")
        assert e.value.code == UNKNOWN
        descriptors.add(shim.descriptors())
    assert len(descriptors) == 1
    with pytest.raises(NotFound):
        shim.status()
    assert not list(shim.state.glob("tests/*"))
    assert not sink.topics


def test_a_bundle_that_cannot_be_read_is_named(shim: Served, sleeper: Bundle) -> None:
    (sleeper.path / "config.json").write_text("{")
    with pytest.raises(InvalidArgument, match=r"config\.json: not JSON"):
        shim.create(sleeper)


def test_signals_reach_whom_they_are_for(shim: Served, sleeper: Bundle) -> None:
    shim.run(sleeper)
    shim.add(sleeper, "probe", "/bin/sleep", "1000")
    with pytest.raises(FailedPrecondition, match="process not created"):
        shim.kill(exec_id="probe")
    shim.start("probe")
    shim.kill(signal.SIGTERM, "probe")
    assert shim.wait("probe") == 128 + signal.SIGTERM
    with pytest.raises(NotFound, match="process already finished"):
        shim.kill(exec_id="probe")
    assert shim.status() == RUNNING
    shim.kill()
    assert shim.wait() == 128 + signal.SIGKILL
    with pytest.raises(NotFound, match="process already finished"):
        shim.kill()
    with pytest.raises(InvalidArgument, match="signal 99"):
        shim.kill(99)


def test_the_first_process_ends_last(shim: Served, sleeper: Bundle, sink: EventSink) -> None:
    shim.run(sleeper)
    for name in ("a", "b"):
        shim.add(sleeper, name, "/bin/sleep", "1000")
        shim.start(name)
    shim.kill()
    shim.wait()
    assert [shim.wait(name) for name in ("a", "b")] == [137, 137]
    wait_until(lambda: sink.topics.count("exit") == 3)
    exited = [each.id for each in sink.messages() if isinstance(each, events.TaskExit)]
    assert (sorted(exited[:2]), exited[2]) == (["a", "b"], "one")


def test_without_pids_of_its_own_the_rest_ends_with_the_first_process(shim: Served, sleeper: Bundle) -> None:
    sleeper.linux["namespaces"] = [n for n in sleeper.linux["namespaces"] if n["type"] != "pid"]
    sleeper.command("/bin/sh", "-c", "sleep 1000 & sleep 1000 & echo $! > /pid; exit 5")
    shim.run(sleeper)
    assert shim.wait() == 5
    left = int((sleeper.rootfs / "pid").read_text())
    wait_until(lambda: not os.path.exists(f"/proc/{left}"))
    assert shim.delete().exit_status == 5


def test_all_processes_are_signalled_where_that_is_asked(shim: Served, sleeper: Bundle) -> None:
    shim.run(sleeper)
    shim.add(sleeper, "probe", "/bin/sleep", "1000")
    shim.start("probe")
    shim.kill(everyone=True)
    assert (shim.wait(), shim.wait("probe")) == (137, 137)


def test_a_created_container_can_be_deleted_unstarted(shim: Served, sleeper: Bundle, sink: EventSink) -> None:
    pid = shim.create(sleeper)
    assert shim.delete().pid == pid
    sink.wait_for("create", "exit", "delete")
    assert not os.path.exists(f"/proc/{pid}")


def test_what_runs_is_not_deleted(shim: Served, sleeper: Bundle) -> None:
    shim.run(sleeper)
    shim.add(sleeper, "probe", "/bin/sleep", "1000")
    shim.start("probe")
    for name in ("", "probe"):
        with pytest.raises(FailedPrecondition, match="cannot delete a running process"):
            shim.delete(name)


def test_pause_freezes_and_resume_thaws(shim: Served, sleeper: Bundle, sink: EventSink) -> None:
    shim.run(sleeper)
    shim.add(sleeper, "probe", "/bin/sleep", "1000")
    shim.start("probe")
    with pytest.raises(FailedPrecondition, match="cannot resume a running container"):
        shim.call("Resume", task.ResumeRequest(id="one"))
    shim.call("Pause", task.PauseRequest(id="one"))
    assert (shim.status(), shim.status("probe")) == (PAUSED, PAUSED)
    with pytest.raises(FailedPrecondition, match="paused"):
        shim.add(sleeper, "more", "/bin/true")
    shim.call("Resume", task.ResumeRequest(id="one"))
    assert (shim.status(), shim.status("probe")) == (RUNNING, RUNNING)
    sink.wait_for("create", "start", "exec-added", "exec-started", "paused", "resumed")


def test_what_is_paused_can_be_killed_and_deleted(shim: Served, sleeper: Bundle) -> None:
    shim.run(sleeper)
    shim.call("Pause", task.PauseRequest(id="one"))
    shim.kill()
    assert shim.wait() == 137
    shim.delete()


def test_pids_say_which_of_them_were_added(shim: Served, sleeper: Bundle) -> None:
    pid = shim.run(sleeper)
    shim.add(sleeper, "probe", "/bin/sleep", "1000")
    added = shim.start("probe")
    found = {each.pid: each.info for each in shim.call("Pids", task.PidsRequest(id="one")).processes}
    assert set(found) == {pid, added}
    assert found[pid] is None
    assert ProcessDetails.decode(found[added].value).exec_id == "probe"


def test_stats_come_in_the_words_of_the_machines_cgroups(shim: Served, sleeper: Bundle) -> None:
    shim.run(sleeper)
    stats = shim.call("Stats", task.StatsRequest(id="one")).stats
    if stats.type_url == "io.containerd.cgroups.v1.Metrics":
        legacy = metrics_v1.Metrics.decode(stats.value)
        assert legacy.pids
        assert legacy.memory
        assert legacy.memory.usage
        assert legacy.cpu
        assert legacy.cpu.usage
        assert legacy.pids.current == 1
        assert min(legacy.memory.usage.usage, legacy.cpu.usage.total) > 0
    else:
        assert stats.type_url == "io.containerd.cgroups.v2.Metrics"
        unified = metrics_v2.Metrics.decode(stats.value)
        assert unified.pids
        assert unified.pids.current == 1
    shim.kill()
    shim.wait()


def test_update_changes_a_limit(shim: Served, sleeper: Bundle) -> None:
    shim.run(sleeper)
    resources = Packed(value=json.dumps({"pids": {"limit": 33}}).encode())
    shim.call("Update", task.UpdateTaskRequest(id="one", resources=resources))
    stats = shim.call("Stats", task.StatsRequest(id="one")).stats
    kind = metrics_v1.Metrics if "v1" in stats.type_url else metrics_v2.Metrics
    assert getattr(kind.decode(stats.value).pids, "limit", 0) == 33
    bad = Packed(value=b'{"pids": {"limit": "many"}}')
    with pytest.raises(InvalidArgument, match="limit"):
        shim.call("Update", task.UpdateTaskRequest(id="one", resources=bad))


def test_a_method_that_is_not_there_is_unimplemented(shim: Served) -> None:
    from cloche.wire.messages.google import Empty
    from cloche.wire.service import Method, Service

    for name in ("containerd.task.v2.Task", "example.Nobody"):
        with pytest.raises(Unimplemented):
            shim.client.call(Service(name, Method("Fly", Empty, Empty)), "Fly", Empty(), timeout_s=5)


def test_shutdown_waits_until_there_is_no_container(shim: Served, sleeper: Bundle) -> None:
    shim.run(sleeper)
    shim.call("Shutdown", task.ShutdownRequest(id="one", now=True))
    assert shim.status() == RUNNING
    shim.kill()
    shim.wait()
    shim.delete()
    shim.call("Shutdown", task.ShutdownRequest(id="one"))
    assert shim.process.wait(10) == 0
    assert not Path(shim.path).exists()


def test_two_hundred_waits_hold_no_thread(shim: Served, sleeper: Bundle) -> None:
    shim.run(sleeper)
    from cloche.wire.services.task import TASK_V2

    request = task.WaitRequest(id="one")
    wait_until(lambda: shim.threads() == 1)
    streams = [shim.client.begin(TASK_V2, "Wait", request) for _ in range(200)]
    assert shim.status() == RUNNING
    assert shim.threads() == 1
    shim.kill()
    assert {shim.client.finish(TASK_V2, "Wait", stream, 10).exit_status for stream in streams} == {137}


def test_an_idle_shim_has_one_thread(shim: Served, sleeper: Bundle) -> None:
    shim.run(sleeper)
    wait_until(lambda: shim.threads() == 1)
