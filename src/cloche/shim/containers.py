"""A container of the shim: its processes, its driver, and what happens when one of them ends.

    the first process ends
        others share its pids, or it was frozen ── kill and thaw them, on a second lane ──┐
        added processes still run ─────────────── their ends come first ──────────────────┤
        written into the bundle ◀─────────────────────────────────────────────────────────┘
        oom · exit published · Waits answered · streams drained

What is stuck in the kernel can hold this up, but not for ever.
"""

from __future__ import annotations

import os

from cloche.errors import ClocheError, NotFound
from cloche.shim import exits
from cloche.shim.lanes import Lane
from cloche.shim.processes import Process
from cloche.wire.messages import events
from cloche.wire.messages.google import Timestamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from cloche.shim.driver import Driver, Spawned
    from cloche.shim.embedded import Keeper
    from cloche.shim.events import Publisher
    from cloche.shim.exits import Children, Exit
    from cloche.shim.loop import Loop
    from cloche.shim.oom import OomNotices
    from cloche.shim.publish_command import CommandPublisher
    from cloche.shim.stdio.opening import Stdio

_SIGKILL = 9
_STRAGGLERS_S = 10.0


class Shim:
    """What all containers of one process share.

    containers: those that exist; creating: ids taken. end: ends the process. pid: the shim's, as others
    know it. hold: to be called before there is a process. changed: what a worker would need that followed
    if this one died has changed; keep: and it has to be known before anybody is told.
    """

    def __init__(
        self, loop: Loop, children: Children, publisher: Publisher | CommandPublisher, namespace: str
    ) -> None:
        self.loop = loop
        self.children = children
        self.publisher = publisher
        self.namespace = namespace
        self.containers: dict[str, Container] = {}
        self.creating: set[str] = set()
        self.end: Callable[[], None] = _nothing
        self.changed: Callable[[], None] = _nothing
        self.keep: Callable[[], None] = _nothing
        self.hold: Callable[[], None] = _nothing
        self.pid = os.getpid()

    def container(self, container_id: str) -> Container:
        """Raises NotFound."""
        found = self.containers.get(container_id)
        if found is None:
            raise NotFound("container not created")
        return found

    @property
    def is_empty(self) -> bool:
        """Whether there is no container, nor about to be one."""
        return not self.containers and not self.creating


