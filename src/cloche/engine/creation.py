"""A container is made: its settings checked, its rows written, its new volumes filled."""

from __future__ import annotations

import os

from cloche.engine import (
    capabilities,
    devices,
    etcfiles,
    namespaces,
    networking,
    program,
    resources,
    rootfs,
    security,
    specification,
)
from cloche.engine.container import Container
from cloche.engine.kept import Kept
from cloche.engine.names import new_id, new_name, validate_name
from cloche.engine.volumes import Volumes, wanted
from cloche.errors import AlreadyExists, ClocheError
from cloche.store import containers as store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.engine.context import Context
    from cloche.engine.images import Image
    from cloche.engine.options import Options
    from cloche.store.metadata import WriteTransaction

_NAME_ATTEMPTS = 8


def create(context: Context, image: Image, options: Options, *, lease: str = "") -> Container:
    """See `Containers.create`. lease: of a run; the container dies with the process that holds it."""
    check(image, options)
    networking.require(context, options)
    volumes = Volumes(context)
    container_id = new_id()
    try:
        volumes.prepare(wanted(image.config, options.mounts))
        kept = Kept(
            options,
            image.config,
            image.id,
            image.digest,
            image.chain_id,
            volumes.names,
            tuple(volumes.anonymous),
        )
        row = store.Container(
            id=container_id,
            namespace=context.namespace,
            name=options.name.removeprefix("/"),
            image=image.asked,
            snapshotter=context.snapshotter_name,
            snapshot_key=container_id,
            labels={**image.config.labels, **options.labels},
            options=kept.to_bytes(),
            lease=lease,
        )
        row = _insert(context, row, image.chain_id)
        container = Container(context, row)
        _fill(context, container, volumes)
    except BaseException:
        volumes.undo()
        raise
    return container


def _insert(context: Context, row: store.Container, chain_id: str) -> store.Container:
    """The container's rows, under the name that was asked for or one that is free."""
    snapshotter = context.snapshotter(row.snapshotter)
    for attempt in range(_NAME_ATTEMPTS):
        named = row if row.name else row.replace(name=new_name(attempt))
        try:
            # What dies with this process anyway need not survive a power cut.
            with context.metadata.write(durable=not row.lease) as tx:
                _lease(context, tx, row)
                snapshotter.prepare(tx, row.snapshot_key, chain_id or None)
                return store.create(tx, named)
        except AlreadyExists:
            if row.name:
                raise
    raise AlreadyExists("no free name was found for the container: give it one")


def _lease(context: Context, tx: WriteTransaction, row: store.Container) -> None:
    if row.lease:
        from cloche.store import leases

        owner = context.owner().name
        leases.create(tx, leases.Lease(row.lease, context.namespace, owner=owner))


def _fill(context: Context, container: Container, volumes: Volumes) -> None:
    """Give new volumes the image's files; where that fails the container is not there."""
    if not volumes.fresh:
        return
    try:
        descriptor = rootfs.assemble(rootfs.mounts_of(context, container.row))
        try:
            volumes.copy_up(descriptor)
        finally:
            os.close(descriptor)
    except (ClocheError, OSError):
        container.remove(force=True)
        raise


def check(image: Image, options: Options) -> None:
    """Refuse settings that can be seen to be wrong before anything is made. Raises InvalidArgument."""
    if options.name:
        validate_name(options.name)
    if options.stop_signal:
        from cloche.engine.signals import number_of

        number_of(options.stop_signal)
    program.command(image.config, options)
    program.working_directory(image.config, options)
    program.check_environment(options)
    specification.check_sysctls(options)
    capabilities.choose(options.cap_add, options.cap_drop, privileged=options.privileged)
    namespaces.check(options)
    networking.check(options)
    etcfiles.check(options)
    security.parse(options.security_opt)
    resources.check_oom_score(options)
    _, rules = devices.build(options)
    resources.resources(options, rules, swap=True)
