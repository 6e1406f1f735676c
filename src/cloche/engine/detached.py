"""Containers that outlive the command which starts them: their parent is a shim.

    engine                                    containerd-shim-cloche-v1
    bundle with embedded.json
    executes `start` ───────────────────────▶ forked from the warm parent
    ttrpc: Create, Start ───────────────────▶ takes over the lock, and the container (shim.embedded)

The bundle is where a daemon of this state directory looks for tasks, so that it sees the container.
"""

from __future__ import annotations

import os
import time

from cloche import errors
from cloche.engine.tasks.runtimes import own_shim
from cloche.errors import FailedPrecondition, NotFound
from cloche.runtime.failures import ExecFailed
from cloche.shim import embedded, records, timestamps
from cloche.shim.bootstrap import GUARDED
from cloche.shim.client import Client
from cloche.shim.embedded import Orders
from cloche.spec.document import dumps, loads
from cloche.wire.messages import task as messages
from cloche.wire.messages.google import Any
from cloche.wire.messages.runc_options import Options
from cloche.wire.messages.types import Mount
from cloche.wire.services.task import TASK_V2
from cloche.wire.status import StatusError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any as Anything

    from cloche.engine.context import Context
    from cloche.errors import ClocheError
    from cloche.shim.parent import Request
    from cloche.spec.config import Process
    from cloche.spec.mount import Mount as SpecMount
    from cloche.wire.protobuf import Message

_HOLD_S = 10.0
_SETTLED_S = 5.0
# Changes to the bundle, which is what a shim works in; posix_spawn(3) cannot do that.
_IN_BUNDLE = 'cd -- "$1" && shift && exec "$@"'


def start(
    context: Context,
    request: Request,
    mounts: Sequence[SpecMount],
    *,
    lock: int,
    attach: Callable[[int], None] | None = None,
) -> int:
    """Make a container under a shim and start it; returns its pid.

    mounts: its root file system. lock: the descriptor that holds `ownership.Ownership`, which the shim
    goes on holding. attach: given the process before its program is executed, to bring it into networks,
    which the shim takes it out of at its end. Raises what went wrong in the shim; then nothing is left,
    and the failure is on record.
    """
    started = records.Started(timestamps.now())
    records.write_started(request.directory, started)
    try:
        return _start(context, request, mounts, started, lock, attach)
    except Exception as error:
        code = records.start_code(error)
        ended = records.Ended(started.started_at, timestamps.now(), code, error=str(error))
        records.write_ended(request.directory, ended)
        raise


def _start(
    context: Context,
    request: Request,
    mounts: Sequence[SpecMount],
    started: records.Started,
    lock: int,
    attach: Callable[[int], None] | None,
) -> int:
    bundle = context.bundle(request.container_id)
    orders = Orders(
        directory=request.directory,
        run_directory=request.run_directory,
        started_at=started.started_at,
        lock=(os.getpid(), lock),
        input_ends=request.input_ends,
        hold_s=_HOLD_S if request.hold else 0,
        networks=(context.root, context.state) if attach else (),
        on_exit=request.on_exit,
    )
    files = {"config.json": dumps(request.config), embedded.FILE: orders.encode()}
    _make_bundle(bundle, files | {"shim-binary-path": own_shim().encode()})
    try:
        with Client(_executed(context, bundle, request.container_id)) as shim:
            made = _call(shim, "Create", _creation(context, request, bundle, mounts))
            if attach is not None:
                _attach(shim, bundle, made.pid, attach)
            _call(shim, "Start", messages.StartRequest(id=request.container_id))
    except BaseException:
        embedded.remove_bundle(bundle)
        raise
    pid: int = made.pid
    return pid


def _attach(shim: Client, bundle: str, pid: int, attach: Callable[[int], None]) -> None:
    """Bring the process into networks; where that fails the shim is told to end it, and waited for."""
    try:
        attach(pid)
    except BaseException:
        _call(shim, "Kill", messages.KillRequest(id=os.path.basename(bundle), signal=9))
        # Its end is on record before the bundle goes: ours, with the reason, has to come after it.
        deadline = time.monotonic() + _SETTLED_S
        while os.path.exists(bundle) and time.monotonic() < deadline:
            time.sleep(0.005)
        raise


