"""A plan for a caller who is nobody special: what needs privileges is done in his own user namespace.

open_tree(2) with OPEN_TREE_CLONE asks for CAP_SYS_ADMIN where the mount namespace belongs. An
ordinary user has it only inside the container's new user and mount namespaces: so he opens the
place, which says early whether it is there and may be entered, and stage two makes the copy.
"""

from __future__ import annotations

import os

from cloche.errors import PermissionDenied
from cloche.runtime import operations as op
from cloche.runtime.caller import CloneTree, OpenFile
from cloche.runtime.plan import CALLER, STAGE_TWO, Step
from cloche.runtime.plan_namespaces import is_new

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cloche.spec.config import Config


def unprivileged(steps: Iterable[Step], config: Config) -> tuple[Step, ...]:
    """The same steps, with the copies of trees made in the container's namespaces.

    Raises PermissionDenied where the configuration has no namespaces of its own for that.
    """
    for kind in ("user", "mount"):
        if not is_new(config, kind):
            raise PermissionDenied(
                f"config.json: linux.namespaces: without root a container needs a new {kind} namespace: "
                "add it, as `cloche-runc spec --rootless` does, or run this as root"
            )
    return tuple(_moved(list(steps)))


def _moved(steps: list[Step]) -> Iterator[Step]:
    copies: list[Step] = []
    opened: dict[str, str] = {}
    for step in steps:
        operation = step.operation
        if isinstance(operation, OpenFile):
            opened[operation.slot] = operation.path
        if isinstance(operation, op.CopyFound):
            copy = op.CopyTree(operation.tree, opened[operation.tree], operation.recursive)
            copies.append(Step(step.place, STAGE_TWO, copy))
        elif isinstance(operation, CloneTree):
            yield Step(step.place, CALLER, OpenFile(operation.slot, operation.source, os.O_PATH))
            copy = op.CopyTree(operation.slot, operation.source, int(operation.recursive))
            copies.append(Step(step.place, STAGE_TWO, copy))
        elif isinstance(operation, op.AttachRoot):
            # From here on the host's paths may be covered.
            yield from copies
            yield step
        else:
            yield step
