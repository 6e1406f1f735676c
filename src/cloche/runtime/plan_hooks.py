"""The part of a plan that runs hooks, each kind at its point of the sequence."""

from __future__ import annotations

from cloche.runtime import operations as op
from cloche.runtime.hooks import RunHooks, state_document
from cloche.runtime.plan import CALLER, STAGE_TWO, Step
from cloche.spec import document

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from cloche.runtime.facts import Facts
    from cloche.spec.config import Config, Hook

# What the container is when they run. The old prestart hooks belong to `start`, by their description.
_STATUS = {
    "prestart": "created",
    "createRuntime": "creating",
    "createContainer": "creating",
    "startContainer": "created",
}

_PID = 2**40
"""Stands for the pid in a state document, until init puts its own number there."""


def runtime_hooks(config: Config, facts: Facts) -> Iterator[Step]:
    """prestart and createRuntime, by the caller: the mounts are made, the root is not changed yet."""
    kinds = [kind for kind in ("prestart", "createRuntime") if config.get("hooks", {}).get(kind)]
    if not kinds:
        return
    yield Step("hooks", STAGE_TWO, op.AwaitCaller())
    for kind in kinds:
        state = document.dumps(
            state_document(config, facts.id, bundle=facts.bundle, status=_STATUS[kind], pid=0)
        )
        hooks = tuple(document.dumps(hook) for hook in config["hooks"][kind])  # type: ignore[literal-required]  # the two above
        yield Step(f"hooks.{kind}", CALLER, RunHooks(kind, hooks, state))


def container_hooks(config: Config, facts: Facts, kind: str) -> Iterator[Step]:
    """createContainer or startContainer, by the container's process where it then is."""
    status = _STATUS[kind]
    whole = document.dumps(state_document(config, facts.id, bundle=facts.bundle, status=status, pid=_PID))
    before, _, after = whole.decode().partition(str(_PID))
    hooks: list[Hook] = config.get("hooks", {}).get(kind, [])  # type: ignore[assignment]  # one of the six kinds
    for index, hook in enumerate(hooks):
        run = op.RunHook(
            hook["path"],
            tuple(hook.get("args") or [hook["path"]]),
            tuple(hook.get("env", ())),
            before,
            after,
            hook.get("timeout") or 0,
        )
        yield Step(f"hooks.{kind}[{index}]", STAGE_TWO, run)
