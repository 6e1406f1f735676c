"""How containers and their processes come to be: the part of Create and Start that may block.

loop                          lane
check, take the id
──────────────────────────▶   open streams, mount, create or execute
watch it · publish · answer ◀─
"""

from __future__ import annotations

import os

from cloche.errors import AlreadyExists, ClocheError, FailedPrecondition, InvalidArgument, NotFound
from cloche.shim import bundle as bundles
from cloche.shim.claims import CLAIMS
from cloche.shim.containers import Container
from cloche.shim.driver import Created, driver_for
from cloche.shim.embedded import keeper_of
from cloche.shim.lanes import Lane
from cloche.shim.oom import OomNotices
from cloche.shim.processes import Process
from cloche.shim.stdio.opening import Uris, open_stdio
from cloche.spec.document import load_file
from cloche.spec.mount import Mount
from cloche.wire.messages import events
from cloche.wire.messages.runc_options import Options
from cloche.wire.status import UNKNOWN, StatusError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cloche.shim.containers import Shim
    from cloche.shim.driver import Driver, Spawned
    from cloche.shim.stdio.opening import Stdio
    from cloche.wire.messages.task import CreateTaskRequest

    Done = Callable[[BaseException | None], None]

_LONGEST_ID = 255


def check_id(text: str, what: str) -> None:
    """Raises InvalidArgument for an id that would not do as a file's name."""
    if not text or len(text) > _LONGEST_ID or "/" in text or "\0" in text or text in (".", ".."):
        raise InvalidArgument(f"{text!r} cannot be the id of {what}")


class Birth:
    """One container being created. Made and ended in the loop's thread; `work` runs on its lane."""

    def __init__(self, shim: Shim, request: CreateTaskRequest, done: Done) -> None:
        """Begin. done(error): called once, when the container is in shim.containers or nothing is left.

        Raises InvalidArgument, and AlreadyExists for an id that is taken.
        """
        check_id(request.id, "a container")
        if request.id in shim.containers or request.id in shim.creating:
            raise AlreadyExists(f"container {request.id}")
        shim.hold()
        options = options_of(request)
        rootfs = tuple(Mount(m.type, m.source, tuple(m.options)) for m in request.rootfs)
        keeper = keeper_of(request.bundle, end=shim.end)
        driver = driver_for(
            options,
            bundle=request.bundle,
            container_id=request.id,
            namespace=shim.namespace,
            rootfs=rootfs,
            worded=keeper is None,
        )
        uris = Uris(request.stdin, request.stdout, request.stderr, request.terminal)
        self._shim = shim
        self._request = request
        self._done = done
        self._options = options
        self._container = Container(shim, request.id, request.bundle, driver, Process("", uris))
        if options:
            self._container.io_owner = options.io_uid, options.io_gid
        self._stdio: Stdio | None = None
        self._container.keeper = keeper
        self._begin()

    def _begin(self) -> None:
        self._shim.creating.add(self._container.id)
        lane = Lane(self._shim.loop) if may_wait(self._container.init.uris) else self._container.lane
        lane.run(self._open_and_create, self._made)

    def _open_and_create(self) -> Created:
        self._open()
        return self._create()

    def _open(self) -> Stdio:
        container, request = self._container, self._request
        if container.keeper is not None:
            container.keeper.take_lock()
        self._stdio = open_stdio(
            self._shim.loop,
            container.init.uris,
            container_id=container.id,
            namespace=self._shim.namespace,
            owner=container.io_owner,
        )
        # Before all else: what was made can be removed only by who knows how.
        bundles.keep_options(request.bundle, self._options)
        return self._stdio

    def _create(self) -> Created:
        driver, request, stdio = self._container.driver, self._request, self._stdio
        assert stdio is not None  # noqa: S101 - _open was called
        with CLAIMS:
            spawned = driver.create(
                stdio=stdio.child, terminal=request.terminal, checkpoint=request.checkpoint
            )
            CLAIMS.claim(spawned.pid)
        try:
            bundles.write(request.bundle, bundles.INIT_PID, b"%d" % spawned.pid)
            cgroup = driver.cgroup()
            return Created(spawned, _shares_pids(driver, request.bundle), cgroup.paths if cgroup else {})
        except BaseException:
            driver.delete()
            os.close(spawned.pidfd)
            CLAIMS.release(spawned.pid)
            raise

    def _made(self, created: Created | None, error: BaseException | None) -> None:
        container, shim = self._container, self._shim
        shim.creating.discard(container.id)
        if created is None or self._stdio is None:
            if self._stdio is not None:
                self._stdio.close()
            self._done(refusal(container, error))
            if container.keeper is not None:
                container.keeper.release()
                shim.end()
            return
        container.shares_pids = created.shares_pids
        shim.containers[container.id] = container
        container.adopt(container.init, created.spawned, self._stdio)
        container.publish(self._event(created.spawned.pid))
        container.oom = OomNotices.of(created.cgroup_paths) if created.cgroup_paths else None
        container.listen_oom()
        if container.keeper is not None:
            container.keeper.created(container)
        shim.changed()
        self._done(None)

    def _event(self, pid: int) -> events.TaskCreate:
        request = self._request
        io = events.TaskIO(
            stdin=request.stdin, stdout=request.stdout, stderr=request.stderr, terminal=request.terminal
        )
        return events.TaskCreate(
            container_id=request.id,
            bundle=request.bundle,
            rootfs=request.rootfs,
            io=io,
            checkpoint=request.checkpoint,
            pid=pid,
        )