def _make_bundle(path: str, files: dict[str, bytes]) -> None:
    os.makedirs(os.path.dirname(path), 0o711, exist_ok=True)
    embedded.remove_bundle(path)  # of a shim that was killed
    os.mkdir(path, 0o700)
    for name, data in files.items():
        descriptor = os.open(f"{path}/{name}", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            while data:
                data = data[os.write(descriptor, data) :]
        finally:
            os.close(descriptor)


def _creation(
    context: Context, request: Request, bundle: str, mounts: Sequence[SpecMount]
) -> messages.CreateTaskRequest:
    terminal = bool(request.config["process"].get("terminal"))
    log = f"json-file://{_escaped(request.log_path)}"
    return messages.CreateTaskRequest(
        id=request.container_id,
        bundle=bundle,
        rootfs=[Mount(type=m.type, source=m.source, options=list(m.options)) for m in mounts],
        terminal=terminal,
        stdin="attach://" if request.stdin_open else "",
        stdout=log,
        stderr="" if terminal else log,
        options=Any.pack(Options(root=context.state)),
    )


def _escaped(path: str) -> str:
    """A path in a URI."""
    return "".join(f"%{ord(each):02X}" if each in "%?#+&" else each for each in path)


def _executed(context: Context, bundle: str, container_id: str) -> str:
    """Execute a shim's `start`; the path of the socket that it tells."""
    address = f"{context.state}/cloched.sock"
    words = [own_shim(), "-namespace", context.namespace, "-address", address, "-id", container_id, "start"]
    listening = os.path.exists(f"{address}.ttrpc")
    environment = {
        "LANG": "C.UTF-8",
        GUARDED: "1",
        "PATH": os.environ.get("PATH", os.defpath),
        # A daemon that runs hears of events; where none does nobody waits for them.
        "TTRPC_ADDRESS": f"{address}.ttrpc" if listening else "",
    }
    reading, writing = os.pipe()
    try:
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, writing, 1),
            (os.POSIX_SPAWN_DUP2, writing, 2),
        ]
        command = ["/bin/sh", "-c", _IN_BUNDLE, "sh", bundle, *words]
        pid = os.posix_spawn(command[0], command, environment, file_actions=actions)
        os.close(writing)
        writing = -1
        told = b""
        while part := os.read(reading, 1 << 16):
            told += part
        _, status = os.waitpid(pid, 0)
    finally:
        os.close(reading)
        if writing >= 0:
            os.close(writing)
    text = told.decode(errors="replace").strip()
    if status:
        raise FailedPrecondition(f"the container's shim did not start: {text or f'status {status}'}")
    if text.startswith("{"):
        text = str(loads(text.encode(), "the shim's answer").get("address", ""))
    return text.removeprefix("unix://")


def _call(shim: Client, method: str, request: Message) -> Anything:
    """Call the shim; its errors are raised as what they are there."""
    try:
        return shim.call(TASK_V2, method, request)
    except StatusError as error:
        for each in error.details:
            if each.type_name == embedded.FAILURE_TYPE:
                raise _revived(loads(each.value, "the shim's answer")) from None
        raise


def _revived(answer: dict[str, object]) -> ClocheError:
    """The error that `Keeper.told` put into words."""
    message, errno = str(answer.get("message")), answer.get("errno")
    if answer.get("error") == "ExecFailed" and isinstance(errno, int):
        return ExecFailed(message, errno)
    kind = getattr(errors, str(answer.get("error")), None)
    if isinstance(kind, type) and issubclass(kind, errors.ClocheError):
        return kind(message)
    return errors.FailedPrecondition(message)


def execute(context: Context, container_id: str, process: Process) -> int:
    """Run one more process in a container under its shim, detached; returns its pid.

    Raises ExecFailed, and NotFound where the container has no shim.
    """
    address = f"{context.bundle(container_id)}/address"
    try:
        with open(address, "rb", buffering=0) as file:
            path = file.read(4096).decode().strip().removeprefix("unix://")
    except FileNotFoundError:
        raise NotFound(f"container {container_id}: no shim looks after it") from None
    exec_id = os.urandom(16).hex()
    spec = Any(type_url="types.containerd.io/opencontainers/runtime-spec/1/Process", value=dumps(process))
    with Client(path) as shim:
        _call(shim, "Exec", messages.ExecProcessRequest(id=container_id, exec_id=exec_id, spec=spec))
        started = _call(shim, "Start", messages.StartRequest(id=container_id, exec_id=exec_id))
    pid: int = started.pid
    return pid
