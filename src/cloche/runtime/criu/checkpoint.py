"""Checkpoint: a running container's processes written into files, from which `restore` makes them again."""

from __future__ import annotations

import os

from cloche.errors import FailedPrecondition
from cloche.kernel.cgroups.layout import UNIFIED, layout
from cloche.runtime.configured_mounts import configured_mounts
from cloche.runtime.criu import external
from cloche.runtime.criu.log import reason
from cloche.runtime.criu.messages import (
    DUMP,
    PRE_DUMP,
    ExternalMount,
    Features,
    Notification,
    Options,
    PageServer,
    Request,
)
from cloche.runtime.criu.options import DESCRIPTORS, ImageFolders
from cloche.runtime.criu.rpc import Criu, CriuFailed
from cloche.runtime.facts import Facts
from cloche.runtime.gather import cgroup_facts
from cloche.runtime.plan_namespaces import KINDS
from cloche.runtime.state import Lock
from cloche.spec import document

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cloche.runtime.container import Container
    from cloche.runtime.criu.options import CheckpointOptions

LOG_LEVEL = 4
_LOG = "dump.log"
_CONFIG_FILE = "/etc/criu/runc.conf"
_CONFIG_ANNOTATION = "org.criu.config"


def checkpoint(
    container: Container, options: CheckpointOptions, *, ready: Callable[[], None] | None = None
) -> None:
    """Write a running or paused container into options.image_path.

    Without options.leave_running its processes are gone then; its cgroups and its state are not:
    Container.delete removes them. ready: called with lazy_pages, once others may fetch the pages.
    Raises FailedPrecondition, with criu's reason, and the container goes on as it was.
    """
    with Lock(container.folder):
        status = container.status()
        if status not in ("running", "paused"):
            raise FailedPrecondition(
                f"container {container.id!r} cannot be checkpointed in {status} state: it has to run"
            )
        _refuse_idmaps(container)
        criu = Criu()
        options.prepare()
        _require_features(criu, options)

        def listen(notification: Notification, _descriptors: list[int]) -> None:
            if notification.script == "status-ready" and ready:
                ready()

        with ImageFolders(options) as folders:
            request = Request(
                type=PRE_DUMP if options.pre_dump else DUMP, opts=_options(container, options, folders)
            )
            if not options.pre_dump:
                _write_descriptors(container, options)
            log = options.fresh_log(_LOG)
            try:
                criu.ask(request, listener=listen)
            except CriuFailed as error:
                why = reason(log, str(error))
                raise FailedPrecondition(
                    f"criu {criu.name} cannot checkpoint container {container.id!r}: {why}"
                ) from None


def _refuse_idmaps(container: Container) -> None:
    """criu does not know of idmapped mounts, and would restore files with other owners."""
    for mount in configured_mounts(container.config):
        if mount.is_mapped:
            raise FailedPrecondition(
                f"config.json: {mount.place}: is idmapped, which criu cannot restore: bind it without"
            )


def _require_features(criu: Criu, options: CheckpointOptions) -> None:
    if options.pre_dump:
        criu.require(Features(mem_track=True), "--pre-dump")
    if options.lazy_pages:
        criu.require(Features(lazy_pages=True), "--lazy-pages")


def _options(container: Container, options: CheckpointOptions, folders: ImageFolders) -> Options:
    opts = Options(
        images_dir_fd=folders.images,
        pid=container.pid,
        log_level=LOG_LEVEL,
        log_file=_LOG,
        root=container.stored.rootfs,
        manage_cgroups=True,
        manage_cgroups_mode=options.cgroup_mode(),
        notify_scripts=True,
        leave_running=options.leave_running,
        ext_unix_sk=options.ext_unix_sk,
        tcp_established=options.tcp_established,
        tcp_skip_in_flight=options.tcp_skip_in_flight,
        shell_job=options.shell_job,
        file_locks=options.file_locks,
        link_remap=options.link_remap,
        auto_dedup=options.auto_dedup,
        lazy_pages=options.lazy_pages,
        orphan_pts_master=True,
        # Devices of a network namespace are arranged by whoever makes one, now as after a restore.
        empty_ns=KINDS["network"],
        external=external.named_namespaces(container.config, container.pid),
    )
    if folders.work >= 0:
        opts.work_dir_fd = folders.work
    if freezer := container.stored.cgroup_paths.get("freezer" if layout().legacy else UNIFIED):
        opts.freeze_cgroup = freezer
    if options.page_server:
        address, port = options.page_server
        opts.ps = PageServer(address=address, port=port)
    if options.parent_path:
        opts.parent_img = options.parent_path
        opts.track_mem = True
    if file := config_file(container.annotations):
        opts.config_file = file
    if not options.pre_dump:
        opts.ext_mnt = _named_mounts(container)
    return opts


def config_file(annotations: Mapping[str, str]) -> str:
    """The file of options that criu lets go before ours, as runc has it; empty: none."""
    return annotations.get(_CONFIG_ANNOTATION, _CONFIG_FILE)


def _named_mounts(container: Container) -> list[ExternalMount]:
    root = os.open(f"/proc/{container.pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        facts = Facts(bundle=container.bundle, cgroups=cgroup_facts(container.cgroup))
        return external.named(container.config, facts, root)
    finally:
        os.close(root)


def _write_descriptors(container: Container, options: CheckpointOptions) -> None:
    """What the standard streams were at the start: pipes are known by these names in the image."""
    streams = list(container.stored.streams)
    if container.config["process"].get("terminal"):
        streams = [external.NULL] * len(streams)
    path = f"{options.image_path}/{DESCRIPTORS}"
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(file, document.dumps(streams))
    finally:
        os.close(file)