def options_of(request: CreateTaskRequest) -> Options | None:
    """runc's options, where the request has them; those of other kinds of runtime are none of ours."""
    if request.options is None or request.options.type_name != Options.FULL_NAME:
        return None
    return Options.decode(request.options.value)


def start(container: Container, process: Process, done: Done) -> None:
    """Start a process that was created; done(error) when it runs, or does not. Raises FailedPrecondition."""
    process.require("start")
    if process is container.init:
        _start_init(container, done)
    else:
        _start_added(container, process, done)


def _start_init(container: Container, done: Done) -> None:
    init = container.init
    if init.pid and not container.shim.children.is_watched(init.pid):
        raise FailedPrecondition("cannot start a stopped process")
    init.starting = True

    def started(_result: object, error: BaseException | None) -> None:
        init.starting = False
        if error is None:
            init.started = True
            container.shim.changed()
            if init.stdio is not None:
                init.stdio.open_input()
            container.publish(events.TaskStart(container_id=container.id, pid=init.pid))
        elif container.keeper is not None:
            container.keeper.failure = error
        done(refusal(container, error))
        container.settle_init()

    container.lane.run(container.driver.start, started)


def _start_added(container: Container, process: Process, done: Done) -> None:
    container.init.require("exec in")
    opened: list[Stdio] = []

    def open_streams() -> Stdio:
        stdio = open_stdio(
            container.shim.loop,
            process.uris,
            container_id=container.id,
            namespace=container.shim.namespace,
            owner=container.io_owner,
        )
        opened.append(stdio)
        return stdio

    def work() -> Spawned:
        stdio = opened[0] if opened else open_streams()
        with CLAIMS:
            spawned = container.driver.execute(
                process.exec_id, process.spec or {}, stdio=stdio.child, terminal=process.uris.terminal
            )
            CLAIMS.claim(spawned.pid)
        return spawned

    def made(spawned: Spawned | None, error: BaseException | None) -> None:
        process.starting = False
        if spawned is None:
            for stdio in opened:
                stdio.close()
            process.forget(error or NotFound(f"process does not exist {process.exec_id}"))
        else:
            _added(container, process, spawned, opened[0])
        done(refusal(container, error))
        container.settle_init()

    if may_wait(process.uris):
        process.starting = True
        Lane(container.shim.loop).run(work, made)
        return
    open_streams()
    process.starting = True
    container.lane.run(work, made)


def _added(container: Container, process: Process, spawned: Spawned, stdio: Stdio) -> None:
    process.started = True
    container.adopt(process, spawned, stdio)
    container.publish(
        events.TaskExecStarted(container_id=container.id, exec_id=process.exec_id, pid=spawned.pid)
    )
    if container.keeper is not None:
        process.after_drain(lambda: container.forget(process))


def may_wait(uris: Uris) -> bool:
    """Whether opening these streams may block: a logging program has to say first that it is ready."""
    return any(uri.startswith("binary") for uri in (uris.stdout, uris.stderr))


def refusal(container: Container, error: BaseException | None) -> BaseException | None:
    """What a client is told: an engine of ours the error itself, others what they understand."""
    if error is not None and container.keeper is not None:
        return container.keeper.told(error)
    return as_answer(error)


def as_answer(error: BaseException | None) -> BaseException | None:
    """What a client is told of a runtime's failure.

    Clients take "not found" for an answer about the container itself, which it is not where a mount's
    source or a program is missing.
    """
    if isinstance(error, ClocheError) and isinstance(error, NotFound | FailedPrecondition):
        return StatusError(UNKNOWN, str(error))
    return error


def _shares_pids(driver: Driver, bundle: str) -> bool:
    """Whether the container's processes can outlive its first one: without a pid namespace of its own."""
    config = getattr(driver, "config", None) or load_file(f"{bundle}/config.json")
    namespaces = (config.get("linux") or {}).get("namespaces") or ()
    return not any(each.get("type") == "pid" and not each.get("path") for each in namespaces)
