"""Seccomp notifications: an agent gets the listener and answers for the kernel."""

from __future__ import annotations

import array
import errno
import fcntl
import json
import os
import select
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cloche.errors import ClocheError, InvalidArgument, Unavailable
from cloche.runtime import notify
from cloche.runtime.caller import Performing
from cloche.runtime.facts import Listener
from tests.bundles import Bundle
from tests.runtime.containers import Runtime, pipe, read_all
from tests.waiting import wait_until

RECEIVE = 0xC0502100  # SECCOMP_IOCTL_NOTIF_RECV: struct seccomp_notif has 80 bytes
SEND = 0xC0182101
ANSWER = errno.ENOMEDIUM


class Agent(threading.Thread):
    """Accepts listeners, and answers every notification with the error ANSWER."""

    def __init__(self, path: Path) -> None:
        super().__init__(daemon=True)
        self.path = path
        self.states: list[dict[str, Any]] = []
        self.calls: list[int] = []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.bind(str(path))
        self.socket.listen()
        self.stop, self.wake = os.pipe()
        self.listeners: list[int] = []
        self.start()

    def run(self) -> None:
        while True:
            waiting = select.poll()
            for descriptor in (self.stop, self.socket.fileno(), *self.listeners):
                waiting.register(descriptor, select.POLLIN)
            for descriptor, events in waiting.poll():
                if descriptor == self.stop:
                    return
                if descriptor == self.socket.fileno():
                    self._accept()
                elif events & select.POLLIN:
                    self._answer(descriptor)
                else:  # nobody uses the filter any more: before Linux 6.11 one would wait for ever
                    self._forget(descriptor)

    def _accept(self) -> None:
        connection, _ = self.socket.accept()
        with connection:
            data, ancillary, _, _ = connection.recvmsg(65536, socket.CMSG_SPACE(64))
            while more := connection.recv(65536):
                data += more
        descriptors = array.array("i", ancillary[0][2])
        self.states.append(json.loads(data))
        self.listeners += list(descriptors)

    def _answer(self, listener: int) -> None:
        request = bytearray(80)
        try:
            fcntl.ioctl(listener, RECEIVE, request)
            identity, _pid, _flags, number = struct.unpack_from("<QIIi", request)
            self.calls.append(number)
            fcntl.ioctl(listener, SEND, struct.pack("<QqiI", identity, 0, -ANSWER, 0))
        except OSError:
            self._forget(listener)

    def _forget(self, listener: int) -> None:
        self.listeners.remove(listener)
        os.close(listener)

    def close(self) -> None:
        os.write(self.wake, b".")
        self.join()
        self.socket.close()
        for descriptor in (self.stop, self.wake, *self.listeners):
            os.close(descriptor)


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    """An agent behind a socket."""
    running = Agent(tmp_path / "agent.sock")
    yield running
    running.close()


def notified(bundle: Bundle, path: Path | str, *names: str, **more: Any) -> Bundle:
    rules = [{"names": list(names or ("mkdir", "mkdirat")), "action": "SCMP_ACT_NOTIFY"}]
    bundle.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": str(path),
        "listenerMetadata": "words for the agent",
        "syscalls": rules,
        **more,
    }
    return bundle


@pytest.mark.parametrize("no_new_privs", [False, True])
@pytest.mark.parametrize("gate", [False, True])
def test_the_agent_answers_the_calls_of_the_container(
    runtime: Runtime, bundle: Bundle, agent: Agent, no_new_privs: bool, gate: bool
) -> None:
    notified(bundle, agent.path).command("sh", "-c", "mkdir /made")
    bundle.config["annotations"] = {"a.b": "c"}
    bundle.process["noNewPrivileges"] = no_new_privs
    with pipe() as (reader, writer):
        container, process = runtime.create(bundle, gate=gate, stdio=(0, writer, writer))
        os.close(writer)
        wait_until(lambda: len(agent.states) == 1, what="the agent to have accepted")
        if gate:
            container.start()
        with process:
            assert process.wait() != 0
        assert "No medium found" in read_all(reader)
        container.delete(force=True)
    (state,) = agent.states
    assert state["fds"] == ["seccompFd"]
    assert state["metadata"] == "words for the agent"
    assert state["pid"] == state["state"]["pid"] == process.pid
    assert state["state"]["status"] == "creating"
    assert state["state"]["id"] == container.id
    assert state["state"]["bundle"] == str(bundle.path)
    assert state["state"]["annotations"] == {"a.b": "c"}


