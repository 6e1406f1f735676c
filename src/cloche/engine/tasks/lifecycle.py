"""All tasks of a daemon: their shims by namespace and id (asyncio).

create   bundle · shim's `start` · connect · Create        (on failure: all undone)
delete   Delete · Shutdown · bundle gone
a shim that is lost: one of ours answers again; else its `delete` · exit and delete events · bundle gone
load     at the start of the daemon: reconnect to every shim whose bundle is there
"""

from __future__ import annotations

import asyncio
import logging
import os

from cloche.engine.tasks import shim as shims
from cloche.engine.tasks.bundle import Bundle, bundles, discard, discard_all
from cloche.engine.tasks.runtimes import own_shim, shim_binary
from cloche.engine.tasks.shim import Daemon, Log, Shim
from cloche.errors import AlreadyExists, ClocheError, NotFound, Unavailable
from cloche.store import clock, faults
from cloche.wire.messages import task as messages
from cloche.wire.messages.events import TaskDelete, TaskExit
from cloche.wire.messages.google import Any as Packed
from cloche.wire.messages.google import Timestamp
from cloche.wire.messages.runc_options import Options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any, Protocol

    from cloche.wire.protobuf import Message

    class Run(Protocol):
        """Runs what blocks in a thread; of the same lane one at a time."""

        def __call__(
            self, function: Callable[..., Any], *arguments: Any, lane: object = None
        ) -> Awaitable[Any]: ...


_log = logging.getLogger("cloche.tasks")
_UNKNOWN_EXIT = 255
LOAD_TIMEOUT_S = 5.0


