"""Starting, stopping, signalling and waiting: what moves a stored container between its states."""

from __future__ import annotations

import os
import select

from cloche.engine import specification, status
from cloche.engine.signals import number_of
from cloche.engine.starting import Start
from cloche.errors import FailedPrecondition, InvalidArgument, NotFound
from cloche.runtime.container import Container as RuntimeContainer
from cloche.shim import ownership
from cloche.store import containers as store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cloche.engine.context import Context
    from cloche.engine.terminal import Attached
    from cloche.store.containers import Container

_KILL = 9


def start(
    context: Context, row: Container, *, hold: bool = False, console_size: tuple[int, int] | None = None
) -> int:
    """See `Container.start`."""
    with Start(context, row) as starting:
        on_exit: tuple[str, ...] = ()
        if starting.kept.options.auto_remove:
            from cloche.engine.removal import command_line

            on_exit = command_line(context, row.id)
        request = starting.request(on_exit=on_exit, console_size=console_size)
        return starting.in_shim(request.replace(hold=hold))


def run(
    context: Context,
    row: Container,
    *,
    stdio: tuple[int, int, int],
    on_start: Callable[[Attached], None] | None,
    durable: bool = True,
) -> int:
    """See `Container.run`. durable: whether its start and end are worth a record."""
    from cloche.engine.terminal import LocalTerminal, size_of

    with Start(context, row) as starting:
        options = starting.kept.options
        size = size_of(stdio) if options.tty else None
        parent = starting.here(starting.request(durable=durable, console_size=size))
        parent.listen()
        stdin = stdio[0] if options.stdin_open else -1
        with LocalTerminal((stdin, stdio[1], stdio[2]), parent, tty=options.tty) as terminal:
            if on_start is not None:
                on_start(parent)
            return parent.serve(terminal, released=starting.release)


def stop(context: Context, row: Container, *, timeout_s: float | None, signal: str | int | None) -> None:
    """See `Container.stop`."""
    container = _runtime(context, row)
    if container is None:
        return
    if timeout_s is None or signal is None:
        from cloche.engine.kept import Kept

        kept = Kept.from_bytes(row.options)
        timeout_s = kept.options.stop_timeout_s if timeout_s is None else timeout_s
        signal = specification.stop_signal(kept.image_config, kept.options) if signal is None else signal
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
        from cloche.engine.attaching import wait_exit

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
    validate_name(name)
    with context.metadata.write() as tx:
        current = store.get(tx, context.namespace, row.id)
        if current is None:
            raise NotFound(f"no such container: {row.id}")
        if current.name == name:
            raise InvalidArgument("renaming a container with the same name as its current name")
        return store.update(tx, current.replace(name=name))


def validate_name(name: str) -> str:
    """Docker's rule for names of containers. Raises InvalidArgument."""
    rest = name.translate({ord(mark): None for mark in "_.-"})
    if len(name) < 2 or not name.isascii() or not name[0].isalnum() or not rest.isalnum() or len(name) > 255:
        raise InvalidArgument(
            f"invalid container name {name!r}: only letters, digits and _ . - are allowed, two at least, "
            "the first a letter or a digit"
        )
    return name


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