def test_an_executed_process_has_a_listener_of_its_own(
    runtime: Runtime, bundle: Bundle, agent: Agent
) -> None:
    notified(bundle, agent.path)
    with runtime.running(bundle) as container, pipe() as (reader, writer):
        process = {**bundle.process, "args": ["mkdir", "/made"]}
        with container.execute(process, stdio=(0, writer, writer)) as started:  # type: ignore[arg-type]  # as in config.json
            os.close(writer)
            assert "No medium found" in read_all(reader)
            started.wait()
        wait_until(lambda: len(agent.states) == 2, what="the agent to have accepted")
        first, second = agent.states
        assert second["pid"] == started.pid != first["pid"]
        assert second["state"]["pid"] == first["pid"]
        assert second["state"]["status"] == "running"


def test_init_closes_its_own_copy(runtime: Runtime, bundle: Bundle, agent: Agent) -> None:
    container, process = runtime.create(notified(bundle, agent.path))
    with process:
        links = [os.readlink(entry.path) for entry in os.scandir(f"/proc/{process.pid}/fd")]
        assert not [link for link in links if "seccomp" in link or "handover" in link]
        container.delete(force=True)
        process.wait()


def test_without_an_agent_the_create_fails_and_leaves_nothing(
    runtime: Runtime, bundle: Bundle, tmp_path: Path
) -> None:
    with pytest.raises(ClocheError, match=r"listenerPath: send the filter's listener to .*no such file"):
        runtime.create(notified(bundle, tmp_path / "nobody"))
    assert os.listdir(runtime.root) in ([], ["@filters"])


def test_an_agent_that_does_not_accept_is_not_waited_for_for_ever(
    runtime: Runtime, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notify, "_PATIENCE_S", 1)
    with socket.socket(socket.AF_UNIX) as deaf, socket.socket(socket.AF_UNIX) as first:
        deaf.bind(str(tmp_path / "deaf"))
        deaf.listen(0)
        first.connect(str(tmp_path / "deaf"))
        with pytest.raises(Unavailable, match="is the agent alive"):
            runtime.create(notified(bundle, tmp_path / "deaf"))


def test_a_notifying_rule_needs_a_listener(runtime: Runtime, bundle: Bundle) -> None:
    with pytest.raises(InvalidArgument, match=r"listenerPath: is needed"):
        runtime.create(notified(bundle, ""))


def test_a_listener_without_a_notifying_rule_is_ignored(runtime: Runtime, bundle: Bundle) -> None:
    notified(bundle, "/nowhere", syscalls=[])
    assert runtime.output(bundle, "echo ran") == "ran\n"


def test_a_filter_the_kernel_refuses_is_told_as_that(runtime: Runtime, bundle: Bundle, agent: Agent) -> None:
    """TSYNC_ESRCH-like misfits cannot be written in a config; a bad combination of flags can."""
    notified(bundle, agent.path, flags=["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"])
    container, process = runtime.create(bundle)
    with process:
        container.delete(force=True)
        process.wait()


def test_a_process_that_dies_instead_ends_the_wait() -> None:
    child = os.posix_spawn("/bin/true", ["true"], {})
    with Performing() as performing:
        notify.MakeHandover("page").perform(performing)
        performing.pid, performing.pidfd = child, os.pidfd_open(child)
        try:
            listener = Listener("/nowhere", "", b"{}")
            notify.SendListener("page", listener).perform(performing)
        finally:
            os.close(performing.pidfd)
            os.waitpid(child, 0)