class Tasks:
    """See the module.

    root, state: the daemon's. publish(namespace, topic, event): where events go. run: the threads.
    """

    def __init__(
        self,
        root: str,
        state: str,
        daemon: Daemon,
        *,
        publish: Callable[[str, str, Message], None],
        run: Run,
    ) -> None:
        self._root = root
        self._state = state
        self._daemon = daemon
        self._publish = publish
        self._run = run
        self._shims: dict[tuple[str, str], Shim] = {}
        self._logs: dict[tuple[str, str], Log] = {}
        self._creating: set[tuple[str, str]] = set()
        self._cleaning: set[asyncio.Future[object]] = set()
        self._following: dict[tuple[str, str], asyncio.Future[object]] = {}

    async def get(self, namespace: str, task_id: str) -> Shim:
        """The shim of a task, or what follows one that was killed just now. Raises NotFound."""
        key = (namespace, task_id)
        if key not in self._shims and (following := self._following.get(key)):
            await asyncio.wait([following])
        found = self._shims.get(key) or await self._discover(namespace, task_id)
        if found is None:
            raise NotFound(f"no running task found: task {task_id} not found")
        return found

    async def list(self, namespace: str) -> tuple[Shim, ...]:
        """The shims of all tasks of a namespace."""
        for bundle in bundles(self._root, self._state, namespace):
            if (namespace, bundle.id) not in self._shims:
                await self._discover(namespace, bundle.id)
        return tuple(shim for (each, _), shim in self._shims.items() if each == namespace)

    async def _discover(self, namespace: str, task_id: str) -> Shim | None:
        """A task that an engine of this state directory has made since; None where there is none."""
        key = (namespace, task_id)
        bundle = Bundle(self._root, self._state, namespace, task_id)
        if key in self._creating or "/" in task_id or not os.path.exists(f"{bundle.path}/address"):
            return None
        try:
            shim = await shims.connect(bundle)
            binary = bundle.read("shim-binary-path").decode()
        except (ClocheError, OSError):
            return None  # it is not there yet, or no longer
        self._adopt(key, shim, binary)
        return shim

    async def create(
        self,
        namespace: str,
        request: messages.CreateTaskRequest,
        *,
        runtime: str,
        spec: bytes,
        options: Packed | None,
        sandbox: str = "",
    ) -> int:
        """Start a shim and have it create the task; returns the pid.

        request: all but the bundle. runtime: a name or a path. options: the shim's. sandbox: whose shim
        is to have the task; "" for one of its own. Raises AlreadyExists, and what the shim says.
        """
        pod = await self._pod(namespace, sandbox)
        shim, binary = await self._launch((namespace, request.id), runtime, spec, options, pod)
        request.bundle = shim.bundle.path
        request.options = self._rooted(binary, options)
        try:
            made: messages.CreateTaskResponse = await shim.call("Create", request)
        except BaseException:
            await asyncio.shield(self._undo(shim, binary))
            raise
        faults.point("task.created")
        return made.pid

    async def _pod(self, namespace: str, sandbox: str) -> Shim | None:
        """The shim of a sandbox; None for a container without one, or of one that is a mere label."""
        try:
            return await self.get(namespace, sandbox) if sandbox else None
        except NotFound:
            return None

    async def host(
        self, namespace: str, sandbox: str, *, runtime: str, spec: bytes, options: Packed | None
    ) -> None:
        """Start a shim for a sandbox. Raises AlreadyExists."""
        await self._launch((namespace, sandbox), runtime, spec, options, None)

    async def dismiss(self, namespace: str, sandbox: str) -> None:
        """Let go of a sandbox's shim, which was told to end, and remove its bundle."""
        shim = await self.get(namespace, sandbox)
        self._forget((namespace, sandbox))
        await shim.shut_down()
        await self._run(shim.bundle.remove, lane=(namespace, sandbox))

    def bundle_path(self, namespace: str, task_id: str) -> str:
        """Where a task's or sandbox's shim works."""
        return Bundle(self._root, self._state, namespace, task_id).path

    async def _launch(
        self, key: tuple[str, str], runtime: str, spec: bytes, options: Packed | None, pod: Shim | None
    ) -> tuple[Shim, str]:
        """A bundle and a shim that answers for it: a new one, or a pod's; and the shim's program."""
        if key in self._shims or key in self._creating:
            raise AlreadyExists(f"task {key[1]}: already exists")
        self._creating.add(key)
        try:
            bundle = Bundle(self._root, self._state, *key)
            binary = shim_binary(runtime)
            await self._run(bundle.make, spec, binary, lane=key)
            try:
                faults.point("task.bundled")
                if pod is not None:
                    await self._run(bundle.join, pod.id, pod.address, lane=key)
                else:
                    self._logs[key] = Log(bundle)
                    given = self._rooted(binary, options)
                    await self._run(shims.start, bundle, binary, self._daemon, given, lane=key)
                faults.point("task.shim-started")
                shim = await shims.connect(bundle)
            except BaseException:
                self._forget(key)
                await asyncio.shield(self._clear(bundle, binary))
                raise
            self._adopt(key, shim, binary)
            return shim, binary
        finally:
            self._creating.discard(key)

    async def _undo(self, shim: Shim, binary: str) -> None:
        """A task was not created: nothing is to be left of it."""
        self._forget((shim.bundle.namespace, shim.id))
        await shim.shut_down()
        await self._clear(shim.bundle, binary)

    def _rooted(self, binary: str, options: Packed | None) -> Packed | None:
        """Options that have our own shim keep the runtime's state where engines of this directory look."""
        if binary != own_shim() or (options and options.type_name != Options.FULL_NAME):
            return options
        given = Options.decode(options.value) if options else Options()
        if given.root or given.binary_name not in ("", "runc"):
            return options
        given.root = self._state
        return Packed.pack(given)

    def _adopt(self, key: tuple[str, str], shim: Shim, binary: str) -> None:
        self._shims[key] = shim
        shim.channel.on_lost = lambda: self._lost(key, shim, binary)

    def _forget(self, key: tuple[str, str]) -> None:
        self._shims.pop(key, None)
        log = self._logs.pop(key, None)
        if log is not None:
            log.close()

    async def delete(self, namespace: str, task_id: str) -> messages.DeleteResponse:
        """Delete a task that has ended, and all that was its. Raises what the shim says."""
        key = (namespace, task_id)
        asked = messages.DeleteRequest(id=task_id)
        gone: messages.DeleteResponse = await self.ask(namespace, task_id, "Delete", asked)
        shim = await self.get(namespace, task_id)
        faults.point("task.deleted")
        self._forget(key)
        await shim.shut_down()
        faults.point("task.shut-down")
        hidden = await self._run(shim.bundle.hide, lane=key)
        self._later(self._run(discard, hidden))
        return gone

    async def _clear(self, bundle: Bundle, binary: str) -> messages.DeleteResponse | None:
        """Have a shim's `delete` clean up, and remove the bundle."""
        key = (bundle.namespace, bundle.id)
        try:
            gone: messages.DeleteResponse | None
            gone = await self._run(shims.delete, bundle, binary, self._daemon, lane=key)
        except (ClocheError, OSError, ValueError) as error:
            _log.warning("task %s/%s: cleaning up: %s", *key, error)
            gone = None
        await self._run(bundle.remove, lane=key)
        return gone

    def _lost(self, key: tuple[str, str], shim: Shim, binary: str) -> None:
        """The connection to a shim has ended, and nobody had asked for it."""
        if self._shims.get(key) is shim:
            self._forget(key)
            if not os.path.exists(shim.bundle.path):
                return  # an engine's, which has ended and is gone with all that was its
            following = self._following[key] = self._later(self._follow(key, shim.bundle, binary))
            following.add_done_callback(lambda _: self._following.pop(key, None))

    def _later(self, work: Awaitable[object]) -> asyncio.Future[object]:
        """Have something done that nobody need wait for."""
        doing = asyncio.ensure_future(work)
        self._cleaning.add(doing)
        doing.add_done_callback(self._cleaning.discard)
        return doing

    async def _follow(self, key: tuple[str, str], bundle: Bundle, binary: str) -> None:
        """Find what has taken a dead shim's place; clean up where nothing has."""
        try:
            shim = await shims.connect(bundle)
            await shim.call("State", messages.StateRequest(id=bundle.id), timeout_s=LOAD_TIMEOUT_S)
        except (ClocheError, OSError):
            await self._clean_up(key, bundle, binary)
            return
        _log.warning("task %s/%s: its shim was killed, and goes on", *key)
        if key in self._shims:
            shim.channel.close()  # somebody has asked for it meanwhile
        else:
            self._adopt(key, shim, binary)
        if key not in self._logs:
            self._logs[key] = Log(bundle)

    async def wait(self, namespace: str, task_id: str, exec_id: str = "") -> messages.WaitResponse:
        """How a process ended, once it has."""
        asked = messages.WaitRequest(id=task_id, exec_id=exec_id)
        ended: messages.WaitResponse = await self.ask(namespace, task_id, "Wait", asked)
        return ended

    async def ask(self, namespace: str, task_id: str, method: str, request: Message) -> Any:
        """A call that may be made twice: it is, where the task's shim is killed meanwhile and goes on."""
        while True:
            shim = await self.get(namespace, task_id)
            try:
                return await shim.call(method, request)
            except Unavailable:
                following = self._following.get((namespace, task_id))
                if following is None:
                    raise
                await asyncio.wait([following])

    async def _clean_up(self, key: tuple[str, str], bundle: Bundle, binary: str) -> None:
        namespace, task_id = key
        _log.warning("task %s/%s: its shim is gone: cleaning up", *key)
        gone = await self._clear(bundle, binary)
        pid = gone.pid if gone else 0
        status = gone.exit_status if gone else _UNKNOWN_EXIT
        at = gone.exited_at if gone and gone.exited_at else Timestamp.of(clock.now())
        exited = TaskExit(container_id=task_id, id=task_id, pid=pid, exit_status=status, exited_at=at)
        self._publish(namespace, "/tasks/exit", exited)
        deleted = TaskDelete(container_id=task_id, pid=pid, exit_status=status, exited_at=at)
        self._publish(namespace, "/tasks/delete", deleted)

    async def load(self) -> None:
        """Find the tasks again that ran when the last daemon ended; what is left of others is removed."""
        found = list(bundles(self._root, self._state))
        self._later(self._run(discard_all, self._state))
        await asyncio.gather(*(self._load(bundle) for bundle in found))

    async def _load(self, bundle: Bundle) -> None:
        key = (bundle.namespace, bundle.id)
        binary, shim = "", None
        try:
            binary = bundle.read("shim-binary-path").decode()
            shim = await shims.connect(bundle)
            pids = await shim.call("Pids", messages.PidsRequest(id=bundle.id), timeout_s=LOAD_TIMEOUT_S)
        except (ClocheError, OSError) as error:
            _log.warning("task %s/%s: cannot be loaded: %s", *key, error)
            if shim is not None:
                await shim.shut_down()  # one that was started, and whose task was never made
            if binary:
                await self._clean_up(key, bundle, binary)
            else:
                await self._run(bundle.remove, lane=key)
            return
        self._logs[key] = Log(bundle)
        self._adopt(key, shim, binary)
        _log.info("task %s/%s: found again, with %d processes", *key, len(pids.processes))

    async def close(self) -> None:
        """Let go of all shims; they and their tasks go on."""
        for shim in self._shims.values():
            shim.channel.close()
        for log in self._logs.values():
            log.close()
        if self._cleaning:
            await asyncio.wait(self._cleaning, timeout=1)
