"""Containers that live for one call of `Engine.run`, started from a warm process.

What costs time is done once and kept: the image's place on disk (a view under a lease that dies
with this process), the users found in it, the text of the network files, the writable root where
nothing was written to it (engine.stages). A run makes no transaction at all.

    ROOT/ephemeral/OWNER/state              where the runtime states of these containers are
                        /targets-N/         a layer of places for mounts (engine.targets)
                        /NAMESPACE/NAME/    a stage: upper and work directory, /etc files, volumes

All of it is named by its owner, so that what a killed process leaves is found by the next engine
(`clear_after`).
"""

from __future__ import annotations

import os
import time
from _thread import allocate_lock

from cloche.engine import etcfiles, networking, program, rootfs, specification, targets, volumes
from cloche.engine.mounts import Place, bind_source
from cloche.engine.names import new_id
from cloche.engine.run import Capture, OutputLimit, Result, RunTimeout
from cloche.engine.specification import Facts
from cloche.engine.stages import Stages
from cloche.engine.starting import REAPER, joined_pids, shared_memory, swap_is_counted
from cloche.errors import ClocheError, NotFound
from cloche.kernel import passwd
from cloche.runtime.container import Container as RuntimeContainer
from cloche.runtime.container import containers
from cloche.runtime.create import create
from cloche.shim.parent import Ends, begin
from cloche.shim.streams import Streams
from cloche.store import leases

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.engine.context import Context
    from cloche.engine.images import Image, Images
    from cloche.engine.options import Options
    from cloche.kernel.passwd import Identity
    from cloche.runtime.container import Process
    from cloche.spec.config import Config
    from cloche.spec.mount import Mount

_DRAIN_S = 5.0


class Ephemeral:
    """Runs commands in containers of their own; safe from any thread."""

    def __init__(self, context: Context, images: Images) -> None:
        self._context = context
        self._images = images
        self._lock = allocate_lock()
        self._lowers: dict[str, tuple[str, ...]] = {}
        self._identities: dict[tuple[str, str, tuple[str, ...]], Identity] = {}
        self._leases: list[tuple[str, str]] = []
        self._base = ""
        self._files: dict[tuple[object, ...], dict[str, str]] = {}
        self._stages = Stages()

    def run(
        self,
        image: Image | str,
        options: Options,
        *,
        stdin: bytes | None,
        timeout_s: float | None,
        output_limit_bytes: int,
    ) -> Result:
        """See `Engine.run`."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        if isinstance(image, str):
            image = self._images.get(image)
        options = options.replace(tty=False, stdin_open=stdin is not None)
        program.check_environment(options)
        specification.check_sysctls(options)
        base = self._base_directory()
        lower = self._lower(image)
        with _Run(self._context, self._stages, base, lower, image, options) as run:
            root = run.root()
            try:
                identity = self._identity(image, options, root)
                config = run.config(identity, self._network_texts(options), root)
                run.start(config, root, stdin)
            finally:
                os.close(root)
            return run.finish(deadline, timeout_s, output_limit_bytes)

    def _lower(self, image: Image) -> tuple[str, ...]:
        """The directories of an image's layers, kept for as long as this process lives."""
        with self._lock:
            lower = self._lowers.get(image.chain_id)
            if lower is None:
                lower = self._lowers[image.chain_id] = self._view(image)
            return lower

    def _view(self, image: Image) -> tuple[str, ...]:
        context = self._context
        snapshotter = context.snapshotter()
        key = f"run-{context.owner().name}-{os.urandom(4).hex()}"
        lease = leases.Lease(key, context.namespace, owner=context.owner().name)
        with context.metadata.write() as tx:
            leases.create(tx, lease)
            leases.add(tx, context.namespace, key, leases.Resource(f"snapshots/{snapshotter.name}", key))
            mounts = snapshotter.view(tx, key, image.chain_id or None)
        self._leases.append((key, snapshotter.name))
        return (*self._targets(mounts), *_directories(mounts))

    def _targets(self, mounts: tuple[Mount, ...]) -> tuple[str, ...]:
        """A layer with the places for mounts that the image lacks, if it lacks any."""
        directory = f"{self._base}/targets-{len(self._leases)}"
        os.mkdir(directory, 0o755)
        root = rootfs.assemble(mounts)
        try:
            return (directory,) if targets.make_layer(root, directory) else ()
        finally:
            os.close(root)

    def _identity(self, image: Image, options: Options, root: int) -> Identity:
        user = options.user or image.config.user
        key = (image.chain_id, user, options.groups)
        found = self._identities.get(key)
        if found is None:
            found = self._identities[key] = passwd.lookup(root, user, options.groups)
        return found

    def _base_directory(self) -> str:
        """This process's directory of runs. The file comes first: it leads to the rest."""
        with self._lock:
            if not self._base:
                base = f"{self._context.root}/ephemeral/{self._context.owner().name}"
                os.makedirs(f"{base}/{self._context.namespace}", 0o700, exist_ok=True)
                with open(f"{base}/state", "w", encoding="utf-8") as file:
                    file.write(self._context.state)
                os.makedirs(self._context.runtime_root, 0o711, exist_ok=True)
                self._base = base
            return self._base

    def _network_texts(self, options: Options) -> dict[str, str]:
        """What the /etc files say for these settings, but for the host name."""
        key = (
            *(options.network, options.endpoints, options.hosts, options.domainname),
            *(options.dns, options.dns_search, options.dns_options),
        )
        with self._lock:
            found = self._files.get(key)
            if found is None:
                found = self._files[key] = etcfiles.contents(options, "")
            return found

    def close(self) -> None:
        """Give up the views and the directory. No run may be under way."""
        context = self._context
        with self._lock:
            if self._leases:
                with context.metadata.write() as tx:
                    for key, snapshotter in self._leases:
                        leases.delete(tx, context.namespace, key)
                        context.snapshotter(snapshotter).remove(tx, key)
                self._leases.clear()
                self._lowers.clear()
            self._stages.close()
            if self._base:
                context.discard(self._base)
                self._base = ""
                self._files.clear()


