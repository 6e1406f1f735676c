"""Stopping, signalling, pausing and waiting: what is done to a container that runs."""

from __future__ import annotations

import os
import select

from cloche.engine import networking, status
from cloche.engine.names import validate_name
from cloche.engine.signals import number_of
from cloche.errors import FailedPrecondition, InvalidArgument, NotFound
from cloche.runtime.container import Container as RuntimeContainer
from cloche.shim import ownership
from cloche.store import containers as store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.engine.context import Context
    from cloche.store.containers import Container

_KILL = 9


def stop(context: Context, row: Container, *, timeout_s: float | None, signal: str | int | None) -> None:
    """See `Container.stop`."""
    container = _runtime(context, row)
    if container is None:
        return
    if timeout_s is None or signal is None:
        from cloche.engine import program
        from cloche.engine.kept import Kept

        kept = Kept.of(row)
        timeout_s = kept.options.stop_timeout_s if timeout_s is None else timeout_s
        signal = program.stop_signal(kept.image_config, kept.options) if signal is None else signal
    number = number_of(signal)
    process = container.stored.open_process()
    if process is not None:
        try:
            _ask(container, number)
            if not _ended(process, timeout_s):
                _send(container, _KILL)
                _ended(process, 10)
        finally:
            os.close(process)
    _settle(context, row, container)


def _settle(context: Context, row: Container, container: RuntimeContainer) -> None:
    """Wait until the end is on record; where the parent was killed, remove what it left."""
    if ownership.held(context.run_directory(row.id)):
        ownership.wait(context.run_directory(row.id))
        return
    try:
        container.delete(force=True)
    except NotFound:
        pass


def _ask(container: RuntimeContainer, number: int) -> None:
    """A frozen container cannot answer a signal: it is let go first, as Docker does."""
    if container.status() == "paused":
        container.resume()
    _send(container, number)


def _send(container: RuntimeContainer, number: int) -> None:
    try:
        container.kill(number)
    except FailedPrecondition:
        # It ended meanwhile, which is what was wanted.
        pass


def _ended(process: int, timeout_s: float) -> bool:
    poll = select.poll()
    poll.register(process, select.POLLIN)
    return bool(poll.poll(None if timeout_s < 0 else timeout_s * 1000))


def kill(context: Context, row: Container, signal: str | int) -> None:
    """See `Container.kill`."""
    number = number_of(signal)
    container = _runtime(context, row)
    if container is None:
        raise FailedPrecondition(f"cannot kill container {row.name or row.id}: it is not running")
    container.kill(number)
    if number == _KILL:
        _settle(context, row, container)


def pause(context: Context, row: Container) -> None:
    """See `Container.pause`."""
    _require(context, row, "pause").pause()


def resume(context: Context, row: Container) -> None:
    """See `Container.resume`."""
    _require(context, row, "unpause").resume()


def wait(context: Context, row: Container) -> int:
    """See `Container.wait`."""
    if ownership.held(context.run_directory(row.id)):
        from cloche.engine.exits import wait_exit

        # The parent's word comes first: of a container with --rm nothing may be left to read.
        code = wait_exit(context, row)
        if code is not None:
            return code
    ownership.wait(context.run_directory(row.id))
    orphan = _runtime(context, row)
    process = orphan.stored.open_process() if orphan is not None else None
    if process is not None:
        _ended(process, -1)
        os.close(process)
    return status.of(context, row.id).exit_code


def rename(context: Context, row: Container, name: str) -> Container:
    """See `Container.rename`."""
    name = validate_name(name)
    with context.metadata.write() as tx:
        current = store.get(tx, context.namespace, row.id)
        if current is None:
            raise NotFound(f"no such container: {row.id}")
        if current.name == name:
            raise InvalidArgument("renaming a container with the same name as its current name")
        updated = store.update(tx, current.replace(name=name))
    networking.renamed(context, row.id, name)
    return updated


def runtime_of(context: Context, row: Container) -> RuntimeContainer:
    """The running container. Raises FailedPrecondition where it does not run."""
    container = _runtime(context, row)
    if container is None:
        raise FailedPrecondition(f"container {row.name or row.id} is not running")
    return container


def _require(context: Context, row: Container, action: str) -> RuntimeContainer:
    container = _runtime(context, row)
    if container is None:
        raise FailedPrecondition(f"cannot {action} container {row.name or row.id}: it is not running")
    return container


def _runtime(context: Context, row: Container) -> RuntimeContainer | None:
    """The runtime's container while its process lives."""
    try:
        container = RuntimeContainer.load(context.runtime_root, row.id)
    except NotFound:
        return None
    return container if container.status() in ("created", "running", "paused") else None
