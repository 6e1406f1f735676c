"""Events: in order, to somebody who may not be there."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from cloche.shim import events as publishing
from cloche.shim.events import Publisher
from cloche.shim.loop import Loop
from cloche.shim.publish_command import CommandPublisher
from cloche.wire.messages.events import TaskOOM, TaskStart
from cloche.wire.messages.google import Any
from tests.shim.eventsink import EventSink
from tests.waiting import wait_until


@pytest.fixture
def loop() -> Iterator[Loop]:
    """A loop in a thread of its own."""
    running = Loop()
    thread = threading.Thread(target=running.run)
    thread.start()
    yield running
    running.call_soon(running.stop)
    thread.join()
    running.close()


def publish(loop: Loop, publisher: Publisher, count: int) -> None:
    for number in range(count):
        loop.call_soon(partial(publisher.publish, TaskStart(container_id="c", pid=number)))


def pids(sink: EventSink) -> list[int]:
    return [event.pid for event in sink.messages() if isinstance(event, TaskStart)]


def test_events_arrive_in_their_order_with_their_time_and_namespace(loop: Loop, tmp_path: Path) -> None:
    publisher = Publisher(loop, "here", str(tmp_path / "e"))
    with EventSink(str(tmp_path / "e")) as sink:
        publish(loop, publisher, 200)
        wait_until(lambda: len(sink.envelopes) == 200)
        assert pids(sink) == list(range(200))
        first = sink.envelopes[0]
        assert first.timestamp
        assert (first.namespace, first.topic, first.timestamp.seconds > 1_600_000_000) == (
            "here",
            "/tasks/start",
            True,
        )
        loop.call_soon(publisher.close)


def test_who_is_not_there_gets_them_when_he_comes(loop: Loop, tmp_path: Path) -> None:
    publisher = Publisher(loop, "here", f"unix://{tmp_path}/e")
    publish(loop, publisher, 5)
    wait_until(lambda: publisher.pending == 5)
    with EventSink(str(tmp_path / "e")) as sink:
        wait_until(lambda: len(sink.envelopes) == 5)
        assert pids(sink) == list(range(5))
        loop.call_soon(publisher.close)


def test_of_too_many_the_oldest_are_lost(loop: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publishing, "LIMIT", 10)
    publisher = Publisher(loop, "here", str(tmp_path / "e"))
    publish(loop, publisher, 50)
    wait_until(lambda: publisher.pending == 10)
    with EventSink(str(tmp_path / "e")) as sink:
        wait_until(lambda: len(sink.envelopes) == 10)
        assert pids(sink) == list(range(40, 50))
        loop.call_soon(publisher.close)


def test_without_anybody_to_tell_nothing_is_kept(loop: Loop) -> None:
    publisher = Publisher(loop, "here", "")
    loop.call_soon(lambda: publisher.publish(TaskOOM(container_id="c")))
    done = threading.Event()
    loop.call_soon(done.set)
    assert done.wait(5)
    assert publisher.pending == 0


def test_without_a_socket_containerds_command_is_told(root: None, tmp_path: Path) -> None:
    """The command is executed for each event, one after the other, with the event as its input."""
    told = tmp_path / "told"
    program = tmp_path / "containerd"
    program.write_text(f'#!/bin/sh\necho "$@" >> {told}\ncat >> {told}.data\n')
    program.chmod(0o755)
    loop = Loop()
    publisher = CommandPublisher(loop, "here", str(program), "/run/c.sock")
    publisher.publish(TaskStart(container_id="c", pid=1))
    publisher.publish(TaskOOM(container_id="c"))
    assert publisher.pending == 2

    def look() -> None:
        if publisher.pending:
            loop.call_later(0.01, look)
        else:
            loop.stop()

    look()
    loop.run()
    loop.close()
    line = "--address /run/c.sock publish --namespace here --topic"
    assert told.read_text().splitlines() == [f"{line} /tasks/start", f"{line} /tasks/oom"]
    expected = [TaskStart(container_id="c", pid=1), TaskOOM(container_id="c")]
    assert Path(f"{told}.data").read_bytes() == b"".join(Any.pack(event).encode() for event in expected)
