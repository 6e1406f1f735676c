"""How a task is that a daemon's client made: what its shim wrote down, or says.

The engine keeps records of what it starts itself. Of a task that was made over the API only its shim
knows how it is.
"""

from __future__ import annotations

from cloche.engine.tasks.bundle import Bundle
from cloche.errors import ClocheError
from cloche.shim import exits
from cloche.spec.record import Record
from cloche.wire.messages import types

_PATIENCE_S = 1.0


class Told(Record):
    """status: of messages.types; exited_at: ns since 1970, 0 where it has not ended."""

    status: int
    pid: int
    exit_code: int = 0
    exited_at: int = 0


def ask(root: str, state: str, namespace: str, task_id: str) -> Told | None:
    """How a task is; None where there is none, or nobody who could say."""
    bundle = Bundle(root, state, namespace, task_id)
    ended = exits.recorded(bundle.path)
    if ended is not None:
        return Told(types.STOPPED, ended.pid, ended.status, ended.at_ns)
    try:
        address = bundle.address()
    except (OSError, ClocheError):
        return None
    from cloche.shim.client import Client
    from cloche.wire.messages.task import StateRequest
    from cloche.wire.services.task import TASK_V2, TASK_V3

    try:
        with Client(address.path, timeout_s=_PATIENCE_S) as shim:
            service = TASK_V3 if address.version >= 3 else TASK_V2
            found = shim.call(service, "State", StateRequest(id=task_id), timeout_s=_PATIENCE_S)
    except ClocheError:
        return None
    at = found.exited_at.ns() if found.exited_at else 0
    return Told(found.status, found.pid, found.exit_status, at)
