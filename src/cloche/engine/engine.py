"""The library: one class that has everything, with no daemon behind it.

>>> with Engine() as engine:
...     image = engine.images.from_host("tools", ["/bin/sh", "/bin/cat"])
...     engine.run(image, ["sh", "-c", "echo hello; exit 3"], memory="64m", timeout_s=5)
Result(exit_code=3, stdout=b'hello\\n', stderr=b'')
"""

from __future__ import annotations

import os
from _thread import allocate_lock

from cloche.engine.context import Context

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import TracebackType
    from typing import Any

    from cloche.engine.check.finding import Finding
    from cloche.engine.containers import Containers
    from cloche.engine.ephemeral import Ephemeral
    from cloche.engine.explained_space import Share
    from cloche.engine.images import Image, Images
    from cloche.engine.networks import Networks
    from cloche.engine.options import MountOption, Options
    from cloche.engine.run import Result
    from cloche.engine.space import Space
    from cloche.engine.stuck.findings import Finding as Stuck

DEFAULT_ROOT = "/var/lib/cloche"
DEFAULT_STATE = "/run/cloche"
DEFAULT_NAMESPACE = "default"
OUTPUT_LIMIT_BYTES = 64 << 20


class Engine:
    """Images and containers below one root, seen from one namespace.

    Every method may be called from any thread; calls block. Several engines, in one process or
    many, work on the same root at the same time. Nothing is done to the host program: no signal
    handler, no subreaper, no fork. Close it, or use it in a `with` block.
    """

    def __init__(
        self,
        root: str | None = None,
        state: str | None = None,
        namespace: str | None = None,
        *,
        snapshotter: str = "overlayfs",
    ) -> None:
        """root: what is kept; state: what runs. Absent ones come from CLOCHE_ROOT, CLOCHE_STATE and
        CLOCHE_NAMESPACE, and else are Cloche's own places. Nothing is made on disk yet.
        """
        environment = os.environ.get
        self._context = Context(
            os.path.abspath(root or environment("CLOCHE_ROOT") or DEFAULT_ROOT),
            os.path.abspath(state or environment("CLOCHE_STATE") or DEFAULT_STATE),
            namespace or environment("CLOCHE_NAMESPACE") or DEFAULT_NAMESPACE,
            snapshotter,
        )
        self._pid = os.getpid()
        self._lock = allocate_lock()
        self._images: Images | None = None
        self._containers: Containers | None = None
        self._ephemeral: Ephemeral | None = None

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def root(self) -> str:
        """Where everything durable is."""
        return self._context.root

    @property
    def state(self) -> str:
        """Where everything that runs is."""
        return self._context.state

    @property
    def namespace(self) -> str:
        """Whose images and containers these are."""
        return self._context.namespace

    @property
    def images(self) -> Images:
        """Find, fetch, make, name and remove images."""
        with self._lock:
            if self._images is None:
                from cloche.engine.images import Images

                self._images = Images(self._context)
            return self._images

    @property
    def containers(self) -> Containers:
        """Make, find and list containers."""
        with self._lock:
            if self._containers is None:
                from cloche.engine import collection
                from cloche.engine.containers import Containers

                collection.collect(self._context)
                self._containers = Containers(self._context)
            return self._containers

    @property
    def networks(self) -> Networks:
        """Make, show and remove networks, and bring containers into them."""
        from cloche.engine.networks import Networks

        return Networks(self._context)

    def run(
        self,
        image: Image | str,
        args: Sequence[str] = (),
        *,
        options: Options | None = None,
        stdin: bytes | None = None,
        timeout_s: float | None = None,
        output_limit_bytes: int = OUTPUT_LIMIT_BYTES,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        workdir: str | None = None,
        network: str | None = None,
        memory: int | str | None = None,
        cpus: float | None = None,
        pids_limit: int | None = None,
        read_only: bool | None = None,
        mounts: Sequence[MountOption] | None = None,
    ) -> Result:
        """Run a command in a new container, and give back its exit code and output.

        image: a name, or what `images` gave. args: the command; the image's own when empty.
        options: all other settings; those named here win over it. stdin: what the command reads,
        nothing when absent. timeout_s: after it the container is killed. output_limit_bytes: of
        stdout and stderr together. memory: bytes, or text such as "64m".

        The container is gone when this returns, whatever happened. Raises DeadlineExceeded and
        ResourceExhausted (both with `result`, the output so far), NotFound for the image,
        ExecFailed where the command cannot be run, InvalidArgument for wrong settings.
        """
        from cloche.engine.run import merge

        merged = merge(
            options,
            args,
            env=env,
            user=user,
            workdir=workdir,
            network=network,
            memory=memory,
            cpus=cpus,
            pids_limit=pids_limit,
            read_only=read_only,
            mounts=mounts,
        )
        return self._runner().run(
            image, merged, stdin=stdin, timeout_s=timeout_s, output_limit_bytes=output_limit_bytes
        )

    def _runner(self) -> Ephemeral:
        images = self.images
        with self._lock:
            if self._ephemeral is None:
                from cloche.engine import collection
                from cloche.engine.ephemeral import Ephemeral

                collection.collect(self._context)
                self._ephemeral = Ephemeral(self._context, images)
            return self._ephemeral

    def why_stuck(self, reference: str) -> list[Stuck]:
        """What every process of a container waits for, those that are stuck first.

        reference: a name or id here, an id in containerd, or a process's number. Raises NotFound.
        """
        from cloche.engine.stuck.targets import why_stuck

        return why_stuck(self._context, reference)

    def information(self) -> dict[str, Any]:
        """What `cloche info` shows, in the shape of Docker's API."""
        from cloche.engine.inspection import system

        return system(self._context, self.images, self.containers)

    def taken_bytes(self) -> int:
        """What all blobs, snapshots and volumes of this root take on disk, used or not."""
        from cloche.engine.space import taken

        return taken(self._context)

    def space(self) -> tuple[Space, Space, Space]:
        """What images, containers and volumes take on disk; it may walk all that containers wrote."""
        from cloche.engine.space import measure

        return measure(self._context)

    def explained_space(self) -> list[Share]:
        """Whose every byte on disk is, in all namespaces; it walks all of them."""
        from cloche.engine.explained_space import explain

        return explain(self._context)

    def check(
        self, *, repair: bool = False, watch: Callable[[int, int], None] | None = None
    ) -> Iterator[Finding]:
        """Look for damage in all that is kept, in every namespace; each finding as it is found.

        repair: mend what can be mended, and leave alone what is in use. watch: told how many bytes
        of blobs were read, and how many there are.
        """
        from cloche.engine.check.check import check

        return check(self._context, repair=repair, watch=watch or (lambda done, total: None))

    def close(self) -> None:
        """Close the stores; running containers go on."""
        if self._ephemeral is not None and self._pid == os.getpid():
            self._ephemeral.close()
        self._ephemeral = None
        self._context.close()