def _directories(mounts: tuple[Mount, ...]) -> tuple[str, ...]:
    """The directories that a read-only view shows, the nearest first."""
    mount = mounts[-1]
    if mount.type == "overlay":
        words = [word for word in mount.options if word.startswith("lowerdir=")]
        return tuple(words[0].removeprefix("lowerdir=").split(":"))
    return (mount.source,)


class _Run:
    """One container, from its directories to its end. Nothing of it is left after the `with` block."""

    def __init__(
        self,
        context: Context,
        stages: Stages,
        base: str,
        lower: tuple[str, ...],
        image: Image,
        options: Options,
    ) -> None:
        self._context = context
        self._image = image
        self._options = options
        self._id = new_id()
        self._stages = stages
        self._stage = stages.take(f"{base}/{context.namespace}", self._id[:16], lower)
        self._container: RuntimeContainer | None = None
        self._process: Process | None = None
        self._streams: Streams | None = None
        self._hosts = ""

    def __enter__(self) -> _Run:
        return self

    def __exit__(self, *_: object) -> None:
        over = False
        try:
            self._delete()
            if self._process is not None:
                self._process.wait()
            over = True
        finally:
            if self._streams is not None:
                self._streams.close()
            if self._process is not None:
                self._process.close()
            # Where the end is not certain nobody else may get the stage.
            harmless = not self._options.privileged and self._options.userns != "private"
            self._stages.give_back(self._stage, trusted=over and harmless)

    def root(self) -> int:
        """The root file system, as a detached mount that the caller closes."""
        return self._stage.root()

    def config(self, identity: Identity, texts: dict[str, str], root: int) -> Config:
        """config.json of this run."""
        options = self._options
        name = specification.hostname(options, self._id)
        files = self._stage.write({**texts, "hostname": name + "\n"})
        self._hosts = files["hosts"]
        facts = Facts(
            container_id=self._id,
            identity=identity,
            files=files,
            places=tuple(self._places(root)),
            swap=swap_is_counted(),
            shm_source=shared_memory(options),
            reaper=REAPER if options.init else "",
        )
        if "container:" in f"{options.network}{options.pid}{options.ipc}{options.uts}{options.cgroupns}":
            from cloche.engine.kept import Kept

            facts = facts.replace(pids=joined_pids(self._context, Kept(options, self._image.config)))
        return specification.build(self._image.config, options, facts)

    def _places(self, root: int) -> list[Place]:
        found = []
        for number, option in enumerate(volumes.wanted(self._image.config, self._options.mounts)):
            if option.kind != "volume":
                found.append(Place(option, bind_source(option) if option.kind == "bind" else ""))
                continue
            path = self._context.volume(option.source) if option.source else ""
            path = path or f"{self._stage.directory}/volume-{number}"
            fresh = not os.path.exists(path)
            os.makedirs(path, 0o755, exist_ok=True)
            if fresh and option.copy_up:
                volumes.fill(root, option.target, path)
            found.append(Place(option, path))
        return found

    def start(self, config: Config, root: int, stdin: bytes | None) -> None:
        """Create the container and give it its input."""
        ends = Ends(pipes=True, stdin=stdin is not None)
        attach = networking.attacher(
            self._context,
            self._id,
            self._image.config,
            self._options,
            hosts_file=self._hosts,
        )
        try:
            container, process = create(
                self._context.runtime_root,
                self._id,
                config,
                bundle=self._stage.directory,
                rootfs=root,
                stdio=ends.theirs,
                gate=attach is not None,
            )
            if attach is not None:
                begin(container, process, attach)
            self._container, self._process = container, process
        except BaseException:
            networking.detach(self._context, self._id)
            ends.close_ours()
            raise
        finally:
            ends.close_theirs()
        self._streams = Streams(ends.outputs, ends.stdin)
        if stdin is not None:
            self._streams.feed(stdin)
            self._streams.feed_end()

    def finish(self, deadline: float | None, timeout_s: float | None, limit_bytes: int) -> Result:
        """Collect output until the command has ended, or must."""
        streams, process = self._streams, self._process
        if streams is None or process is None:
            raise RuntimeError("start() comes first")
        capture = Capture(limit_bytes)
        streams.clients.append(capture)
        in_time = streams.run({process.fileno(): _yes}, deadline=deadline)
        if not in_time or capture.exceeded:
            process.kill(9)
        code = process.wait()
        self._delete()
        streams.run({}, deadline=time.monotonic() + _DRAIN_S, until_silent=True)
        if capture.exceeded:
            raise OutputLimit(f"killed after {limit_bytes} bytes of output", capture.result(code))
        if not in_time:
            raise RunTimeout(f"killed after {timeout_s:g} s", capture.result(code))
        return capture.result(code)

    def _delete(self) -> None:
        """Remove the container with all processes and cgroups; once is enough."""
        container, self._container = self._container, None
        if container is not None:
            container.delete(force=True)
            networking.detach(self._context, self._id)


def _yes() -> bool:
    return True


def clear_after(context: Context, owner: str) -> None:
    """End and remove what a dead process had running."""
    base = f"{context.root}/ephemeral/{owner}"
    try:
        with open(f"{base}/state", encoding="utf-8") as file:
            state = file.read()
    except FileNotFoundError:
        context.discard(base)
        return
    for namespace in os.listdir(base):
        if namespace.startswith("targets-") or not os.path.isdir(f"{base}/{namespace}"):
            continue
        for container in containers(f"{state}/{namespace}"):
            # The bundle of such a container is its stage.
            if container.bundle.startswith(f"{base}/"):
                try:
                    container.delete(force=True)
                    networking.detach(context, container.id)
                except NotFound:
                    continue
                except (ClocheError, OSError):
                    return
    context.discard(base)
