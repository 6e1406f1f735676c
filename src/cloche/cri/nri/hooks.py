"""Hooks in Python: functions of installed packages that adjust a container before it is made.

A package offers one under the entry point group `cloche.container_hooks`, by a name as NRI's plugins have:

    [project.entry-points."cloche.container_hooks"]
    10-limits = "mine:limits"

and the configuration asks for it:

    [plugins."io.containerd.nri.v1.nri"]
    container_hooks = ["10-limits"]

What is found there is called, off the event loop, with the pod and the container as NRI's messages and with
a copy of config.json as it is by then. It returns what is to be changed, or None:

    from cloche.wire.messages.nri.adjustments import ContainerAdjustment
    from cloche.wire.messages.nri.values import KeyValue

    def limits(pod, container, spec):
        return ContainerAdjustment(env=[KeyValue(key="POD", value=pod.name)])

A class is called once without arguments, and what comes of it for each container. Hooks and plugins are
asked in the order of their indices, and under the same rules: one that raises an error fails the
container, one that takes longer than `plugin_request_timeout` is asked no more.
"""

from __future__ import annotations

import asyncio
import copy
import logging
import threading

from cloche.cri.nri.plugin import refused
from cloche.errors import ClocheError, FailedPrecondition, InvalidArgument
from cloche.wire.messages.nri.adjustments import ContainerAdjustment
from cloche.wire.messages.nri.plugin import CreateContainerResponse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    from cloche.cri.nri.settings import NriSettings
    from cloche.spec.config import Config
    from cloche.wire.messages.nri.containers import Container, PodSandbox
    from cloche.wire.messages.nri.plugin import ContainerRequest
    from cloche.wire.protobuf import Message

    class ContainerHook(Protocol):
        """What an entry point is, or makes."""

        def __call__(
            self, pod: PodSandbox, container: Container, spec: Config, /
        ) -> ContainerAdjustment | None: ...


_log = logging.getLogger("cloche.nri")

GROUP = "cloche.container_hooks"


def load(settings: NriSettings) -> list[PythonHook]:
    """The hooks that the configuration asks for. Blocks.

    Raises InvalidArgument for one that no package has, or that cannot be loaded: containers that it
    should adjust must not be made without it.
    """
    return [_load(name, settings) for name in settings.hooks]


def _load(name: str, settings: NriSettings) -> PythonHook:
    from importlib.metadata import entry_points
    from importlib.util import find_spec

    # Packages may lie where only `site` knows, which the launcher asks when an import fails.
    find_spec("cloche_container_hooks")
    index, _, base = name.partition("-")
    if why := refused(index, base):
        raise InvalidArgument(f"container_hooks: {name!r}: {why}")
    found = entry_points(group=GROUP, name=name)
    if not found:
        raise InvalidArgument(f"container_hooks: no installed package has {name!r} in its group {GROUP}")
    try:
        hook = next(iter(found)).load()
        if isinstance(hook, type):
            hook = hook()
    except Exception as error:
        raise InvalidArgument(f"container_hooks: {name!r}: {type(error).__name__}: {error}") from error
    if not callable(hook):
        raise InvalidArgument(f"container_hooks: {name!r} is no function")
    return PythonHook(index, base, hook, settings.request_s)


class PythonHook:
    """A hook that is asked as a plugin is."""

    def __init__(self, index: str, base: str, hook: ContainerHook, timeout_s: float) -> None:
        self.index = index
        self.base = base
        self.alive = True
        self._hook = hook
        self._timeout_s = timeout_s

    @property
    def name(self) -> str:
        """Index and base name."""
        return f"{self.index}-{self.base}"

    def hears(self, call: str) -> bool:
        """Only of containers that are made."""
        return self.alive and call == "CreateContainer"

    async def create(self, request: ContainerRequest, spec: Config) -> CreateContainerResponse | None:
        """What it wants changed. Raises FailedPrecondition for its error."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[object] = loop.create_future()
        arguments = copy.deepcopy((request.pod, request.container, spec))

        def tell(result: object) -> None:
            if not answer.done():
                answer.set_result(result)

        def work() -> None:
            result: object
            try:
                result = self._hook(*arguments)  # type: ignore[arg-type]  # both are there
            except Exception as error:
                result = error
            loop.call_soon_threadsafe(tell, result)

        # A thread of its own, which does not keep the daemon from ending: nobody can stop what hangs in it.
        threading.Thread(target=work, name=f"hook {self.name}", daemon=True).start()
        try:
            async with asyncio.timeout(self._timeout_s):
                found = await answer
        except TimeoutError:
            self.alive = False
            _log.warning("container hook %s is dropped: no answer within %g s", self.name, self._timeout_s)
            return None
        return CreateContainerResponse(adjust=self._checked(found))

    def _checked(self, found: object) -> ContainerAdjustment | None:
        if isinstance(found, Exception):
            if not isinstance(found, ClocheError):
                _log.error("container hook %s failed", self.name, exc_info=found)
            raise FailedPrecondition(f"container hook {self.name}: {type(found).__name__}: {found}")
        if found is None or isinstance(found, ContainerAdjustment):
            return found
        raise FailedPrecondition(
            f"container hook {self.name}: returned {type(found).__name__}, not ContainerAdjustment"
        )

    async def ask(self, _call: str, _request: Message) -> Any:
        """It wants to know of nothing else."""
        return None

    async def close(self) -> None:
        """There is nothing to close."""
        self.alive = False
