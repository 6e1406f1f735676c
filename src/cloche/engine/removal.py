"""Removing containers, and what the engines of dead processes left."""

from __future__ import annotations

import os
import sys

from cloche.engine import networking, status
from cloche.engine.kept import Kept
from cloche.errors import ClocheError, FailedPrecondition, NotFound
from cloche.runtime.container import Container as RuntimeContainer
from cloche.shim import ownership
from cloche.store import containers as store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.engine.context import Context
    from cloche.store.containers import Container

_PROGRAM = (
    "import sys; sys.path.insert(0, sys.argv[1]); from cloche.engine.removal import main; main(sys.argv[2:])"
)


def remove(
    context: Context, row: Container, *, force: bool = False, volumes: bool = False, lease: str = ""
) -> None:
    """Remove a container: processes and cgroups, then its rows, then its files.

    lease: a run lease that ends with it. Can be repeated after a crash at any point. Raises
    FailedPrecondition while it runs, unless forced.
    """
    _refuse_daemons(context, row)
    _end(context, row, force=force)
    try:
        RuntimeContainer.load(context.runtime_root, row.id).delete(force=True)
    except NotFound:
        pass
    networking.detach(context, row.id)
    snapshotter = context.snapshotter(row.snapshotter)
    with context.metadata.write(durable=not lease) as tx:
        try:
            store.delete(tx, context.namespace, row.id)
        except NotFound:
            if not force:
                raise
        try:
            snapshotter.remove(tx, row.snapshot_key)
        except NotFound:
            pass
        if lease:
            from cloche.store import leases

            leases.delete(tx, context.namespace, lease)
    snapshotter.purge()
    if volumes:
        from cloche.engine.volumes import remove as remove_volume

        for name in Kept.of(row).anonymous:
            remove_volume(context, name)
    context.discard(context.directory(row.id))
    context.discard(context.run_directory(row.id))


def _refuse_daemons(context: Context, row: Container) -> None:
    """A task that was made through the API has a shim that waits to be told: it keeps its container."""
    if not row.options and os.path.exists(context.bundle(row.id)):
        raise FailedPrecondition(
            f"cannot remove container {row.id}: it was made through the daemon's API and has a task: remove "
            f"that first, with `ctr --namespace {context.namespace} tasks rm --force {row.id}`"
        )


def _end(context: Context, row: Container, *, force: bool) -> None:
    if not status.of(context, row.id).running:
        return
    if not force:
        raise FailedPrecondition(
            f"cannot remove container {row.name or row.id}: it is running: stop it first, or use force"
        )
    try:
        RuntimeContainer.load(context.runtime_root, row.id).kill(9)
    except ClocheError:
        pass
    ownership.wait(context.run_directory(row.id))


def command_line(context: Context, container_id: str) -> tuple[str, ...]:
    """What a shim executes when a container with `--rm` has ended."""
    places = (context.root, context.state, context.namespace, container_id)
    return tuple(_interpreter(_PROGRAM, *places))


def _interpreter(program: str, *arguments: str) -> list[str]:
    """A command line that runs Python text with this package and nothing of a `site`."""
    base = getattr(sys, "_base_executable", None) or sys.executable
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    return [base, "-I", "-S", "-c", program, package, *arguments]


def main(arguments: list[str]) -> None:
    """ROOT STATE NAMESPACE ID: remove a container that has ended, and its anonymous volumes."""
    from cloche.engine.context import Context

    root, state, namespace, container_id = arguments
    context = Context(root, state, namespace, "")
    try:
        with context.metadata.read() as tx:
            row = store.get(tx, namespace, container_id)
        if row is not None:
            remove(context, row, force=True, volumes=True)
    finally:
        context.close()
