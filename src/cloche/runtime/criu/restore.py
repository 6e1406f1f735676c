"""Restore: a container made again from the files of a checkpoint, with its processes as they were."""

from __future__ import annotations

import os

from cloche.errors import ClocheError, FailedPrecondition
from cloche.kernel import pidfd
from cloche.kernel.cgroups.layout import parse_membership
from cloche.kernel.cgroups.processes import move
from cloche.kernel.mount_options import MountOptions
from cloche.kernel.mounts import TemporaryMount, bind
from cloche.runtime.cgroups import make_cgroup, planned_cgroups
from cloche.runtime.container import Container, Process
from cloche.runtime.criu import external
from cloche.runtime.criu.checkpoint import LOG_LEVEL, config_file
from cloche.runtime.criu.log import reason
from cloche.runtime.criu.messages import (
    RESTORE,
    CgroupRoot,
    ExternalMount,
    InheritedDescriptor,
    Notification,
    Options,
    Request,
)
from cloche.runtime.criu.mountpoints import make_mountpoints
from cloche.runtime.criu.options import DESCRIPTORS, ImageFolders
from cloche.runtime.criu.rpc import FIRST_EXTRA, Criu, CriuFailed
from cloche.runtime.execute import Started, wait
from cloche.runtime.facts import Facts
from cloche.runtime.gather import cgroup_facts
from cloche.runtime.plan_namespaces import KINDS, is_new
from cloche.runtime.state import Folder, State, now, streams
from cloche.spec.document import load_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from cloche.kernel.cgroups.cgroup import Cgroup
    from cloche.runtime.criu.options import RestoreOptions
    from cloche.runtime.scope import Scope
    from cloche.spec.config import Config

_LOG = "restore.log"
_LSM_VERSION = 31600


def restore(
    root: str,
    container_id: str,
    config: Config,
    *,
    bundle: str,
    options: RestoreOptions,
    rootfs: int | None = None,
    stdio: tuple[int, int, int] = (0, 1, 2),
    prepare: Callable[[str], None] | None = None,
    systemd: bool = False,
) -> tuple[Container, Process]:
    """Make a container of a checkpoint. Its first process is a child of the calling one, and runs.

    root, container_id, config, bundle, rootfs, stdio, prepare, systemd: as for `create`. Pipes that were the
    standard streams at the checkpoint are these ones now. A terminal's new master is the process's
    console.
    Raises FailedPrecondition, with criu's reason; then nothing is left.
    """
    options.prepare()
    criu = Criu()
    _require_version(criu, options)
    cgroup, scope, _ = planned_cgroups(config, container_id, systemd=systemd, rootless=None)
    rootfs_path = "" if rootfs is not None else os.path.join(bundle, config["root"]["path"])
    state = State(container_id, bundle, os.path.normpath(rootfs_path or "/"), now(), cgroup.paths)
    state = state.replace(streams=streams(stdio))
    if scope:
        state = state.replace(unit=scope.unit.name, user_unit=scope.unit.user)
    folder = Folder(root, container_id)
    with folder.make(config, state):
        try:
            if prepare:
                prepare(folder.path)
            if not scope:
                make_cgroup(cgroup, config)
            work = _Restoration(criu, folder, state, config, options, cgroup, scope)
            tree = bind(rootfs_path, MountOptions(recursive=True)) if rootfs is None else os.dup(rootfs)
            try:
                started = work.carry_out(tree, stdio)
            finally:
                os.close(tree)
        except BaseException:
            if cgroup.exists():
                cgroup.kill()
            if scope:
                scope.abandon()
            else:
                cgroup.destroy()
            folder.remove()
            raise
    return Container(root, folder, work.state), Process(started)


def _require_version(criu: Criu, options: RestoreOptions) -> None:
    for flag, value in (
        ("--lsm-profile", options.lsm_profile),
        ("--lsm-mount-context", options.lsm_mount_context),
    ):
        if value and criu.version < _LSM_VERSION:
            raise FailedPrecondition(f"{flag} requires at least CRIU 3.16, and this is {criu.name}")


def _root_group(config: Config) -> int | None:
    """Which group of the host is that of root in a user namespace of the container's own."""
    if not is_new(config, "user"):
        return None
    mappings = config.get("linux", {}).get("gidMappings", ())
    return next((mapping["hostID"] for mapping in mappings if mapping["containerID"] == 0), None)


