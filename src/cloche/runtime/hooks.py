"""Hooks that the runtime runs itself: prestart, createRuntime, poststart and poststop.

Each gets the container's state on its standard input and runs in the runtime's own namespaces
(runtime-spec, config, "POSIX-platform Hooks"). The other two kinds are operations of init.
"""

from __future__ import annotations

import os
import select

from cloche.errors import FailedPrecondition, InvalidArgument
from cloche.kernel import pidfd
from cloche.runtime.caller import CallerOperation, Performing
from cloche.spec import document

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from typing import Any

    from cloche.spec.config import Config, Hook
else:
    import _signal as signal  # `signal` imports enum


class RunHooks(CallerOperation):
    """Run hooks while the container's process waits for us.

    kind: `createRuntime` and so on. state: the state document but for the pid, as JSON text.
    """

    kind: str
    hooks: tuple[bytes, ...]
    state: bytes

    def perform(self, performing: Performing) -> None:
        """See the class."""
        state = document.loads(self.state, "state") | {"pid": performing.pid}
        hooks = [document.loads(hook, "hook") for hook in self.hooks]
        run_hooks(self.kind, hooks, state)

    def describe(self) -> str:
        """One line for people."""
        paths = ", ".join(document.loads(hook, "hook")["path"] for hook in self.hooks)
        return f"run hooks {self.kind}: {paths}"


def state_document(
    config: Config, container_id: str, *, bundle: str, status: str, pid: int
) -> dict[str, Any]:
    """The state of a container as hooks get it."""
    state: dict[str, Any] = {
        "ociVersion": config["ociVersion"],
        "id": container_id,
        "status": status,
        "pid": pid,
        "bundle": bundle,
    }
    if annotations := config.get("annotations"):
        state["annotations"] = annotations
    return state


def run_hooks(kind: str, hooks: list[Hook], state: dict[str, Any]) -> None:
    """Run hooks in order; the first that fails ends it with FailedPrecondition."""
    for index, hook in enumerate(hooks):
        try:
            status = _run(hook, document.dumps(state))
        except OSError as error:
            why = _fault(hook["path"], error.errno or 0)
            raise FailedPrecondition(f"{_place(kind, index, hook)}: {error.strerror}{why}") from error
        except ValueError as error:
            # Such as a variable without a name, which Python hands to nobody.
            raise InvalidArgument(f"{_place(kind, index, hook)}: {error}") from error
        if status is None:
            raise FailedPrecondition(
                f"{_place(kind, index, hook)}: not done after {hook.get('timeout')} s, and killed"
            )
        if status:
            raise FailedPrecondition(f"{_place(kind, index, hook)}: exit status {status}")


def _fault(path: str, errno: int) -> str:
    """What a hook's program lacks, to be added to the error; empty where that cannot be told."""
    from cloche.runtime.program_faults import Wanted, fault

    groups = (os.getegid(), *os.getgroups())
    wanted = Wanted(path, (path,), os.getcwd(), os.geteuid(), groups, "on the host")
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        why = fault(root, wanted, errno)
    finally:
        os.close(root)
    return f": {why}" if why else ""


def _place(kind: str, index: int, hook: Hook) -> str:
    return f"config.json: hooks.{kind}[{index}]: {hook['path']!r}"


def _run(hook: Hook, state: bytes) -> int | None:
    """Exit status of one hook, None when its time was over."""
    environment = dict(variable.partition("=")[::2] for variable in hook.get("env", ()))
    first, *others = hook.get("args") or [""]
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        actions = [(os.POSIX_SPAWN_DUP2, reader, 0)]
        defaults = [signal.SIGPIPE, signal.SIGXFSZ]
        child = os.posix_spawn(
            hook["path"],
            [first or hook["path"], *others],
            environment,
            file_actions=actions,
            setsigdef=defaults,
        )
    except BaseException:
        os.close(writer)
        raise
    finally:
        os.close(reader)
    handle = pidfd.open(child)
    try:
        _write(writer, state)
        ended = select.select([handle], [], [], hook.get("timeout") or None)[0]
        if not ended:
            pidfd.send_signal(handle, signal.SIGKILL)
        result = pidfd.wait(handle)
        return result.status if ended and result else None
    finally:
        os.close(handle)


def _write(writer: int, data: bytes) -> None:
    """All of it, or as much as the hook cares to read. Closes the descriptor."""
    try:
        # A state larger than a pipe must not wait for a hook that does not read for ever.
        os.set_blocking(writer, False)
        os.write(writer, data)
    except OSError:
        pass
    finally:
        os.close(writer)