class Container:
    """One container. All methods belong to the loop's thread.

    lane: where its calls run. signals: a second one, for what must get through when the first is stuck.
    shares_pids: whether others can survive the first process. io_owner: uid and gid that own the pipes
    of its processes.
    """

    def __init__(self, shim: Shim, container_id: str, bundle: str, driver: Driver, init: Process) -> None:
        self.shim = shim
        self.id = container_id
        self.bundle = bundle
        self.driver = driver
        self.init = init
        self.execs: dict[str, Process] = {}
        self.lane = Lane(shim.loop)
        self.signals = Lane(shim.loop)
        self.shares_pids = False
        self.io_owner: tuple[int, int] | None = None
        self.oom: OomNotices | None = None
        self.keeper: Keeper | None = None
        self.deleting: list[Callable[[BaseException | None], None]] = []
        self._init_exit: Exit | None = None
        self._stopping = False
        self._awaiting = False

    def process(self, exec_id: str) -> Process:
        """The first process, or an added one. Raises NotFound."""
        if not exec_id:
            return self.init
        found = self.execs.get(exec_id)
        if found is None:
            raise NotFound(f"process does not exist {exec_id}")
        return found

    def publish(self, event: Any) -> None:
        """Tell containerd what happened to it."""
        self.shim.publisher.publish(event)

    def adopt(self, process: Process, spawned: Spawned, stdio: Stdio) -> None:
        """A process exists: watch it. Its start is to be published before anything else runs."""
        process.pid = spawned.pid
        process.attach(stdio, spawned.console)
        stdio.kept_changed = self.shim.changed
        self.watch(process, spawned)
        self.shim.keep()

    def watch(self, process: Process, spawned: Spawned) -> None:
        """Follow it to its end."""
        self.shim.children.watch(spawned.pid, spawned.pidfd, lambda ended: self._ended(process, ended))

    def listen_oom(self) -> None:
        """Tell whenever memory runs out."""
        if self.oom is not None:
            told = events.TaskOOM(container_id=self.id)
            self.oom.listen(self.shim.loop, lambda: self.publish(told))

    @property
    def is_ending(self) -> bool:
        """Whether its first process has ended, and that was not told yet."""
        return self._init_exit is not None and self.init.ended is None

    def _ended(self, process: Process, ended: Exit) -> None:
        known = exits.recorded(self.bundle, process.exec_id)
        if known is not None and known.pid == ended.pid:
            ended = known  # by a worker that has reaped it, and died then
        else:
            exits.record(self.bundle, ended, process.exec_id)
        if process is self.init:
            self._init_exit = ended
            if not process.starting:
                self.settle_init()
            return
        self._conclude(process, ended)
        self._conclude_init()

    def settle_init(self) -> None:
        """Deal with the end of the first process, where it came before a start was published."""
        if self._init_exit is None:
            return
        if self._stopping:
            self._conclude_init()
            return
        self._stopping = True
        frozen = bool(self.init.frozen)
        if not self.shares_pids and not frozen:
            self._await_execs()
            return
        self.signals.run(lambda: self._end_others(frozen=frozen), lambda _result, _error: self._await_execs())

    def _end_others(self, *, frozen: bool) -> None:
        """What the first process leaves behind; where nothing is left that is no error."""
        for work in (self._kill_all, self.driver.resume) if frozen else (self._kill_all,):
            try:
                work()
            except (ClocheError, OSError):
                continue

    def _kill_all(self) -> None:
        self.driver.kill(_SIGKILL, everyone=True)

    def _await_execs(self) -> None:
        self._awaiting = True
        self._conclude_init()
        if self.init.ended is None:
            self.shim.loop.call_later(_STRAGGLERS_S, lambda: self._conclude_init(anyway=True))

    def _conclude_init(self, *, anyway: bool = False) -> None:
        """The end of the first process is the last that is told, once its others have ended."""
        if self._init_exit is None or not self._awaiting or self.init.ended is not None:
            return
        if not anyway and any(p.starting or (p.pid and p.ended is None) for p in self.execs.values()):
            return
        if self.oom is not None:
            self.oom.close()
            self.oom = None
        self._conclude(self.init, self._init_exit)

    def _conclude(self, process: Process, ended: Exit) -> None:
        event = events.TaskExit(
            container_id=self.id,
            id=process.exec_id or self.id,
            pid=process.pid,
            exit_status=ended.status,
            exited_at=Timestamp.of(ended.at_ns),
        )
        self.publish(event)
        process.end(ended)
        process.drain()
        self.shim.changed()

    def forget(self, process: Process) -> None:
        """Nobody will ask for this added process, which has ended."""
        self.execs.pop(process.exec_id, None)
        exits.forget(self.bundle, process.exec_id)
        process.forget(NotFound(f"process does not exist {process.exec_id}"))

    def delete(self, done: Callable[[BaseException | None], None]) -> None:
        """Take the container away; done(error) when it is gone. It must be created or stopped."""
        self.init.require("delete")
        self.deleting.append(done)
        if len(self.deleting) > 1:
            return
        if self.init.ended is None:
            self._remove()  # which kills it
        else:
            self.init.when_read(self._remove)

    def _remove(self) -> None:
        self.lane.run(self.driver.delete, self._removed)

    def _removed(self, _result: object, error: BaseException | None) -> None:
        if error is not None:
            self._tell_deleters(error)
            return
        self.init.after_drain(self._gone)

    def _gone(self) -> None:
        del self.shim.containers[self.id]
        for process in (self.init, *self.execs.values()):
            process.forget(NotFound("container not created"))
        ended = self.init.ended
        assert ended is not None  # noqa: S101 - it has drained
        event = events.TaskDelete(
            container_id=self.id,
            pid=self.init.pid,
            exit_status=ended.status,
            exited_at=Timestamp.of(ended.at_ns),
        )
        self.publish(event)
        exits.forget(self.bundle)
        self.shim.changed()
        self._tell_deleters(None)

    def _tell_deleters(self, error: BaseException | None) -> None:
        deleting, self.deleting = self.deleting, []
        for done in deleting:
            done(error)


def _nothing() -> None:
    """Nobody to tell."""