class _Restoration:
    """One restore under way."""

    def __init__(
        self,
        criu: Criu,
        folder: Folder,
        state: State,
        config: Config,
        options: RestoreOptions,
        cgroup: Cgroup,
        scope: Scope | None,
    ) -> None:
        self.criu = criu
        self.folder = folder
        self.state = state
        self.config = config
        self.options = options
        self.cgroup = cgroup
        self.scope = scope
        self.pidfd = -1
        self.console = -1

    def carry_out(self, tree: int, stdio: tuple[int, int, int]) -> Started:
        """tree: the root filesystem, a detached mount."""
        opened: list[int] = []
        try:
            with ImageFolders(self.options) as folders, TemporaryMount(tree, self.folder.path) as root:
                if (group := _root_group(self.config)) is not None:
                    folders.lend(group)
                opts = self._options(root, folders)
                self._keep_namespaces(opts, opened)
                self._ask(opts, stdio, opened)
            if self.scope:
                self.scope.settle(self.config)
            return Started(self.state.pid, self.pidfd, self.console)
        except BaseException:
            self._abandon()
            raise
        finally:
            for descriptor in opened:
                os.close(descriptor)

    def _ask(self, opts: Options, stdio: tuple[int, int, int], extra: list[int]) -> None:
        log = self.options.fresh_log(_LOG)
        try:
            self.criu.ask(
                Request(type=RESTORE, opts=opts),
                stdio=stdio,
                extra=extra,
                prepare=lambda pid: self._enter_cgroups(pid, opts),
                listener=self._listen,
            )
        except CriuFailed as error:
            why = reason(log, str(error))
            raise FailedPrecondition(
                f"criu {self.criu.name} cannot restore container {self.state.id!r}: {why}"
            ) from None
        if self.pidfd < 0:
            raise FailedPrecondition(f"criu restored no process for container {self.state.id!r}")

    def _options(self, root: str, folders: ImageFolders) -> Options:
        options = self.options
        opts = Options(
            images_dir_fd=folders.images,
            evasive_devices=True,
            log_level=LOG_LEVEL,
            log_file=_LOG,
            rst_sibling=True,
            root=root,
            manage_cgroups=True,
            manage_cgroups_mode=options.cgroup_mode(),
            notify_scripts=True,
            shell_job=options.shell_job,
            ext_unix_sk=options.ext_unix_sk,
            tcp_established=options.tcp_established,
            file_locks=options.file_locks,
            auto_dedup=options.auto_dedup,
            lazy_pages=options.lazy_pages,
            orphan_pts_master=True,
            empty_ns=KINDS["network"],
            ext_mnt=self._mounts(root),
            inherit_fd=self._pipes(),
            join_ns=external.joined_namespaces(self.config),
        )
        if folders.work >= 0:
            opts.work_dir_fd = folders.work
        if file := config_file(self.config.get("annotations", {})):
            opts.config_file = file
        if options.lsm_profile:
            opts.lsm_profile = options.lsm_profile
        if options.lsm_mount_context:
            opts.lsm_mount_context = options.lsm_mount_context
        return opts

    def _mounts(self, root: str) -> list[ExternalMount]:
        """Sources for the mounts from outside, and places in the root for all of them."""
        facts = Facts(bundle=self.state.bundle, cgroups=cgroup_facts(self.cgroup))
        copy = bind(root, MountOptions(recursive=True))
        try:
            with TemporaryMount(copy, self.folder.path) as scratch:
                inside = os.open(scratch, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
                try:
                    make_mountpoints(inside, self.config, facts.bundle)
                    return external.provided(self.config, facts, inside)
                finally:
                    os.close(inside)
        finally:
            os.close(copy)

    def _pipes(self) -> list[InheritedDescriptor]:
        """The pipes that were standard streams are those that criu has there now."""
        names = load_file(f"{self.options.image_path}/{DESCRIPTORS}")
        return [
            InheritedDescriptor(key=name, fd=number)
            for number, name in enumerate(names[:3] if isinstance(names, list) else ())
            if isinstance(name, str) and name.startswith("pipe:")
        ]

    def _keep_namespaces(self, opts: Options, opened: list[int]) -> None:
        """Hand criu the namespaces that were kept, in the order of its extra descriptors."""
        for key, path in external.kept_namespaces(self.config):
            try:
                opened.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
            except OSError as error:
                raise FailedPrecondition(
                    f"config.json: linux.namespaces: {path}: {error.strerror}: a restore needs the namespace"
                ) from None
            descriptor = FIRST_EXTRA + len(opened) - 1
            inherited = InheritedDescriptor(key=key, fd=descriptor)
            opts.inherit_fd = [*opts.inherit_fd, inherited]

    def _enter_cgroups(self, pid: int, opts: Options) -> None:
        """criu works inside, so that all it makes is born there; and the dumped cgroups are to be these."""
        if self.scope:
            self.scope.start(self.config, pid, self._limit)
        else:
            move(pid, dict.fromkeys(self.cgroup.paths.values()))
        with open(f"/proc/{pid}/cgroup", "rb") as file:
            memberships = parse_membership(file.read())
        opts.cg_root = [
            CgroupRoot(ctrl=controller, path=path)
            for controllers, path in memberships.items()
            for controller in controllers
        ]

    def _limit(self, resources: Mapping[str, Any]) -> None:
        make_cgroup(self.cgroup, self.config, joined=True, resources=resources)

    def _listen(self, notification: Notification, descriptors: list[int]) -> None:
        script, pid = notification.script, notification.pid or 0
        if script == "orphan-pts-master" and descriptors and self.console < 0:
            self.console = descriptors.pop(0)
        for descriptor in descriptors:
            os.close(descriptor)
        if script == "setup-namespaces":
            self._run_hooks(pid)
        elif script == "post-restore":
            self.pidfd = pidfd.open(pid)
            self.state = self.state.with_process(pid)
            self.folder.write(self.state)

    def _run_hooks(self, pid: int) -> None:
        """What arranges a new container's network has to arrange this one's as well."""
        from cloche.runtime.hooks import run_hooks, state_document

        for kind in ("prestart", "createRuntime"):
            if hooks := self.config.get("hooks", {}).get(kind):
                status = "created" if kind == "prestart" else "creating"
                state = state_document(
                    self.config, self.state.id, bundle=self.state.bundle, status=status, pid=pid
                )
                run_hooks(kind, hooks, state)  # type: ignore[arg-type]  # one of the two above

    def _abandon(self) -> None:
        if self.console >= 0:
            os.close(self.console)
        if self.pidfd < 0:
            return
        try:
            pidfd.send_signal(self.pidfd, 9)
            wait(self.pidfd)
        except (ProcessLookupError, ChildProcessError, ClocheError):
            pass
        os.close(self.pidfd)
